"""The neighbours that one segment is read from: the parents that a ledger named, tried one after the other.

name_parents(), request_next()    the next of them is asked for the missing pieces
is_answer()                       whether a message belongs to what the current one was asked
leads()                           whether it has or gets more than is here
take_message()                    what it sent goes into the assembly
missed(), parent_failed()         it was not reached; it is avoided from now on
parent_gave_all(), cancel_parent(), leave_slow_parent()    it is not needed any more
"""

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.http.freshness import CopyAge
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.values import Source
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import Cancel, Contact, End, Get, Part, Piece, Refused, Vouched

ParentsBytes = Vouched | Piece | Part
"""What a parent sends of the segment, or vouches for."""
ParentsAnswer = ParentsBytes | End | Refused
"""What comes of a request to a parent; before it the parent may say that it has heard, or that it waits itself."""
CANCEL_AFTER_MS_MAX = 3_600_000
"""The longest time that a `Cancel` can tell."""


class Parents:
    """Whom one segment is read from now, who is next, and who is avoided."""

    def __init__(self, context: NodeContext, key: str, stream: str) -> None:
        self._context = context
        self._key = key
        self._stream = stream
        self._named: list[Contact] = []
        self._home = ""
        self._request = 0
        self._avoided: dict[str, None] = {}
        self.current: str | None = None
        self._is_mute = True
        self._answered_at: Instant | None = None
        self.left_as_slow: str | None = None
        """The parent that was left last because it was slow; the ledger may have good reason to name it again."""

    def name_parents(self, contacts: tuple[Contact, ...], home: str) -> None:
        """A home named these, best first."""
        self._home = home
        self._named = [it for it in contacts if it.device != self._context.me.device]

    def request_next(self, first: int, now: Instant) -> bool:
        """Ask the next of them for the pieces from `first` on; False when there is none left."""
        context = self._context
        self.current, self._answered_at, self._is_mute = None, None, True
        while self._named and self.current is None:
            contact = self._named.pop(0)
            context.membership.met(contact, "named by a ledger")
            if contact.device not in self._avoided and self._get(contact.device, first, now):
                self.current = contact.device
            else:
                self._avoided[contact.device] = None
        return self.current is not None

    def _get(self, device: str, first: int, now: Instant) -> bool:
        """Ask a device for the pieces from `first` on; False when it cannot be reached."""
        self._request = self._context.number()
        errand = self._home if self._context.is_isolated(now) else None
        get = Get(self._request, self._key, self._stream, first, errand=errand, judges_age=True)
        return self._context.request(device, get, now)

    def request_all_again(self, now: Instant) -> None:
        """The current parent is asked for every piece: what was here is of another version."""
        device = self.current
        assert device is not None
        self.cancel_parent()
        if self._get(device, 0, now):
            self.current = device

    def is_answer(self, device: str, request: int) -> bool:
        """Whether a transfer message answers what the current parent was asked."""
        return device == self.current and request == self._request

    def leads(self, message: ParentsBytes, assembly: Assembly) -> bool:
        """Whether the current parent has or gets more than is here.

        What it had from this machine it can vouch for as well.
        """
        match message:
            case Vouched(voucher=voucher):
                return voucher.first + voucher.count > assembly.next_piece()
            case Part(voucher=part):
                return part.index * PIECE_BYTES + part.size_bytes > assembly.available_bytes
            case Piece():
                return True

    def is_linked(self) -> bool:
        """Whether a link to the current parent stands."""
        return self.current in self._context.links

    def source(self) -> Source | None:
        """Where the bytes of the current parent come from, by its link; None without one."""
        link = None if self.current is None else self._context.links.get(self.current)
        return None if link is None else link.kind

    def parent_spoke(self) -> None:
        """The current parent has said something, if only that it has heard the request."""
        self._is_mute = False

    def is_mute(self) -> bool:
        """Whether the current parent has not said a word."""
        return self.current is not None and self._is_mute

    def missed(self) -> None:
        """The current parent could not be reached, or has not said a word: this machine may be isolated."""
        assert self.current is not None, "a parent that is waited for"
        self._context.missed(self.current)

    def take_message(self, message: ParentsAnswer, assembly: Assembly, now: Instant) -> bool:
        """The current parent answered what it was asked; False when no more will come of it, but more is missing.

        Raises:
            PeerMisbehaved: it broke the protocol or sent wrong bytes.
            Contradiction: it goes on with another version than the one that is here.
        """
        if self._answered_at is None:
            self._answered_at = now
        match message:
            case Piece(index=index, data=data):
                assembly.take_piece(index, data)
            case Part(offset=offset, data=data, voucher=part_voucher):
                assembly.take_part(offset, data, part_voucher)
                self._note_arriving(assembly, now)
            case Vouched(voucher=voucher, origin_kbps=kbps):
                assembly.origin_kbps = kbps
                assembly.take_voucher(voucher)
                self._note_age(message, assembly, now)
            case End():
                return assembly.complete
            case Refused(reason=reason):
                if reason == "private":  # the segment was the trouble: those who failed before are not to blame
                    self._avoided.clear()
                return False
        return True

    def _note_age(self, said: Vouched, assembly: Assembly, now: Instant) -> None:
        """The parent says how old its copy is; agents of earlier releases do not, and then the head's date tells."""
        head = assembly.head
        assert head is not None, "the first voucher brings the head"
        utc = self._context.utc(now)
        if said.age_ms is None:
            made_at = now - max(0.0, utc - head.date_utc)
            assembly.note_age(CopyAge(made_at, made_at), is_arriving=False, date_utc=head.date_utc)
            return
        made_at, heard_at = now - said.age_ms / 1000, now - said.idle_ms / 1000
        number = None if said.number < 0 else said.number
        assembly.note_age(
            CopyAge(made_at, heard_at, number), is_arriving=not said.idle_ms, date_utc=utc - said.age_ms / 1000
        )

    def _note_arriving(self, assembly: Assembly, now: Instant) -> None:
        """Parts are sent of what the origin is still sending: it is as new as can be."""
        head = assembly.head
        assert head is not None, "the first part brings the head"
        made_at = now - max(0.0, self._context.utc(now) - head.date_utc)
        assembly.note_age(CopyAge(made_at, now, assembly.age.number), is_arriving=True, date_utc=head.date_utc)

    def parent_failed(self) -> None:
        """The current parent failed; it is asked no more."""
        assert self.current is not None
        self._avoided[self.current] = None
        self.current = None

    def parent_gave_all(self) -> None:
        """The current parent gave everything: it knows, and its End is on the way."""
        self.current = None

    def cancel_parent(self) -> None:
        """The current parent need not go on, and is told so."""
        if self.current is not None:
            self._context.send(self.current, Cancel(self._request))
        self.current = None

    def leave_slow_parent(self, have: int, now: Instant) -> None:
        """The current parent is too slow. If it has begun at all, it is told what came, so that it knows its uplink.

        Args:
            have: pieces that are here, from the segment's first on.
            now: the time.
        """
        self.left_as_slow = self.current
        if self.current is not None and self._answered_at is not None:
            after_ms = min(CANCEL_AFTER_MS_MAX, round((now - self._answered_at) * 1000))
            self._context.send(self.current, Cancel(self._request, have, after_ms))
            self.current = None
        self.cancel_parent()

    def avoided(self, besides: str | None = None) -> tuple[str, ...]:
        """Whom the ledger shall not name.

        Args:
            besides: a device that only this question avoids; the ledger may name it again when the fault was not its
                own.
        """
        return tuple(self._avoided) if besides is None else (besides, *self._avoided)
