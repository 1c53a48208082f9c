"""Settings: order, and mistakes told with their place and cure."""

from pathlib import Path
from typing import Any

import pytest

from coordinator.core import limits
from coordinator.service.settings import ConfigurationError, host_and_port, load

DOCS = Path(__file__).parents[2] / "docs" / "coordinator.md"


def test_file_then_environment_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text('listen = "a:1"\npublic_url = "https://a"\ngrace_days = 3\n[agents]\nupload_mbps_max = 5\n')
    environment = {"ECDN_COORDINATOR_LISTEN": "b:2", "ECDN_COORDINATOR_GRACE_DAYS": "4", "OTHER": "x"}
    settings = load(file, environment, {"listen": "c:3", "public_url": None})
    assert (settings.listen, settings.public_url, settings.grace_days) == ("c:3", "https://a", 4)
    assert settings.agents == {"upload_mbps_max": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nlisen = 'x:1'\n", "coordinator.toml, line 2: no setting is called 'lisen'; did you mean listen?"),
        ("[agent]\n", "line 1: no setting is called 'agent'; did you mean agents?"),
        ("zzz = 1\n", "no setting is called 'zzz'; there are: listen"),
        ("\n\ngrace_days = 99\n", "line 3: grace_days = 99: expected `int` <= 30"),
        ("listen = 5\n", "line 1: listen = 5: expected `str`"),
        ("wan_peers = [['a', 'b'], ['b']]\n", "line 1: wan_peers: 'b' stands twice"),
        ("wan_peers = ['a', 'b']\n", "line 1: wan_peers = ['a', 'b']: expected `array`, got `str`"),
        ("agents = 5\n", "line 1: agents = 5: expected `object`"),
        ("listen =\n", "line 1"),
        (
            "\n[[agents.sharing_rules]]\nname = 'hall'\nhosts = ['*']\nimmutable = true\n",
            "line 2: agents.sharing_rules 1 ('hall'): '*' is no host of a rule; write stream.example.com",
        ),
        ("agents.sharing_rules = 'all'\n", "line 1: agents.sharing_rules: 'all' is no list of rules"),
        (f"agents.x = '{'x' * 20_000}'\n", "can be sent"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, {})
    assert said in str(caught.value)
    assert "coordinator.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "flags", "said"),
    [
        ({"ECDN_COORDINATOR_LISEN": "x"}, {}, "LISEN: no such setting; did you mean ECDN_COORDINATOR_LISTEN?"),
        ({"ECDN_COORDINATOR_GRACE_DAYS": "many"}, {}, "environment variable ECDN_COORDINATOR_GRACE_DAYS: grace_days"),
        ({}, {"public_url": "x" * 300}, "--public-url: public_url"),
    ],
)  # fmt: skip
def test_mistakes_elsewhere(environment: dict[str, str], flags: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(None, environment, flags)
    assert said in str(caught.value)


def test_rules_across_the_wan_come_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text("wan_peers = [['berlin', 'munich'], ['shops']]\n")
    assert load(file, {}, {}).wan_peers == [["berlin", "munich"], ["shops"]]
    assert load(None, {}, {}).wan_peers == []
    with pytest.raises(ConfigurationError, match="no such setting"):
        load(None, {"ECDN_COORDINATOR_WAN_PEERS": "berlin"}, {})


def test_sharing_rules_are_sent_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text("[[agents.sharing_rules]]\nname = 'hall'\nhosts = ['a.test']\nimmutable = true\n")
    rule = {"name": "hall", "hosts": ["a.test"], "immutable": True}
    assert load(file, {}, {}).agents == {"sharing_rules": [rule]}


def test_an_absent_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load(tmp_path / "absent.toml", {}, {})


def test_host_and_port() -> None:
    assert host_and_port("[::1]:8443") == ("::1", 8443)
    assert host_and_port("0.0.0.0:0") == ("0.0.0.0", 0)
    for wrong in ("8443", ":8443", "x:", "x:99999", "x:y"):
        with pytest.raises(ConfigurationError, match="write host:port"):
            host_and_port(wrong)


def test_the_documentation_shows_every_setting() -> None:
    text = DOCS.read_text()
    for line in limits.setting_rows():
        assert line.why
        default = f"`{line.default}`" if line.default else ""
        assert f"| `{line.name}` | {default} | {line.bound} | {line.why} |" in text
