"""The checks that the agent adds to its settings; their wording is tested with `io.policyfile`."""

from pathlib import Path

import pytest

from ecdn_proxy.agent.settings import load
from ecdn_proxy.io.settings_loader import BadSettings


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("listen", "127.0.0.1:3128", "everywhere"),
        ("page_listen", "[::1]:80", "localhost"),
        ("peer_listen", "0.0.0.0:7688", "0.0.0.0:99999"),
        ("intercept_domains", ["a.test"], ["a test"]),
        ("bypass_domains", ["a.test"], ["http://a"]),
        ("peer_networks", ["10.0.0.0/8"], ["ten"]),
        ("origin_hosts", {"a.test": "127.0.0.1"}, {"a b": "127.0.0.1"}),
        ("profiles_file", "", "/nowhere"),
    ],
)
def test_checks(name: str, good: object, bad: object) -> None:
    assert load(None, {}, {name: good}).sources[name].startswith("flag")
    with pytest.raises(BadSettings, match=name):
        load(None, {}, {name: bad})


def test_a_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    assert load(None, {}, {"origin_ca_file": str(tmp_path / "ca.pem")}).settings.origin_ca_file
    assert load(None, {}, {"upstream_pac_file": "/not/yet"}).settings.upstream_pac_file == "/not/yet"


def test_an_engine_that_is_not_installed_is_refused_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(None, {}, {"webrtc_engine": "aiortc"}).settings.webrtc_engine == "aiortc"
    monkeypatch.setattr("ecdn_proxy.io.webrtc.engine.find_spec", lambda _: None)
    with pytest.raises(BadSettings, match=r"wrtc is not installed; install ecdn\[webrtc-fast\]"):
        load(None, {"ECDN_WEBRTC_ENGINE": "wrtc"}, {})
    pushed = load(None, {}, {}, {"webrtc_engine": "wrtc"})
    assert pushed.settings.webrtc_engine == "aiortc"
    assert "not installed" in pushed.warnings[0]
