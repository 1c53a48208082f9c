"""`.ci/setup --find`: which Python a clone is prepared with, and what is said when there is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repository.files import ROOT

NEEDED = ("bash", "dirname", "env", "sort")


def find(tmp_path: Path, **environment: str) -> tuple[int, str, str]:
    variables = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)} | environment
    ran = subprocess.run([ROOT / ".ci/setup", "--find"], env=variables, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout.strip(), ran.stderr


def python(place: Path, *, recent: bool) -> Path:
    """Stands for a Python that is recent enough, or not."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\nexit {0 if recent else 1}\n")
    place.chmod(0o755)
    return place


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with a shell and no Python."""
    (tmp_path / "bin").mkdir()
    for name in NEEDED:
        there = shutil.which(name)
        assert there is not None
        (tmp_path / "bin" / name).symlink_to(there)
    return tmp_path


def test_none_at_all_is_said_plainly(machine: Path) -> None:
    code, out, said = find(machine)
    assert (code, out) == (1, "")
    assert "No Python 3.12 or newer was found" in said
    assert "PYTHON=" in said


def test_an_old_one_is_passed_over(machine: Path) -> None:
    python(machine / "bin/python3", recent=False)
    good = python(machine / "bin/python", recent=True)
    assert find(machine)[:2] == (0, str(good))


def test_a_named_version_on_the_path_comes_first(machine: Path) -> None:
    python(machine / "bin/python3", recent=True)
    good = python(machine / "bin/python3.12", recent=True)
    assert find(machine)[:2] == (0, str(good))


def test_of_pyenv_the_newest_that_works(machine: Path) -> None:
    python(machine / "bin/python3", recent=False)
    versions = machine / ".pyenv/versions"
    python(versions / "3.9.18/bin/python", recent=False)
    good = python(versions / "3.12.10/bin/python", recent=True)
    python(versions / "3.12.9/bin/python", recent=True)
    python(versions / "3.13.0/bin/python", recent=False)
    assert find(machine)[:2] == (0, str(good))


def test_python_chosen_by_hand_is_taken_or_refused(machine: Path) -> None:
    python(machine / "bin/python3.12", recent=True)
    own = python(machine / "own/python", recent=True)
    assert find(machine, PYTHON=str(own))[:2] == (0, str(own))
    code, _, said = find(machine, PYTHON=str(python(machine / "own/old", recent=False)))
    assert code == 1
    assert "is not a Python of 3.12 or newer" in said
