"""`.ci/setup`: which Python a clone is prepared with, a line for each step, and the whole log of one that fails."""

import os
import re
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


# ---- a whole clone, with stand-ins for Python, pip and npm

PYTHON = """#!/bin/sh
case "$*" in
  "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"-m pip"*) echo "$*" >>pip.log; echo "WARNING: a location is ignored" >&2; echo "last words"; exit "${FAILS:-0}" ;;
  *--version*) echo "Python 3.12.9" ;;
esac
"""
NPM = """#!/bin/sh
echo "npm notice in $PWD"
echo "npm cannot reach its registry" >&2
mkdir -p node_modules
exit "${NPM_FAILS:-0}"
"""
WITHOUT_SECONDS = re.compile(r"\d+ s\b")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    made = tmp_path / "clone"
    (made / "tests/npm").mkdir(parents=True)
    (made / ".ci").mkdir()
    for name in (
        ".ci/setup",
        ".ci/steps",
        "requirements.lock",
        "pyproject.toml",
        "tests/npm/package-lock.json",
        "tests/sdists.lock",
    ):
        shutil.copy(ROOT / name, made / name)
    for name, text in (("python", PYTHON), ("npm", NPM), ("node", "#!/bin/sh\n")):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return made


def prepare(clone: Path, **environment: str) -> tuple[int, list[str]]:
    """Its exit code and what a person sees of it, without the seconds."""
    here = clone.parent / "bin"
    variables = {
        "PATH": f"{here}:{os.environ['PATH']}",
        "HOME": str(clone),
        "TMPDIR": str(clone.parent),
        "PYTHON": str(here / "python"),
    }
    ran = subprocess.run(
        [clone / ".ci/setup"], env=variables | environment, capture_output=True, text=True, check=False
    )
    assert ran.stdout == ""
    return ran.returncode, WITHOUT_SECONDS.sub("0 s", ran.stderr).splitlines()


def steps(clone: Path) -> list[str]:
    return [
        f"setup: .venv with {clone.parent}/bin/python (Python 3.12.9) … 0 s",
        "setup: packages from requirements.lock, a minute or two the first time … 0 s",
        "setup: this project itself, editable … 0 s",
        "setup: players and parsers for the tests … 0 s",
        "setup: manifests that PyPI's source packages hold … 0 s",
    ]


def test_a_line_for_each_step_and_nothing_of_what_they_say(clone: Path) -> None:
    assert prepare(clone) == (0, steps(clone))
    asked = (clone / "pip.log").read_text().splitlines()
    assert [line.partition(" install ")[2] for line in asked if " install " in line] == [
        "--require-hashes --requirement requirements.lock",
        "--no-deps --no-build-isolation --editable .",
    ]
    assert list(clone.parent.glob("tmp.*")) == []


def test_source_packages_are_fetched_with_hashes_and_never_installed(clone: Path) -> None:
    prepare(clone)
    (asked,) = [line for line in (clone / "pip.log").read_text().splitlines() if " download " in line]
    named = asked.partition("--no-binary ")[2].split()[0].split(",")
    locked = (ROOT / "tests/sdists.lock").read_text().splitlines()
    assert named == [line.partition("==")[0] for line in locked if not line.startswith("#")]
    assert asked.endswith("--require-hashes --dest .venv/sdists --requirement tests/sdists.lock")


def test_a_second_time_there_is_nothing_to_do_and_nothing_said(clone: Path) -> None:
    prepare(clone)
    assert prepare(clone) == (0, [])
    (clone / "requirements.lock").write_text("changed")
    assert prepare(clone) == (0, steps(clone)[1:3])


def test_a_step_that_fails_shows_its_log_and_keeps_its_exit_code(clone: Path) -> None:
    code, said = prepare(clone, FAILS="7")
    assert code == 7
    assert said[0] == steps(clone)[0]
    assert said[1].startswith(
        "setup: packages from requirements.lock, a minute or two the first time … failed after 0 s"
    )
    assert "with code 7: .venv/bin/python -m pip" in said[1]
    assert said[2:] == ["WARNING: a location is ignored", "last words"]
    assert list(clone.parent.glob("tmp.*")) == []
    assert prepare(clone) == (0, steps(clone)[1:]), "it goes on where it failed"


def test_arguments_for_pip_go_to_it(clone: Path) -> None:
    assert prepare(clone, PIP_ARGS="--find-links /some where")[0] == 0
    assert "install --find-links /some where --require-hashes" in (clone / "pip.log").read_text()


def test_without_the_players_the_rest_is_ready(clone: Path) -> None:
    code, said = prepare(clone, NPM_FAILS="1")
    assert code == 0
    assert said[3].startswith("setup: players and parsers for the tests … failed after 0 s with code 1")
    assert said[4:-1] == [
        f"npm notice in {clone}/tests/npm",
        "npm cannot reach its registry",
        "setup: npm could not install them: tests with real players and parsers will be skipped.",
    ]


def test_no_words_that_the_shell_of_macos_does_not_know() -> None:
    """It is bash 3.2: no `mapfile`, no `${it,,}`, no associative arrays, no empty array where nothing may be unset."""
    for name in (".ci/setup", ".ci/steps"):
        code = (ROOT / name).read_text()
        assert not re.search(
            r"\b(mapfile|readarray|declare -A|local -A|local -n)\b|\$\{\w+(,,|\^\^|@Q)|&>>|\|&", code
        ), name
    assert '"${more[@]}"' not in (ROOT / ".ci/setup").read_text().replace('${more[@]+"${more[@]}"}', "")
