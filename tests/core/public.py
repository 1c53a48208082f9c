"""The public manifests that packages of npm and PyPI ship in their tests, read where they are installed, never copied.

Map: `public_lists` (all that are there) · files by their endings · strings in tests written in JavaScript and Python ·
source packages in `.venv/sdists`, which .ci/setup fetches.
"""

import ast
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
NPM: Final = ROOT / "tests/npm/node_modules"
SDISTS: Final = ROOT / ".venv/sdists"
ENDINGS: Final = (".m3u8", ".m3u", ".mpd")
_TESTS = re.compile(r"(?:^|/)(?:tests?|spec|__tests__|fixtures)/")
_QUOTED = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_JAVASCRIPT = re.compile(rf"`((?:[^`\\]|\\.)*)`|((?:{_QUOTED})(?:\s*[+,]\s*(?:{_QUOTED}))*)", re.DOTALL)
_ONE = re.compile(_QUOTED)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MPD = re.compile(r"(?:<\?xml[^>]*>\s*)?<MPD[\s>].*?</MPD>", re.DOTALL)


@dataclass(frozen=True)
class PublicList:
    """One manifest: `name` says its package and place, `kind` is "hls" or "dash"."""

    name: str
    kind: str
    text: str


def _kind(text: str) -> str | None:
    text = text.lstrip("\ufeff \t\r\n")
    if text.startswith("#EXTM3U"):
        return "hls"
    return "dash" if re.search(r"<MPD[\s>]", text[:4096]) and text.startswith("<") else None


def _of_javascript(text: str) -> Iterator[str]:
    for found in _JAVASCRIPT.finditer(text):
        if found[1] is not None:
            whole = found[1]
        else:
            parts = [_ESCAPE.sub(_unescaped, one[0][1:-1]) for one in _ONE.finditer(found[2])]
            whole = ("" if any("\n" in part for part in parts) else "\n").join(parts)
        if "${" in whole:
            continue
        if whole.lstrip().startswith("#EXTM3U"):
            yield whole
        elif "<MPD" in whole:
            yield from (one[0] for one in _MPD.finditer(whole))


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1])


def _of_python(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _kind(node.value):
            yield node.value


def _files() -> Iterator[tuple[str, bytes]]:
    for path in sorted(NPM.rglob("*")):
        name = path.relative_to(NPM).as_posix()
        script = name.endswith((".js", ".ts", ".mjs")) and _TESTS.search(name)
        if (script or name.endswith(ENDINGS)) and path.is_file():
            yield name, path.read_bytes()
    for packed in sorted(SDISTS.glob("*.tar.gz")):
        with tarfile.open(packed) as archive:
            for member in archive:
                wanted = member.name.endswith(ENDINGS) or (member.name.endswith(".py") and _TESTS.search(member.name))
                if wanted and member.isfile() and (opened := archive.extractfile(member)) is not None:
                    yield member.name, opened.read()


@cache
def public_lists() -> tuple[PublicList, ...]:
    """Every public list that is installed, each text once, in the order of their names."""
    seen: set[str] = set()
    out: list[PublicList] = []
    for name, body in _files():
        if b"#EXTM3U" not in body and b"<MPD" not in body:
            continue
        text = body.decode("utf-8", "replace")
        texts = (
            [text] if name.endswith(ENDINGS) else list((_of_python if name.endswith(".py") else _of_javascript)(text))
        )
        for place, one in enumerate(texts):
            kind = _kind(one)
            if kind is not None and one not in seen:
                seen.add(one)
                label = name if name.endswith(ENDINGS) else f"{name} {place + 1}"
                out.append(PublicList(label, kind, one.lstrip("\ufeff \t\r\n") if kind == "dash" else one))
    return tuple(out)
