"""What the catalog keeps: streams, their playlists, and an index from identities to entries.

Map: `CatalogEntry` (a resource written out) · `Computed` (a template) · `Playlist` · `CatalogStream` · `StreamIndex`.

Identities are `provider|identity` (see `core.providers`); times are seconds since the epoch.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ecdn_proxy.core.manifest.model import Format, Segment, Template
from ecdn_proxy.core.values import ByteRange

type Memo = dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]] | None]
"""URLs of one resource → (identities, tokens); None where the rules keep it from being shared."""


@dataclass(slots=True, eq=False)
class CatalogStream:
    """One presentation with everything that belongs to it."""

    id: str
    identity: str
    url: str
    format: Format
    used_utc: float
    live: bool = False
    playlists: "dict[str, Playlist]" = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    never: dict[str, None] = field(default_factory=dict)
    variables: tuple[tuple[str, str], ...] = ()
    best_kbps: int = 0
    """Of its best picture; 0 where players have none to choose among."""

    def weight(self) -> int:
        """What it counts against the catalog's limit."""
        return sum(playlist.weight() for playlist in self.playlists.values())


@dataclass(slots=True, eq=False)
class Playlist:
    """One manifest's list."""

    stream: CatalogStream
    name: str
    live: bool
    used_utc: float
    entries: "dict[tuple[tuple[str, ...], ByteRange | None], CatalogEntry]" = field(default_factory=dict)
    computed: "dict[tuple[object, ...], Computed]" = field(default_factory=dict)
    passed: frozenset[tuple[str, ByteRange | None]] = frozenset()
    tokens: dict[tuple[str, ...], None] = field(default_factory=dict)
    memo: Memo = field(default_factory=dict)

    def weight(self) -> int:
        """Entries, runs of timelines, and what is remembered of the manifest besides."""
        return (
            max(len(self.entries), len(self.memo))
            + len(self.passed)
            + sum(computed.weight() for computed in self.computed.values())
        )


@dataclass(slots=True, eq=False)
class CatalogEntry:
    """A listed resource; gone after `expires_utc`."""

    playlist: Playlist
    rendition: str
    segment: Segment
    identities: tuple[str, ...]
    expires_utc: float = math.inf


@dataclass(slots=True, eq=False)
class Computed:
    """A listed template: its URL patterns as identities, each with the expression that matches it."""

    playlist: Playlist
    rendition: str
    template: Template
    patterns: tuple[str, ...]
    expressions: tuple[re.Pattern[str], ...]
    expires_utc: float = math.inf

    def weight(self) -> int:
        """One, and one for each run of the timeline."""
        return 1 + (len(self.template.timeline.runs) if self.template.timeline is not None else 0)


class StreamIndex:
    """Entries by identity; templates by the part of their identity up to the last slash before the first variable."""

    def __init__(self) -> None:
        self._entries: dict[str, list[CatalogEntry]] = {}
        self._computed: dict[str, list[Computed]] = {}

    def __len__(self) -> int:
        return len(self._entries) + len(self._computed)

    def add(self, item: CatalogEntry | Computed) -> None:
        """Make it findable; the newest is found first."""
        if isinstance(item, CatalogEntry):
            for name in item.identities:
                self._entries.setdefault(name, []).append(item)
        else:
            for name in {_stem(pattern) for pattern in item.patterns}:
                self._computed.setdefault(name, []).append(item)

    def remove(self, item: CatalogEntry | Computed) -> None:
        """Undo `add`."""
        if isinstance(item, CatalogEntry):
            for name in item.identities:
                _remove_from(self._entries, name, item)
        else:
            for name in {_stem(pattern) for pattern in item.patterns}:
                _remove_from(self._computed, name, item)

    def entries(self, identity: str) -> Iterator[CatalogEntry]:
        """Entries of this identity, the newest first."""
        return reversed(self._entries.get(identity, []))

    def computed(self, identity: str) -> Iterator[Computed]:
        """Templates that may make this identity."""
        at = identity.find("/")
        while at >= 0:
            yield from reversed(self._computed.get(identity[: at + 1], []))
            at = identity.find("/", at + 1)


def _stem(pattern: str) -> str:
    """Everything up to the last slash before the first `$`: no variable and no doubled `$` stands in it."""
    first = pattern.find("$")
    return pattern[: pattern.rfind("/", 0, first) + 1]


def _remove_from[T](found: dict[str, list[T]], name: str, item: T) -> None:
    items = found[name]
    items.remove(item)
    if not items:
        del found[name]
