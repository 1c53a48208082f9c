"""What is here of a piece that is not whole, as a timetable, and what a parent's part must be."""

from hashlib import sha256

import msgspec
import pytest

from ecdn_proxy.core.download.assembly import Assembly, Contradiction
from ecdn_proxy.core.download.open_piece import AGE_MAX_S, QUIET_S, SPACING_S, OpenPiece
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PIECE_BYTES, PartVoucher
from tests.core.makers import KEY, head, seal
from tests.core.world import UTC, Seal, Seals, body_of, key_of

HEAD = head(None, etag=None)
BODY = body_of(1, 3 * PIECE_BYTES)


def word(signer: Seal, data: bytes, *, index: int = 0, generation: str = "g", key: str = KEY) -> PartVoucher:
    """Any claim of a part, honestly signed."""
    made = OpenPiece(key, signer)
    made.sign(index, data, generation, HEAD, 0.0)
    assert made.voucher is not None
    return made.voucher


def growing(signer: Seal, data: bytes) -> Assembly:
    """A fetcher that has so much of a body whose length nobody knows, all of it signed."""
    made = Assembly(KEY, signer)
    made.begin_origin(HEAD, 0, UTC)
    made.take_origin(data, 0.0)
    made.sign_due(1.0)
    return made


def pass_on(source: Assembly, to: Assembly) -> None:
    """All that the one has, to one that has nothing."""
    for voucher in source.vouchers:
        to.take_voucher(voucher)
    for index, piece in enumerate(source.pieces):
        to.take_piece(index, piece)
    assert source.open_piece.voucher is not None
    to.take_part(0, bytes(source.open_piece.data), source.open_piece.voucher)


def said(assembly: Assembly) -> tuple[int, int] | None:
    """Of which piece, and of how many of its bytes, something is said."""
    voucher = assembly.open_piece.voucher
    return None if voucher is None else (voucher.index, voucher.size_bytes)


class Office:
    def __init__(self) -> None:
        seals = Seals()
        self.me, self.ann, self.bob = (seal(device, seals) for device in ("me", "ann", "bob"))


@pytest.fixture
def office() -> Office:
    return Office()


# ---- when what came goes on


def test_what_came_goes_on_when_nothing_more_comes_for_a_moment(office: Office) -> None:
    part = OpenPiece(KEY, office.me)
    part.came(1.0)
    assert part.settles_at() == 1.0 + QUIET_S
    part.came(1.01)
    assert part.settles_at() == pytest.approx(1.01 + QUIET_S)
    part.sign(0, b"chunk", "g", HEAD, 1.03)
    part.came(1.031)
    assert part.settles_at() == pytest.approx(1.03 + SPACING_S), "not another at once"


def test_it_goes_on_after_a_tenth_of_a_second_though_more_comes_all_the_time(office: Office) -> None:
    part = OpenPiece(KEY, office.me)
    for hundredth in range(100, 112):
        part.came(hundredth / 100)
    assert part.settles_at() == pytest.approx(1.0 + AGE_MAX_S)


def test_the_same_bytes_are_not_signed_twice(office: Office) -> None:
    part = OpenPiece(KEY, office.me)
    part.sign(0, b"chunk", "g", HEAD, 1.0)
    first = part.voucher
    part.came(2.0)
    part.sign(0, b"chunk", "g", HEAD, 2.1)
    assert part.voucher is first
    part.sign(1, b"", "g", HEAD, 3.0)
    assert part.voucher is first, "of no bytes nothing is said"


def test_the_head_goes_along_only_while_no_piece_is_whole(office: Office) -> None:
    assert word(office.me, b"x").head == HEAD
    assert word(office.me, b"x", index=1).head is None


# ---- at the fetcher


def test_a_fetcher_signs_its_whole_pieces_and_the_rest_when_the_chunk_has_ended(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    mine.begin_origin(HEAD, 0, UTC)
    mine.take_origin(BODY[: PIECE_BYTES + 5_000], 1.0)
    assert mine.vouched == 0
    assert mine.sign_due_at(0.1) == 1.0 + QUIET_S
    mine.sign_due(1.0 + QUIET_S)
    assert mine.vouched == 1
    assert said(mine) == (1, 5_000)
    assert bytes(mine.open_piece.data) == BODY[PIECE_BYTES:][:5_000]
    mine.take_origin(BODY[PIECE_BYTES + 5_000 : 2 * PIECE_BYTES], 2.0)
    assert said(mine) is None, "the piece is whole"
    mine.take_origin(BODY[2 * PIECE_BYTES :], 3.0)
    mine.end_origin(3.0)
    assert mine.body() == BODY


def test_of_a_body_whose_length_is_known_no_part_is_signed(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    mine.begin_origin(head(len(BODY)), 0, UTC)
    mine.take_origin(BODY[:40_000], 1.0)
    assert mine.sign_due_at(0.1) == pytest.approx(1.1), "its whole piece waits for its batch as ever"
    mine.sign_due(1.1)
    assert mine.open_piece.voucher is None
    assert mine.sign_due_at(0.1) is None


def test_what_a_fetch_that_was_given_up_had_of_a_piece_is_given_to_nobody(office: Office) -> None:
    mine = growing(office.me, BODY[:5_000])
    mine.stop_origin()
    assert mine.open_piece.voucher is None
    assert mine.available_bytes == 0


# ---- from a parent


def test_parts_are_given_to_viewers_and_on_and_the_whole_piece_takes_their_place(office: Office) -> None:
    source = growing(office.ann, BODY[: PIECE_BYTES + 5_000])
    relay, mine = Assembly(KEY, office.bob), Assembly(KEY, office.me)
    pass_on(source, relay)
    pass_on(relay, mine)
    assert mine.available_bytes == PIECE_BYTES + 5_000
    assert b"".join(mine.read(100)) == BODY[100 : PIECE_BYTES + 5_000]
    source.take_origin(BODY[PIECE_BYTES + 5_000 :][:1_000], 2.0)
    source.sign_due(3.0)
    assert source.open_piece.voucher is not None
    mine.take_part(5_000, BODY[PIECE_BYTES + 5_000 :][:1_000], source.open_piece.voucher)
    assert b"".join(mine.read(0)) == BODY[: PIECE_BYTES + 6_000]
    source.take_origin(BODY[PIECE_BYTES + 6_000 :], 4.0)
    source.end_origin(4.0)
    for voucher in source.vouchers[1:]:
        mine.take_voucher(voucher)
    for index in (1, 2):
        mine.take_piece(index, source.pieces[index])
    assert mine.complete
    assert mine.body() == BODY


def test_the_first_part_brings_the_head(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    mine.take_part(0, b"chunk", word(office.ann, b"chunk"))
    assert mine.head == HEAD
    assert mine.available_bytes == 5


def test_a_part_of_another_fetch_with_the_same_bytes_goes_on(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    mine.take_part(0, BODY[:5_000], word(office.ann, BODY[:5_000]))
    mine.take_part(0, BODY[:3_000], word(office.bob, BODY[:3_000], generation="h"))
    mine.take_part(3_000, BODY[3_000:6_000], word(office.bob, BODY[:6_000], generation="h"))
    assert b"".join(mine.read(0)) == BODY[:6_000]


def test_a_part_of_another_fetch_with_other_bytes_is_another_version(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    mine.take_part(0, BODY[:5_000], word(office.ann, BODY[:5_000]))
    with pytest.raises(Contradiction, match="another version"):
        mine.take_part(0, bytes(3_000), word(office.bob, bytes(3_000), generation="h"))
    assert mine.available_bytes == 0, "nobody gets it"


def test_a_piece_that_does_not_begin_as_its_part_did_is_another_version(office: Office) -> None:
    """The fetcher signed both: it was sent two versions, and the viewer had the beginning of one."""
    mine = Assembly(KEY, office.me)
    source = growing(office.ann, BODY)
    mine.take_part(0, b"\0" * 100, word(office.ann, b"\0" * 100, generation=source.generation))
    mine.take_voucher(source.vouchers[0])
    with pytest.raises(Contradiction):
        mine.take_piece(0, source.pieces[0])


def test_a_part_that_goes_on_with_a_version_that_is_not_here_is_refused(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    pass_on(growing(office.ann, BODY[: PIECE_BYTES + 1]), mine)
    with pytest.raises(Contradiction):
        mine.take_part(0, b"x", word(office.bob, b"x", index=1, generation="other"))


def test_an_own_fetch_must_begin_with_what_viewers_had_of_a_part(office: Office) -> None:
    for own, right in ((BODY, True), (bytes(len(BODY)), False)):
        mine = Assembly(KEY, office.me)
        mine.take_part(0, BODY[:5_000], word(office.ann, BODY[:5_000]))
        mine.begin_origin(head(len(BODY)), 0, UTC)
        if right:
            mine.take_origin(own, 0.0)
            mine.end_origin(0.0)
            assert mine.body() == BODY
        else:
            with pytest.raises(Contradiction):
                mine.take_origin(own, 0.0)


def test_what_a_peer_may_not_send(office: Office) -> None:
    good = word(office.ann, b"chunk")
    foreign = msgspec.structs.replace(good, signer="bob", certificate=office.bob.certificate())
    longer = word(office.ann, b"chunks")
    for offset, data, voucher in (
        (0, b"chunk", word(office.ann, b"chunk", key=key_of(9))),
        (0, b"chunk", word(office.ann, b"chunk", index=1)),
        (0, b"chunk", foreign),
        (0, b"chunK", good),
        (1, b"hunk", good),
        (0, b"chun", good),
        (0, b"chunk", longer),
        (0, b"chunk", msgspec.structs.replace(good, hash=sha256(b"chunK").digest())),
    ):
        mine = Assembly(KEY, office.me)
        with pytest.raises(PeerMisbehaved):
            mine.take_part(offset, data, voucher)
        assert mine.available_bytes == 0


def test_a_part_beyond_the_segments_end_is_refused(office: Office) -> None:
    mine = Assembly(KEY, office.me)
    source = growing(office.ann, BODY[:PIECE_BYTES])
    source.end_origin(2.0)
    for voucher in source.vouchers:
        mine.take_voucher(voucher)
    mine.take_piece(0, source.pieces[0])
    with pytest.raises(PeerMisbehaved, match="beyond"):
        mine.take_part(0, b"x", word(office.ann, b"x", index=1, generation=source.generation))


def test_a_first_part_without_a_head_is_refused(office: Office) -> None:
    made = OpenPiece(KEY, office.ann)
    made.sign(0, b"x", "g", None, 0.0)
    assert made.voucher is not None
    with pytest.raises(PeerMisbehaved, match="head"):
        Assembly(KEY, office.me).take_part(0, b"x", made.voucher)
