"""The changelog is sorted as Keep a Changelog has it: what is new, what is different, what is mended."""

import re

from tests.repository.files import text

SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_entries_are_sorted_and_said_once() -> None:
    content = text("CHANGELOG.md") or ""
    for release in re.split(r"^## ", content, flags=re.MULTILINE)[1:]:
        found = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert found == [section for section in SECTIONS if section in found]
        entries = re.findall(r"^- ((?:.+\n)(?:  .+\n)*)", release, re.MULTILINE)
        assert entries
        assert len(set(entries)) == len(entries)
        assert all(entry.rstrip().endswith(".") for entry in entries)
