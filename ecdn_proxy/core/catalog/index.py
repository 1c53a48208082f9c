"""What the catalog keeps: streams with their playlists, and an index by which a URL's identity is found.

Map: `CatalogStream` · `Playlist` · `CatalogEntry` (a resource that a manifest writes out) · `Computed` (a template) ·
`StreamIndex`.

Identities are written `provider|identity` (`providers`). Times are seconds since 1970.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ecdn_proxy.core.manifest.model import Format, Segment, Template
from ecdn_proxy.core.values import ByteRange

type Memo = dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]] | None]
"""From the URLs of one resource to its identities and tokens; to None if the resource may not be shared."""


@dataclass(slots=True, eq=False)
class CatalogStream:
    """One presentation with everything that belongs to it.

    Attributes:
        id: 32 hexadecimal digits.
        identity: the name of the manifest by which the stream was found first.
        url: that manifest's URL without tokens.
        format: that manifest's format.
        used_utc: when the stream was asked for last.
        live: whether it goes on.
        playlists: what its manifests list, by the manifest's name ("" for all of DASH and Smooth).
        children: names of the manifests that belong to it; a dict, so that they stay in their order.
        names: by a child's name what the master calls that rendition.
        never: names of its decryption keys, licences and session data.
        variables: HLS variables that its master defines.
        best_kbps: kilobits a second of its best picture; 0 if players have none to choose among.
        notices: sentences about what was left out of the last of its manifests.
    """

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
    notices: tuple[str, ...] = ()

    def weight(self) -> int:
        """How much the stream counts against the catalog's limit of entries."""
        return sum(playlist.weight() for playlist in self.playlists.values())


@dataclass(slots=True, eq=False)
class Playlist:
    """What one manifest lists.

    Attributes:
        stream: the stream to which it belongs.
        name: the manifest's name.
        live: whether it will change.
        used_utc: when it came last.
        entries: the resources that it writes out, by identities and byte range.
        computed: its templates, by identities and start.
        passed: resources that it lists but that are left to the origin, by identity and byte range.
        tokens: the sets of tokens in its URLs.
        streams: by programme (`programmes`) the id of the stream under which its viewers meet; those of most resources
            first.
        memo: what was found of each resource's URLs, so that a refresh does not compute it again.
    """

    stream: CatalogStream
    name: str
    live: bool
    used_utc: float
    entries: "dict[tuple[tuple[str, ...], ByteRange | None], CatalogEntry]" = field(default_factory=dict)
    computed: "dict[tuple[object, ...], Computed]" = field(default_factory=dict)
    passed: frozenset[tuple[str, ByteRange | None]] = frozenset()
    tokens: dict[tuple[str, ...], None] = field(default_factory=dict)
    streams: dict[str, str] = field(default_factory=dict)
    memo: Memo = field(default_factory=dict)

    def weight(self) -> int:
        """The number of its entries and of its timelines' runs, and of what else is remembered of it."""
        return (
            max(len(self.entries), len(self.memo))
            + len(self.passed)
            + sum(computed.weight() for computed in self.computed.values())
        )


@dataclass(slots=True, eq=False)
class CatalogEntry:
    """A resource that a manifest writes out, with its programme. It is not found any more after `expires_utc`."""

    playlist: Playlist
    rendition: str
    segment: Segment
    identities: tuple[str, ...]
    programme: str
    expires_utc: float = math.inf


@dataclass(slots=True, eq=False)
class Computed:
    """A template that a manifest lists: its URL patterns as identities, each with the expression that matches it."""

    playlist: Playlist
    rendition: str
    template: Template
    patterns: tuple[str, ...]
    expressions: tuple[re.Pattern[str], ...]
    programme: str
    expires_utc: float = math.inf

    def weight(self) -> int:
        """1, and 1 for each run of its timeline."""
        return 1 + (len(self.template.timeline.runs) if self.template.timeline is not None else 0)


class StreamIndex:
    """Finds entries by their identity and byte range, and templates by the beginning of their identity.

    A template's beginning reaches to the last slash before the first variable.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, ByteRange | None], list[CatalogEntry]] = {}
        self._computed: dict[str, list[Computed]] = {}

    def __len__(self) -> int:
        return len(self._entries) + len(self._computed)

    def add(self, item: CatalogEntry | Computed) -> None:
        """Add an entry or a template; what was added last is found first."""
        if isinstance(item, CatalogEntry):
            for name in item.identities:
                self._entries.setdefault((name, item.segment.byte_range), []).append(item)
        else:
            for name in {stem_of(pattern) for pattern in item.patterns}:
                self._computed.setdefault(name, []).append(item)

    def remove(self, item: CatalogEntry | Computed) -> None:
        """Remove an entry or a template that was added.

        Raises:
            KeyError, ValueError: it was not.
        """
        if isinstance(item, CatalogEntry):
            for name in item.identities:
                _remove_from(self._entries, (name, item.segment.byte_range), item)
        else:
            for name in {stem_of(pattern) for pattern in item.patterns}:
                _remove_from(self._computed, name, item)

    def entries(self, identity: str, byte_range: ByteRange | None) -> Iterator[CatalogEntry]:
        """The entries with this identity that list exactly this range of it, the newest first."""
        return reversed(self._entries.get((identity, byte_range), []))

    def computed(self, identity: str) -> Iterator[Computed]:
        """The templates that could make this identity, as their beginnings fit."""
        at = identity.find("/")
        while at >= 0:
            yield from reversed(self._computed.get(identity[: at + 1], []))
            at = identity.find("/", at + 1)


def stem_of(pattern: str) -> str:
    """A pattern up to the last slash before its first `$`: in this part stands no variable and no doubled `$`."""
    first = pattern.find("$")
    return pattern[: pattern.rfind("/", 0, first) + 1]


def _remove_from[N, T](found: dict[N, list[T]], name: N, item: T) -> None:
    items = found[name]
    items.remove(item)
    if not items:
        del found[name]
