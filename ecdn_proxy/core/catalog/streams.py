"""Which streams are known, which manifest belongs to which stream, and what is forgotten when.

Map: limits · `StreamTable`: `get_or_add`, `of_manifest` (a manifest's stream) · `adopt` (a master's playlists) ·
`forget` (after a time) and `trim_to_limits` (memory) · `add_never_shared`, `is_never_shared` (decryption keys and
licences) · `check`.

Manifests, decryption keys and licences are named `provider|identity`. Times are seconds since 1970.
"""

import hmac
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from ecdn_proxy.core.catalog.index import CatalogStream, Playlist, StreamIndex
from ecdn_proxy.core.manifest.model import Presentation

CHILDREN_MAX: Final = 256
"""The most manifests of one stream: renditions, languages, and new names of both for each session."""
NEVER_MAX: Final = 20_000
"""The most decryption keys and licences remembered for one stream. The oldest are forgotten first; as no manifest lists
them as segments, they pass to the origin all the same."""
FORGET_LIVE_AFTER_S: Final = 900.0
"""How long a live stream is remembered without a request or a refresh, in seconds. Its player asks every few
seconds."""


class StreamTable:
    """All known streams, the least recently used first. Their number and size are limited."""

    def __init__(self, *, salt: bytes, max_streams: int, max_entries: int, forget_after_s: float) -> None:
        self.index = StreamIndex()
        self._salt = salt
        self._max_streams = max_streams
        self._max_entries = max_entries
        self._forget_after_s = forget_after_s
        self._streams: OrderedDict[str, CatalogStream] = OrderedDict()
        self._parents: dict[str, str] = {}

    def __iter__(self) -> Iterator[CatalogStream]:
        return iter(self._streams.values())

    def __len__(self) -> int:
        return len(self._streams)

    def id_of(self, identity: str) -> str:
        """The id of the stream with this identity, 32 hexadecimal digits; equal on every agent of a tenant."""
        return hmac.digest(self._salt, b"stream" + identity.encode(), "sha256")[:16].hex()

    def of_manifest(self, name: str) -> CatalogStream | None:
        """The stream to which the manifest with this name belongs; None if it is not known."""
        return self._streams.get(self._parents.get(name, ""))

    def is_never_shared(self, name: str) -> bool:
        """Whether any stream has named this as a decryption key, a licence or session data."""
        return any(name in stream.never for stream in self._streams.values())

    def mark_used(self, stream: CatalogStream, utc: float) -> None:
        """Note that somebody asked for the stream at `utc`."""
        stream.used_utc = max(utc, stream.used_utc)
        self._streams.move_to_end(stream.id)

    def get_or_add(self, name: str, url: str, presentation: Presentation, utc: float) -> CatalogStream:
        """The stream to which a manifest that has just come belongs. A manifest without a parent is its own stream.

        A stream that is not known yet is added.
        """
        stream = self.of_manifest(name)
        if stream is None:
            stream = CatalogStream(self.id_of(name), name, url, presentation.format, utc)
            self._streams[stream.id] = stream
            self._parents[name] = stream.id
        self.mark_used(stream, utc)
        if not presentation.is_master:
            stream.live = presentation.live
        return stream

    def adopt(self, stream: CatalogStream, child: str, *, override: bool) -> None:
        """Make a manifest part of a stream. If it was a stream of its own before, all its lists move with it.

        Args:
            stream: the stream to which the manifest will belong.
            child: the manifest's name.
            override: whether to take it from the stream to which it belongs: a master decides where its playlists
                belong, while a rendition report only suggests it.
        """
        known = self.of_manifest(child)
        if known is stream or (known is not None and not override):
            return
        if known is None:
            self._belongs(stream, child)
        elif known.identity == child and child in known.playlists:
            stream.live = known.live
            self.add_never_shared(stream, known.never)
            for name in (child, *known.children):
                self._move(known, stream, name)
            self._drop(known)
        elif known.identity != child:
            known.children.pop(child, None)
            self._move(known, stream, child)

    def add_never_shared(self, stream: CatalogStream, names: Iterable[str]) -> None:
        """Note the names of a stream's decryption keys, licences and session data, which are never shared."""
        for name in names:
            stream.never.pop(name, None)
            stream.never[name] = None
        while len(stream.never) > NEVER_MAX:
            del stream.never[next(iter(stream.never))]

    def forget(self, utc: float) -> int:
        """Forget idle streams and expired entries; returns how many streams were forgotten."""
        idle: list[CatalogStream] = []
        for stream in self._streams.values():
            limit_s = min(FORGET_LIVE_AFTER_S, self._forget_after_s) if stream.live else self._forget_after_s
            if utc - stream.used_utc > limit_s:
                idle.append(stream)
            else:
                self._expire(stream, utc)
        for stream in idle:
            self._drop(stream)
        return len(idle)

    def trim_to_limits(self, current: CatalogStream) -> None:
        """Forget what exceeds the limits.

        Other streams are forgotten first, then this stream's other lists, then the oldest entries of its last list.
        """
        weights = {stream.id: stream.weight() for stream in self._streams.values()}
        total = sum(weights.values())
        while len(weights) > 1 and (len(weights) > self._max_streams or total > self._max_entries):
            oldest = next(stream for stream in self._streams.values() if stream is not current)
            total -= weights.pop(oldest.id)
            self._drop(oldest)
        lists = list(current.playlists.values())
        for playlist in lists[:-1]:
            if total <= self._max_entries and len(current.playlists) <= CHILDREN_MAX:
                return
            total -= playlist.weight()
            self._clear(playlist)
            del current.playlists[playlist.name]
        if total > self._max_entries:
            self._trim(lists[-1])

    def check(self) -> None:
        """Assert what always holds; for tests."""
        assert len(self._streams) <= self._max_streams
        assert sum(stream.weight() for stream in self._streams.values()) <= self._max_entries
        assert set(self._parents.values()) <= set(self._streams)
        for stream in self._streams.values():
            assert self._parents[stream.identity] == stream.id
            assert all(playlist.stream is stream for playlist in stream.playlists.values())
            assert len(stream.children) <= CHILDREN_MAX
            assert all(self._parents[child] == stream.id for child in stream.children)
        if not self._streams:
            assert not len(self.index)
            assert not self._parents

    def _belongs(self, stream: CatalogStream, child: str) -> None:
        self._parents[child] = stream.id
        stream.children[child] = None
        if len(stream.children) > CHILDREN_MAX:
            oldest = next(iter(stream.children))
            del stream.children[oldest], self._parents[oldest]
            stream.names.pop(oldest, None)
            playlist = stream.playlists.pop(oldest, None)
            if playlist is not None:
                self._clear(playlist)

    def _move(self, known: CatalogStream, stream: CatalogStream, name: str) -> None:
        playlist = known.playlists.pop(name, None)
        if playlist is not None:
            playlist.stream = stream
            stream.playlists[name] = playlist
        self._belongs(stream, name)

    def _expire(self, stream: CatalogStream, utc: float) -> None:
        for playlist in stream.playlists.values():
            for name in [name for name, entry in playlist.entries.items() if utc > entry.expires_utc]:
                self.index.remove(playlist.entries.pop(name))
            for pattern in [k for k, c in playlist.computed.items() if utc > c.expires_utc]:
                self.index.remove(playlist.computed.pop(pattern))
            if not playlist.entries and not playlist.computed:
                playlist.memo, playlist.passed = {}, frozenset()

    def _trim(self, playlist: Playlist) -> None:
        playlist.memo = {}
        playlist.passed = frozenset()
        over = playlist.weight() - self._max_entries
        for name in list(playlist.entries)[: max(0, over)]:
            self.index.remove(playlist.entries.pop(name))
            over -= 1
        for pattern in list(playlist.computed):
            if over > 0:
                over -= playlist.computed[pattern].weight()
                self.index.remove(playlist.computed.pop(pattern))

    def _clear(self, playlist: Playlist) -> None:
        for entry in playlist.entries.values():
            self.index.remove(entry)
        for computed in playlist.computed.values():
            self.index.remove(computed)

    def _drop(self, stream: CatalogStream) -> None:
        for playlist in stream.playlists.values():
            self._clear(playlist)
        for name in (stream.identity, *stream.children):
            if self._parents.get(name) == stream.id:
                del self._parents[name]
        del self._streams[stream.id]
