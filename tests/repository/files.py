"""The files of the repository, as git knows them; without git, as they lie there."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NOT_OURS = {".git", ".venv", "node_modules", "__pycache__", "build", "dist"}


@cache
def tracked() -> tuple[str, ...]:
    """Paths below `ROOT` that are committed or about to be (git add), and still there."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = [
            str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not _NOT_OURS & set(path.relative_to(ROOT).parts)
        ]
    return tuple(sorted(name for name in set(listed) if name and (ROOT / name).is_file()))


def text(name: str) -> str | None:
    """A file's text, or None for a picture and the like."""
    try:
        return (ROOT / name).read_text("utf-8")
    except UnicodeDecodeError:
        return None
