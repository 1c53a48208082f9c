"""A whole agent, started and stopped: in this process with a told agent, and the command as a process."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner

from ecdn_proxy.agent import settings as agent_settings
from ecdn_proxy.agent.status import SettingStatus
from ecdn_proxy.front import cli
from ecdn_proxy.front.service import CannotStart, prepare_state, serve
from ecdn_proxy.front.status import doctor
from ecdn_proxy.front.status.server import Page
from tests.front.filled import filled_status
from tests.front.rig import STREAM, Authorities, Origin, ToldAgent, serving, settings_for

FREE = {"listen": "127.0.0.1:0", "page_listen": "127.0.0.1:0", "peer_listen": "127.0.0.1:0"}


@asynccontextmanager
async def told() -> AsyncIterator[ToldAgent]:
    yield ToldAgent()


class Ready:
    """Waits for a file without sleeping for a fixed time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def facts(self, running: "asyncio.Task[None]") -> dict[str, str]:
        while not self._file.exists():
            if running.done():
                running.result()
            await asyncio.sleep(0.01)
        facts: dict[str, str] = json.loads(self._file.read_text())
        return facts


@pytest.mark.asyncio
async def test_everything_listens_then_nothing(tmp_path: Path) -> None:
    authorities, origin, stop = Authorities(tmp_path / "web"), Origin(), asyncio.Event()
    settings = settings_for(authorities.ca)
    effective = agent_settings.EffectiveSettings(settings, {}, ("a warning",))
    async with serving(origin.application(), authorities.server("*.stream.test")) as port:
        ready = tmp_path / "ready.json"
        running = asyncio.get_running_loop().create_task(serve(effective, tmp_path / "s", told, ready, stop))
        facts = await Ready(ready).facts(running)
        trust = ssl.create_default_context(cafile=str(tmp_path / "s" / "authority" / "ca.pem"))
        async with aiohttp.ClientSession() as session:
            url = f"https://{STREAM}:{port}/hello"
            async with session.get(url, proxy=f"http://{facts['proxy']}", ssl=trust) as answer:
                assert answer.status == 200
            async with session.get(f"http://{facts['page']}/proxy.pac") as answer:
                assert f"PROXY {facts['proxy']}; DIRECT" in await answer.text()
            page = f"http://{facts['page']}/healthz"
            async with session.get(page, proxy=f"http://{facts['proxy']}") as answer:
                assert answer.status == 403
        stop.set()
        await running
        assert not ready.exists()
        for name in ("proxy", "page"):
            host, _, number = facts[name].rpartition(":")
            with pytest.raises(ConnectionError):
                await asyncio.open_connection(host, int(number))


@pytest.mark.asyncio
async def test_ports_in_use_are_said_with_the_cure(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    where = f"127.0.0.1:{taken.sockets[0].getsockname()[1]}"
    authorities = Authorities(tmp_path / "web")
    for name, words in (("listen", "proxy cannot listen"), ("page_listen", "status page cannot listen")):
        settings = settings_for(authorities.ca, **{name: where})
        with pytest.raises(CannotStart, match=words) as error:
            await serve(agent_settings.EffectiveSettings(settings, {}), tmp_path / "s", told)
        assert where in str(error.value)
        assert f"the setting {name}" in str(error.value)
    taken.close()


@pytest.mark.asyncio
async def test_a_bad_roots_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("x")
    with pytest.raises(CannotStart, match="holds no certificate"):
        await serve(agent_settings.EffectiveSettings(settings_for(tmp_path / "bad.pem"), {}), tmp_path / "s", told)


def test_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="--state-dir"):
        prepare_state(tmp_path / "file" / "state")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ecdn_proxy", *arguments]
    return subprocess.run(
        line, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )


def invoke(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    config = tmp_path / "agent.toml"
    if not config.exists():
        config.write_text('intercept_domains = ["stream.test"]\npage_listen = "127.0.0.1:1"\n')
    line: Sequence[str] = (*arguments, "--config", str(config), "--state-dir", str(tmp_path / "state"))
    result = CliRunner().invoke(cli.main, line)
    return result.exit_code, result.output


@pytest.mark.processes
def test_mistakes_are_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("lisen = 1")
    (tmp_path / "file").touch()
    for done in (
        command("run", "--config", str(tmp_path / "bad.toml"), "--state-dir", str(tmp_path / "s")),
        command("run", "--state-dir", str(tmp_path / "file" / "x"), ECDN_LISTEN="127.0.0.1:0"),
        command("status", "--state-dir", str(tmp_path / "s"), ECDN_PAGE_LISTEN="127.0.0.1:1"),
    ):
        assert done.returncode == 2, done
        assert done.stderr.startswith("ecdn-proxy: ")
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == 1


def test_ca_pac_and_doctor(tmp_path: Path) -> None:
    code, text = invoke(tmp_path, "doctor")
    assert code == 1
    assert "No agent answers" in text
    assert "Not enrolled" in text
    code, text = invoke(tmp_path, "ca")
    assert code == 0
    assert text.startswith("-----BEGIN CERTIFICATE-----")
    assert invoke(tmp_path, "ca") == (0, text)
    code, text = invoke(tmp_path, "pac")
    assert "PROXY 127.0.0.1:3128; DIRECT" in text
    code, text = invoke(tmp_path, "doctor")
    assert "not trusted by the system" in text
    (tmp_path / "agent.toml").write_text('intercept_domains = ["other.test"]\npage_listen = "127.0.0.1:1"\n')
    assert "It is for stream.test" in invoke(tmp_path, "doctor")[1]


@pytest.mark.asyncio
async def test_status_and_doctor_of_a_running_agent(tmp_path: Path) -> None:
    page = Page(ToldAgent(), settings_for(tmp_path), lambda: "127.0.0.1:1")
    await page.start()
    try:
        text = f'intercept_domains = ["stream.test"]\npage_listen = "127.0.0.1:{page.address[1]}"\n'
        (tmp_path / "agent.toml").write_text(text)
        code, text = await asyncio.to_thread(invoke, tmp_path, "status", "--json")
        assert code == 0
        assert msgspec.json.decode(text, type=type(filled_status())) == filled_status()
        code, text = await asyncio.to_thread(invoke, tmp_path, "status")
        assert filled_status().sentence in text
        assert "A VPN is connected" in text
        code, text = await asyncio.to_thread(invoke, tmp_path, "doctor")
        assert "Running, version 0.1.0" in text
        assert "Disconnect the VPN" in text
    finally:
        await page.close()


def test_doctor_says_what_carries_the_links_and_why() -> None:
    full = filled_status()
    text = doctor._links(full).text
    assert text.startswith("2 by TLS, 1 by WebRTC")
    assert "10.31.0.8 (same site, other subnet" in text
    assert "TCP 7688" in text
    tls, webrtc = full.peers[:2], full.peers[2]
    replaced = msgspec.structs.replace
    assert doctor._links(replaced(full, peers=tls)).text == "2 by TLS."
    assert doctor._links(replaced(full, peers=())).text.startswith("None now")
    assert doctor._links(replaced(full, peers=(webrtc,) * 7)).text.count("10.31.0.8") == doctor.LINKS_SHOWN
    settings = (SettingStatus("peer_listen", "0.0.0.0:9000", "policy"),)
    assert "TCP 9000" in doctor._links(replaced(full, settings=settings)).text


def test_doctor_names_a_port_in_use(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, listen="127.0.0.1:1" if os.getuid() else "192.0.2.1:1")
    named = {finding.name: finding for finding in doctor.examine(settings, tmp_path, 0.0)}
    assert named["Proxy port"].cure


def test_enrolment_that_cannot_reach_anybody(tmp_path: Path) -> None:
    code, text = invoke(
        tmp_path, "enrol", "--coordinator", "https://127.0.0.1:1", "--tenant-root-sha256", "0" * 64, "--token", "t" * 32
    )
    assert code == 2
    assert "Enrolment did not succeed" in text


@pytest.mark.processes
def test_sigterm_ends_a_process_cleanly(tmp_path: Path) -> None:
    script = tmp_path / "agent.py"
    script.write_text(
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from ecdn_proxy.agent.settings import load\nfrom ecdn_proxy.front.service import serve, set_up_logs\n"
        "from tests.front.test_service import told\n"
        "set_up_logs('info')\nhere = Path(sys.argv[1])\n"
        f"effective = load(None, {{}}, {FREE!r})\n"
        "asyncio.run(serve(effective, here / 's', told, here / 'ready'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(
        [sys.executable, script, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "event=ready" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "event=stopped" in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert not (tmp_path / "ready").exists()
