"""Live streams of low latency at an origin of these tests, and their players: when each part was made, when it came.

    event = Parts(office.origin, "/live", part_s=0.33)        # LL-HLS, parts by name; `ranged=True`: by byte range
    await office.meet(event.meeting)
    event.begin(segments=3)
    came = await watch(office, event, desk=1, ahead=True)     # of each part: was it right, and how late

Map:
    DIRECT      the User-Agent of whoever goes straight to the origin; everybody else is an agent
    Parts       LL-HLS: blocking reloads, delta updates, preload hints that are answered once the part is there
    Chunks      LL-DASH: segments that are sent while they are made
    watch       a player of either at one desk
"""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from tests.demo.clock import seconds, stamp, wall
from tests.field.mpd import NAMESPACE
from tests.field.office import Office
from tests.field.origin import TYPES, Origin, body, playlist

DIRECT = {"User-Agent": "a viewer without an agent"}
_LASTING = {"Cache-Control": "public, max-age=60"}
_SOON_S = 0.5
"""From `begin` until the first segment begins to be made."""
_KEPT = 3
"""Whole segments whose parts are listed."""


@dataclass(frozen=True)
class Came:
    """One part or chunk as a player got it."""

    late_s: float
    """From its making until all of it was there."""
    right: bool


class Event(Protocol):
    """What `watch` needs of a stream."""

    async def play(self, office: Office, desk: int | None, ahead: bool) -> list[Came]: ...
    def copies(self) -> list[int]: ...


async def watch(office: Office, event: Event, desk: int | None, ahead: bool = False) -> list[Came]:
    """The player at this desk sees all of the event; `ahead`: it asks for a part as soon as it is hinted at."""
    return await event.play(office, desk, ahead)


def _to_agents(origin: Origin, path: str, fields: Mapping[str, str]) -> int:
    """How many answers of this path, and of this Range, went to agents, the broken ones too."""
    asked = [it for it in origin.requests(path) if it.field("Range") == fields.get("Range")]
    return sum(it.field("User-Agent") != DIRECT["User-Agent"] for it in asked)


class Parts:
    """One rendition of LL-HLS."""

    def __init__(
        self,
        origin: Origin,
        folder: str,
        *,
        part_s: float = 0.5,
        parts: int = 4,
        kbit: int = 2000,
        ranged: bool = False,
    ) -> None:
        self.origin, self.folder, self.part_s, self.parts, self.ranged = origin, folder, part_s, parts, ranged
        self.size = round(kbit * 125 * part_s)
        self.index, self.meeting = f"{folder}/index.m3u8", f"{folder}/meeting.m3u8"
        origin.put(self.meeting, playlist(probes=folder))
        self._epoch, self._segments = 0.0, 0

    def begin(self, segments: int) -> None:
        """The encoder starts in a moment and makes so many segments."""
        self._epoch, self._segments = seconds() + _SOON_S, segments
        self.origin.handle(self.index, self._answer_index)
        for number in range(segments):
            self.origin.handle(f"{self.folder}/{number}.m4s", self._answer_media)
            for part in range(self.parts):
                self.origin.handle(f"{self.folder}/{number}.{part}.m4s", self._answer_media)

    def body(self, number: int) -> bytes:
        return body(f"{self.folder}/{number}", size=self.size * self.parts)

    def made_at(self, place: int) -> float:
        """When a part is there; `place` counts parts from the start on."""
        return self._epoch + (place + 1) * self.part_s

    def path(self, place: int) -> tuple[str, dict[str, str]]:
        """Where a part is: its path, and the request's Range."""
        number, part = divmod(place, self.parts)
        if not self.ranged:
            return f"{self.folder}/{number}.{part}.m4s", {}
        return f"{self.folder}/{number}.m4s", {"Range": f"bytes={part * self.size}-{(part + 1) * self.size - 1}"}

    def copies(self) -> list[int]:
        """Of each part, how many went to agents."""
        return [_to_agents(self.origin, *self.path(place)) for place in range(self._segments * self.parts)]

    async def play(self, office: Office, desk: int | None, ahead: bool) -> list[Came]:
        """A blocking reload and the part that it lists or that was hinted at, again and again."""
        await office.get(desk, self.index, DIRECT if desk is None else {})
        came = []
        for place in range(self._segments * self.parts):
            if ahead:
                _, one = await asyncio.gather(self._reload(office, desk, place), self._take(office, desk, place))
            else:
                await self._reload(office, desk, place)
                one = await self._take(office, desk, place)
            came.append(one)
        return came

    async def _reload(self, office: Office, desk: int | None, place: int) -> None:
        number, part = divmod(place, self.parts)
        reload = f"{self.index}?_HLS_msn={number}&_HLS_part={part}" + ("&_HLS_skip=YES" if place else "")
        got = await office.get(desk, reload, DIRECT if desk is None else {})
        text = got.body.decode()
        assert (got.status, self._where(number, part) in text) == (200, True), (place, got.status, text)

    async def _take(self, office: Office, desk: int | None, place: int) -> Came:
        number, part = divmod(place, self.parts)
        path, span = self.path(place)
        began = seconds()
        got = await office.get(desk, path, {**span, **(DIRECT if desk is None else {})})
        right = self.body(number)[part * self.size : (part + 1) * self.size] == got.body
        return Came(began + got.whole_s - self.made_at(place), right and got.status in {200, 206})

    async def _answer_index(self, request: web.Request) -> web.StreamResponse:
        if (number := request.query.get("_HLS_msn")) is not None:
            place = int(number) * self.parts + int(request.query.get("_HLS_part", self.parts - 1))
            await asyncio.sleep(self.made_at(place) - seconds())
        text = self._index(seconds(), "_HLS_skip" in request.query)
        return web.Response(body=text.encode(), headers={"Content-Type": TYPES["m3u8"], "Cache-Control": "no-cache"})

    def _index(self, now: float, delta: bool) -> str:
        made = max(0, min(int((now - self._epoch) / self.part_s + 1e-3), self._segments * self.parts))
        target = self.part_s * self.parts
        skipped = max(0, made // self.parts - _KEPT) if delta else 0
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:9",
            f"#EXT-X-TARGETDURATION:{max(1, round(target))}",
            f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={6 * target},PART-HOLD-BACK={3 * self.part_s}",
            f"#EXT-X-PART-INF:PART-TARGET={self.part_s}",
            "#EXT-X-MEDIA-SEQUENCE:0",
            *([f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"] if skipped else []),
        ]
        for number in range(skipped, made // self.parts + 1):
            there = min(self.parts, made - number * self.parts) if number > made // self.parts - _KEPT else 0
            lines += [f"#EXT-X-PART:DURATION={self.part_s},{self._where(number, part)}" for part in range(there)]
            if made >= (number + 1) * self.parts:
                lines += [f"#EXTINF:{target:.3f},", f"{self.folder}/{number}.m4s"]
        if made < self._segments * self.parts:
            lines.append(f"#EXT-X-PRELOAD-HINT:TYPE=PART,{self._where(*divmod(made, self.parts), hint=True)}")
        return "\n".join([*lines, ""])

    def _where(self, number: int, part: int, hint: bool = False) -> str:
        if not self.ranged:
            return f'URI="{self.folder}/{number}.{part}.m4s"'
        start = part * self.size
        span = f"BYTERANGE-START={start},BYTERANGE-LENGTH={self.size}" if hint else f'BYTERANGE="{self.size}@{start}"'
        return f'URI="{self.folder}/{number}.m4s",{span}'

    async def _answer_media(self, request: web.Request) -> web.StreamResponse:
        """A part or a segment, as soon as it is there."""
        words = request.path.rpartition("/")[2].split(".")
        number, size = int(words[0]), self.size * self.parts
        first, last = (
            (int(words[1]) * self.size, (int(words[1]) + 1) * self.size - 1) if len(words) == 3 else (0, size - 1)
        )
        fields, status = {**_LASTING, "Content-Type": TYPES["m4s"], "ETag": f'"{number}"'}, 200
        if len(words) == 2 and (span := request.headers.get("Range")) is not None:
            first, last = (int(it) for it in span.removeprefix("bytes=").split("-"))
            status = 206
        place = number * self.parts + last // self.size
        await asyncio.sleep(self.made_at(place) - seconds())
        if status == 206:
            is_whole = seconds() >= self.made_at(number * self.parts + self.parts - 1)
            fields["Content-Range"] = f"bytes {first}-{last}/{size if is_whole else '*'}"
        return web.Response(status=status, body=self.body(number)[first : last + 1], headers=fields)


class Chunks:
    """One rendition of LL-DASH by number: a segment is sent chunk by chunk, without a length and without an ETag."""

    def __init__(self, origin: Origin, folder: str, *, chunk_s: float = 0.5, chunks: int = 4, kbit: int = 2000) -> None:
        self.origin, self.folder, self.chunk_s, self.chunks = origin, folder, chunk_s, chunks
        self.size = round(kbit * 125 * chunk_s)
        self.manifest, self.meeting = f"{folder}/manifest.mpd", f"{folder}/meeting.m3u8"
        origin.put(self.meeting, playlist(probes=folder))
        self._epoch, self._segments = 0.0, 0

    @property
    def segment_s(self) -> float:
        return self.chunk_s * self.chunks

    def begin(self, segments: int) -> None:
        """The encoder starts in a moment and makes so many segments."""
        self._epoch, self._segments = seconds() + _SOON_S, segments
        self.origin.put(self.manifest, self._mpd(), cache="no-cache")
        for number in range(segments):
            self.origin.handle(f"{self.folder}/v-{number}.m4s", self._answer)

    def body(self, number: int) -> bytes:
        return body(f"{self.folder}/{number}", size=self.size * self.chunks)

    def copies(self) -> list[int]:
        """Of each segment, how many went to agents."""
        return [_to_agents(self.origin, f"{self.folder}/v-{number}.m4s", {}) for number in range(self._segments)]

    async def play(self, office: Office, desk: int | None, ahead: bool) -> list[Came]:
        """Each segment as soon as its first chunk can be asked for."""
        fields = DIRECT if desk is None else {}
        await office.get(desk, self.manifest, fields)
        came = []
        for number in range(self._segments):
            began_at = self._epoch + number * self.segment_s
            await asyncio.sleep(began_at - seconds())
            asked_at, whole = seconds(), self.body(number)
            got = await office.get(desk, f"{self.folder}/v-{number}.m4s", fields)
            for chunk in range(self.chunks):
                at = next((at for at, total in got.arrivals if total >= self.size * (chunk + 1)), got.whole_s)
                late = asked_at + at - (began_at + (chunk + 1) * self.chunk_s)
                came.append(Came(late, got.status == 200 and got.body == whole))
        return came

    def _mpd(self) -> bytes:
        begun = stamp(wall() + self._epoch - seconds())
        ahead = (self.chunks - 1) * self.chunk_s
        return (
            f'<?xml version="1.0"?>\n<MPD xmlns="{NAMESPACE}" type="dynamic" availabilityStartTime="{begun}" '
            f'publishTime="{begun}" minimumUpdatePeriod="PT30S" timeShiftBufferDepth="PT60S" minBufferTime="PT1S" '
            'profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period id="p0" start="PT0S"><AdaptationSet '
            'mimeType="video/mp4"><Representation id="v" bandwidth="2000000"><SegmentTemplate timescale="1000" '
            f'duration="{round(1000 * self.segment_s)}" startNumber="0" availabilityTimeOffset="{ahead}" '
            f'availabilityTimeComplete="false" media="{self.folder}/v-$Number$.m4s"/></Representation></AdaptationSet>'
            "</Period></MPD>\n"
        ).encode()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        number = int(request.path.rpartition("-")[2].partition(".")[0])
        answer, whole = web.StreamResponse(headers={"Content-Type": TYPES["m4s"], **_LASTING}), self.body(number)
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for chunk, part in enumerate(itertools.batched(whole, self.size)):
            at = self._epoch + number * self.segment_s + (chunk + 1) * self.chunk_s
            await asyncio.sleep(at - seconds())
            await answer.write(bytes(part))
        await answer.write_eof()
        return answer
