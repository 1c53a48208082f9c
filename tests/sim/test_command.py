"""`ecdn-proxy simulate`, as its user sees it."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from ecdn_proxy.sim.command import command

TINY = """
[stream]
segments = 2
[viewers]
within_s = 1.0
[[sites]]
name = "A & B"
viewers = 3
[[sites]]
viewers = 2
"""


def call(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(command, ["--processes", "1", *arguments], catch_exceptions=False)


def test_a_scenario_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    result = call("--scenario", str(path), "--json", str(tmp_path / "out.json"), "--svg", str(tmp_path / "out.svg"))
    assert result.exit_code == 0
    assert "offload" in result.stdout
    assert "A & B" in result.stdout
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["total"]["viewers"] == 5
    assert figures["total"]["offload"] <= figures["total"]["offload_bound"]
    assert [site["name"] for site in figures["sites"]] == ["A & B", "office"]
    assert ElementTree.parse(tmp_path / "out.svg").getroot().tag.endswith("svg")


def test_json_alone_on_stdout(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    first = call("--scenario", str(path), "--json", "-", "--seed", "7", "--segments", "1", "--scale", "2")
    again = call("--scenario", str(path), "--json", "-", "--seed", "7", "--segments", "1", "--scale", "2")
    assert json.loads(first.stdout)["digest"] == json.loads(again.stdout)["digest"]
    assert json.loads(first.stdout)["scenario"]["seed"] == 7


def test_a_plan_says_who_suffers_and_why(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text(
        "group,subnets,p2p,wan,label,viewers,wan_mbps\n"
        "BER,10.1.0.0/16,on,no,Berlin,12,12\n"
        "PAR,10.2.0.0/16,off,no,Paris,10,12\n"
        "PAR,10.3.0.0/16,off,no,Paris,,12\n"
        "ROM,10.4.0.0/16,on,no,Rome,1,50\n"
    )
    result = call("--sites", str(path), "--start", "2", "--segments", "6", "--json", str(tmp_path / "plan.json"))
    words = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert "Without sharing," in words
    assert "Berlin: 12 viewers need 36 Mbit/s by themselves, the link carries 12. With sharing it carries" in words
    assert "The site map forbids sharing there." in words
    assert "not used" not in result.stderr
    assert "Paris would suffer even so" in words
    assert "Rome would" not in words
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["shared"]["total"]["offload"] > plan["direct"]["total"]["offload"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either --scenario or --sites"),
        (("--scenario", "none"), "none cannot be read"),
        (("--sites", "none.csv"), "none.csv cannot be read"),
        (("--sites", "MAP", "--bitrate", "fast"), "--bitrate is 'fast'"),
        (("--sites", "MAP"), "line 2: 0 viewers at BER? Give each site 1 to 100,000"),
        (("--sites", "MANY"), "line 2: viewers is '100001'; write a number from 0 to 100,000"),
        (("--sites", "WIFI"), "line 2: wifi_percent is '150'; write a number from 0 to 100"),
        (("--sites", "DEAD"), "line 2: wan_mbps is '0'; write a number from 0.1"),
        (("--sites", "P2P"), "line 2: p2p is 'maybe'; write on, off or leech"),
        (("--sites", "QUOTE"), "is no CSV"),
        (("--sites", "UTF16"), "is no UTF-8 text: save it as"),
        (("--sites", "EMPTY"), "no line below its header"),
        (("--sites", "NAMELESS"), "line 2: it needs a column group"),
        (("--sites", "NUMBER"), "line 2: viewers is 'many'"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    files = {
        "MAP": "group,subnets\nBER,10.1.0.0/16\n",
        "EMPTY": "group,viewers\n",
        "NAMELESS": "name,viewers\nBER,3\n",
        "NUMBER": "group,viewers\nBER,many\n",
        "MANY": "group,viewers\nBER,100001\n",
        "WIFI": "group,viewers,wifi_percent\nBER,3,150\n",
        "DEAD": "group,viewers,wan_mbps\nBER,3,0\n",
        "P2P": "group,viewers,p2p\nBER,3,maybe\n",
        "QUOTE": 'group,viewers\n"BER,3\n',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "UTF16").write_text("group,viewers\n", encoding="utf-16")
    files["UTF16"] = ""
    result = call(*(str(tmp_path / it) if it in files else it for it in arguments))
    assert result.exit_code == 2
    assert result.stderr.startswith("ecdn-proxy: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_comes_with_it() -> None:
    assert "office-200" in call("--list").stdout


def test_a_spreadsheet_with_a_decimal_comma(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("Group;Viewers;WAN_Mbps;Bandwidth\nBER;2;12,5;7\n", encoding="utf-8-sig")
    result = call("--sites", str(path), "--start", "1", "--segments", "2")
    assert result.exit_code == 0
    assert "12.5" in result.stdout
    assert "Without sharing, nobody would see the picture stop." in result.stdout
    assert "not used: bandwidth. Columns that mean something: group, site" in result.stderr


def test_a_slow_office_on_wifi_is_told_what_would_help(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("group,viewers,wan_mbps,wifi_percent\nWAR,25,10,100\n")
    words = " ".join(call("--sites", str(path), "--start", "5", "--segments", "6").stdout.split())
    assert "WAR would suffer even so" in words
    assert "Machines on Wi-Fi are taken to send 5 to 10 Mbit/s, too little to relay 3 to everybody in time" in words
    assert "put more of its machines on cable" in words
