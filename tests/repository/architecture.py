"""Floors and rooms as the import contracts have them, with the imports that there are: for docs/architecture.md.

floors(container)      floors of a package from the top down, each with its rooms: [tool.importlinter], "layers"
imports()              room -> the rooms of core that it imports (grimp reads the source; nothing is imported)
rooms()                every room, as a path: packages, and the single files that the contract of core names
floors_picture()       text boxes of both programs        core_picture()    mermaid        core_table()
further_contracts()    names of the contracts that are no floors
"""

import ast
import tomllib
from functools import cache
from typing import Any

import grimp

from tests.repository.files import ROOT

CORE = "ecdn_proxy.core"
PROGRAMS = ("ecdn_proxy", "coordinator")
_WIDTH = 58
_NOT_ROOMS = "migrations"


@cache
def _contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


@cache
def floors(container: str) -> tuple[tuple[str, ...], ...]:
    """Floors of `container`, the highest first; rooms of one floor do not import each other."""
    (layers,) = [it["layers"] for it in _contracts() if it["type"] == "layers" and it["containers"] == [container]]
    return tuple(tuple(room.strip() for room in floor.split("|")) for floor in layers)


def further_contracts() -> list[str]:
    """Names of the contracts that are no floors."""
    return [it["name"] for it in _contracts() if it["type"] != "layers"]


@cache
def imports() -> dict[str, tuple[str, ...]]:
    """For each room of core the other rooms that it imports, in the order of the floors."""
    graph = grimp.build_graph("ecdn_proxy", cache_dir=None)
    order = [room for floor in floors(CORE) for room in floor]
    inside = {f"{CORE}.{room}": {f"{CORE}.{room}", *graph.find_descendants(f"{CORE}.{room}")} for room in order}
    room_of = {module: room.removeprefix(f"{CORE}.") for room, modules in inside.items() for module in modules}
    found: dict[str, set[str]] = {room: set() for room in order}
    for module, room in room_of.items():
        found[room] |= {room_of[it] for it in graph.find_modules_directly_imported_by(module) if it in room_of}
    return {room: tuple(it for it in order if it in found[room] - {room}) for room in order}


def rooms() -> list[str]:
    """Paths of all rooms, such as `core/swarm`, `core/node`, `front` and `coordinator/web`."""
    found = [
        path.parent.relative_to(ROOT)
        for program in PROGRAMS
        for path in sorted((ROOT / program).rglob("__init__.py"))
        if path.parent != ROOT / program and _NOT_ROOMS not in path.parts
    ]
    packages = [str(path).removeprefix("ecdn_proxy/") for path in found]
    files = [f"core/{room}" for floor in floors(CORE) for room in floor if f"core/{room}" not in packages]
    return sorted(packages + files)


def sentence(room: str) -> str:
    """The first sentence of a room of core, as its docstring says it."""
    path = ROOT / "ecdn_proxy" / "core" / room
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def floors_picture() -> str:
    """Boxes of both programs: whatever stands lower may be imported, whatever stands beside may not."""
    return "```\n" + "\n".join(_boxes(program) for program in PROGRAMS) + "```\n"


def _boxes(program: str) -> str:
    rows = [_cells(floor, program) for floor in floors(program) if floor != ("__main__",)]
    lines = [program, f"┌{_line([], rows[0])}┐"]
    for row, below in zip(rows, [*rows[1:], []], strict=True):
        lines.append("│" + "│".join(f" {text:{width - 1}}" for text, width in row) + "│")
        lines.append(f"├{_line(row, below)}┤" if below else f"└{_line(row, below)}┘")
    return "\n".join(lines) + "\n"


def _cells(floor: tuple[str, ...], program: str) -> list[tuple[str, int]]:
    """Texts of one floor with their widths."""
    inner = _WIDTH - len(floor) + 1
    widths = [inner // len(floor)] * len(floor)
    widths[-1] += inner - sum(widths)
    return [(_named(room, program), width) for room, width in zip(floor, widths, strict=True)]


def _named(room: str, program: str) -> str:
    """A floor with the rooms that stand in it, but for core's, which have a picture of their own."""
    inside = [it for it in rooms() if it.startswith(f"{room}/")] if program == "ecdn_proxy" and room != "core" else []
    return room + (f": {' · '.join(it.partition('/')[2] for it in inside)}" if inside else "")


def _line(above: list[tuple[str, int]], below: list[tuple[str, int]]) -> str:
    """A line between two floors, with a joint wherever a wall of either meets it."""
    joints = {(True, True): "┼", (True, False): "┴", (False, True): "┬"}
    return "".join(joints.get((at in _walls(above), at in _walls(below)), "─") for at in range(1, _WIDTH + 1))


def _walls(cells: list[tuple[str, int]]) -> set[int]:
    found, at = set(), 0
    for _, width in cells[:-1]:
        at += width + 1
        found.add(at)
    return found


def core_picture() -> str:
    """Mermaid: the rooms of core floor by floor.

    Left out are arrows to the ground floor, and those that a longer way says already.
    """
    ground = floors(CORE)[-1]
    arrows = {room: {it for it in imported if it not in ground} for room, imported in imports().items()}
    lines = ["```mermaid", "flowchart TB"]
    for number, floor in zip(range(len(floors(CORE)), 0, -1), floors(CORE), strict=True):
        lines.append(f'    subgraph floor{number}["{number}"]')
        lines += ["        direction TB"] if floor == ground else []
        lines += [*(f'        {room}["{room}"]' for room in floor), "    end"]
    for room, imported in arrows.items():
        lines += [f"    {room} --> {it}" for it in sorted(imported) if not _is_implied(room, it, arrows)]
    lines.append("    floor2 ~~~ floor1")
    return "\n".join(lines) + "\n```\n"


def _is_implied(room: str, other: str, arrows: dict[str, set[str]]) -> bool:
    """Whether a longer way leads from a room to another that it also imports itself."""
    seen, open_ = set[str](), [it for it in arrows[room] if it != other]
    while open_:
        if (at := open_.pop()) == other:
            return True
        if at not in seen:
            seen.add(at)
            open_ += arrows[at]
    return False


def core_table() -> list[tuple[str, str, str, str]]:
    """Floor, room, what it is for, what it imports of core."""
    numbers = {room: len(floors(CORE)) - at for at, floor in enumerate(floors(CORE)) for room in floor}
    return [
        (str(numbers[room]), f"`{room}`", sentence(room), " ".join(f"`{it}`" for it in imported) or "nothing")
        for room, imported in imports().items()
    ]
