"""Decision pages (docs/adr) as data: number, title, date, and what became of each.

    decisions() -> Decision, …      every page, by number         read(name, text) -> Decision

The third line of a page says on which day it was decided, and its status: accepted, or superseded by a later page. A
page of which only a part is taken back is amended by the later one, which says in its own status that it amends it.
"""

import re
from dataclasses import dataclass

from tests.repository.files import ROOT

FOLDER = "docs/adr"
INDEX = f"{FOLDER}/README.md"

_LINKS = r"\[\d{4}\]\(\d{4}-[\w.-]+\.md\)(?:, \[\d{4}\]\(\d{4}-[\w.-]+\.md\))*"
_STATUS = re.compile(
    r"\*\*Date\.\*\* (?P<date>\d{4}-\d\d-\d\d) · \*\*Status\.\*\* (?P<shown>"
    rf"(?:accepted|superseded by (?P<superseded_by>{_LINKS}))"
    rf"(?:, amended by (?P<amended_by>{_LINKS}))?)(?:, amends (?P<amends>{_LINKS}))?"
)
_FILE = re.compile(r"\((\d{4}-[\w.-]+\.md)\)")


@dataclass(frozen=True, slots=True)
class Decision:
    """One page; the other pages are named by their files."""

    name: str
    title: str
    date: str
    status: str
    """As the index shows it: what became of the page, with links."""
    superseded_by: tuple[str, ...]
    amended_by: tuple[str, ...]
    amends: tuple[str, ...]

    @property
    def number(self) -> str:
        """The four digits with which the file's name begins."""
        return self.name[:4]


def read(name: str, content: str) -> Decision:
    """What a page says of itself.

    Raises:
        ValueError: the page does not open with a title and, on its third line, date and status.
    """
    title, blank, third, *_ = [*content.splitlines(), "", "", ""]
    found = _STATUS.fullmatch(third)
    if not title.startswith("# ") or blank or found is None:
        raise ValueError(f"{name}: the page opens with '# Title', an empty line, and '**Date.** … · **Status.** …'")
    others = {what: tuple(_FILE.findall(found[what] or "")) for what in ("superseded_by", "amended_by", "amends")}
    return Decision(name, title.removeprefix("# "), found["date"], found["shown"], **others)


def decisions() -> list[Decision]:
    """Every page, by number."""
    pages = sorted(path for path in (ROOT / FOLDER).glob("*.md") if path.name != "README.md")
    return [read(path.name, path.read_text("utf-8")) for path in pages]
