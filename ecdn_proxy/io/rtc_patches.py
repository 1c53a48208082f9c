"""Makes aiortc cheaper."""


def apply() -> bool:
    """Nothing yet."""
    return False
