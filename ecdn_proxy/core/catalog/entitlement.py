"""Whose session may be served from the cache and from peers on this machine.

Map: `Entitlements` (what was proven, by whom, when) · `EntitlementVerdict`.

A viewer is a credential: a hash of its cookie, authorization and URL tokens. It is entitled to a stream only if the
origin itself answered 2xx to that very credential, for the stream's manifest or one of its segments, within the window.
So a second user of the same machine gets nothing out of the first one's session.

Segments often carry other tokens than their manifest (signatures for each URL). The origin handed them out in the
manifest, so the same cookie and authorization with those tokens are proven along with it: `manifest_fetched`. They are
one session: a film's manifest is fetched once, and one segment that passed to the origin renews the proof for all.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 300.0
"""Seconds for which a 2xx counts: a removed viewer is served from the cache no longer than an open grant lasts."""
ENTRIES_MAX: Final = 50_000
"""Credentials times streams remembered, about 200 bytes each: two manifests with a signature for each of 20,000
segments."""


@dataclass(frozen=True, slots=True)
class EntitlementVerdict:
    """Whether a credential may be served, and the reason in words."""

    allowed: bool
    why: str


class Entitlements:
    """What origins have proven about credentials; bounded, and it never holds an original credential.

    A session is what one proof covers: a single credential, or all those that one manifest handed out to it.
    """

    def __init__(self, window_s: float = WINDOW_S, max_entries: int = ENTRIES_MAX) -> None:
        self._window_s = window_s
        self._max_entries = max_entries
        self._proven: OrderedDict[bytes, float] = OrderedDict()
        self._session: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._proven) + len(self._session)

    @staticmethod
    def credential(url_tokens: Iterable[str], cookie: str | None, authorization: str | None) -> str:
        """Who asks: 64 hexadecimal digits (SHA-256) from which nothing can be read back.

        Args:
            url_tokens: `Canonical.tokens` or `Listed.tokens`; their order does not count.
            cookie: the Cookie header, None without one.
            authorization: the Authorization header, None without one.
        """
        digest = hashlib.sha256(b"ecdn credential")
        for part in (cookie or "", authorization or "", *sorted(set(url_tokens))):
            raw = part.encode("utf-8", "surrogateescape")
            digest.update(len(raw).to_bytes(8, "big") + raw)
        return digest.hexdigest()

    def proven(self, stream: str, credential: str, utc: float) -> None:
        """The origin answered 2xx to this credential for the stream (`Listed.proof`, or the stream of a manifest)."""
        self._prove(self._session_of(stream, credential), utc)

    def manifest_fetched(
        self,
        stream: str,
        listed_tokens: Iterable[tuple[str, ...]],
        *,
        url_tokens: Iterable[str],
        cookie: str | None,
        authorization: str | None,
        utc: float,
    ) -> None:
        """The origin answered 2xx to a manifest request.

        Args:
            stream: the manifest's stream.
            listed_tokens: the tokens of each URL in it (`Catalog.listed_tokens`).
            url_tokens: those of the manifest's own URL.
            cookie: the request's Cookie header.
            authorization: the request's Authorization header.
            utc: seconds since the epoch.
        """
        session = self._session_of(stream, self.credential(url_tokens, cookie, authorization))
        self._prove(session, utc)
        for tokens in listed_tokens:
            name = _name(stream, self.credential(tokens, cookie, authorization))
            if name != session:
                self._session.pop(name, None)
                self._session[name] = session
        while len(self._session) > self._max_entries:
            self._session.popitem(last=False)

    def is_entitled(self, stream: str, credential: str, utc: float) -> EntitlementVerdict:
        """Whether this credential may have the stream's segments from us at `utc`."""
        at_utc = self._proven.get(self._session_of(stream, credential))
        if at_utc is None:
            return EntitlementVerdict(False, "the origin has not yet answered this viewer's session for this stream")
        age_s = max(0.0, utc - at_utc)
        if age_s > self._window_s:
            limit = f"{self._window_s:.0f} s count"
            return EntitlementVerdict(False, f"the origin's last yes to this viewer is {age_s:.0f} s old; {limit}")
        return EntitlementVerdict(True, f"the origin said yes to this viewer {age_s:.0f} s ago")

    def revoked(self, stream: str, credential: str) -> None:
        """The origin refused this credential (401, 403, 410): what was proven for its session is void."""
        self._proven.pop(self._session_of(stream, credential), None)

    def forget(self, utc: float) -> int:
        """Drop proofs older than the window; returns how many. Sessions stay, for the next proof renews all of one."""
        old = [name for name, at_utc in self._proven.items() if utc - at_utc > self._window_s]
        for name in old:
            del self._proven[name]
        return len(old)

    def _session_of(self, stream: str, credential: str) -> bytes:
        name = _name(stream, credential)
        return self._session.get(name, name)

    def _prove(self, session: bytes, utc: float) -> None:
        self._proven[session] = max(utc, self._proven.pop(session, utc))
        while len(self._proven) > self._max_entries:
            self._proven.popitem(last=False)


def _name(stream: str, credential: str) -> bytes:
    return hashlib.sha256(f"{stream}\n{credential}".encode()).digest()[:16]
