"""The piece that is not whole yet, of a segment that is made while it is sent: what is here of it, and who says so.

    came(), settles_at()    bytes of the own fetch came; when what is here of the piece is signed, to be given on
    sign()                  the fetcher's word for the piece's beginning
    take()                  a parent's part: bytes that belong to the word that came with them
    closed()                the piece is whole, or what is here of it is of no use any more

An encoder that makes a segment while it sends it (CMAF chunks) may need seconds for a piece. What has come goes on when
nothing more follows for a moment, however small it is. Of a segment whose length is known nothing is signed here: its
pieces are whole sooner than this would take.
"""

from hashlib import sha256

import msgspec

from ecdn_proxy.core.seal import Seal
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PIECE_BYTES, PartVoucher, SegmentHead

QUIET_S = 0.02
"""What has come goes on when nothing more came for this long: a chunk arrives in several reads."""
SPACING_S = 0.04
"""No two parts are signed in less time than this: a signature and its check cost 0.2 ms on every machine."""
AGE_MAX_S = 0.1
"""Bytes go on after this long even if more come all the time."""


class OpenPiece:
    """The open piece of one segment."""

    def __init__(self, key: str, seal: Seal) -> None:
        self._key = key
        self._seal = seal
        self.voucher: PartVoucher | None = None
        """The word for what may be given to others; None while there is nothing."""
        self.data = bytearray()
        """The bytes for which that word speaks, from the piece's first on."""
        self._came_at: Instant | None = None
        """When the first byte came that has not gone on yet; None when all has."""
        self._last_at: Instant = 0.0
        self._signed_at: Instant = -SPACING_S

    # ---- of the own fetch

    def came(self, now: Instant) -> None:
        """Bytes of the own fetch came."""
        self._last_at = now
        if self._came_at is None:
            self._came_at = now

    def settles_at(self) -> Instant | None:
        """When what came goes on; None when all has."""
        if self._came_at is None:
            return None
        return max(min(self._last_at + QUIET_S, self._came_at + AGE_MAX_S), self._signed_at + SPACING_S)

    def sign(self, index: int, data: bytes, generation: str, head: SegmentHead | None, now: Instant) -> None:
        """Speak for `data`, which is here of piece `index`; the head goes along while no piece is whole."""
        self._came_at, self._signed_at = None, now
        if not data or (self.voucher is not None and self.voucher.index == index and len(data) == len(self.data)):
            return
        seal = self._seal
        blank = PartVoucher(
            signer=seal.device,
            key=self._key,
            generation=generation,
            index=index,
            size_bytes=len(data),
            hash=sha256(data).digest(),
            head=head if index == 0 else None,
            signature=bytes(64),
            certificate=seal.certificate(),
        )
        self.voucher = msgspec.structs.replace(blank, signature=seal.sign(blank.signed_bytes(seal.tenant)))
        self.data = bytearray(data)

    # ---- from a parent

    def take(self, offset: int, data: bytes, voucher: PartVoucher) -> None:
        """A parent's part, of the piece that is open here; the voucher's signature is checked already.

        Raises:
            PeerMisbehaved: bytes are missing before it, or it is not what the voucher speaks for.
        """
        if offset not in (0, len(self.data)) or offset + len(data) != voucher.size_bytes or len(data) > PIECE_BYTES:
            raise PeerMisbehaved(f"a part from byte {offset} on when {len(self.data)} are here")
        whole = self.data[:offset] + data
        if sha256(whole).digest() != voucher.hash:
            raise PeerMisbehaved(f"a part of piece {voucher.index} does not match its signed hash")
        self.data, self.voucher = whole, voucher

    # ---- over

    def closed(self) -> bytes:
        """The piece is whole, or its fetch or parent was given up; returns what had been here of it."""
        data, self.data = bytes(self.data), bytearray()
        self.voucher = self._came_at = None
        return data
