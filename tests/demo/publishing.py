"""What the origin publishes: from a path and the time to bytes. No socket, no clock.

Map:
    Publication(content, epoch)
        .newest(now)          the newest complete segment; segment n exists from epoch + 2 (n + 1) on
        .manifest(path, now)  HLS playlists and DASH manifests as they read at `now`
        .media(path)          segment, part, initialisation or key: always the same bytes, whatever the time
        .available(body, now) whether that body may be fetched now (published, and not too old)
        .awaited(path, query, found, now)  for how long low-latency HLS holds an answer back
    licence(asked)            the key, for a player that asks as W3C ClearKey does
Paths: /live/hls|aes/master.m3u8, 720/index.m3u8, 720/N.ts, key/N.bin;   /vod/hls likewise, whole and ended
       /live/cmaf|ll/master.m3u8, 720|audio/index.m3u8, init.mp4, N.m4s, in ll also N.PART.m4s
       /live/dash/manifest.mpd, timeline.mpd, 720/init.mp4, 720/N.m4s, audio/tTICKS.m4s
       /live/lldash/manifest.mpd, by number: a segment is sent while it is made
       /vod/dash/manifest.mpd and /live/clearkey/manifest.mpd likewise, by number
       /live/smooth/live.ism/Manifest, QualityLevels(BITS)/Fragments(video=TICKS)
"""

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from tests.demo import fragments, mpd, playlists, smooth
from tests.demo.content import RENDITIONS, SEGMENT_SECONDS, Content, encrypted, key_of
from tests.demo.playlists import PART_SECONDS, PARTS, VOD_SEGMENTS, WINDOW, Clock

__all__ = ["KEEP", "WINDOW", "Body", "Publication", "TooFarAhead", "body", "licence"]

KEEP = 30  # segments that can still be fetched
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
MANIFEST_TYPE = "application/dash+xml"
KEY_ID = UUID("5ec7e7d0-0000-4000-8000-00000000c1ea")
CLEARKEY = key_of(1_000_000)
_SMOOTH = "/live/smooth/live.ism/"
_AHEAD_SECONDS = 3 * SEGMENT_SECONDS  # a reload for later than this is the player's mistake
_DASH: dict[str, mpd.Kind] = {
    "/live/dash/manifest.mpd": "live",
    "/live/dash/timeline.mpd": "timeline",
    "/live/clearkey/manifest.mpd": "clearkey",
    "/live/lldash/manifest.mpd": "growing",
    "/vod/dash/manifest.mpd": "vod",
}


class Body(NamedTuple):
    """Published bytes. `kind` is segment, part, init, key or manifest; `number` places a segment in time.

    It is public when as many segments as it looks `ahead` are whole too, or, if it has `chunks`, from its first one on.
    """

    kind: str
    data: bytes
    content_type: str
    cache_control: str
    sha256: str
    number: int | None = None
    part: int | None = None
    ahead: int = 0
    chunks: tuple[bytes, ...] = ()

    @property
    def etag(self) -> str:
        return f'"{self.sha256[:16]}"'


class TooFarAhead(Exception):
    """A reload for a segment that is not due for a while."""


def body(
    kind: str, data: bytes, content_type: str, cache_control: str, number: int | None = None, part: int | None = None
) -> Body:
    return Body(kind, data, content_type, cache_control, hashlib.sha256(data).hexdigest(), number, part)


def _words(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def licence(asked: Mapping[str, Any]) -> dict[str, object]:
    """The licence for what was asked (W3C Encrypted Media Extensions, section 9.1)."""
    known = _words(KEY_ID.bytes)
    keys = [{"kty": "oct", "kid": known, "k": _words(CLEARKEY)}] if known in asked.get("kids", []) else []
    return {"keys": keys, "type": asked.get("type", "temporary")}


class Publication:
    """One endless live event in every packaging, and a recording."""

    def __init__(self, content: Content, epoch: float) -> None:
        self._content, self.epoch, self._clock = content, epoch, Clock(epoch)
        self.newest = self._clock.newest
        self.media = functools.lru_cache(maxsize=160)(self._media)

    def _complete(self, found: Body) -> float:
        """When the last byte was there."""
        if found.number is None:
            return self.epoch
        if found.ahead:
            return self.epoch + (found.number + found.ahead + 1) * SEGMENT_SECONDS
        rest = SEGMENT_SECONDS if found.part is None else (found.part + 1) * PART_SECONDS
        return self.epoch + found.number * SEGMENT_SECONDS + rest

    def chunks(self, found: Body, now: float) -> list[tuple[float, bytes]]:
        """Of a body that is still being made: in how many seconds each chunk is there; nothing of one that is whole."""
        if not found.chunks or found.number is None or self._complete(found) <= now:
            return []
        begun = self.epoch + found.number * SEGMENT_SECONDS
        return [(begun + (at + 1) * PART_SECONDS - now, chunk) for at, chunk in enumerate(found.chunks)]

    def available(self, found: Body, now: float) -> bool:
        if found.number is None:
            return True
        public = self._complete(found) - (SEGMENT_SECONDS if found.chunks else 0)
        return self.newest(now) - KEEP <= found.number and public <= now

    def published(self, found: Body, now: float) -> bool:
        """Whether the body was ever public: what a viewer got late can still be checked."""
        return found.number is None or (found.number >= 0 and self._complete(found) <= now)

    def awaited(self, path: str, query: Mapping[str, str], found: Body | None, now: float) -> float:
        """Seconds until a low-latency playlist holds what was asked for, or until a hinted part is whole."""
        if not path.startswith("/live/ll/"):
            return 0.0
        due = now
        if "_HLS_msn" in query:
            number = int(query["_HLS_msn"])
            part = int(query.get("_HLS_part", PARTS - 1))
            due = self.epoch + number * SEGMENT_SECONDS + (part + 1) * PART_SECONDS
            if due - now > _AHEAD_SECONDS:
                raise TooFarAhead
        elif found is not None and found.part is not None and self._complete(found) - now < 2 * PART_SECONDS:
            due = self._complete(found)
        return max(0.0, due - now)

    def manifest(self, path: str, now: float) -> Body | None:
        """The manifest at `path`, or None where there is none."""
        if dash := _DASH.get(path):
            text = mpd.manifest(self._content, self._clock, dash, now, str(KEY_ID))
            return body("manifest", text.encode(), MANIFEST_TYPE, "max-age=60" if dash == "vod" else "no-cache")
        if path == f"{_SMOOTH}Manifest":
            return body("manifest", smooth.manifest(self._content, self._clock, now).encode(), "text/xml", "no-cache")
        match = re.fullmatch(r"/(?:live/(hls|aes|cmaf|ll)|(vod)/hls)/(?:(\w+)/index|master)\.m3u8", path)
        if match is None:
            return None
        kind, track = match[1] or match[2], match[3]
        apart = kind in {"cmaf", "ll"}
        if track not in {None, *(["audio"] if apart else []), *(rendition.name for rendition in RENDITIONS)}:
            return None
        if track is None:
            text = playlists.master(self._content, apart)
        elif apart:
            text = playlists.fragments(self._content, self._clock, track, kind == "ll", now)
        else:
            text = playlists.transport_streams(self._clock, kind == "aes", None if kind == "vod" else now)
        return body("manifest", text.encode(), PLAYLIST_TYPE, "max-age=60" if kind == "vod" else "no-cache")

    def _media(self, path: str) -> Body | None:
        seconds = KEEP * SEGMENT_SECONDS
        if match := re.fullmatch(r"/live/(hls|aes)/(360|720)/(\d{1,12})\.ts", path):
            number = int(match[3])
            data = self._content.transport_stream(match[2], number)
            data = encrypted(data, number) if match[1] == "aes" else data
            return body("segment", data, "video/mp2t", f"public, max-age={seconds}", number)
        if match := re.fullmatch(r"/live/aes/key/(\d{1,12})\.bin", path):
            return body("key", key_of(int(match[1])), "application/octet-stream", "no-store")
        if match := re.fullmatch(r"/vod/hls/(360|720)/(\d{1,3})\.ts", path):
            data = self._content.transport_stream(match[1], int(match[2]))
            return body("segment", data, "video/mp2t", "public, max-age=3600") if int(match[2]) < VOD_SEGMENTS else None
        if match := re.fullmatch(r"/(live/\w+|vod/dash)/(360|720|audio)/(init\.mp4|[t\d.]+\.m4s)", path):
            return self._fragment(match[1], match[2], match[3])
        return self._smooth(path.removeprefix(_SMOOTH)) if path.startswith(_SMOOTH) else None

    def _smooth(self, path: str) -> Body | None:
        asked = smooth.asked_for(self._content, path)
        if asked is None:
            return None
        data = smooth.fragment(self._content, asked.track, asked.number)
        content_type = "audio/mp4" if asked.track == "audio" else "video/mp4"
        lasting = f"public, max-age={KEEP * SEGMENT_SECONDS}"
        if not asked.whole:
            return body("init", smooth.information(data), content_type, lasting, asked.number)
        return body("segment", data, content_type, lasting, asked.number)._replace(ahead=smooth.LOOKAHEAD)

    def _fragment(self, kind: str, track: str, name: str) -> Body | None:
        """Of CMAF and DASH: initialisation, segment by number or (dash) by time, or (ll) a part."""
        if kind not in {"live/dash", "live/cmaf", "live/ll", "live/lldash", "live/clearkey", "vod/dash"}:
            return None
        content_type = "audio/mp4" if track == "audio" else "video/mp4"
        if name == "init.mp4":
            init = self._content.init[track]
            data = fragments.protected_init(init, KEY_ID.bytes) if kind == "live/clearkey" else init
            return body("init", data, content_type, "public, max-age=86400")
        match = re.fullmatch(r"(t?)(\d{1,15})(?:\.(\d))?\.m4s", name)
        if match is None or (match[1] and kind != "live/dash") or (match[3] and kind != "live/ll"):
            return None
        number = self._content.segment_at(track, int(match[2])) if match[1] else int(match[2])
        if number is None or (kind == "vod/dash" and number >= VOD_SEGMENTS):
            return None
        data = self._content.fragment(track, number)
        lasting = f"public, max-age={KEEP * SEGMENT_SECONDS}"
        if kind == "live/ll":
            parts = fragments.parts(data, PARTS)
            if not match[3]:
                return body("segment", b"".join(parts), content_type, lasting, number)
            part = int(match[3])
            return body("part", parts[part], content_type, lasting, number, part) if part < PARTS else None
        if kind == "live/lldash":
            chunks = tuple(fragments.parts(data, PARTS))
            return body("segment", b"".join(chunks), content_type, lasting, number)._replace(chunks=chunks)
        if kind == "live/clearkey":
            data = fragments.protected(data, CLEARKEY, picture=track != "audio")
        if kind == "vod/dash":
            return body("segment", data, content_type, "public, max-age=3600")
        return body("segment", data, content_type, lasting, number)
