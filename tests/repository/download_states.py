"""The stages of a download as `ecdn_proxy.core.download.stages` has them: for docs/download.md.

picture()    Mermaid: a box for each stage, an arrow for each step
stages()     what each stage is called, and what may be open in it
steps()      from which stage to which, and why
"""

from ecdn_proxy.core.download.stages import TRANSITIONS, UNDER_WAY, Stage


def picture() -> str:
    """A `stateDiagram-v2`; `NEW` and `ENDED` are its start and its end."""
    ends = {Stage.NEW: "[*]", Stage.ENDED: "[*]"}
    boxes = [f'  state "{stage.name}: {stage.value}" as {stage.name}\n' for stage in Stage if stage not in ends]
    arrows = [
        f"  {ends.get(before, before.name)} --> {ends.get(after, after.name)}\n"
        for before, row in TRANSITIONS.items()
        for after in row
    ]
    return "".join(["```mermaid\nstateDiagram-v2\n", *boxes, *arrows, "```\n"])


def stages() -> list[tuple[str, str, str]]:
    """Rows of stage, the status page's words for it, what is under way when an event is over."""
    never = "no event leaves a download here"
    return [(f"`{stage.name}`", stage.value, _told(stage) if stage in UNDER_WAY else never) for stage in Stage]


def _told(stage: Stage) -> str:
    return "; or ".join(" and ".join(sorted(works)) or "nothing" for works in UNDER_WAY[stage])


def steps() -> list[tuple[str, str, str]]:
    """Rows of stage, next stage, reason."""
    return [
        (f"`{before.name}`", f"`{after.name}`", why)
        for before, row in TRANSITIONS.items()
        for after, why in row.items()
    ]
