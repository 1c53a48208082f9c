"""Whom this machine reads one segment from: the parents that a ledger named, tried one after the other.

named(), request_next()   the next of them is asked for the missing pieces
drop(), lost()            it is not needed any more; it failed, and is avoided from now on
"""

from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Cancel, Contact, Get


class Parents:
    """See the head of this file."""

    def __init__(self, context: NodeContext, key: str, stream: str) -> None:
        self._context = context
        self._key = key
        self._stream = stream
        self._named: list[Contact] = []
        self._home = ""
        self._request = 0
        self._avoid: dict[str, None] = {}
        self.current: str | None = None
        self._is_mute = True
        self._first_word_at: Instant | None = None
        self.left: str | None = None
        """The one that was found slow last; the ledger may have good reason to name it again."""

    def named(self, contacts: tuple[Contact, ...], home: str) -> None:
        """A home named these, best first."""
        self._home = home
        self._named = [it for it in contacts if it.device != self._context.me.device]

    def request_next(self, first: int, now: Instant) -> bool:
        """Ask the next of them for the pieces from `first` on; False when there is none left."""
        context = self._context
        self.current, self._first_word_at, self._is_mute = None, None, True
        while self._named and self.current is None:
            contact = self._named.pop(0)
            context.membership.met(contact, "named by a ledger")
            self._request = context.number()
            errand = self._home if context.is_isolated(now) else None
            get = Get(self._request, self._key, self._stream, first, errand=errand)
            if contact.device not in self._avoid and context.request(contact.device, get, now):
                self.current = contact.device
            else:
                self._avoid[contact.device] = None
        return self.current is not None

    def is_answer(self, device: str, request: int) -> bool:
        """Whether a transfer message is the current parent's."""
        return device == self.current and request == self._request

    def alive(self) -> None:
        """The current one has said something, if only that it has heard."""
        self._is_mute = False

    def is_mute(self) -> bool:
        """Whether the current one has not said a word."""
        return self.current is not None and self._is_mute

    def lost(self) -> None:
        """The current one failed."""
        if self.current is not None:
            self._avoid[self.current] = None
        self.current = None

    def answered(self, now: Instant) -> None:
        """The current one answered what it was asked."""
        if self._first_word_at is None:
            self._first_word_at = now

    def done(self) -> None:
        """The current one gave everything: it knows, and its End is on the way."""
        self.current = None

    def drop(self) -> None:
        """The current one need not go on."""
        if self.current is not None:
            self._context.send(self.current, Cancel(self._request))
        self.current = None

    def leave(self, have: int, now: Instant) -> None:
        """The current one is too slow; it is told what came, if it has begun at all, so that it knows its uplink."""
        self.left = self.current
        if self.current is not None and self._first_word_at is not None:
            after_ms = min(3_600_000, round((now - self._first_word_at) * 1000))
            self._context.send(self.current, Cancel(self._request, have, after_ms))
            self.current = None
        self.drop()

    def forgive(self) -> None:
        """Whoever failed may be named again."""
        self._avoid.clear()

    def avoided(self, besides: str | None = None) -> tuple[str, ...]:
        """Whom the ledger shall not name.

        Args:
            besides: a device that only this question avoids; the ledger may name it again when the fault was not its
                own.
        """
        return tuple(self._avoid) if besides is None else (besides, *self._avoid)
