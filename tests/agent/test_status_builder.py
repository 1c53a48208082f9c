"""The one status structure: what a helpdesk, the page and the command line read."""

from typing import get_type_hints

import msgspec
import pytest

from ecdn_proxy.agent.settings import EffectiveSettings, load
from ecdn_proxy.agent.status import RuleStatus, Status
from ecdn_proxy.agent.status_builder import WATCHED_S, StatusParts, build_status
from ecdn_proxy.core.events import Served
from ecdn_proxy.core.report.conditions import Conditions
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.core.report.usage import ByteCounts, Usage
from ecdn_proxy.wire.sharing_rules import RISKS, SharingRule
from ecdn_proxy.wire.tracker import Welcome
from tests.core.makers import KEY
from tests.core.test_node_alone import One
from tests.core.world import STREAM


def effective(**flags: object) -> EffectiveSettings:
    return load(None, {}, {"intercept_domains": ["a.test"], **flags})


def look(
    *codes: str,
    meter: Meter | None = None,
    now: float = 0.0,
    settings: EffectiveSettings | None = None,
    rules: tuple[SharingRule, ...] = (),
) -> Status:
    conditions = Conditions()
    for code in codes:
        conditions.raised(code, "so", 0.0)
    return build_status(
        StatusParts(
            version="1.0",
            identity=None,
            effective=settings or effective(),
            uptime_s=1.25,
            node=One().node,
            links=None,
            session=None,
            rules=rules,
            site=Welcome("", "", "on", "", {}),
            usage=(meter := meter or Meter(50)).usage(ByteCounts(uploaded=30, uploaded_webrtc=20)),
            meter=meter,
            conditions=conditions,
            now=now,
        )
    )


@pytest.mark.parametrize(
    ("codes", "state", "sentence"),
    [
        ((), "working", "Ready: no stream has been watched on this machine since the agent started."),
        (("coordinator-away",), "working", "Ready: no stream"),
        (("sharing-off",), "limited", "Limited: sharing is switched off. Video plays, from the internet."),
        (("not-enrolled",), "limited", "Limited: this machine is not enrolled. Video plays, from the internet."),
    ],
)
def test_the_first_sentence(codes: tuple[str, ...], state: str, sentence: str) -> None:
    shown = look(*codes)
    assert shown.state == state
    assert shown.sentence.startswith(sentence)
    assert [it.code for it in shown.conditions] == list(codes)
    assert all(it.remedy for it in shown.conditions)


def test_the_sentence_names_what_limits() -> None:
    assert look("peer-misbehaved", "not-enrolled").sentence.startswith("Limited: this machine is not enrolled")


def test_without_domains_it_passes_everything_through() -> None:
    shown = look("not-enrolled", settings=effective(intercept_domains=[]))
    assert (shown.state, shown.sentence) == (
        "passing",
        "Passing everything through: no streaming domain is configured.",
    )


def test_bytes_and_rows_are_the_meters() -> None:
    meter = Meter(50)
    meter.served(Served(KEY, STREAM, "v1", 7, "lan", "so", 12.34, (("lan", 900), ("origin", 100))), 10.0)
    shown = look(meter=meter, now=10.0)
    assert (shown.bytes.lan, shown.bytes.origin, shown.segments.lan) == (900, 100, 1)
    assert (shown.bytes.uploaded, shown.bytes.uploaded_webrtc) == (30, 20)
    (row,) = shown.recent
    assert (row.number, row.bytes, row.ms, row.source) == (7, 1_000, 12.3, "lan")
    assert shown.sentence == "Working: 90 % of what was watched here came from your office."
    assert shown.streams[0].viewers == 1
    assert look(meter=meter, now=10.0 + WATCHED_S).streams[0].viewers == 0


def test_who_set_what_and_it_travels_as_json() -> None:
    shown = look(settings=effective(cache_memory_mb=64))
    rows = {it.name: it for it in shown.settings}
    assert (rows["cache_memory_mb"].value, rows["sharing"].source) == ("64", "default")
    assert rows["cache_memory_mb"].source != "default"
    assert msgspec.json.decode(msgspec.json.encode(shown), type=Status) == shown
    assert shown.coordinator.why == "this machine is not enrolled"


def test_whatever_is_counted_is_shown_under_its_name() -> None:
    shown = get_type_hints(Status)
    for name, kind in get_type_hints(Usage).items():
        assert shown[name] == kind


def test_rules_are_shown_with_what_they_permit_and_risk() -> None:
    rules = (
        SharingRule(name="hall", hosts=("a.test",), ignore_no_store=True, fresh_s=60.0, source="agent.toml"),
        SharingRule(name="board", hosts=("*.b.test",), path="/x/", share=False, source="the coordinator"),
    )
    assert look(rules=rules).sharing_rules == (
        RuleStatus(
            name="hall",
            hosts=("a.test",),
            path="/",
            permits=("fresh_s = 60", "ignore_no_store"),
            risk=f"{RISKS['fresh_s']} {RISKS['ignore_no_store']}",
            source="agent.toml",
        ),
        RuleStatus("board", ("*.b.test",), "/x/", ("share = false",), "", "the coordinator"),
    )
    assert look().sharing_rules == ()


def test_the_setting_names_its_rules() -> None:
    said = effective(sharing_rules=[{"name": "hall", "hosts": ["a.test"]}, {"hosts": ["b.test"]}])
    (row,) = [it for it in look(settings=said).settings if it.name == "sharing_rules"]
    assert row.value == "hall, {'hosts': ['b.test']}"
