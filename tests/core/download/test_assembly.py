"""A segment arrives whole, once, in order, and unmixed, whoever brings its parts."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.download.assembly import Assembly, Contradiction, piece_count
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PIECE_BYTES, Voucher
from tests.core.makers import KEY, fetched, hash_of, head, pieces_of, seal, signed, voucher
from tests.core.world import UTC, Seal, Seals, key_of

SIZES = [0, 1, 32_767, 32_768, 32_769, 8 * PIECE_BYTES - 1, 8 * PIECE_BYTES, 8 * PIECE_BYTES + 1, 24 * PIECE_BYTES]


def bytes_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


class Office:
    """Who fetches, who relays, who reads; all know each other's keys."""

    def __init__(self) -> None:
        self.seals = Seals()
        self.ann, self.bob, self.eve, self.me = (Seal(self.seals, name) for name in ("ann", "bob", "eve", "me"))


@pytest.fixture
def office() -> Office:
    return Office()


def feed(assembly: Assembly, source: Assembly, upto: int | None = None) -> None:
    """What a parent that has `source` sends."""
    for each in source.vouchers:
        assembly.take_voucher(each)
    for index in range(assembly.next_piece(), len(source.pieces) if upto is None else upto):
        assembly.take_piece(index, source.pieces[index])


# ---- whatever the cut


@pytest.mark.parametrize("known", [True, False], ids=["with a length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_a_fetched_segment_is_the_origins_and_so_is_its_copy(office: Office, size: int, known: bool) -> None:
    body = bytes_of(size)
    source = fetched(office.ann, body, known=known)
    copy = Assembly(KEY, office.me)
    feed(copy, source)
    for it in (source, copy):
        assert it.complete
        assert it.body() == body
        assert it.total_bytes == size
        assert it.vouched == piece_count(size)
        assert b"".join(it.read(0)) == body


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SIZES), st.booleans(), st.lists(st.integers(1, 120_000), max_size=12), st.integers(0, 9))
def test_a_viewer_reads_every_byte_once_however_the_origin_cuts(
    size: int, known: bool, cuts: list[int], ask: int
) -> None:
    body, assembly = bytes_of(size), Assembly(KEY, seal("me"))
    assembly.begin_origin(head(size if known else None), 0, UTC)
    had, at = bytearray(), 0
    for step, cut in enumerate([*cuts, size]):
        assembly.take_origin(body[at : at + cut], 0.0)
        at += len(body[at : at + cut])
        if step % (ask + 1) == 0:
            had += b"".join(assembly.read(len(had)))
            assert len(had) == assembly.available_bytes == at
    assembly.end_origin(1.0)
    had += b"".join(assembly.read(len(had)))
    assert bytes(had) == body
    assert assembly.complete


@settings(max_examples=80, deadline=None)
@given(data=st.data(), size=st.sampled_from([1, 32_769, 5 * PIECE_BYTES, 8 * PIECE_BYTES, 9 * PIECE_BYTES + 7]))
def test_own_fetches_and_parents_in_any_order_give_the_origins_bytes_once(data: st.DataObject, size: int) -> None:
    """Each source breaks off wherever it likes; the next goes on with what is missing, and nothing comes twice."""
    office, body = Office(), bytes_of(size)
    parents = [fetched(office.ann, body), fetched(office.bob, body)]
    mine, had = Assembly(KEY, office.me), bytearray()

    def look() -> None:
        had.extend(b"".join(mine.read(len(had))))
        assert len(had) == max(mine.available_bytes, len(had))
        assert body.startswith(bytes(had))

    for _ in range(data.draw(st.integers(0, 5))):
        if mine.complete:
            break
        if data.draw(st.booleans()):
            feed(
                mine, data.draw(st.sampled_from(parents)), data.draw(st.integers(mine.next_piece(), piece_count(size)))
            )
        else:
            again = data.draw(st.booleans()) or not mine.resumable
            first = 0 if again else mine.next_piece() * PIECE_BYTES
            mine.begin_origin(head(size), first, UTC)
            past_overlap = min(size, mine.next_piece() * PIECE_BYTES) - first
            part = body[first : first + data.draw(st.integers(past_overlap, size - first))]
            for at in range(0, len(part), 50_000):
                mine.take_origin(part[at : at + 50_000], 0.0)
                look()
            mine.stop_origin()
        look()
    if not mine.complete:
        first = mine.next_piece() * PIECE_BYTES if mine.resumable else 0
        mine.begin_origin(head(size), first, UTC)
        mine.take_origin(body[first:], 0.0)
        mine.end_origin(0.0)
    look()
    assert mine.body() == bytes(had) == body
    reader = Assembly(KEY, office.eve)
    feed(reader, mine)
    assert reader.body() == body


# ---- what may be relayed, and when


def test_a_batch_is_signed_when_full_or_after_its_wait(office: Office) -> None:
    body = bytes_of(20 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    mine.begin_origin(head(len(body)), 0, UTC)
    assert mine.sign_due_at(0.1) is None
    mine.take_origin(body[: 3 * PIECE_BYTES], 5.0)
    assert (mine.vouched, len(mine.vouchers)) == (0, 0)
    assert mine.sign_due_at(0.1) == pytest.approx(5.1)
    mine.sign_now()
    assert (mine.vouched, len(mine.vouchers), mine.sign_due_at(0.1)) == (3, 1, None)
    mine.take_origin(body[3 * PIECE_BYTES : 12 * PIECE_BYTES], 6.0)
    assert (mine.vouched, len(mine.vouchers)) == (11, 2)
    assert mine.sign_due_at(0.1) == pytest.approx(6.1)
    mine.sign_now()
    mine.sign_now()
    assert (mine.vouched, len(mine.vouchers)) == (12, 3)


def test_a_relay_gives_on_only_what_it_has(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    feed(mine, fetched(office.ann, bytes_of(5 * PIECE_BYTES)), upto=2)
    assert (mine.vouched, mine.next_piece(), mine.complete) == (2, 2, False)
    with pytest.raises(Impossible):
        mine.body()


def test_a_length_that_is_not_known_is_told_at_the_end_even_after_full_batches(office: Office) -> None:
    source = fetched(office.ann, bytes_of(8 * PIECE_BYTES), known=False)
    assert [(it.count, it.total_bytes) for it in source.vouchers] == [(8, None), (0, 8 * PIECE_BYTES)]
    mine = Assembly(KEY, office.me)
    feed(mine, source)
    assert mine.complete
    mine.take_voucher(source.vouchers[1])
    assert mine.complete


def test_only_a_strong_validator_with_a_length_lets_the_rest_be_asked_for(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    assert not mine.resumable
    for etag, total, resumable in [('"a"', 10, True), ('W/"a"', 10, False), (None, 10, False), ('"a"', None, False)]:
        one = Assembly(KEY, office.me)
        one.begin_origin(head(total, etag=etag), 0, UTC)
        assert one.resumable is resumable


def test_two_fetchers_of_one_version_speak_of_one_generation(office: Office) -> None:
    body = bytes_of(PIECE_BYTES + 1)
    ann, bob = fetched(office.ann, body), fetched(office.bob, body)
    assert ann.generation == bob.generation
    assert fetched(office.ann, body, etag=None).generation != fetched(office.bob, body, etag=None).generation


# ---- a peer that does what it must not


def first_voucher(office: Office, size: int = 3 * PIECE_BYTES) -> Voucher:
    return fetched(office.ann, bytes_of(size)).vouchers[0]


def misbehaves(mine: Assembly, bad: Voucher, about: str) -> None:
    with pytest.raises(PeerMisbehaved, match=about):
        mine.take_voucher(bad)


def test_vouchers_that_are_not_what_was_asked_for(office: Office) -> None:
    good = first_voucher(office)
    mine = Assembly(KEY, office.me)
    misbehaves(mine, msgspec.structs.replace(good, key=key_of(2)), "another segment")
    misbehaves(mine, msgspec.structs.replace(good, hashes=good.hashes[:-1]), "another segment")
    misbehaves(mine, msgspec.structs.replace(good, hashes=bytes(96)), "signature")
    misbehaves(mine, msgspec.structs.replace(good, signer="eve"), "signature|certificate")
    misbehaves(mine, msgspec.structs.replace(good, signer="nobody"), "unknown signer")
    misbehaves(mine, msgspec.structs.replace(good, first=1), "before that for 0")
    misbehaves(mine, voucher(office.eve, [bytes(32)]), "without the segment's head")
    misbehaves(mine, voucher(office.eve, [bytes(32)] * 2, head=head(PIECE_BYTES)), "more pieces")
    assert mine.next_piece() == 0


def test_pieces_that_are_not_what_was_vouched_for(office: Office) -> None:
    body = bytes_of(2 * PIECE_BYTES + 10)
    source, pieces = fetched(office.ann, body), pieces_of(body)
    mine = Assembly(KEY, office.me)
    for index, data, about in [(0, pieces[0], "before its voucher"), (1, pieces[1], "when 0 was next")]:
        with pytest.raises(PeerMisbehaved, match=about):
            mine.take_piece(index, data)
    mine.take_voucher(source.vouchers[0])
    for data, about in [
        (pieces[0][:-1], "has 32767 bytes"),
        (pieces[1], "does not match"),
        (pieces[0][:-1] + b"\0" * (pieces[0][-1] != 0) + b"\1" * (pieces[0][-1] == 0), "does not match"),
    ]:
        with pytest.raises(PeerMisbehaved, match=about):
            mine.take_piece(0, data)
    mine.take_piece(0, pieces[0])
    with pytest.raises(PeerMisbehaved, match="when 1 was next"):
        mine.take_piece(0, pieces[0])
    mine.take_piece(1, pieces[1])
    with pytest.raises(PeerMisbehaved, match="the last piece has 9 bytes"):
        mine.take_piece(2, pieces[2][:-1])
    mine.take_piece(2, pieces[2])
    assert mine.body() == body


# ---- two versions


def test_vouchers_that_differ_are_a_contradiction_and_nobodys_fault(office: Office) -> None:
    one = fetched(office.ann, bytes_of(3 * PIECE_BYTES, seed=1))
    two = fetched(office.bob, bytes_of(3 * PIECE_BYTES, seed=2), etag='"v2"')
    mine = Assembly(KEY, office.me)
    feed(mine, one, upto=1)
    with pytest.raises(Contradiction, match="different bytes"):
        mine.take_voucher(two.vouchers[0])


def test_vouchers_that_differ_in_length_are_a_contradiction(office: Office) -> None:
    body = bytes_of(9 * PIECE_BYTES)
    one = fetched(office.ann, body)
    mine = Assembly(KEY, office.me)
    feed(mine, one, upto=8)
    generation, last = mine.generation, hash_of(body[-PIECE_BYTES:])
    longer = voucher(office.bob, [last], first=8, total=1 + 9 * PIECE_BYTES, generation=generation)
    with pytest.raises(Contradiction, match="length"):
        mine.take_voucher(msgspec.structs.replace(longer))


def test_before_any_piece_the_newer_version_is_taken_whole(office: Office) -> None:
    one = fetched(office.ann, bytes_of(3 * PIECE_BYTES, seed=1))
    body = bytes_of(2 * PIECE_BYTES, seed=2)
    two = fetched(office.bob, body, etag='"v2"')
    mine = Assembly(KEY, office.me)
    mine.take_voucher(one.vouchers[0])
    feed(mine, two)
    assert mine.body() == body
    assert mine.head is not None
    assert mine.head.etag == '"v2"'


def test_a_version_that_a_viewer_has_been_told_of_is_not_replaced(office: Office) -> None:
    one = fetched(office.ann, bytes_of(3 * PIECE_BYTES, seed=1))
    two = fetched(office.bob, bytes_of(2 * PIECE_BYTES, seed=2), etag='"v2"')
    mine = Assembly(KEY, office.me)
    mine.take_voucher(one.vouchers[0])
    mine.announced = True
    with pytest.raises(Contradiction, match="another version"):
        mine.take_voucher(two.vouchers[0])
    same = voucher(office.bob, [bytes(32)], head=head(3 * PIECE_BYTES), generation="other")
    mine.take_voucher(same)
    headless = voucher(office.bob, [bytes(32)], generation="third")
    misbehaves(mine, headless, "without the segment's head")


def test_the_origin_has_another_version_by_now(office: Office) -> None:
    body = bytes_of(4 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    feed(mine, fetched(office.ann, body), upto=2)
    with pytest.raises(Contradiction, match="another version"):
        mine.begin_origin(head(len(body), etag='"v2"'), 2 * PIECE_BYTES, UTC)
    with pytest.raises(Contradiction, match="length differs"):
        mine.begin_origin(head(len(body) + 1), 0, UTC)


@pytest.mark.parametrize("first", [0, 1], ids=["seen piece", "second seen piece"])
def test_an_own_fetch_is_held_against_what_neighbours_vouched_for(office: Office, first: int) -> None:
    body = bytes_of(4 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    feed(mine, fetched(office.ann, body), upto=2)
    mine.begin_origin(head(len(body)), 0, UTC)
    wrong = bytearray(body)
    wrong[first * PIECE_BYTES] ^= 1
    with pytest.raises(Contradiction, match="neighbour vouched"):
        mine.take_origin(bytes(wrong), 0.0)


def test_an_own_fetch_that_starts_anew_shows_nothing_twice(office: Office) -> None:
    """Without a strong validator the whole is asked for again; what is here already is compared, not delivered."""
    body = bytes_of(4 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    mine.begin_origin(head(None, etag=None), 0, UTC)
    mine.take_origin(body[: 2 * PIECE_BYTES + 5], 0.0)
    assert mine.available_bytes == 2 * PIECE_BYTES + 5
    mine.stop_origin()
    mine.begin_origin(head(None, etag=None), 0, UTC)
    mine.take_origin(body[: PIECE_BYTES + 9], 0.0)
    assert mine.available_bytes == 2 * PIECE_BYTES
    assert not mine.complete
    mine.take_origin(body[PIECE_BYTES + 9 :], 0.0)
    mine.end_origin(0.0)
    assert mine.body() == body


def test_a_part_of_a_piece_that_a_viewer_saw_must_begin_the_next_version_of_it(office: Office) -> None:
    body = bytes_of(3 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    mine.begin_origin(head(len(body), etag=None), 0, UTC)
    mine.take_origin(body[:100], 0.0)
    mine.stop_origin()
    other = fetched(office.ann, b"\0" * len(body), etag=None)
    mine.take_voucher(other.vouchers[0])
    with pytest.raises(Contradiction, match="another version"):
        mine.take_piece(0, other.pieces[0])


def test_a_refetch_that_breaks_off_in_what_is_here_does_no_harm(office: Office) -> None:
    body = bytes_of(PIECE_BYTES + 1)
    mine = Assembly(KEY, office.me)
    feed(mine, fetched(office.ann, body, etag=None), upto=1)
    mine.begin_origin(head(len(body), etag=None), 0, UTC)
    mine.take_origin(body[:1], 0.0)
    mine.stop_origin()
    mine.begin_origin(head(len(body), etag=None), 0, UTC)
    mine.take_origin(body, 0.0)
    mine.end_origin(0.0)
    assert mine.body() == body


def test_a_viewer_that_saw_part_of_a_piece_never_gets_another_versions_rest(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    mine.begin_origin(head(PIECE_BYTES, etag=None), 0, UTC)
    mine.take_origin(b"a" * 100, 0.0)
    mine.stop_origin()
    mine.begin_origin(head(PIECE_BYTES, etag=None), 0, UTC)
    with pytest.raises(Contradiction):
        mine.take_origin(b"b" * 20_000, 0.0)


def test_an_origin_that_does_not_keep_its_word(office: Office) -> None:
    body = bytes_of(2 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    mine.begin_origin(head(len(body)), 0, UTC)
    with pytest.raises(Contradiction, match="more bytes"):
        mine.take_origin(body + b"x", 0.0)
    short = Assembly(KEY, office.me)
    short.begin_origin(head(len(body)), 0, UTC)
    short.take_origin(body[:-1], 0.0)
    with pytest.raises(Contradiction, match="shorter"):
        short.end_origin(0.0)
    anew = Assembly(KEY, office.me)
    anew.begin_origin(head(None), 0, UTC)
    anew.take_origin(body, 0.0)
    anew.stop_origin()
    anew.begin_origin(head(None), 0, UTC)
    anew.take_origin(body[:PIECE_BYTES], 0.0)
    with pytest.raises(Contradiction, match="shorter than what is here"):
        anew.end_origin(0.0)


def test_a_fetch_that_nobody_could_have_asked_for_is_our_fault(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    for first in (1, PIECE_BYTES):
        with pytest.raises(Impossible):
            mine.begin_origin(head(3 * PIECE_BYTES), first, UTC)


def test_what_a_neighbour_vouched_for_and_nobody_has_had_does_not_stop_the_own_fetch(office: Office) -> None:
    body = bytes_of(4 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    feed(mine, fetched(office.ann, body), upto=2)
    mine.begin_origin(head(len(body)), 0, UTC)
    other = body[: 2 * PIECE_BYTES] + bytes(2 * PIECE_BYTES)
    mine.take_origin(other, 0.0)
    mine.end_origin(0.0)
    assert mine.body() == other
    assert "neighbour vouched" in mine.disputed
    assert not mine.resumable


@pytest.mark.parametrize("pieces", [3, 5])
def test_another_length_than_neighbours_vouched_for_stops_nobody_who_was_not_told(office: Office, pieces: int) -> None:
    """A body that is made while it is sent has no length in its head; a fetch that was ended early said a wrong one."""
    body = bytes_of(6 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    feed(mine, fetched(office.ann, body[: 4 * PIECE_BYTES], known=False, etag=None), upto=2)
    assert mine.total_bytes == 4 * PIECE_BYTES
    mine.begin_origin(head(None, etag=None), 0, UTC)
    mine.take_origin(body[: pieces * PIECE_BYTES], 0.0)
    mine.end_origin(0.0)
    assert mine.body() == body[: pieces * PIECE_BYTES]
    assert "length" in mine.disputed or "shorter" in mine.disputed


def test_an_origins_body_that_ends_before_what_was_vouched_for(office: Office) -> None:
    body = bytes_of(8 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    source = Assembly(KEY, office.ann)
    source.begin_origin(head(None), 0, UTC)
    source.take_origin(body, 0.0)
    feed(mine, source, upto=2)
    mine.begin_origin(head(None), 0, UTC)
    mine.take_origin(body[: 3 * PIECE_BYTES], 0.0)
    mine.end_origin(0.0)
    assert mine.complete
    assert mine.body() == body[: 3 * PIECE_BYTES]
    assert "shorter" in mine.disputed, "nobody had those pieces; the own fetch counts, and is shared with nobody"


def test_a_length_that_does_not_fit_the_pieces_that_are_here_is_refused(office: Office) -> None:
    body = bytes_of(2 * PIECE_BYTES)
    mine = Assembly(KEY, office.me)
    feed(mine, fetched(office.ann, body, known=False, etag=None), upto=0)
    source = Assembly(KEY, office.ann)
    source.begin_origin(head(None, etag=None), 0, UTC)
    source.take_origin(body, 0.0)
    source.sign_now()
    short = Assembly(KEY, office.bob)
    feed(short, source, upto=2)
    lie = voucher(office.ann, [], first=2, total=PIECE_BYTES + 5, generation=source.generation)
    with pytest.raises(PeerMisbehaved, match="a length of"):
        short.take_voucher(lie)


def test_a_relay_cannot_splice_two_honest_versions(office: Office) -> None:
    """Both halves are honestly signed, of one length, and never belonged together."""
    one = fetched(office.ann, bytes_of(16 * PIECE_BYTES, seed=1))
    two = fetched(office.bob, bytes_of(16 * PIECE_BYTES, seed=2), etag='"v2"')
    mine = Assembly(KEY, office.me)
    mine.take_voucher(one.vouchers[0])
    for index in range(8):
        mine.take_piece(index, one.pieces[index])
    with pytest.raises((Contradiction, PeerMisbehaved)):
        mine.take_voucher(two.vouchers[1])


def test_a_short_piece_is_the_last(office: Office) -> None:
    """Its signer says otherwise: positions after it would be wrong for everybody."""
    pieces = [b"short", bytes(PIECE_BYTES)]
    lie = voucher(office.eve, [hash_of(it) for it in pieces], head=head(None))
    mine = Assembly(KEY, office.me)
    mine.take_voucher(lie)
    mine.take_piece(0, pieces[0])
    with pytest.raises(PeerMisbehaved):
        mine.take_piece(1, pieces[1])


def test_a_claim_under_another_name_is_no_claim(office: Office) -> None:
    good = first_voucher(office)
    relabelled = signed(office.eve, good)
    mine = Assembly(KEY, office.me)
    misbehaves(mine, msgspec.structs.replace(relabelled, signer="ann", certificate=b"ann"), "signature")
