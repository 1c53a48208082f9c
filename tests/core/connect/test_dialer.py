"""Which way to another agent, as timetables."""

import pytest

from ecdn_proxy.core.connect import dialer as d
from ecdn_proxy.wire.peer import Contact

B = Contact("b", ("10.1.0.12",), 7688)
TIMED_OUT = "TCP 7688 to 10.1.0.12 timed out"
NO_WAY = "WebRTC found no way within 8 s"


class Table:
    """A machine whose effects are gathered."""

    def __init__(self, *, webrtc: bool = True, connected: bool = True) -> None:
        self.machine = d.Dialer(webrtc=webrtc, network="10.1.0.0/16")
        self.now = 0.0
        self.at(0.0, d.SignallingChanged(connected))

    def at(self, now: float, event: d.DialerEvent | None = None) -> list[d.DialerEffect]:
        """Pass time to `now`, then let something happen; everything that came of it."""
        effects: list[d.DialerEffect] = []
        while (due := self.machine.wake_at()) is not None and due <= now:
            self.now = due
            effects += self.machine.wake(due)
        self.now = now
        return effects + ([] if event is None else self.machine.handle(event, now))


TCP, RTC = d.StartAttempt(B, "lan"), d.StartAttempt(B, "webrtc")


def test_tcp_answers_within_its_head_start() -> None:
    table = Table()
    assert table.at(0.0, d.LinkWanted(B)) == [TCP]
    assert table.at(0.01, d.AttemptOpened("b", "lan")) == []
    assert table.at(1_000.0) == []
    assert table.machine.why("b") == "TCP and TLS"


def test_webrtc_starts_300_ms_later_and_counts_when_it_stands_first() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    assert table.at(0.299) == []
    assert table.at(0.301) == [RTC]
    assert table.at(0.35, d.AttemptOpened("b", "webrtc")) == []
    assert table.machine.why("b") == "TCP 7688 to 10.1.0.12 did not answer within 300 ms"
    assert table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT)) == []
    assert table.machine.why("b") == TIMED_OUT


def test_tcp_that_is_refused_at_once_does_not_wait_for_the_head_start() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    assert table.at(0.01, d.AttemptFailed("b", "lan", "TCP 7688 to 10.1.0.12: Connection refused")) == [RTC]
    assert table.at(1.0) == []


def test_a_pair_that_needed_webrtc_starts_with_both_at_once() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    table.at(0.3)
    table.at(0.4, d.AttemptOpened("b", "webrtc"))
    table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
    table.at(5.0, d.TransportLost("b", "webrtc"))
    assert table.at(10.0, d.LinkWanted(B)) == [TCP, RTC]
    table.at(10.1, d.AttemptOpened("b", "webrtc"))
    table.at(11.5, d.AttemptFailed("b", "lan", TIMED_OUT))
    table.at(12.0, d.TransportLost("b", "webrtc"))
    assert table.at(12.0 + d.REMEMBERED_S, d.LinkWanted(B)) == [TCP], "forgotten after an hour"


def test_what_was_learnt_on_one_network_is_not_used_on_another() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    table.at(0.3)
    table.at(0.4, d.AttemptOpened("b", "webrtc"))
    table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
    table.at(2.0, d.TransportLost("b", "webrtc"))
    table.at(3.0, d.NetworkChanged("192.168.0.0/24"))
    assert table.at(4.0, d.LinkWanted(B)) == [TCP]
    table.at(4.1, d.AttemptOpened("b", "lan"))
    table.at(5.0, d.TransportLost("b", "lan"))
    table.at(6.0, d.NetworkChanged("10.1.0.0/16"))
    assert table.at(7.0, d.LinkWanted(B)) == [TCP, RTC]


def test_a_link_that_stands_goes_on_across_a_change_and_tcp_is_tried_at_once() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    table.at(0.3)
    table.at(0.4, d.AttemptOpened("b", "webrtc"))
    table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
    assert table.at(3.0, d.NetworkChanged("10.1.0.0/16")) == [], "the same network is no change"
    assert table.at(3.0) == []
    table.at(4.0, d.NetworkChanged("192.168.0.0/24"))
    assert table.at(4.0) == [TCP], "what was learnt does not count here"
    assert table.at(4.1, d.AttemptOpened("b", "lan")) == []
    table.at(4.2, d.TransportLost("b", "webrtc"))
    assert table.machine.why("b") == "TCP and TLS"
    table.at(5.0, d.NetworkChanged("10.1.0.0/16"))
    assert table.at(5.0, d.LinkWanted(B)) == [], "it stands here, too"
    table.at(6.0, d.TransportLost("b", "lan"))
    assert table.at(7.0, d.LinkWanted(B)) == [TCP, RTC], "what was learnt here counts here"


def test_a_dial_that_is_under_way_ends_in_the_network_that_it_finds() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    table.at(0.1, d.NetworkChanged("192.168.0.0/24"))
    assert table.at(0.4) == [RTC]
    table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
    (gone,) = table.at(8.5, d.AttemptFailed("b", "webrtc", NO_WAY))
    assert gone == d.Unreachable("b", f"{TIMED_OUT}; {NO_WAY}", False, True)
    table.at(9.0, d.NetworkChanged("10.1.0.0/16"))
    table.at(9.0, d.LinkWanted(B))
    assert table.at(9.4) == [RTC], "no wait for what failed elsewhere"


def test_tcp_is_tried_again_ever_more_rarely_and_taken_when_it_answers() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    table.at(0.3)
    table.at(0.4, d.AttemptOpened("b", "webrtc"))
    table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
    assert table.at(1.4 + d.PROBE_FIRST_S) == []
    assert table.at(1.6 + d.PROBE_FIRST_S) == [TCP]
    table.at(23.0, d.AttemptFailed("b", "lan", TIMED_OUT))
    assert table.at(62.9) == []
    assert table.at(63.1) == [TCP]
    assert table.at(63.2, d.AttemptOpened("b", "lan")) == []
    assert table.machine.why("b") == "TCP and TLS"
    table.at(63.3, d.TransportLost("b", "webrtc"))
    assert table.at(10_000.0) == []


def test_whoever_was_offered_a_link_tries_tcp_from_its_side_too_at_once() -> None:
    table = Table()
    assert table.at(0.0, d.AttemptOpened("b", "webrtc", B)) == []
    assert table.at(d.HEAD_START_S - 0.01) == []
    assert table.at(d.HEAD_START_S + 0.01) == [TCP]
    table.at(1.8, d.AttemptFailed("b", "lan", TIMED_OUT))
    assert table.machine.why("b") == TIMED_OUT
    assert table.at(1.7 + d.PROBE_FIRST_S) == []
    assert table.at(1.9 + d.PROBE_FIRST_S) == [TCP]


def test_tls_that_stands_first_ends_the_webrtc_attempt() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    table.at(0.3)
    assert table.at(0.31, d.AttemptOpened("b", "lan")) == [d.EndAttempt("b", "webrtc", "a TLS link stands")]
    assert table.at(0.4, d.AttemptFailed("b", "webrtc", "a TLS link stands")) == []


def test_no_way_is_told_once_with_both_reasons_and_makes_no_storm() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    table.at(0.3)
    assert table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT)) == []
    lost = d.Unreachable("b", f"{TIMED_OUT}; {NO_WAY}", misbehaved=False, every_way=True)
    assert table.at(8.3, d.AttemptFailed("b", "webrtc", NO_WAY)) == [lost]
    attempts = 0
    now = 8.3
    while now < 3_600.0:  # the node asks again every five seconds
        now += 5.0
        effects = table.at(now, d.LinkWanted(B))
        assert TCP in effects
        effects += table.at(now + 0.3)
        if RTC in effects:
            attempts += 1
            table.at(now + 1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
            table.at(now + 8.0, d.AttemptFailed("b", "webrtc", NO_WAY))
            now += 5.0
        else:
            (told,) = table.at(now + 1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
            assert told == d.Unreachable("b", f"{TIMED_OUT}; {NO_WAY}", misbehaved=False, every_way=False)
    assert attempts <= 12


def test_without_a_coordinator_there_is_only_tcp() -> None:
    table = Table(connected=False)
    assert table.at(0.0, d.LinkWanted(B)) == [TCP]
    assert table.at(0.5) == []
    (told,) = table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
    assert isinstance(told, d.Unreachable)
    assert "needs the coordinator" in told.why
    table.at(2.0, d.SignallingChanged(True))
    table.at(5.0, d.LinkWanted(B))
    table.at(5.1, d.SignallingChanged(False))
    assert table.at(5.5) == [], "it went away within the head start"
    assert [type(it) for it in table.at(6.5, d.AttemptFailed("b", "lan", TIMED_OUT))] == [d.Unreachable]


def test_switched_off_webrtc_is_not_spoken_of() -> None:
    table = Table(webrtc=False)
    assert table.at(0.0, d.LinkWanted(B)) == [TCP]
    assert table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT)) == [
        d.Unreachable("b", TIMED_OUT, misbehaved=False, every_way=False)
    ]


def test_a_device_that_misbehaves_over_tcp_is_not_tried_by_webrtc() -> None:
    table = Table()
    table.at(0.0, d.LinkWanted(B))
    told = table.at(0.05, d.AttemptFailed("b", "lan", "a certificate of another tenant", misbehaved=True))
    assert [it.misbehaved for it in told if isinstance(it, d.Unreachable)] == [True]
    assert table.at(1.0) == []


def test_whoever_is_called_tries_tcp_too_and_owes_the_node_nothing() -> None:
    table = Table()
    assert table.at(0.0, d.LinkCalled(B)) == [TCP, RTC], "the caller has waited already"
    assert table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT)) == []
    assert table.at(8.3, d.AttemptFailed("b", "webrtc", NO_WAY)) == []


def test_the_node_may_begin_to_want_what_the_other_one_had_begun() -> None:
    table = Table()
    table.at(0.0, d.LinkCalled(B))
    assert table.at(0.1, d.LinkWanted(B)) == []
    table.at(0.3)
    table.at(1.5, d.AttemptFailed("b", "lan", TIMED_OUT))
    assert [type(it) for it in table.at(8.3, d.AttemptFailed("b", "webrtc", NO_WAY))] == [d.Unreachable]


def test_a_link_that_the_other_one_made_is_explained_and_tcp_tried_later() -> None:
    table = Table()
    table.at(0.0, d.AttemptOpened("b", "webrtc", B))
    assert "not been tried" in table.machine.why("b")
    assert table.at(d.PROBE_FIRST_S + 0.1) == [TCP]
    table.at(d.PROBE_FIRST_S + 1.6, d.AttemptFailed("b", "lan", TIMED_OUT))
    assert table.machine.why("b") == TIMED_OUT


@pytest.mark.parametrize("kind", ["lan", "webrtc"])
def test_a_link_that_stands_is_not_dialled_again(kind: d.Transport) -> None:
    table = Table()
    table.at(0.0, d.AttemptOpened("b", kind))
    assert table.at(0.1, d.LinkWanted(B)) == []
    assert table.at(0.2, d.AttemptFailed("b", kind, "crossed")) == []


def test_what_is_being_dialled_already_is_not_dialled_twice() -> None:
    table = Table()
    table.at(0.0, d.AttemptOpened("b", "webrtc", B))
    assert table.at(d.PROBE_FIRST_S + 0.1) == [TCP]
    table.at(d.PROBE_FIRST_S + 0.2, d.TransportLost("b", "webrtc"))
    table.at(d.PROBE_FIRST_S + 0.3, d.AttemptOpened("b", "webrtc", B))
    table.machine._pair("b").probe_at = d.PROBE_FIRST_S + 0.4
    assert table.at(d.PROBE_FIRST_S + 0.5) == [], "the first one is still on its way"


def test_what_is_remembered_is_bounded() -> None:
    table = Table()
    for number in range(d.PAIRS_MAX + 50):
        table.at(float(number), d.TransportLost(f"device-{number}", "lan"))
    assert len(table.machine._pairs) == d.PAIRS_MAX
    assert table.machine.why("nobody") == ""
