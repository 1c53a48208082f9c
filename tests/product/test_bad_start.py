"""What stands in the way of starting is said in one sentence, with exit code 2 and without a traceback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.processes import REPOSITORY

pytestmark = pytest.mark.processes


def _refused(*arguments: str) -> str:
    """The one sentence with which the command ends; exit code 2 and no traceback."""
    command = [sys.executable, "-m", "ecdn_proxy", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("timestamp=")]
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ecdn-proxy: ")
    assert "level=error" not in done.stderr
    return lines[0]


_PORTS = 'listen = "127.0.0.1:0"\npage_listen = "127.0.0.1:0"\npeer_listen = "127.0.0.1:0"\n'


def _config(directory: Path, more: str = "", ports: str = _PORTS) -> list[str]:
    file = directory / "agent.toml"
    file.write_text(ports + more)
    return ["--config", str(file), "--state-dir", str(directory / "state")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("intercept_domain = ['x.test']", ["line 4", "intercept_domain", "intercept_domains"]),
        ("cache_memory_mb = 'much'", ["line 4", "cache_memory_mb", "a whole number"]),
        ("intercept_domains = ['*.com/x']", ["line 4", "intercept_domains"]),
        ("origin_ca_file = '/nowhere.pem'", ["line 4", "origin_ca_file", "/nowhere.pem"]),
        ("sharing = ", ["line 4"]),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence(tmp_path: Path, line: str, words: list[str]) -> None:
    said = _refused("run", *_config(tmp_path, f"{line}\n"))
    assert all(word in said for word in ["agent.toml", *words]), said


@pytest.mark.parametrize("setting", ["listen", "page_listen"])
def test_a_port_in_use_is_one_sentence(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = _PORTS.replace(f'{setting} = "127.0.0.1:0"', f'{setting} = "127.0.0.1:{port}"')
        said = _refused("run", *_config(tmp_path, ports=ports))
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert setting in said


def test_a_state_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    arguments = _config(tmp_path)
    arguments[-1] = str(tmp_path / "file" / "state")
    for command in (("run",), ("enrol", "--coordinator", "https://127.0.0.1:1", "--tenant-root-sha256", "0" * 64)):
        token = ["--token", "t"] if command[0] == "enrol" else []
        said = _refused(*command, *token, *arguments)
        assert arguments[-1] in said, said


_DAMAGES = {"half": b'{"device": "', "binary": b"\xff\xfe\x00"}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_identity_is_one_sentence(tmp_path: Path, damage: str) -> None:
    arguments = _config(tmp_path)
    file = tmp_path / "state" / "identity" / "identity.json"
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_bytes(_DAMAGES[damage])
    file.chmod(0o600)
    said = _refused("run", *arguments)
    assert str(file) in said, said
    assert "enrol" in said, said


def test_a_coordinator_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    arguments = ["--coordinator", "https://127.0.0.1:1", "--tenant-root-sha256", "0" * 64, "--token", "t"]
    said = _refused("enrol", *arguments, "--state-dir", str(tmp_path / "state"))
    assert "127.0.0.1:1" in said
