"""Which requests are segments: those whose URL stands in a manifest that was fetched on this machine.

Map: limits · `Catalog`: `manifest_arrived` (take in what a manifest lists), `look_up` (a URL -> `lookup.Listed`),
`forget` · beside it: `streams` (which streams are known) and `index` (what is kept of them, and how it is found).

The media playlists of a master belong to the master's presentation, which is this machine's affair: it decides what is
forgotten together and who has proven what. Under which stream a segment's viewers meet is found in the segment's own
identity (`programmes`), as other viewers may have playlists with other URLs. Each refresh of a playlist replaces what
it listed before. A live entry that has left the window stays for as long as players may still ask for it.

A URL is found by its identity, which is the URL without tokens (`providers`). So two viewers with different tokens, or
a player script that adds a token, get the same segment key.

Some resources are never segments, whatever a manifest says: decryption keys and licences, manifests, local addresses.

Partial segments of LL-HLS, and those that a playlist hints at before they exist, are found too (`SegmentKind.PART`).
They have a rendition of their own: what an origin forbids for parts does not touch the segments.
"""

import hmac
import math
from collections import Counter
from dataclasses import replace
from typing import Final

from ecdn_proxy.core.catalog.index import CatalogEntry, CatalogStream, Computed, Memo, Playlist, stem_of
from ecdn_proxy.core.catalog.lookup import Listed
from ecdn_proxy.core.catalog.programmes import folded, place_of
from ecdn_proxy.core.catalog.providers import Canonical, Profiles
from ecdn_proxy.core.catalog.streams import StreamTable
from ecdn_proxy.core.http import urls
from ecdn_proxy.core.manifest.model import (
    Format,
    PatchBase,
    Presentation,
    Segment,
    SegmentKind,
    Template,
    fill,
    matcher,
)
from ecdn_proxy.core.manifest.patch import PatchBases
from ecdn_proxy.core.values import ANY_RANGE, ByteRange

STREAMS_MAX: Final = 64
"""The most streams known at once. One person's browser tabs, previews and adaptive retries stay far below."""
ENTRIES_MAX: Final = 60_000
"""The most listed resources and timeline runs together, about 700 bytes each: three manifests of the longest kind, 40
MB."""
FORGET_AFTER_S: Final = 4 * 3600.0
"""How long a recorded stream is remembered without a request or a refresh, in seconds. So a film that was paused over a
long lunch goes on."""
VANISHED_KEPT_S: Final = 120.0
"""How long an entry that has left a live window is still found, in seconds. RFC 8216, 6.2.2 demands the durations of
the segment and of the longest playlist with it."""
STREAMS_TOLD_MAX: Final = 3
"""Under how many streams viewers of one manifest can be met before they ask for its segments: picture, sound and one
more. Others are opened when a segment of them is wanted. mDNS tells eight in all."""
SOUND_BPS_MAX: Final = 330_000
"""The bits a second that sound seldom exceeds, and below which a picture seldom is."""


class Catalog:
    """The segments that manifests have listed, by identity. Only one thread may use it."""

    def __init__(
        self,
        *,
        salt: bytes,
        profiles: Profiles,
        max_streams: int = STREAMS_MAX,
        max_entries: int = ENTRIES_MAX,
        forget_after_s: float = FORGET_AFTER_S,
        allow_local: bool = False,
    ) -> None:
        self._salt = salt
        self._profiles = profiles
        self._max_entries = max_entries
        self._allow_local = allow_local
        self._streams = StreamTable(
            salt=salt, max_streams=max_streams, max_entries=max_entries, forget_after_s=forget_after_s
        )
        self._index = self._streams.index
        self._patch_bases = PatchBases()

    def manifest_arrived(self, presentation: Presentation, *, utc: float) -> str:
        """Take in a manifest that came from its origin with 2xx.

        Args:
            presentation: what the manifest says.
            utc: now, seconds since 1970.

        Returns:
            The id of its presentation on this machine, 32 hexadecimal digits (`streams`). Other agents know it by the
            streams of what it lists (`streams_of`).

        Raises:
            BadUrl: the manifest's own URL is no URL.
        """
        own = self._profiles.canonical(presentation.url)
        stream = self._streams.get_or_add(_named(own), own.identity, presentation, utc)
        stream.best_kbps = max(stream.best_kbps, _best_kbps(presentation))
        for child in presentation.child_manifests:
            self._adopt(stream, own, self._profiles.canonical(child), presentation.is_master)
        if presentation.is_master:
            named = ((_named(self._profiles.canonical(r.url)), r.id) for r in presentation.renditions if r.url)
            stream.names.update((child, label) for child, label in named if child in stream.children)
            stream.variables = presentation.variables
        secret = (url for url in presentation.never_share if urls.is_http(url))
        self._streams.add_never_shared(stream, (_named(self._profiles.canonical(url)) for url in secret))
        if not presentation.is_master:
            self._list(stream, own, presentation, utc)
        stream.notices = presentation.notices
        if presentation.patch_base is not None:
            self._patch_bases.keep(stream.id, presentation.patch_base)
        self._streams.trim_to_limits(stream)
        return stream.id

    def streams_of(self, url: str) -> tuple[str, ...]:
        """The ids of the streams under which viewers of a known manifest can be met, those of most segments first.

        A master does not say where its segments are. Its playlists do in most cases, as segments stand beside them.
        """
        name = _named(self._profiles.canonical(url))
        stream = self._streams.of_manifest(name)
        if stream is None:
            return ()
        playlist = stream.playlists.get(name) or stream.playlists.get("")
        if playlist is not None:
            return tuple(dict.fromkeys(playlist.streams.values()))[:STREAMS_TOLD_MAX]
        programmes = dict.fromkeys(self._profiles.programme(child) for child in stream.children)
        return tuple(self._streams.id_of(programme) for programme in programmes)[:STREAMS_TOLD_MAX]

    def proof_of(self, url: str) -> str:
        """What the origin's 2xx to this manifest proves: the `Listed.proof` of the segments at its origin.

        It is "" for a manifest that is not known.
        """
        own = self._profiles.canonical(url)
        stream = self._streams.of_manifest(_named(own))
        return self._proof(stream, own) if stream is not None else ""

    def remembers(self, url: str) -> bool:
        """Whether what the manifest from this URL listed is still known."""
        name = _named(self._profiles.canonical(url))
        stream = self._streams.of_manifest(name)
        if stream is None:
            return False
        return name in stream.playlists or (
            name == stream.identity and ("" in stream.playlists or bool(stream.children))
        )

    def variables_for(self, url: str) -> tuple[tuple[str, str], ...]:
        """The HLS variables that the master of this media playlist has defined, as names and values."""
        stream = self._streams.of_manifest(_named(self._profiles.canonical(url)))
        return stream.variables if stream is not None else ()

    def notices_for(self, url: str) -> tuple[str, ...]:
        """Sentences about what was left out of the last manifest of this manifest's stream, because it is wrong."""
        stream = self._streams.of_manifest(_named(self._profiles.canonical(url)))
        return stream.notices if stream is not None else ()

    def patch_bases_for(self, url: str) -> tuple[PatchBase, ...]:
        """The MPDs that a patch from this URL can change, the newest first."""
        stream = self._streams.of_manifest(_named(self._profiles.canonical(url)))
        return self._patch_bases.of(stream.id) if stream is not None else ()

    def listed_tokens(self, url: str) -> tuple[tuple[str, ...], ...]:
        """The tokens in the URLs that the last manifest from this URL listed, each set of them once."""
        identity = _named(self._profiles.canonical(url))
        stream = self._streams.of_manifest(identity)
        playlist = stream and (stream.playlists.get(identity) or stream.playlists.get(""))
        return tuple(playlist.tokens) if playlist else ()

    def look_up(self, url: str, byte_range: tuple[int, int | None] | None, *, utc: float) -> Listed | None:
        """The segment that a GET for `url` asks for; None if it asks for none, and then it passes to its origin.

        Args:
            url: as the viewer asked.
            byte_range: first and last byte of a Range header with one range; the last is None for "to the end". None
                without such a header.
            utc: now, seconds since 1970.
        """
        try:
            asked = self._profiles.canonical(url)
        except urls.BadUrl:
            return None
        name = _named(asked)
        if not asked.share or self._streams.of_manifest(name) is not None or self._streams.is_never_shared(name):
            return None
        covers = ByteRange(*byte_range) if byte_range is not None else None
        return self._look_among_entries(name, asked, covers, utc) or self._look_among_templates(name, asked, utc)

    def forget(self, *, utc: float) -> int:
        """Forget idle streams and expired entries, and return how many streams that were. Call it once a minute."""
        return self._streams.forget(utc)

    def check(self) -> None:
        """Assert what always holds; for tests."""
        self._streams.check()

    def _adopt(self, stream: CatalogStream, own: Canonical, child: Canonical, is_master: bool) -> None:
        """Make a manifest part of a stream.

        If it belongs to another stream at the manifest's own origin, only a master at that origin may take it over.
        """
        known = self._streams.of_manifest(_named(child))
        home = place_of(child.identity)
        override = is_master and (known is None or place_of(own.identity) == home or place_of(known.url) != home)
        self._streams.adopt(stream, _named(child), override=override)

    def _proof(self, stream: CatalogStream, at: Canonical) -> str:
        place = place_of(at.identity)
        return stream.id if place == place_of(stream.url) else self._streams.id_of(f"{stream.identity}\nat {place}")

    def _list(self, stream: CatalogStream, own: Canonical, presentation: Presentation, utc: float) -> None:
        """Replace, or with a delta update extend, what this manifest has listed."""
        name = _named(own) if presentation.format is Format.HLS else ""
        playlist = stream.playlists.pop(name, None) or Playlist(stream, name, False, utc)
        stream.playlists[name] = playlist
        playlist.live, playlist.used_utc = presentation.live, utc
        memo, playlist.memo = playlist.memo, {}
        playlist.tokens = {}
        playlist.passed = frozenset(
            (_named(self._profiles.canonical(url)), covers) for url, covers in presentation.passed
        )
        kept = self._list_entries(playlist, presentation, memo, utc)
        kept_computed = self._list_templates(playlist, presentation, utc)
        playlist.streams = self._meeting_streams(playlist)
        for entry_name, entry in list(playlist.entries.items()):
            if entry_name not in kept:
                self._vanished(playlist, presentation, entry, utc)
        for pattern, computed in list(playlist.computed.items()):
            if pattern not in kept_computed:
                computed.expires_utc = min(computed.expires_utc, utc + VANISHED_KEPT_S)
                if not presentation.live:
                    self._index.remove(playlist.computed.pop(pattern))

    def _meeting_streams(self, playlist: Playlist) -> dict[str, str]:
        """The stream of each programme that is listed, those of most segments first; a template counts as many."""
        number = Counter(entry.programme for entry in playlist.entries.values())
        number.update({computed.programme: self._max_entries for computed in playlist.computed.values()})
        counts_as = folded(programme for programme, _ in number.most_common())
        ids = {programme: self._streams.id_of(programme) for programme in dict.fromkeys(counts_as.values())}
        return {programme: ids[counts_as[programme]] for programme, _ in number.most_common()}

    def _vanished(self, playlist: Playlist, presentation: Presentation, entry: CatalogEntry, utc: float) -> None:
        skipped = range(presentation.first_number, presentation.first_number + presentation.skipped)
        if entry.segment.number in skipped and entry.segment.kind is not SegmentKind.PART:
            entry.expires_utc = _expiry(presentation, utc)
        elif presentation.live or presentation.format is Format.HLS:
            entry.expires_utc = min(entry.expires_utc, utc + VANISHED_KEPT_S)
        else:
            self._index.remove(playlist.entries.pop((entry.identities, entry.segment.byte_range)))

    def _list_entries(
        self, playlist: Playlist, presentation: Presentation, memo: Memo, utc: float
    ) -> set[tuple[tuple[str, ...], ByteRange | None]]:
        kept: set[tuple[tuple[str, ...], ByteRange | None]] = set()
        expires_utc = _expiry(presentation, utc)
        for rendition in presentation.renditions:
            label = playlist.stream.names.get(playlist.name, rendition.id)
            # parts first: what is a segment as well counts as a segment
            for segment in (*rendition.parts, *rendition.segments[-self._max_entries :]):
                sources = (segment.url, *segment.alternatives)
                found = memo[sources] if sources in memo else self._identified(sources)
                playlist.memo[sources] = found
                if found is None:
                    continue
                identities, tokens = found
                if tokens:
                    playlist.tokens[tokens] = None
                entry_name = (identities, segment.byte_range)
                kept.add(entry_name)
                its_label = f"{label} parts".strip() if segment.kind is SegmentKind.PART else label
                old = playlist.entries.get(entry_name)
                if old is not None:
                    old.segment, old.rendition, old.expires_utc = segment, its_label, expires_utc
                    continue
                programme = self._profiles.programme(identities[0])
                entry = CatalogEntry(playlist, its_label, segment, identities, programme, expires_utc)
                playlist.entries[entry_name] = entry
                self._index.add(entry)
        return kept

    def _list_templates(self, playlist: Playlist, presentation: Presentation, utc: float) -> set[tuple[object, ...]]:
        kept: set[tuple[object, ...]] = set()
        for rendition in presentation.renditions:
            for template in rendition.templates:
                found = self._identified(template.patterns)
                expressions = tuple(e for p in (found[0] if found else ()) if (e := matcher(p)) is not None)
                if found is None or len(expressions) != len(found[0]):
                    continue
                if found[1]:
                    playlist.tokens[found[1]] = None
                timed = template.timeline is not None
                number = -1 if timed else template.start_number
                template_name = (found[0], template.available_from_utc, template.start_ticks, number)
                programme = self._profiles.programme(stem_of(found[0][0]))
                made = Computed(playlist, rendition.id, template, found[0], expressions, programme)
                old = playlist.computed.pop(template_name, None)
                if old is not None:
                    self._index.remove(old)
                    if presentation.live:
                        made.template = _merged(template, old.template)
                playlist.computed[template_name] = made
                self._index.add(made)
                kept.add(template_name)
        return kept

    def _identified(self, sources: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """The identities and the tokens of one resource's URLs; None if none of the URLs may be shared."""
        identities: set[str] = set()
        tokens: dict[str, None] = {}
        for url in sources:
            if not self._allow_local and urls.is_local_target(url):
                continue
            one = self._profiles.canonical(url)
            if one.share:
                identities.add(_named(one))
                tokens.update(dict.fromkeys(one.tokens))
        return (tuple(sorted(identities)), tuple(tokens)) if identities else None

    def _look_among_entries(self, name: str, asked: Canonical, covers: ByteRange | None, utc: float) -> Listed | None:
        if covers is not None and covers != ANY_RANGE:
            exact = self._newest(name, covers, utc)
            if exact is not None:
                return self._listed(exact, asked, exact.identities, covers, exact.segment, utc)
        whole = self._newest(name, None, utc)
        if whole is not None and (covers is None or (name, covers) not in whole.playlist.passed):
            return self._listed(whole, asked, whole.identities, None, whole.segment, utc)
        if covers is not None and covers.last is not None:
            any_of = self._newest(name, ANY_RANGE, utc)
            if any_of is not None:
                return self._listed(any_of, asked, any_of.identities, covers, any_of.segment, utc)
        return None

    def _newest(self, name: str, byte_range: ByteRange | None, utc: float) -> CatalogEntry | None:
        return next((entry for entry in self._index.entries(name, byte_range) if utc <= entry.expires_utc), None)

    def _look_among_templates(self, name: str, asked: Canonical, utc: float) -> Listed | None:
        for computed in self._index.computed(name):
            if utc > computed.expires_utc:
                continue
            for expression in computed.expressions:
                hit = expression.fullmatch(name)
                found = computed.template.find(hit.groupdict(), utc) if hit is not None else None
                if found is None:
                    continue
                filled = (fill(p, number=found.number, time=found.start_ticks) for p in computed.patterns)
                segment = Segment("", None, found.duration_s, found.number)
                return self._listed(computed, asked, tuple(sorted(filled)), None, segment, utc)
        return None

    def _listed(
        self,
        item: CatalogEntry | Computed,
        asked: Canonical,
        identities: tuple[str, ...],
        covers: ByteRange | None,
        segment: Segment,
        utc: float,
    ) -> Listed:
        presentation = item.playlist.stream
        self._streams.mark_used(presentation, utc)
        stream = item.playlist.streams[item.programme]
        written = "" if covers is None else f"{covers.first}-{'' if covers.last is None else covers.last}"
        content = "\n".join(("segment", *identities, written))
        how = "computed from a template of" if isinstance(item, Computed) else "listed by"
        return Listed(
            stream=stream,
            rendition=item.rendition,
            key=hmac.digest(self._salt, content.encode(), "sha256").hex(),
            kind=segment.kind,
            live=item.playlist.live,
            duration_s=segment.duration_s,
            number=segment.number,
            byte_range=covers,
            tokens=asked.tokens,
            why=f"{how} the {presentation.format.upper()} manifest; stream {stream[:8]}; {asked.rule}",
            proof=self._proof(presentation, asked),
            best_kbps=presentation.best_kbps,
        )


def _named(canonical: Canonical) -> str:
    return f"{canonical.provider}|{canonical.identity}"


def _best_kbps(presentation: Presentation) -> int:
    """Kilobits a second of the best picture, if players choose among several pictures; else 0.

    Sound does not count, as it never fills a line.
    """
    speeds = {bps for r in presentation.renditions if (bps := r.bandwidth_bps or 0) > SOUND_BPS_MAX}
    return max(speeds, default=0) // 1000 if len(speeds) > 1 else 0


def _expiry(presentation: Presentation, utc: float) -> float:
    """Until when a resource is found if no manifest lists it again; only live HLS is listed anew every few seconds."""
    if not presentation.live or presentation.grows or presentation.format is not Format.HLS:
        return math.inf
    window_s = sum(s.duration_s for r in presentation.renditions for s in r.segments)
    return utc + max(VANISHED_KEPT_S, 2 * window_s + 3 * presentation.target_duration_s)


def _merged(new: Template, old: Template) -> Template:
    """The new template, with those runs of the old one before its timeline that players may still ask for."""
    if new.timeline is None or old.timeline is None or new.timescale != old.timescale:
        return new
    keep_ticks = int(VANISHED_KEPT_S * new.timescale)
    return replace(new, timeline=new.timeline.after(old.timeline, keep_ticks))
