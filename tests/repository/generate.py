"""Writes what the documentation says of settings, conditions, messages and rooms, out of their declarations.

    python -m tests.repository.generate        (make docs)

Map: `pages` (every generated file's text) · `settings_table`, `conditions_table`, `rules_table`, `core_rooms`,
`contracts` (blocks inside hand-written pages, between `<!-- generated: name -->` and `<!-- end -->`; pictures are in
`architecture` and `download_states`, reports in `field_reports`) ·
`decisions` (their index) · `protocol` (a whole page).
"""

import inspect
import re
import sys
from types import ModuleType
from typing import get_type_hints

import msgspec

from ecdn_proxy.core.report.conditions import REGISTER
from ecdn_proxy.core.settings import Settings, describe
from ecdn_proxy.wire import codec, enrolment, ids, integrity, peer, signalling, tracker, version
from ecdn_proxy.wire.sharing_rules import RISKS, WORDS, SharingRule
from tests.repository import adr, architecture, download_states, field_reports
from tests.repository.files import ROOT
from tests.repository.words import attribute_docs, field_docs, hints, named, structs, words

BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
CARRIED_BLOCKS = ("docs/admin.md", "docs/architecture.md", "docs/download.md", "docs/field.md", "docs/helpdesk.md")
DECISIONS_HEAD = """\
# Decisions

<!-- The list is written by `make docs`. -->

One page each: what we decided, why, and what it costs. A page is not rewritten when we learn better. A decision that is
taken back gets a new page, and the old one says by which it is *superseded*; where only a part of it is taken back, by
which it is *amended*. Names of files and classes in a page are those of today where they only moved.
Figures "at design time" were measured before the product was built, with prototypes.

"""
MODULES = (
    ("Between agents", peer),
    ("Vouchers: who says that these are the bytes", integrity),
    ("Between an agent and the coordinator", tracker),
    ("Between two agents, through the coordinator", signalling),
    ("Enrolment", enrolment),
)


def pages() -> dict[str, str]:
    """Text by path."""
    blocks = {
        "settings": settings_table(),
        "conditions": conditions_table(),
        "sharing-rules": rules_table(),
        "floors": architecture.floors_picture(),
        "contracts": contracts(),
        "core": core_rooms(),
        "field": field_reports.tables(),
        "download": download_states.picture(),
        "stages": _table("stage", "in words", "under way") + "".join(_row(*it) for it in download_states.stages()),
        "steps": _table("stage", "next stage", "why") + "".join(_row(*it) for it in download_states.steps()),
    }
    found = {name: with_blocks((ROOT / name).read_text("utf-8"), blocks) for name in CARRIED_BLOCKS}
    return found | {"docs/protocol.md": protocol(), adr.INDEX: decisions()}


def with_blocks(page: str, blocks: dict[str, str]) -> str:
    """A page with its generated blocks filled anew."""
    return BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match[2]]}\n{match[3]}", page)


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |\n"


def _table(*head: str) -> str:
    return _row(*head) + "|" + "---|" * len(head) + "\n"


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return _table(*head) + "".join(_row(*cells) for cells in rows)


def _shown(value: object) -> str:
    match value:
        case bool():
            return "`true`" if value else "`false`"
        case str():
            return f'`"{value}"`'
        case tuple() | dict() if not value:
            return "`[]`" if isinstance(value, tuple) else "`{}`"
        case _:
            return f"`{value}`"


def settings_table() -> str:
    """The agent's settings, as `core/settings` declares them."""
    kinds = hints(Settings)
    rows = [
        _row(f"`{name}`", _shown(default), words(kinds[name], {}), meaning)
        for name, default, meaning in describe(Settings)
    ]
    return _table("setting", "default", "values", "meaning") + "".join(rows)


def conditions_table() -> str:
    """The conditions, as `core/report/conditions` registers them."""
    rows = [_row(f"`{code}`", each.title, each.remedy) for code, each in REGISTER.items()]
    return _table("code", "what the page says", "what to do") + "".join(rows)


def rules_table() -> str:
    """The words of a sharing rule, as `wire/sharing_rules` declares them, each permission with its risk."""
    kinds = get_type_hints(SharingRule, include_extras=True)
    rows = [
        _row(f"`{word}`", words(kinds[word], {}), kinds[word].__metadata__[0].description, RISKS.get(word, ""))
        for word in WORDS
    ]
    return _table("word", "values", "meaning", "what may go wrong") + "".join(rows)


def core_rooms() -> str:
    """The rooms of core: a picture of their imports, and a table that has them all."""
    rows = [_row(*cells) for cells in architecture.core_table()]
    table = _table("floor", "room", "what it is for", "imports of core") + "".join(rows)
    return f"{architecture.core_picture()}\n{table}"


def contracts() -> str:
    """What import-linter holds besides the floors."""
    return "".join(f"- {name}\n" for name in architecture.further_contracts())


def decisions() -> str:
    """docs/adr/README.md: every decision by number, with its title, date and status."""
    rows = [_row(it.number, f"[{it.title}]({it.name})", it.date, it.status) for it in adr.decisions()]
    return DECISIONS_HEAD + _table("number", "decision", "date", "status") + "".join(rows)


def protocol() -> str:
    """docs/protocol.md."""
    modules = (ids, peer, integrity, tracker, signalling, enrolment)
    names = {name: alias for module in modules for name, alias in named(module).items()}
    meanings = {name: text for module in modules for name, text in attribute_docs(module).items()}
    rows = [
        _row(
            f"`{name}`", words(kind, {other: names[other] for other in names if other != name}), meanings.get(name, "")
        )
        for name, kind in names.items()
    ]
    text = (
        "# The protocol, message by message\n\n"
        "<!-- Generated from ecdn_proxy/wire by `make docs`; do not edit. -->\n\n"
        f"Protocol number {version.PROTOCOL}. Messages are MessagePack arrays: the tag first, then the fields in the\n"
        "order of the tables; those at the end that have a default may be missing, further ones are ignored. What\n"
        "breaks a bound is refused as a whole. Enrolment is JSON.\n\n"
        f"## Releases that differ\n\n{version.__doc__ or ''}\n"
        f"## Frames\n\n{codec.__doc__ or ''}\n"
        f"`FRAME_BYTES_MAX` is {codec.FRAME_BYTES_MAX:,} bytes.\n\n"
        "## Names that stand for a type\n\n" + _table("name", "values", "meaning") + "".join(rows) + "\n"
    )
    return text + "\n".join(_section(title, module, names) for title, module in MODULES)


def _section(title: str, module: ModuleType, names: dict[str, object]) -> str:
    parts = [f"## {title}\n\n{module.__doc__ or ''}"]
    for struct in structs(module):
        tag = struct.__struct_config__.tag
        lines = [f"### {struct.__name__}\n", inspect.cleandoc(struct.__doc__ or ""), ""]
        if tag is not None:
            lines.insert(1, f"Tag {tag}.")
        kinds, docs = hints(struct), field_docs(struct)
        rows = [
            _row(f"`{field.encode_name}`", words(kinds[field.name], names) + _default(field), docs.get(field.name, ""))
            for field in msgspec.structs.fields(struct)
        ]
        lines.append(_table("field", "values", "meaning") + "".join(rows) if rows else "No fields.\n")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _default(field: msgspec.structs.FieldInfo) -> str:
    return "" if field.default is msgspec.NODEFAULT or field.default is None else f"; else {_shown(field.default)}"


def main() -> int:
    for name, text in pages().items():
        path = ROOT / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{name} is written anew\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
