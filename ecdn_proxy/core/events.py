"""What can happen to the node, and what it can want done.

    Event    past tense: a viewer asked, an origin answered, a peer spoke, a link ended
    Effect   imperative: answer that viewer, fetch from the origin, send that message

The performer (`ecdn_proxy.agent.performer`) turns effects into calls and what comes of them into events; the tests and
the simulator do the same with a virtual clock.
"""

from dataclasses import dataclass, field
from typing import Literal

from ecdn_proxy.core.values import ByteRange, Headers, OriginRequest, Source, StoredSegment
from ecdn_proxy.wire.integrity import SegmentHead
from ecdn_proxy.wire.peer import Contact, PeerMessage

# ---- events: what happened


@dataclass(frozen=True, slots=True)
class Wanted:
    """A viewer asked for a segment that it may have; `best_kbps` as in `Listed`."""

    viewer: int
    stream: str
    rendition: str
    key: str
    number: int
    duration_s: float
    live: bool
    resource_range: ByteRange | None  # what the key names of the resource; None is all of it
    origin: OriginRequest
    utc: float
    best_kbps: int = 0


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A viewer fetched a manifest of this stream: segments will be wanted in a moment."""

    stream: str


@dataclass(frozen=True, slots=True)
class ViewerLeft:
    """A viewer's connection ended before its answer did."""

    viewer: int


@dataclass(frozen=True, slots=True)
class OriginAnswered:
    """Response headers of a fetch arrived."""

    fetch: int
    status: int
    headers: Headers
    utc: float
    framed: bool = True
    """The body's end can be told from a broken connection (Content-Length or chunks)."""


@dataclass(frozen=True, slots=True)
class OriginSent:
    """Body bytes of a fetch arrived."""

    fetch: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OriginEnded:
    """A fetch's body ended as its headers had announced."""

    fetch: int


@dataclass(frozen=True, slots=True)
class OriginFailed:
    """A fetch broke: refused, timed out, truncated."""

    fetch: int
    why: str


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """An authenticated link to a device stands; a Hello has been exchanged."""

    contact: Contact
    kind: Literal["lan", "webrtc"]
    streams: tuple[str, ...]
    serves: bool
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """A link ended, or a dial did not succeed."""

    device: str
    why: str
    misbehaved: bool = False


@dataclass(frozen=True, slots=True)
class LinkFull:
    """A link holds much that has not been sent; pieces wait until LinkReady."""

    device: str


@dataclass(frozen=True, slots=True)
class LinkReady:
    """A link that was full can take more."""

    device: str


@dataclass(frozen=True, slots=True)
class Received:
    """A peer's message on an open link."""

    device: str
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class LanSeen:
    """mDNS shows an agent of this tenant on the link."""

    contact: Contact
    tags: tuple[str, ...]
    """The first digits of the streams that it watches."""
    serves: bool = True


@dataclass(frozen=True, slots=True)
class LanLost:
    """mDNS no longer shows an agent."""

    device: str


@dataclass(frozen=True, slots=True)
class TrackerSaid:
    """The coordinator named the neighbours that watch a stream."""

    stream: str
    committee: tuple[str, ...]
    contacts: tuple[tuple[Contact, str], ...]
    """Each with the tracker's reason."""


@dataclass(frozen=True, slots=True)
class TrackerChanged:
    """The coordinator's socket opened or closed."""

    connected: bool


@dataclass(frozen=True, slots=True)
class DevicesDenied:
    """The coordinator's whole set of devices that may not be spoken to."""

    devices: frozenset[str]


@dataclass(frozen=True, slots=True)
class Moved:
    """This machine has other addresses now; `me` is how others reach it."""

    me: Contact


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """What this machine may do has changed (settings, site map, battery)."""

    sharing: bool
    uploads: bool
    why: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The disk answered a Load."""

    key: str
    stored: StoredSegment | None


Event = (
    StreamOpened | Wanted | ViewerLeft | OriginAnswered | OriginSent | OriginEnded | OriginFailed
    | LinkOpened | LinkClosed | LinkFull | LinkReady | Received
    | LanSeen | LanLost | TrackerSaid | TrackerChanged | DevicesDenied | Moved | PolicyChanged
    | Loaded
)  # fmt: skip


# ---- effects: what is to be done


@dataclass(frozen=True, slots=True)
class BeginAnswer:
    """Begin a viewer's answer, of some `pace`; the gateway cuts the viewer's own range out of what Deliver brings."""

    viewer: int
    head: SegmentHead
    source: Source
    why: str
    pace_kbps: int = 0


@dataclass(frozen=True, slots=True)
class Deliver:
    """The next bytes of the segment, in order, each byte once."""

    viewer: int
    data: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finish:
    """The viewer has had everything."""

    viewer: int


@dataclass(frozen=True, slots=True)
class Abort:
    """The rest cannot come: break the viewer's connection, so that it sees a truncated body and asks again."""

    viewer: int
    why: str


@dataclass(frozen=True, slots=True)
class PassOn:
    """Nothing was answered yet: let the viewer have the origin's own answer by its own request."""

    viewer: int
    why: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """The running fetch was this viewer's own request and its answer is not to be shared: give it as it is."""

    viewer: int
    fetch: int
    why: str


@dataclass(frozen=True, slots=True)
class AnswerStatus:
    """The origin told other agents that the segment is not there, or that it fails; tell this viewer the same."""

    viewer: int
    status: int
    why: str


@dataclass(frozen=True, slots=True)
class FetchOrigin:
    """Ask the origin for a range, or all; `first_byte` and `last_byte` are positions in the resource, None its end."""

    fetch: int
    request: OriginRequest
    first_byte: int
    last_byte: int | None
    ranged: bool
    if_range: str | None = None


@dataclass(frozen=True, slots=True)
class AbortOrigin:
    """Nobody waits for this fetch any more."""

    fetch: int


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a link; ends in LinkOpened or LinkClosed."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close a link."""

    device: str
    why: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send one message on an open link; dropped if it closed meanwhile."""

    device: str
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class AnnounceStreams:
    """The streams watched now, for mDNS and the coordinator."""

    streams: tuple[str, ...]
    serves: bool
    isolated: bool = False
    """An access point seems to keep this machine from its like: let others keep the ledgers."""


@dataclass(frozen=True, slots=True)
class Save:
    """Keep a whole segment on disk."""

    stored: StoredSegment


@dataclass(frozen=True, slots=True)
class Load:
    """Read a segment back; ends in Loaded."""

    key: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Remove a segment from disk."""

    key: str


@dataclass(frozen=True, slots=True)
class RaiseCondition:
    """Something IT can cure is wrong; `code` is registered in core/report/conditions."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ClearCondition:
    """It is right again."""

    code: str


@dataclass(frozen=True, slots=True)
class Served:
    """One segment reached one viewer: the status page's row. `replaced`: a source was lost or slow, another in time."""

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
