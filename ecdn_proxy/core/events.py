"""All events that can happen to the node, and all effects that the node can want done.

    Event    past tense: a viewer asked, an origin answered, a peer spoke, a link ended
    Effect   imperative: answer that viewer, fetch from the origin, send that message

The performer (`ecdn_proxy.agent.performer`) turns effects into calls, and what comes of these calls into events. Tests
and the simulator do the same under a virtual clock. Names of events and of their fields stand in recordings: a changed
name makes older recordings unreadable.
"""

from dataclasses import dataclass, field
from typing import Literal

from ecdn_proxy.core.values import ByteRange, Headers, OriginRequest, Source, StoredSegment
from ecdn_proxy.wire.integrity import SegmentHead
from ecdn_proxy.wire.peer import Contact, PeerMessage

# ---- events: what happened


@dataclass(frozen=True, slots=True)
class Wanted:
    """A viewer asked for a segment, and is entitled to it.

    Attributes:
        viewer: the number by which effects name this viewer.
        stream: the stream's id, 32 hexadecimal digits.
        rendition: the manifest's name for the quality or track.
        key: the segment's key, 64 hexadecimal digits.
        number: the segment's place in its rendition.
        duration_s: seconds of media in it, 0.0 if unknown.
        live: whether the stream goes on.
        resource_range: which part of the resource at the URL the key names; None is all of it.
        origin: the viewer's own request, for the case that this machine fetches.
        utc: now, seconds since 1970.
        best_kbps: kilobits a second of the stream's best picture where players choose among several, else 0.
        max_age_s: how old a copy may be by the request's Cache-Control, in seconds, 0 for `no-cache`; None: the request
            says nothing of it.
    """

    viewer: int
    stream: str
    rendition: str
    key: str
    number: int
    duration_s: float
    live: bool
    resource_range: ByteRange | None
    origin: OriginRequest
    utc: float
    best_kbps: int = 0
    max_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Invalidated:
    """A request that changes things at the origin (POST, PUT, DELETE …) succeeded at a segment's own address."""

    key: str


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A viewer fetched a manifest of this stream; it will ask for segments in a moment."""

    stream: str


@dataclass(frozen=True, slots=True)
class ViewerLeft:
    """A viewer's connection ended before its answer did."""

    viewer: int


@dataclass(frozen=True, slots=True)
class OriginReached:
    """The origin's machine has the request of a fetch, and no answer has come for a moment: the connection is good.

    It is told once for each fetch, and never of one that is answered at once.
    """

    fetch: int


@dataclass(frozen=True, slots=True)
class OriginAnswered:
    """The response headers of a fetch from the origin arrived."""

    fetch: int
    status: int
    headers: Headers
    utc: float
    framed: bool = True
    """Whether the end of the body can be told from a broken connection (by Content-Length or chunks)."""


@dataclass(frozen=True, slots=True)
class OriginSent:
    """Bytes of a fetch's body arrived."""

    fetch: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OriginEnded:
    """A fetch's body ended as its headers had announced."""

    fetch: int


@dataclass(frozen=True, slots=True)
class OriginFailed:
    """A fetch failed: the connection was refused, timed out or broke before the end of the body."""

    fetch: int
    why: str


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """A link to an authenticated device is open: both ends have said Hello."""

    contact: Contact
    kind: Literal["lan", "webrtc"]
    streams: tuple[str, ...]
    serves: bool
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """A link ended, or could not be opened."""

    device: str
    why: str
    misbehaved: bool = False


@dataclass(frozen=True, slots=True)
class LinkFull:
    """A link holds so much unsent data that pieces for its device wait until LinkReady."""

    device: str


@dataclass(frozen=True, slots=True)
class LinkReady:
    """A link that was full can send more pieces."""

    device: str


@dataclass(frozen=True, slots=True)
class Received:
    """A peer's message arrived on an open link."""

    device: str
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class LanSeen:
    """mDNS shows an agent of this tenant on the same network link."""

    contact: Contact
    tags: tuple[str, ...]
    """The first digits of the ids of the streams that the agent watches."""
    serves: bool = True


@dataclass(frozen=True, slots=True)
class LanLost:
    """mDNS no longer shows this agent."""

    device: str


@dataclass(frozen=True, slots=True)
class TrackerSaid:
    """The coordinator named the neighbours that watch a stream, and the committee that keeps its ledgers."""

    stream: str
    committee: tuple[str, ...]
    contacts: tuple[tuple[Contact, str], ...]
    """Each neighbour with the reason for which the coordinator named it."""


@dataclass(frozen=True, slots=True)
class TrackerChanged:
    """The socket to the coordinator opened or closed."""

    connected: bool


@dataclass(frozen=True, slots=True)
class DevicesDenied:
    """The coordinator sent the whole set of devices that may not be spoken to."""

    devices: frozenset[str]


@dataclass(frozen=True, slots=True)
class Moved:
    """This machine has other addresses now; at `me` other agents reach it."""

    me: Contact


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """What this machine may do has changed, by a setting or the coordinator's site map; `why` names which."""

    sharing: bool
    uploads: bool
    why: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The disk answered a Load; `stored` is None if the segment is not there."""

    key: str
    stored: StoredSegment | None


Event = (
    StreamOpened | Wanted | Invalidated | ViewerLeft
    | OriginReached | OriginAnswered | OriginSent | OriginEnded | OriginFailed
    | LinkOpened | LinkClosed | LinkFull | LinkReady | Received
    | LanSeen | LanLost | TrackerSaid | TrackerChanged | DevicesDenied | Moved | PolicyChanged
    | Loaded
)  # fmt: skip


# ---- effects: what is to be done


@dataclass(frozen=True, slots=True)
class BeginAnswer:
    """Begin a viewer's answer. The front cuts the range that the viewer asked for out of what Deliver brings."""

    viewer: int
    head: SegmentHead
    source: Source
    why: str
    pace_kbps: int = 0
    """The speed at which the player shall get the segment, in kilobits a second; 0 is as fast as it takes it."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give a viewer the next bytes of the segment; they come in order, each byte once."""

    viewer: int
    data: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finish:
    """End a viewer's answer: the viewer has had every byte."""

    viewer: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Break a viewer's connection, as the rest cannot come: by the truncated body the player knows to ask again."""

    viewer: int
    why: str


@dataclass(frozen=True, slots=True)
class PassOn:
    """Let a viewer that has been answered nothing yet have the origin's own answer to its own request."""

    viewer: int
    why: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """Give a viewer the answer of the running fetch as it is.

    The fetch was this viewer's own request, and the origin's answer is not to be shared.
    """

    viewer: int
    fetch: int
    why: str


@dataclass(frozen=True, slots=True)
class AnswerStatus:
    """Answer a viewer with the status that the origin gave another agent: the segment is not there, or it fails."""

    viewer: int
    status: int
    why: str


@dataclass(frozen=True, slots=True)
class FetchOrigin:
    """Ask the origin for a segment or the rest of one.

    Attributes:
        fetch: the number by which events name this fetch.
        request: the viewer's own request that is sent.
        first_byte: position in the resource.
        last_byte: position in the resource, inclusive; None is the resource's end.
        ranged: whether a Range header is sent; without it the origin is asked for the whole resource.
        if_range: the validator for If-Range (RFC 9110 section 13.1.5), None without one.
        conditions: fields by which the origin is asked whether a copy still holds (RFC 9110 section 13.1); empty where
            the body is wanted in any case.
    """

    fetch: int
    request: OriginRequest
    first_byte: int
    last_byte: int | None
    ranged: bool
    if_range: str | None = None
    conditions: Headers = ()


@dataclass(frozen=True, slots=True)
class AbortOrigin:
    """End a fetch for which nobody waits any more."""

    fetch: int


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a link to a device; LinkOpened or LinkClosed follows."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the link to a device."""

    device: str
    why: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send one message to a device; it is dropped if the link has closed meanwhile."""

    device: str
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class AnnounceStreams:
    """Tell mDNS and the coordinator which streams are watched now, and whether this machine serves others."""

    streams: tuple[str, ...]
    serves: bool
    isolated: bool = False
    """An access point seems to keep this machine from the others on its Wi-Fi: other machines shall keep the
    ledgers."""


@dataclass(frozen=True, slots=True)
class Save:
    """Keep a whole segment on disk."""

    stored: StoredSegment


@dataclass(frozen=True, slots=True)
class Load:
    """Read a segment back from disk; Loaded follows."""

    key: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Remove a segment from disk."""

    key: str


@dataclass(frozen=True, slots=True)
class RaiseCondition:
    """Show a condition: something that IT can cure is wrong. `code` is registered in core/report/conditions."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ClearCondition:
    """Take a condition back: what was wrong is right again."""

    code: str


@dataclass(frozen=True, slots=True)
class Served:
    """Note that one segment reached one viewer, as a row of the status page.

    Attributes:
        key: the segment's key.
        stream: its stream's id.
        rendition: the manifest's name for the quality or track.
        number: the segment's place in its rendition.
        source: the source that is shown.
        why: the reason for this source, in words.
        ms: milliseconds from the viewer's request to the last byte.
        bytes_by_source: how many bytes each source gave.
        replaced: whether a source was lost or too slow and another one came in time, so that a stall was prevented.
    """

    key: str
    stream: str
    rendition: str
    number: int
    source: Source
    why: str
    ms: float
    bytes_by_source: tuple[tuple[Source, int], ...]
    replaced: bool = False


Effect = (
    BeginAnswer | Deliver | Finish | Abort | PassOn | HandOver | AnswerStatus
    | FetchOrigin | AbortOrigin | Dial | HangUp | Send | AnnounceStreams
    | Save | Load | Erase | RaiseCondition | ClearCondition | Served
)  # fmt: skip
