"""The locks say what pyproject.toml and package.json ask for, wholly and with hashes. Nothing here asks a network."""

import json
import re
import tomllib
from collections import deque
from functools import cache
from importlib import metadata
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.repository.files import ROOT

CURE = "run `make lock` and commit requirements.lock"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; (.*?))? \\$")


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def pins() -> dict[str, tuple[Version, str | None, int]]:
    """By name: version, marker, number of hashes."""
    found: dict[str, tuple[Version, str | None, int]] = {}
    name = ""
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if match := PIN.match(line):
            name = canonicalize_name(match[1])
            assert name not in found, f"{name} stands in the lock twice"
            found[name] = (Version(match[2]), match[3], 0)
        elif line.startswith("    --hash=sha256:"):
            version, marker, hashes = found[name]
            found[name] = (version, marker, hashes + 1)
        else:
            pytest.fail(f"requirements.lock: neither a pin nor a hash: {line!r}")
    return found


def asked_for() -> list[Requirement]:
    project = pyproject()["project"]
    rows = [*project["dependencies"], *pyproject()["build-system"]["requires"]]
    for extra in project["optional-dependencies"].values():
        rows += extra
    return [Requirement(row) for row in rows]


def test_every_pin_has_hashes() -> None:
    assert [name for name, (_, _, hashes) in pins().items() if not hashes] == []


@pytest.mark.parametrize("wanted", asked_for(), ids=str)
def test_every_requirement_is_locked(wanted: Requirement) -> None:
    pin = pins().get(canonicalize_name(wanted.name))
    assert pin is not None, f"{wanted} is not in the lock: {CURE}"
    assert wanted.specifier.contains(pin[0], prereleases=True), f"the lock has {wanted.name} {pin[0]}: {CURE}"


def test_nothing_is_locked_that_nobody_needs_and_nothing_is_missing() -> None:
    """Walks what the installed packages say that they need; other systems' packages are taken on trust."""
    needed: set[str] = set()
    waiting = deque((one, frozenset(one.extras)) for one in asked_for())
    while waiting:
        wanted, extras = waiting.popleft()
        name = canonicalize_name(wanted.name)
        if wanted.marker is not None and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        assert name in pins(), f"{name} is needed and not in the lock: {CURE}"
        if name in needed:
            continue
        needed.add(name)
        for row in metadata.requires(name) or []:
            further = Requirement(row)
            if further.marker is None or any(further.marker.evaluate({"extra": e}) for e in ("", *wanted.extras)):
                waiting.append((Requirement(row.partition(";")[0]), frozenset(further.extras)))
    here = {name for name, (_, marker, _) in pins().items() if marker is None or Marker(marker).evaluate()}
    assert here - needed == set(), f"nobody needs these any more: {CURE}"


def test_installed_is_what_is_locked() -> None:
    wrong = {
        name: (metadata.version(name), str(version))
        for name, (version, marker, _) in pins().items()
        if (marker is None or Marker(marker).evaluate()) and metadata.version(name) != str(version)
    }
    assert wrong == {}, "installed and locked differ: run `make setup`"


def test_source_packages_have_versions_and_hashes() -> None:
    rows = [row for row in (ROOT / "tests/sdists.lock").read_text().splitlines() if not row.startswith("#")]
    assert rows
    assert [row for row in rows if not re.fullmatch(r"[a-z0-9-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", row)] == []


def test_npm_lock_is_in_step() -> None:
    wanted = json.loads((ROOT / "tests/npm/package.json").read_text())
    locked = json.loads((ROOT / "tests/npm/package-lock.json").read_text())["packages"]
    assert locked[""]["devDependencies"] == wanted["devDependencies"]
    for name, version in wanted["devDependencies"].items():
        assert locked[f"node_modules/{name}"]["version"] == version.rpartition("@")[2]  # npm:NAME@VERSION is an alias
    assert [name for name, row in locked.items() if name and not row.get("integrity", "").startswith("sha512-")] == []
