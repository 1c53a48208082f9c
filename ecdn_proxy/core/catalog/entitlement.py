"""Which viewers of this machine may be served a stream from the cache and from neighbours.

Map: `Entitlements` (for which credential an origin has said yes, and when) · `EntitlementVerdict`.

A viewer is known by its credential, a hash of its cookie, authorization and URL tokens. It is entitled to a stream only
if the origin itself answered 2xx to that very credential within the window, for the stream's manifest or one of its
segments. So a second user of the same machine gets nothing from the first user's session.

The URLs of segments often carry other tokens than the manifest's URL, such as a signature for each URL. The origin has
handed these tokens out in the manifest, so its yes to the manifest counts for them too, together with the same cookie
and authorization (`manifest_fetched`). All credentials that one manifest handed out are one session, and share one
proof. The manifest of a film is fetched only once, so one segment that passes to the origin renews the proof for all.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 300.0
"""How long an origin's 2xx counts, in seconds. A viewer who has lost the right to watch is served from the cache no
longer than this."""
ENTRIES_MAX: Final = 50_000
"""The most pairs of credential and stream that are remembered, about 200 bytes each: two manifests with a signature for
each of 20,000 segments."""


@dataclass(frozen=True, slots=True)
class EntitlementVerdict:
    """Whether a viewer may be served, and the reason in words."""

    allowed: bool
    why: str


class Entitlements:
    """To which credentials origins have said yes, and when. It is bounded, and holds hashes of credentials only.

    A session is all that one proof covers: a single credential, or all those that one manifest handed out to it.
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
        """A viewer's credential: 64 hexadecimal digits (SHA-256), from which nothing can be read back.

        Args:
            url_tokens: `Canonical.tokens` or `Listed.tokens`; their order does not count.
            cookie: the request's Cookie header, None without one.
            authorization: the request's Authorization header, None without one.
        """
        digest = hashlib.sha256(b"ecdn credential")
        for part in (cookie or "", authorization or "", *sorted(set(url_tokens))):
            raw = part.encode("utf-8", "surrogateescape")
            digest.update(len(raw).to_bytes(8, "big") + raw)
        return digest.hexdigest()

    def proven(self, stream: str, credential: str, utc: float) -> None:
        """Note that the origin answered 2xx to this credential for a stream, which is named by `Listed.proof`."""
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
        """Note that the origin answered 2xx to a request for a manifest.

        Args:
            stream: the manifest's stream, as `Catalog.proof_of` names it.
            listed_tokens: the tokens in the URLs that the manifest lists (`Catalog.listed_tokens`).
            url_tokens: the tokens in the manifest's own URL.
            cookie: the request's Cookie header.
            authorization: the request's Authorization header.
            utc: now, seconds since 1970.
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
        """Whether the viewer with this credential may have the stream's segments from this agent at `utc`."""
        at_utc = self._proven.get(self._session_of(stream, credential))
        if at_utc is None:
            return EntitlementVerdict(False, "the origin has not yet answered this viewer's session for this stream")
        age_s = max(0.0, utc - at_utc)
        if age_s > self._window_s:
            limit = f"{self._window_s:.0f} s count"
            return EntitlementVerdict(False, f"the origin's last yes to this viewer is {age_s:.0f} s old; {limit}")
        return EntitlementVerdict(True, f"the origin said yes to this viewer {age_s:.0f} s ago")

    def revoked(self, stream: str, credential: str) -> None:
        """Note that the origin refused this credential (401 or 403): what was proven for its session counts no more."""
        self._proven.pop(self._session_of(stream, credential), None)

    def forget(self, utc: float) -> int:
        """Forget proofs older than the window, and return how many.

        Sessions stay, because one new proof renews the proof for all credentials of a session.
        """
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
