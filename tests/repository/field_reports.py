"""The tables of docs/field.md, out of what the tests in tests/field say of themselves.

Map: `tables` (a section a file) · `link` (a source as a person reads it)
"""

import ast
import re
from itertools import groupby

from tests.field.report import Report, reports
from tests.repository.files import ROOT

_THREAD = re.compile(r"https://github\.com/([^/]+/[^/]+)/(?:issues|pull)/(\d+)")


def link(address: str) -> str:
    """A thread by its repository and number, a standard by its name, all else by its last words."""
    if (thread := _THREAD.fullmatch(address)) is not None:
        return f"[{thread[1].partition('/')[2]}#{thread[2]}]({address})"
    if (document := re.search(r"/rfc(\d+)(?:#section-([\d.]+))?$", address)) is not None:
        return f"[RFC {document[1]}{f' section {document[2]}' if document[2] else ''}]({address})"
    host, _, path = address.removeprefix("https://").partition("/")
    return f"[{host.removeprefix('www.')}: {path.rstrip('/').rpartition('/')[2] or host}]({address})"


def _kind(file: str) -> str:
    """The first sentence of a file: what its reports have in common."""
    said = ast.get_docstring(ast.parse((ROOT / file).read_text("utf-8"))) or ""
    return said.partition("\n")[0].removesuffix(".")


def _row(report: Report) -> str:
    sources = " ".join(link(address) for address in report.source.split())
    test = f"`{report.file}: {report.test}`" + (f"; open: {report.open}" if report.open else "")
    cells = (cell.replace("|", "\\|") for cell in (report.property, sources, report.right, test))
    return "| " + " | ".join(cells) + " |\n"


def tables() -> str:
    """Property, source, what is right, test; by kind."""
    found = []
    for file, group in groupby(reports(), key=lambda it: it.file):
        head = f"### {_kind(file)}\n\n| property | source | right | test |\n|---|---|---|---|\n"
        found.append(head + "".join(map(_row, group)))
    return "\n".join(found)
