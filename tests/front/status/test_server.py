"""The local page: who may ask, what it says, and that it needs no script."""

import asyncio
import html
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from ecdn_proxy.agent.status import RuleStatus, Status
from ecdn_proxy.front.status import html as view
from ecdn_proxy.front.status.metrics import metrics
from ecdn_proxy.front.status.server import Page
from tests.front.filled import filled_status
from tests.front.rig import ToldAgent, settings_for


class Visitor:
    """A page and a client of it."""

    def __init__(self, page: Page, session: aiohttp.ClientSession) -> None:
        self.page = page
        self.session = session
        self.host = f"127.0.0.1:{page.address[1]}"

    async def status(self, path: str = "/", method: str = "GET", **headers: str) -> int:
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        async with self.session.request(method, path, headers=fields) as answer:
            return answer.status


@pytest_asyncio.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    (tmp_path / "corp.pac").write_text("function FindProxyForURL(u, h) { return 'PROXY corp:1'; }")
    settings = settings_for(tmp_path / "x", upstream_pac_file=str(tmp_path / "corp.pac"))
    page = Page(ToldAgent(), settings, lambda: "127.0.0.1:3128")
    await page.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{page.address[1]}") as session:
        yield Visitor(page, session)
    await page.close()


@pytest.mark.asyncio
async def test_host_origin_and_method(visitor: Visitor) -> None:
    port = visitor.page.address[1]
    for path in ("/", "/api/status", "/proxy.pac", "/metrics", "/healthz"):
        assert await visitor.status(path) == 200
        assert await visitor.status(path, host=f"localhost:{port}") == 200
        assert await visitor.status(path, origin=f"http://{visitor.host}") == 200
        assert await visitor.status(path, host="attacker.test") == 403
        assert await visitor.status(path, host=f"attacker.test:{port}") == 403
        assert await visitor.status(path, host=f"127.0.0.1:{port}.attacker.test") == 403
        assert await visitor.status(path, host="127.0.0.1") == 403
        for origin in ("https://attacker.test", "null", f"https://{visitor.host}", f"http://{visitor.host}.evil.test"):
            assert await visitor.status(path, origin=origin) == 403
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert await visitor.status(path, method) == 405
        assert await visitor.status(path, sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403
        assert await visitor.status(path, sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200
        assert await visitor.status(path, "HEAD") == 200
    assert await visitor.status("/nowhere") == 404


@pytest.mark.asyncio
async def test_every_answer_is_locked_down(visitor: Visitor) -> None:
    for path in ("/", "/api/status", "/nowhere"):
        async with visitor.session.get(path) as answer:
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.asyncio
async def test_status_json_is_the_status(visitor: Visitor) -> None:
    async with visitor.session.get("/api/status") as answer:
        assert answer.content_type == "application/json"
        body = await answer.read()
    assert msgspec.json.decode(body, type=Status) == filled_status()
    assert {"version", "enrolled", "coordinator", "proxy", "peers", "streams", "bytes", "segments", "stalls_prevented",
            "conditions", "recent"} <= set(json.loads(body))  # fmt: skip


@pytest.mark.asyncio
async def test_pac_goes_on_to_the_customers(visitor: Visitor, tmp_path: Path) -> None:
    async with visitor.session.get("/proxy.pac") as answer:
        text = await answer.text()
        assert answer.content_type == "application/x-ns-proxy-autoconfig"
    assert "PROXY 127.0.0.1:3128; DIRECT" in text
    assert "PROXY corp:1" in text
    (tmp_path / "corp.pac").unlink()
    async with visitor.session.get("/proxy.pac") as answer:
        assert "corp:1" not in await answer.text()


def test_the_page_says_everything_without_a_script() -> None:
    text = html.unescape(
        re.sub(r"<(script|style)>.*?</\1>|<[^>]+>", " ", view.render(filled_status()), flags=re.DOTALL)
    )
    status = filled_status()
    wanted = [status.sentence, status.coordinator.site, "video 1080p, audio en", "354.0 MB", "930.0 MB", "88 %"]
    for condition in status.conditions:
        wanted += [condition.title, condition.text, condition.remedy, condition.code]
    for peer in status.peers:
        wanted += [peer.address, peer.why]
    for recent in status.recent:
        wanted += [recent.why, str(recent.number)]
    for setting in status.settings:
        wanted += [setting.name, setting.value, setting.source]
    for rule in status.sharing_rules:
        wanted += [rule.name, *rule.hosts, rule.path, *rule.permits, rule.risk, rule.source]
    for one in wanted:
        assert one in text, one


def test_nothing_from_outside_becomes_markup() -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=y>'
    filled = filled_status()
    made = msgspec.structs.replace(
        filled,
        sentence=evil,
        device=evil,
        streams=(msgspec.structs.replace(filled.streams[0], id=evil, renditions=(evil,)),),
        recent=(msgspec.structs.replace(filled.recent[0], why=evil, rendition=evil, source=evil),),
        peers=(msgspec.structs.replace(filled.peers[0], address=evil, why=evil),),
        conditions=(msgspec.structs.replace(filled.conditions[0], title=evil, text=evil, remedy=evil, code=evil),),
        settings=(msgspec.structs.replace(filled.settings[0], name=evil, value=evil, source=evil),),
        coordinator=msgspec.structs.replace(filled.coordinator, site=evil, url=evil, p2p=evil),
        sharing_rules=(RuleStatus(evil, (evil,), evil, (evil,), evil, evil),),
    )
    text = view.render(made)
    assert text.count("<script>") == 1
    assert "<img" not in text
    assert 'onerror=y>"' not in text


@pytest.mark.parametrize("state", ["working", "limited", "passing"])
def test_an_empty_status_is_a_page_too(state: str) -> None:
    made = msgspec.structs.replace(
        filled_status(),
        state=state,
        enrolled=False,
        peers=(),
        streams=(),
        recent=(),
        conditions=(),
        settings=(),
        sharing_rules=(),
        uptime_s=5.0,
        bytes=msgspec.structs.replace(filled_status().bytes, cache=0, lan=0, webrtc=0, origin=0),
    )
    text = view.render(made)
    assert "Nothing has been watched here yet" in text
    assert "Not enrolled" in text
    assert "less than a minute" in text
    assert "Sharing rules" not in text


def test_metrics_are_prometheus_and_private() -> None:
    text = metrics(filled_status())
    assert 'ecdn_bytes_total{source="lan"} 930000000' in text
    assert 'ecdn_peers{kind="lan"} 2' in text
    assert 'ecdn_condition{code="vpn-active"} 1' in text
    for line in (
        'ecdn_segments_total{source="passed"} 2',
        "ecdn_uploaded_bytes_total 354000000",
        "ecdn_uploaded_webrtc_bytes_total 7000000",
        "ecdn_stalls_prevented_total 3",
    ):
        assert line in text.splitlines()
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) .+|[a-z_]+(\{[a-z]+="[^"]*"\})? [0-9.]+', line), line
    for private in ("10.20.4.17", "all-hands", "stream.test", "Zürich"):
        assert private not in text


@pytest.mark.browser
@pytest.mark.asyncio
async def test_live_in_a_browser_and_no_policy_is_broken(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    playwright = pytest.importorskip("playwright.async_api")
    if shutil.which("chromium") is None:
        pytest.skip("Debian's chromium is not installed")
    async with playwright.async_playwright() as engine:
        browser = await engine.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = await browser.new_page()
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        await tab.goto(f"http://{visitor.host}/")
        for shut in await tab.locator("summary").all():
            await shut.click()
        changed = msgspec.structs.replace(
            filled_status(), sentence="Limited: the coordinator is away.", state="limited"
        )
        monkeypatch.setattr(ToldAgent, "status", lambda _: changed)
        await tab.get_by_role("heading", name="Limited: the coordinator is away.").wait_for()
        assert [await it.get_attribute("open") for it in await tab.locator("details").all()] == ["", ""]
        assert await tab.title() == "Limited - ecdn on this machine"
        assert said == []
        await visitor.page.close()
        await tab.get_by_role("alert").wait_for()
        await browser.close()


@pytest.mark.asyncio
async def test_port_in_use(visitor: Visitor) -> None:
    settings = settings_for(Path("x"), page_listen=visitor.host)
    with pytest.raises(OSError, match="in use"):
        await Page(ToldAgent(), settings, lambda: "").start()
    await asyncio.sleep(0)
