"""Sharing rules as IT writes them: what is understood, and the sentence for what cannot be meant."""

import tomllib

import msgspec
import pytest

from ecdn_proxy.wire.sharing_rules import HOSTS_MAX, RISKS, RULES_MAX, WORDS, YEAR_S, SharingRule, read_rules

PLACE = "agent.toml, sharing_rules"


def read(text: str) -> tuple[tuple[SharingRule, ...], tuple[str, ...]]:
    return read_rules(tomllib.loads(text)["sharing_rules"], PLACE, "agent.toml")


def one(**words: object) -> SharingRule:
    table = {"name": "event", "hosts": ["cdn.example.com"], "ignore_no_store": True, **words}
    rules, mistakes = read_rules([table], PLACE, "agent.toml")
    assert not mistakes
    return rules[0]


def refused(**words: object) -> str:
    table = {"name": "event", "hosts": ["cdn.example.com"], "ignore_no_store": True, **words}
    rules, mistakes = read_rules([{name: it for name, it in table.items() if it is not None}], PLACE, "agent.toml")
    assert not rules
    assert len(mistakes) == 1
    assert mistakes[0].startswith("agent.toml, sharing_rules 1"), mistakes
    return mistakes[0]


def test_a_rule_as_a_person_writes_it() -> None:
    rules, mistakes = read(
        """
        [[sharing_rules]]
        name = "town-hall"
        hosts = ["*.Example.com", "cdn.example.net."]
        path = "/live/"
        ignore_no_store = true
        fresh_s = 60

        [[sharing_rules]]
        name = "archive"
        hosts = ["vod.example.com"]
        immutable = true

        [[sharing_rules]]
        name = "board"
        hosts = ["board.example.com"]
        share = false
        """
    )
    assert not mistakes
    hall, archive, board = rules
    assert (hall.hosts, hall.path) == (("*.example.com", "cdn.example.net"), "/live/")
    assert hall.permits == ("fresh_s", "ignore_no_store")
    assert (hall.kept_fresh_s, archive.kept_fresh_s, board.kept_fresh_s) == (60.0, YEAR_S, None)
    assert (board.share, board.permits) == (False, ())
    assert hall.said == "rule town-hall of agent.toml"


@pytest.mark.parametrize(
    ("pattern", "covered", "others"),
    [
        ("cdn.example.com", ["cdn.example.com"], ["a.cdn.example.com", "example.com", "cdn.example.com.evil.test"]),
        ("*.example.com", ["a.example.com", "a.b.example.com"], ["example.com", "evilexample.com", "example.com.test"]),
        ("büro.example.com", ["xn--bro-hoa.example.com"], []),
        ("*.büro.example", ["a.xn--bro-hoa.example"], ["xn--bro-hoa.example"]),
        ("10.0.0.5", ["10.0.0.5"], ["10.0.0.50"]),
        ("[::1]", ["[::1]"], []),
        ("media", ["media"], ["a.media"]),
    ],
)
def test_hosts(pattern: str, covered: list[str], others: list[str]) -> None:
    rule = one(hosts=[pattern])
    assert [host for host in covered if not rule.covers(host, "/")] == []
    assert [host for host in others if rule.covers(host, "/")] == []


@pytest.mark.parametrize(
    ("pattern", "covered", "others"),
    [
        ("/", ["/", "/a", "/a/b.ts"], []),
        ("/live", ["/live", "/live/", "/live/1.ts"], ["/liver/1.ts", "/", "/a/live/1.ts", "/LIVE/1.ts"]),
        ("/live/", ["/live/", "/live/a/1.ts"], ["/live", "/liver/1.ts"]),
        ("/*/video/*.m4s", ["/event/video/1.m4s", "/a/b/video/c/2.m4s"], ["/event/video/1.ts", "/event/video/1.m4s/x"]),
        ("/a*b*b", ["/abb", "/axxbyyb"], ["/ab", "/abbx"]),
        ("/a.b*", ["/a.b", "/a.bc"], ["/axb"]),
        ("/*", ["/", "/x\ny"], []),
    ],
)  # fmt: skip
def test_paths(pattern: str, covered: list[str], others: list[str]) -> None:
    rule = one(path=pattern)
    assert [path for path in covered if not rule.covers("cdn.example.com", path)] == []
    assert [path for path in others if rule.covers("cdn.example.com", path)] == []


def test_a_path_of_many_stars_is_soon_decided() -> None:
    """An expression of one `.*` after another would try every way to cut the path, for longer than tests may take."""
    rule = one(path="/" + "a*" * 100 + "b")
    assert not rule.covers("cdn.example.com", "/" + "a" * 16_000)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"ignore_nostore": True}, "there is no 'ignore_nostore' in a rule; perhaps 'ignore_no_store' is meant"),
        ({"source": "me"}, "the words are name, hosts"),
        ({"hosts": ["*"]}, "'*' is no host of a rule; write stream.example.com, or *.example.com"),
        ({"hosts": ["*.com"]}, "never * alone or before a single name"),
        ({"hosts": ["a.*.com"]}, "no host"),
        ({"hosts": ["cdn*.example.com"]}, "no host"),
        ({"hosts": ["https://cdn.example.com"]}, "without scheme, port and path"),
        ({"hosts": ["cdn.example.com:443"]}, "no host"),
        ({"hosts": ["cdn.example.com/live"]}, "no host"),
        ({"hosts": [""]}, "no host"),
        ({"hosts": ["ü" * 80 + ".example"]}, "no host"),
        ({"hosts": ["a." * 130 + "test"]}, "no host"),
        ({"hosts": "cdn.example.com"}, 'hosts = cdn.example.com; write ["*.example.com"]'),
        ({"hosts": []}, "0 hosts; write 1 to 32"),
        ({"hosts": ["a.test"] * (HOSTS_MAX + 1)}, "33 hosts"),
        ({"hosts": None}, 'hosts missing; write for example hosts = ["*.example.com"]'),
        ({"name": None, "hosts": None}, "name and hosts missing"),
        ({"name": 3}, 'name = 3; write "town-hall"'),
        ({"name": ""}, "'' is no name"),
        ({"name": "cdn.example.com"}, "is no name; write 1 to 40 letters"),
        ({"path": "live/"}, "'live/' is no path; write it as in /live/"),
        ({"path": "/live?x=1"}, "without a query"),
        ({"path": "/" + "x" * 400}, "is no path"),
        ({"ignore_no_store": "yes"}, "ignore_no_store = yes; write true or false"),
        ({"fresh_s": "long"}, "fresh_s = long; write 60"),
        ({"fresh_s": 0}, "fresh_s = 0; write seconds from 1 to 31536000"),
        ({"fresh_s": float("nan")}, "fresh_s = nan"),
        ({"fresh_s": 1e9}, "fresh_s = 1e+09"),
        ({"fresh_s": 60, "immutable": True}, "immutable and fresh_s contradict each other; leave one out"),
        ({"share": False}, "share = false and ignore_no_store contradict each other; leave one out"),
        ({"ignore_no_store": False}, "it permits nothing; write one of immutable"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(words: dict[str, object], says: str) -> None:
    assert says in refused(**words)


def test_one_mistake_costs_its_own_rule_only() -> None:
    good = {"hosts": ["a.test"], "immutable": True}
    rules, mistakes = read_rules(
        [
            {"name": "one", **good},
            {"name": "two", "hosts": ["*"]},
            3,
            {"name": "one", **good},
            {"name": "three", **good},
        ],
        PLACE,
        "agent.toml",
    )
    assert [rule.name for rule in rules] == ["one", "three"]
    assert [it.partition(":")[0] for it in mistakes] == [
        "agent.toml, sharing_rules 2 ('two')",
        "agent.toml, sharing_rules 3",
        "agent.toml, sharing_rules 4 ('one')",
    ]
    assert "a second rule of this name" in mistakes[2]


@pytest.mark.parametrize("tables", [None, "x", 3, {"name": "a"}])
def test_what_is_no_list(tables: object) -> None:
    rules, mistakes = read_rules(tables, PLACE, "agent.toml")
    assert not rules
    assert "write each as a table, [[sharing_rules]]" in mistakes[0]


def test_a_list_has_an_end() -> None:
    tables = [{"name": f"n{number}", "hosts": ["a.test"], "immutable": True} for number in range(RULES_MAX + 5)]
    rules, mistakes = read_rules(tables, PLACE, "agent.toml")
    assert len(rules) == RULES_MAX
    assert mistakes == (f"{PLACE}: 105 rules; the first 100 count. Put hosts of equal rules into one.",)


def test_each_permission_has_its_risk() -> None:
    assert set(RISKS) == set(WORDS) - {"name", "hosts", "path", "share"}


def test_a_rule_reads_itself_back_from_a_recording() -> None:
    rule = one(fresh_s=60)
    assert msgspec.convert(msgspec.to_builtins(rule), SharingRule) == rule
