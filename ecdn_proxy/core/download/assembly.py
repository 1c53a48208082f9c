"""A segment as it arrives: pieces in order, each checked before anybody gets it.

    Assembly       pieces, vouchers, head; filled by one origin fetch or one parent at a time
    Contradiction  two honest sources differ: the viewer must not get a mixture

Bytes from the origin (`take_origin`) go to this machine's viewers at once, and to others when their piece is hashed and
signed. A piece from a parent (`take_piece`) is released to nobody before it has been compared with its hash, which the
fetcher signed. So is a part of a piece (`take_part`), of a segment that is made while it is sent.
"""

import math
from collections.abc import Iterator
from hashlib import sha256

import msgspec

from ecdn_proxy.core.download.open_piece import OpenPiece
from ecdn_proxy.core.http.cacheability import is_strong
from ecdn_proxy.core.http.cross_origin import joined
from ecdn_proxy.core.http.freshness import CopyAge
from ecdn_proxy.core.seal import Seal
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant, earliest, impossible
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import (
    BATCH_PIECES_MAX,
    PIECE_BYTES,
    SEGMENT_BYTES_MAX,
    PartVoucher,
    SegmentHead,
    Voucher,
)


class Contradiction(Exception):
    """Bytes or hashes differ from what this segment already holds; nobody is banned for it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def piece_count(total_bytes: int) -> int:
    """How many pieces a segment of so many bytes has."""
    return -(-total_bytes // PIECE_BYTES)


def _confirms(voucher: Voucher) -> bool:
    """Whether a voucher speaks for no piece, and tells the head that the origin's 304 gave to pieces vouched before."""
    return not voucher.first and not voucher.count and voucher.head is not None


class Assembly:
    """One segment's bytes from first to last, with the vouchers that make them worth relaying."""

    def __init__(self, key: str, seal: Seal) -> None:
        self.key = key
        self._seal = seal
        self.head: SegmentHead | None = None
        self.total_bytes: int | None = None
        self.grew = False
        """Its length was not known from the beginning: it was made while it was sent."""
        self.generation = ""
        self.pieces: list[bytes] = []
        self.vouchers: list[Voucher] = []
        self._hashes: list[bytes] = []
        """Of pieces, in order; a parent's vouchers may run ahead of the pieces that are here."""
        self._unsigned = 0
        """How many of the last hashes no voucher of this machine covers yet."""
        self._unsigned_since: Instant | None = None
        self._tail = bytearray()
        """The own fetch's bytes after its last whole piece."""
        self.open_piece = OpenPiece(key, seal)
        """What may be given to others of the piece after the last whole one, and what came of it from a parent."""
        self._overlap: list[bytes] = []
        """Pieces that are here and that the own fetch brings once more: compared, not taken."""
        self._claimed: list[bytes] = []
        """Hashes that a neighbour vouched for and that the own fetch must now meet."""
        self._origin_at = 0
        """The next byte of the own fetch, counted from the segment's beginning."""
        self._loose = b""
        """The part of a piece that viewers may have had from a fetch that was given up."""
        self._agrees: set[str] = set()
        """Generations whose hashes have been compared from the first piece on."""
        self.origin_kbps = 0
        """Kilobits a second at which the origin gives the segment to whoever fetches it; 0 while that is not known."""
        self.disputed = ""
        """Why this machine's own fetch alone counts, whatever neighbours say; "" while sources agree."""
        self.announced = False
        """A viewer has been told the head: another version can no longer take this one's place."""
        self.age = CopyAge(-math.inf, -math.inf)
        """When the origin made what is here, and when it last spoke of it."""
        self.is_arriving = False
        """The origin is still sending it, here or to whom it comes from: it is as new as can be."""

    def hold(self, stored: StoredSegment, age: CopyAge) -> None:
        """Begin with a whole copy that was kept: the origin may confirm it, and neighbours may have the same."""
        self.head, self.total_bytes, self.age = stored.head, len(stored.body), age
        self.origin_kbps = stored.origin_kbps
        self.pieces = [stored.body[at : at + PIECE_BYTES] for at in range(0, len(stored.body), PIECE_BYTES)]
        for voucher in stored.vouchers:
            if _confirms(voucher) and voucher.head != stored.head:
                continue  # a later one took its place
            self.vouchers.append(voucher)
            self._agrees.add(voucher.generation)
            known = len(self._hashes) - voucher.first
            self._hashes += [voucher.hash_of(voucher.first + at) for at in range(known, voucher.count)]
        self.generation = stored.vouchers[0].generation if stored.vouchers else ""

    def note_age(self, age: CopyAge, *, is_arriving: bool, date_utc: float) -> None:
        """The neighbour that gives the copy says how old it is; `date_utc` is the same by this machine's calendar."""
        self.age, self.is_arriving = age, is_arriving
        if self.head is not None:
            self.head = msgspec.structs.replace(self.head, date_utc=date_utc)

    # ---- what is here

    @property
    def complete(self) -> bool:
        """Whether every byte is here, checked and covered by a voucher."""
        return (
            self.total_bytes is not None
            and len(self.pieces) == piece_count(self.total_bytes)
            and not self._unsigned
            and not self._overlap
        )

    @property
    def vouched(self) -> int:
        """Pieces, from the first on, that may be given to other agents."""
        return min(len(self.pieces), len(self._hashes) - self._unsigned)

    @property
    def available_bytes(self) -> int:
        """Bytes, from the first on, that this machine's viewers may have."""
        return self._piece_bytes() + (0 if self._overlap else len(self._tail or self.open_piece.data))

    @property
    def resumable(self) -> bool:
        """Whether the origin may be asked for the rest only (RFC 9110 section 15.3.7: same strong validator)."""
        return bool(self.head and is_strong(self.head.etag) and self.total_bytes is not None and not self.disputed)

    def _piece_bytes(self) -> int:
        if not self.pieces:
            return 0
        return (len(self.pieces) - 1) * PIECE_BYTES + len(self.pieces[-1])

    def read(self, start: int) -> Iterator[bytes]:
        """Bytes available from `start` on, in parts."""
        index, offset = divmod(start, PIECE_BYTES)
        for piece in self.pieces[index:]:
            yield piece[offset:] if offset else piece
            offset = 0
        if start < self.available_bytes and (rest := self._tail or self.open_piece.data) and not self._overlap:
            yield bytes(rest[max(0, start - self._piece_bytes()) :])

    def body(self) -> bytes:
        """The whole segment."""
        if not self.complete:
            impossible("the body of a segment that is not complete")
        return b"".join(self.pieces)

    def stored(self, stream: str, utc: float, now: Instant) -> StoredSegment:
        """The whole segment as it is kept from now on, `utc`."""
        assert self.head is not None
        body = self.body()
        age = self.age
        return StoredSegment(
            key=self.key,
            stream=stream,
            head=msgspec.structs.replace(self.head, total_bytes=len(body)),
            body=body,
            vouchers=tuple(self.vouchers),
            stored_utc=utc,
            origin_kbps=self.origin_kbps,
            number=-1 if age.number is None else age.number,
            made_at=age.made_at,
            heard_at=now if self.is_arriving else age.heard_at,
        )

    # ---- from the origin

    def begin_origin(self, head: SegmentHead, first_byte: int, utc: float) -> None:
        """An own fetch begins, at a piece's first byte.

        Raises:
            Contradiction: it is not the version whose bytes are here already.
        """
        if first_byte % PIECE_BYTES or first_byte > len(self.pieces) * PIECE_BYTES:
            impossible(f"a fetch that begins at byte {first_byte} with {len(self.pieces)} pieces here")
        if self.head is not None and first_byte and (head.etag, head.total_bytes) != (self.head.etag, self.total_bytes):
            raise Contradiction("the origin now has another version of this segment")
        if first_byte < len(self.pieces) * PIECE_BYTES:
            self._overlap = self.pieces[first_byte // PIECE_BYTES :]
        if self.head is None or not self.pieces:
            self._may_replace(head)
            self.head, self.total_bytes = head, head.total_bytes
            self.generation = self._generation(head, utc)
            self._agrees = {self.generation}
            self.vouchers.clear()
            self._hashes.clear()
            self._unsigned = 0
        elif head.total_bytes is not None and self.total_bytes not in (None, head.total_bytes):
            raise Contradiction("the origin's length differs from what was vouched for")
        self._claimed = [] if self.disputed else self._hashes[len(self.pieces) :]
        del self._hashes[len(self.pieces) :]
        self._loose = max(self._loose, self.open_piece.closed(), key=len)
        self._tail.clear()
        self._origin_at = first_byte

    def dispute(self, why: str) -> None:
        """Sources differ: what neighbours vouched for, and nobody has had, counts no more; the own fetch goes on."""
        self.disputed = why
        self._claimed.clear()

    def stop_origin(self) -> None:
        """The own fetch is over or given up: part of a piece may have reached a viewer, but is of no use to others."""
        if not self._overlap:
            self._loose = max(self._loose, bytes(self._tail), key=len)
            self.open_piece.closed()
        self._tail.clear()
        self._overlap = []
        self.sign_now()

    def _may_replace(self, head: SegmentHead) -> None:
        """Another fetch's head: what one of the two does not say is no difference.

        An origin that sends a segment while it is made may know its length, and its validator, only when it is whole.
        """
        if self.announced and self.head is not None:
            said = ((self.head.total_bytes, head.total_bytes), (self.head.etag, head.etag))
            differs = any(one != other for one, other in said if one is not None and other is not None)
            if differs or self.head.content_type != head.content_type:
                raise Contradiction("there is another version of this segment now")

    def _continues(self, piece: bytes) -> None:
        """A piece must begin with what viewers may have had of it before."""
        if self._loose:
            shared = min(len(self._loose), len(piece))
            if piece[:shared] != self._loose[:shared]:
                raise Contradiction("the rest of this segment belongs to another version of it")
            self._loose = b""

    def take_origin(self, data: bytes, now: Instant) -> None:
        """Body bytes of the own fetch.

        Raises:
            Contradiction: they differ from bytes that were vouched for, or exceed the length announced.
        """
        self._origin_at += len(data)
        self._settle_length(at_least=self._origin_at)
        if self._origin_at > (SEGMENT_BYTES_MAX if self.total_bytes is None else self.total_bytes):
            raise Contradiction("the origin sent more bytes than it announced, or than a segment may have")
        at = 0
        if self._tail:
            at = PIECE_BYTES - len(self._tail)
            self._tail += data[:at]
            if len(self._tail) == PIECE_BYTES:
                self._cut(now)
        while len(data) - at >= PIECE_BYTES:
            self._add(data[at : at + PIECE_BYTES], now)
            at += PIECE_BYTES
        self._tail += data[at:]
        if self._loose and not self._overlap:
            # compared before anybody gets it: what follows the part that viewers had must be of the same version
            shared = min(len(self._loose), len(self._tail))
            if self._tail[:shared] != self._loose[:shared]:
                raise Contradiction("the rest of this segment belongs to another version of it")
        if self.total_bytes is None and not self._overlap:
            self.grew = True
            self.open_piece.came(now)

    def end_origin(self, now: Instant) -> None:
        """The own fetch ended where its headers said.

        Raises:
            Contradiction: it did not end where what is here ends.
        """
        self._settle_length(exactly=self._origin_at)
        if self.total_bytes is not None and self._origin_at != self.total_bytes:
            raise Contradiction("the origin's body is shorter than what was vouched for")
        if self._tail:
            self._cut(now)
        if self._overlap:
            raise Contradiction("the origin's body is shorter than what is here")
        if self._claimed:
            self.dispute("the origin's body is shorter than what a neighbour vouched for")
        self.total_bytes = self._origin_at
        self._sign(last=True)

    def _settle_length(self, *, at_least: int = 0, exactly: int | None = None) -> None:
        """Forget a length that neighbours vouched for and the own fetch does not have, if no viewer was told of it."""
        total, told = self.total_bytes, self.head is not None and self.head.total_bytes is not None
        if total is not None and not told and (at_least > total or exactly not in (None, total)):
            self.dispute("the origin's body has another length than neighbours vouched for")
            self.total_bytes = None

    def _cut(self, now: Instant) -> None:
        piece = bytes(self._tail)
        self._tail.clear()
        self._add(piece, now)

    def _add(self, piece: bytes, now: Instant) -> None:
        if self._overlap:
            if self._overlap.pop(0) != piece:
                raise Contradiction("the origin's bytes differ from what a neighbour vouched for")
            return
        digest = sha256(piece).digest()
        if self._claimed and self._claimed.pop(0) != digest:
            self.dispute("the origin's bytes differ from what a neighbour vouched for")
        self._continues(piece)
        if self.grew:
            self.open_piece.closed()
        self.pieces.append(piece)
        self._hashes.append(digest)
        self._unsigned += 1
        if self._unsigned_since is None:
            self._unsigned_since = now
        if self._unsigned == BATCH_PIECES_MAX:
            self._sign(last=self.total_bytes == self._piece_bytes())

    def sign_due_at(self, wait_s: float) -> Instant | None:
        """When a batch that is not full, or a part of a piece, must be signed all the same; None when all is signed."""
        batch_at = None if self._unsigned_since is None else self._unsigned_since + wait_s
        return earliest([batch_at, self.open_piece.settles_at()]) if self.grew else batch_at

    def sign_due(self, now: Instant) -> None:
        """Sign what has been hashed so far, and the piece that is not whole if nothing more of it comes just now."""
        self.sign_now()
        if (settles_at := self.open_piece.settles_at()) is not None and settles_at <= now:
            self.open_piece.sign(len(self.pieces), bytes(self._tail), self.generation, self.head, now)

    def sign_now(self) -> None:
        """Sign what has been hashed so far."""
        if self._unsigned:
            self._sign(last=False)

    def _sign(self, *, last: bool) -> None:
        first = len(self._hashes) - self._unsigned
        total = self.total_bytes if last else None
        if not self._unsigned and not (last and not self._says_total()):
            return
        blank = Voucher(
            signer=self._seal.device,
            key=self.key,
            generation=self.generation,
            first=first,
            hashes=b"".join(self._hashes[first:]),
            total_bytes=total,
            head=self.head if first == 0 else None,
            signature=bytes(64),
            certificate=self._seal.certificate(),
        )
        self._append_signed(blank)
        self._unsigned = 0
        self._unsigned_since = None

    def _append_signed(self, blank: Voucher) -> None:
        signature = self._seal.sign(blank.signed_bytes(self._seal.tenant))
        self.vouchers.append(msgspec.structs.replace(blank, signature=signature))

    def confirm(self, head: SegmentHead, age: CopyAge) -> None:
        """The origin confirmed what is here, with this head from now on; neighbours learn of it by a voucher."""
        self.head, self.age, self.is_arriving = head, age, True
        self._append_signed(
            Voucher(
                signer=self._seal.device,
                key=self.key,
                generation=self.generation,
                first=0,
                hashes=b"",
                total_bytes=self.total_bytes,
                head=head,
                signature=bytes(64),
                certificate=self._seal.certificate(),
            )
        )

    def _says_total(self) -> bool:
        return any(
            voucher.total_bytes is not None or (voucher.head is not None and voucher.head.total_bytes is not None)
            for voucher in self.vouchers
        )

    def _generation(self, head: SegmentHead, utc: float) -> str:
        if is_strong(head.etag) and head.total_bytes is not None:
            text = f"{head.etag}|{head.total_bytes}"
        else:
            text = f"{self._seal.device}|{self.key}|{utc}"
        return sha256(text.encode()).hexdigest()[:16]

    # ---- from a parent

    def take_voucher(self, voucher: Voucher) -> None:
        """A parent's signed batch.

        Raises:
            PeerMisbehaved: wrong signature, wrong key, or a gap that no honest relay leaves.
            Contradiction: it speaks of other bytes than those that are here.
        """
        if voucher.key != self.key or len(voucher.hashes) % 32:
            raise PeerMisbehaved("a voucher for another segment than was asked for")
        if voucher.first > len(self._hashes):
            raise PeerMisbehaved(f"a voucher for pieces from {voucher.first} on before that for {len(self._hashes)}")
        self._seal.check(voucher)
        if _confirms(voucher) and self.head is not None and voucher.generation in self._agrees:
            assert voucher.head is not None
            self.head = joined(voucher.head, self.head)
            self.vouchers.append(voucher)
            return
        self._begin(voucher, voucher.first)
        self._compare(voucher)
        known = len(self._hashes) - voucher.first
        self._learn_total(voucher)
        new_generation = voucher.generation not in self._agrees
        self._agrees.add(voucher.generation)
        if known < voucher.count:
            self._hashes += [voucher.hash_of(voucher.first + at) for at in range(known, voucher.count)]
        elif not new_generation and (voucher.count or voucher.total_bytes is None):
            return
        if self.total_bytes is not None and len(self._hashes) > piece_count(self.total_bytes):
            raise PeerMisbehaved("vouchers for more pieces than the segment has")
        self.vouchers.append(voucher)

    def _begin(self, voucher: Voucher | PartVoucher, first: int) -> None:
        """A neighbour's word for pieces, or a part, from piece `first` on: it begins a version or goes on with one."""
        if not self.pieces and first == 0 and voucher.generation != self.generation:
            # no piece of the other version was released: take this one from its beginning
            if voucher.head is not None:
                self._may_replace(voucher.head)
            self.vouchers.clear()
            self._hashes.clear()
            self._agrees.clear()
            self.head, self.total_bytes = None, None
            self._loose = max(self._loose, self.open_piece.closed(), key=len)
        if self.head is None:
            if voucher.head is None or first:
                raise PeerMisbehaved("a first voucher without the segment's head")
            self.head, self.total_bytes, self.generation = voucher.head, voucher.head.total_bytes, voucher.generation
        if first and voucher.generation not in self._agrees:
            raise Contradiction("a neighbour goes on with another version of this segment")

    def take_part(self, offset: int, data: bytes, voucher: PartVoucher) -> None:
        """A parent's part of the next piece; parts come in order, and begin anew with another fetch's.

        Raises:
            PeerMisbehaved: wrong signature, wrong key, not the next piece, or wrong bytes.
            Contradiction: it speaks of other bytes than those that are here.
        """
        if voucher.key != self.key or voucher.index != len(self.pieces):
            raise PeerMisbehaved(f"a part of piece {voucher.index} came when {len(self.pieces)} was next")
        self._seal.check(voucher)
        self._begin(voucher, voucher.index)
        if self.total_bytes is not None and voucher.index * PIECE_BYTES + voucher.size_bytes > self.total_bytes:
            raise PeerMisbehaved("a part that goes beyond the segment's end")
        if not offset:
            self._loose = max(self._loose, self.open_piece.closed(), key=len)
        self.open_piece.take(offset, data, voucher)
        shared = min(len(self._loose), voucher.size_bytes)
        if self.open_piece.data[:shared] != self._loose[:shared]:
            self.open_piece.closed()
            raise Contradiction("a part belongs to another version of this segment")

    def _learn_total(self, voucher: Voucher) -> None:
        total = voucher.total_bytes
        if voucher.head is not None and voucher.head.total_bytes is not None:
            total = voucher.head.total_bytes
        if total is None:
            return
        if self.total_bytes not in (None, total):
            raise Contradiction("two vouchers differ in the segment's length")
        if len(self.pieces) >= piece_count(total) and self._piece_bytes() != total:
            raise PeerMisbehaved(f"a length of {total} bytes after {self._piece_bytes()} bytes of pieces")
        self.total_bytes = total

    def _compare(self, voucher: Voucher) -> None:
        end = min(len(self._hashes), voucher.first + voucher.count)
        for index in range(voucher.first, end):
            if self._hashes[index] != voucher.hash_of(index):
                raise Contradiction("two neighbours vouch for different bytes")

    def take_piece(self, index: int, data: bytes) -> None:
        """A parent's piece; pieces come in order.

        Raises:
            PeerMisbehaved: not the next piece, without a voucher, of a wrong length, or with wrong bytes.
        """
        if index != len(self.pieces):
            raise PeerMisbehaved(f"piece {index} came when {len(self.pieces)} was next")
        if index >= len(self._hashes):
            raise PeerMisbehaved(f"piece {index} came before its voucher")
        if self.pieces and len(self.pieces[-1]) != PIECE_BYTES:
            raise PeerMisbehaved(f"piece {index} came after a short one, which is the last")
        last = self.total_bytes is not None and index == piece_count(self.total_bytes) - 1
        if last and len(data) != (self.total_bytes or 0) - index * PIECE_BYTES:
            raise PeerMisbehaved(f"the last piece has {len(data)} bytes")
        if not last and len(data) != PIECE_BYTES and self.total_bytes is not None:
            raise PeerMisbehaved(f"piece {index} has {len(data)} bytes")
        if sha256(data).digest() != self._hashes[index]:
            raise PeerMisbehaved(f"piece {index} does not match its signed hash")
        if self.open_piece.data:
            self._loose = max(self._loose, self.open_piece.closed(), key=len)
        self._continues(data)
        self.pieces.append(data)

    def next_piece(self) -> int:
        """Index of the first piece that is not here."""
        return len(self.pieces)
