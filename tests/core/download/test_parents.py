"""Whom a segment is read from: in the order named, each once, and nobody who failed."""

import msgspec

from ecdn_proxy.core import events
from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.parents import Parents
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.wire import peer
from ecdn_proxy.wire.integrity import PIECE_BYTES, PartVoucher
from tests.core.makers import KEY, contact, fetched, seal
from tests.core.world import STREAM, Seals

NOW = 100.0


SEALS = Seals()


def office() -> tuple[NodeContext, Parents]:
    """This machine with links to ann and bob; cyd is unknown yet."""
    context = NodeContext(contact("me"), seal("me", SEALS), Limits())
    for device in ("ann", "bob"):
        context.membership.linked(contact(device), (STREAM,), serves=True)
        context.link_opened(contact(device), "lan", 1.0)
    return context, Parents(context, KEY, STREAM)


def sent(context: NodeContext) -> list[tuple[str, peer.PeerMessage]]:
    done = [(it.device, it.message) for it in context.out if isinstance(it, events.Send)]
    context.out.clear()
    return done


def test_they_are_asked_one_after_the_other_and_never_this_machine() -> None:
    context, parents = office()
    parents.name_parents((contact("me"), contact("ann"), contact("bob")), "home")
    assert parents.request_next(0, NOW)
    assert parents.current == "ann"
    ((device, get),) = sent(context)
    assert isinstance(get, peer.Get)
    assert (device, get.first) == ("ann", 0)
    assert parents.is_answer("ann", get.request)
    assert not parents.is_answer("bob", get.request)
    parents.parent_failed()
    assert parents.request_next(3, NOW)
    ((device, again),) = sent(context)
    assert (device, again) == ("bob", peer.Get(get.request + 1, KEY, STREAM, 3, judges_age=True))
    parents.parent_failed()
    assert not parents.request_next(3, NOW)
    assert parents.avoided() == ("ann", "bob")
    assert parents.avoided("cyd") == ("cyd", "ann", "bob")


def test_who_failed_is_not_asked_again_until_it_is_forgiven() -> None:
    context, parents = office()
    parents.name_parents((contact("ann"),), "home")
    assert parents.request_next(0, NOW)
    parents.parent_failed()
    parents.name_parents((contact("ann"),), "home")
    assert not parents.request_next(0, NOW)
    assert not parents.take_message(peer.Refused(1, "private"), Assembly(KEY, context.seal), NOW)
    parents.name_parents((contact("ann"),), "home")
    assert parents.request_next(0, NOW)
    assert len(sent(context)) == 2


def test_one_that_is_not_needed_is_told_so_once() -> None:
    context, parents = office()
    parents.name_parents((contact("ann"),), "home")
    assert parents.request_next(0, NOW)
    ((_, get),) = sent(context)
    assert isinstance(get, peer.Get)
    parents.cancel_parent()
    assert sent(context) == [("ann", peer.Cancel(get.request))]
    parents.cancel_parent()
    assert sent(context) == []
    parents.name_parents((contact("bob"),), "home")
    assert parents.request_next(0, NOW)
    sent(context)
    parents.parent_gave_all()
    parents.cancel_parent()
    assert sent(context) == []


def test_one_without_a_link_is_dialled() -> None:
    context, parents = office()
    parents.name_parents((contact("cyd"),), "home")
    assert parents.request_next(0, NOW)
    assert context.out == [events.Dial(contact("cyd"))]
    context.link_opened(contact("cyd"), "lan", 1.0)
    assert [device for device, _ in sent(context)] == ["cyd"]


def test_one_that_is_too_slow_is_told_what_came_if_it_began() -> None:
    context, parents = office()
    parents.name_parents((contact("ann"), contact("bob")), "home")
    assert parents.request_next(0, NOW)
    ((_, get),) = sent(context)
    assert isinstance(get, peer.Get)
    source, assembly = fetched(seal("ann", SEALS), bytes(200_000), key=KEY), Assembly(KEY, context.seal)
    for after_s, voucher in ((0.1, source.vouchers[0]), (0.5, source.vouchers[0])):
        assert parents.take_message(peer.Vouched(get.request, voucher), assembly, NOW + after_s)
    parents.leave_slow_parent(3, NOW + 1.1)
    assert sent(context) == [("ann", peer.Cancel(get.request, 3, 1_000))]
    assert (parents.current, parents.left_as_slow) == (None, "ann")
    assert parents.request_next(0, NOW)
    sent(context)
    parents.leave_slow_parent(3, NOW + 9.0)  # it never said a word: its uplink may be as good as any
    assert sent(context) == [("bob", peer.Cancel(get.request + 1))]
    parents.leave_slow_parent(3, NOW)
    assert sent(context) == []


def test_one_in_reserve_leads_with_what_is_not_here_yet() -> None:
    _, parents = office()
    body = bytes(3 * PIECE_BYTES)
    source, here = fetched(seal("ann", SEALS), body), fetched(seal("me", SEALS), body)
    here.pieces = here.pieces[:2]
    (voucher,) = source.vouchers
    known = msgspec.structs.replace(voucher, hashes=voucher.hashes[:64])
    assert parents.leads(peer.Vouched(1, voucher), here)
    assert not parents.leads(peer.Vouched(1, known), here), "it can vouch for what it had from here"
    assert parents.leads(peer.Piece(1, 2, source.pieces[2]), here)
    part = peer.Part(1, 0, b"ab", PartVoucher("ann", KEY, "g1", 2, 2, bytes(32), None, bytes(64), b""))
    assert parents.leads(part, here)
    assert not parents.leads(part, source)


def test_where_its_bytes_come_from_and_whether_a_link_to_it_stands() -> None:
    context, parents = office()
    assert (parents.source(), parents.is_linked()) == (None, False)
    context.membership.tracker_said(STREAM, (), ((contact("far"), "so"),))
    parents.name_parents((contact("ann"), contact("far")), "home")
    assert parents.request_next(0, NOW)
    assert (parents.source(), parents.is_linked()) == ("lan", True)
    parents.parent_failed()
    assert parents.request_next(0, NOW)
    assert (parents.current, parents.source(), parents.is_linked()) == ("far", None, False)


def test_who_was_missed_counts_as_a_sign_of_isolation() -> None:
    context, parents = office()
    parents.name_parents((contact("ann"),), "home")
    assert parents.request_next(0, NOW)
    parents.missed()
    assert context.membership.isolation.evidence == 1
