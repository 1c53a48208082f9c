"""Files that another process waits for."""

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """In one step: whoever sees the file finds all of it, and whoever had it open keeps what it had."""
    part = file.with_name(file.name + ".part")
    part.write_text(text)
    part.replace(file)
