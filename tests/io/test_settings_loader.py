"""Settings from everywhere, through the agent's own struct."""

from pathlib import Path

import pytest

from ecdn_proxy.agent.settings import load
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.io.settings_loader import BadSettings, as_text

GIVEN = {"upload_mbps_max": 5, "log_level": "error", "listen": "127.0.0.1:1"}


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    return file


def test_the_right_one_wins_and_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, 'log_level = "warning"\nlisten = "127.0.0.1:2"\npage_listen = "127.0.0.1:3"\n')
    got = load(file, {"ECDN_LISTEN": "127.0.0.1:4", "PATH": "x"}, {"page_listen": "127.0.0.1:5", "listen": None}, GIVEN)
    assert got.settings == Settings(
        upload_mbps_max=5.0, log_level="warning", listen="127.0.0.1:4", page_listen="127.0.0.1:5"
    )
    assert got.sources["upload_mbps_max"] == "coordinator"
    assert got.sources["log_level"] == "agent.toml"
    assert got.sources["listen"] == "environment (ECDN_LISTEN)"
    assert got.sources["page_listen"] == "flag --page-listen"
    assert got.sources["sharing"] == "default"
    assert set(got.sources) == set(Settings.__struct_fields__)
    assert got.warnings == ()


def test_nothing_at_all_is_the_defaults() -> None:
    assert load(None, {}, {}).settings == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '\n\nintercept_domain = ["a.test"]',
            "line 3: there is no setting 'intercept_domain'; did you mean 'intercept_domains'?",
        ),
        ("upload_mbps_max = 0", "line 1: upload_mbps_max must be a number above 0 up to 100000, not 0."),
        ("cache_memory_mb = -1", "must be a whole number from 0 up to 1048576, not -1."),
        ('log_level = "loud"', "log_level must be one of debug, error, info, warning, not 'loud'."),
        ("sharing = 1", "sharing must be true or false, not 1."),
        ('intercept_domains = "a.test"', "must be a list of texts"),
        ('intercept_domains = ["https://a.test"]', "'https://a.test' is no domain name"),
        ('listen = "3128"', "'3128' is no address and port; write it as in 127.0.0.1:3128"),
        ('peer_networks = ["10.0.0.1/8"]', "'10.0.0.1/8' is no network"),
        ('# x\n[origin_hosts]\n"a.test" = "b"', "line 2: origin_hosts: 'b' is no IP address for a.test"),
        ('origin_ca_file = "/nowhere.pem"', "there is no file /nowhere.pem"),
        ("listen = 5", "listen must be a text, not 5."),
        ("origin_hosts = 5", "must be a table of texts, not 5."),
        ("x = [", "not valid TOML"),
        ("sharing_rules = 5", "line 1: sharing_rules must be a list of tables, not 5."),
        ("\n[[sharing_rule]]", "line 2: there is no setting 'sharing_rule'; did you mean 'sharing_rules'?"),
        ("zzzz = 1", "there is no setting 'zzzz'."),
    ],
)
def test_mistakes_in_the_file_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadSettings) as error:
        load(written(tmp_path, text), {}, {})
    assert said in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "agent.toml"))
    assert "\n" not in str(error.value).replace("\\n", "") or "TOML" in said


def test_a_missing_file() -> None:
    with pytest.raises(BadSettings, match="no such file"):
        load(Path("/nowhere/agent.toml"), {}, {})


def test_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match="cannot be read"):
        load(tmp_path / "agent.toml", {}, {})


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("ECDN_INTERCEPT_DOMAINS", "a.test, b.test c.test", "intercept_domains", ("a.test", "b.test", "c.test")),
        ("ECDN_INTERCEPT_DOMAINS", "", "intercept_domains", ()),
        ("ECDN_ORIGIN_HOSTS", "a.test=127.0.0.1,b.test=::1", "origin_hosts", {"a.test": "127.0.0.1", "b.test": "::1"}),
        ("ECDN_SHARING", "off", "sharing", False),
        ("ECDN_UPLOADS", "Yes", "uploads", True),
        ("ECDN_CACHE_DISK_MB", "0", "cache_disk_mb", 0),
        ("ECDN_UPLOAD_MBPS_MAX", "2.5", "upload_mbps_max", 2.5),
        ("ECDN_LOG_LEVEL", " debug ", "log_level", "debug"),
    ],
)
def test_environment_texts(variable: str, text: str, name: str, value: object) -> None:
    assert getattr(load(None, {variable: text}, {}).settings, name) == value


def test_mistakes_in_environment_and_flags() -> None:
    with pytest.raises(BadSettings, match=r"environment \(ECDN_SHARING\): sharing must be true or false, not 'maybe'"):
        load(None, {"ECDN_SHARING": "maybe"}, {})
    with pytest.raises(BadSettings, match="flag --log-level: log_level must be one of"):
        load(None, {}, {"log_level": "loud"})
    with pytest.raises(BadSettings, match="no setting 'lisen'; did you mean 'listen'"):
        load(None, {}, {"lisen": "x"})
    got = load(None, {"ECDN_LISEN": "x", "ECDN_COORDINATOR_LISTEN": "y"}, {"sharing": False})
    assert got.warnings == ("environment (ECDN_LISEN): there is no setting 'lisen'; did you mean 'listen'?",)
    assert got.settings.sharing is False


def test_the_coordinator_cannot_stop_an_agent() -> None:
    got = load(None, {}, {}, {"upload_mbps_max": -1, "invented": 1, "sharing": False})
    assert got.settings == Settings(sharing=False)
    assert len(got.warnings) == 2
    assert "It is left out." in got.warnings[0]


def test_values_as_text() -> None:
    values: tuple[object, ...] = (True, False, ("a", "b"), {"a": "b"}, 2.5, "x", ({"name": "a"}, {}))
    assert [as_text(value) for value in values] == [
        "true", "false", "a, b", "a=b", "2.5", "x", "a, {}",
    ]  # fmt: skip
