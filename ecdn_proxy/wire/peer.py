"""The messages between agents of one tenant; they are the same over TLS and over WebRTC.

    session   Hello Watching Ping Pong Bye
    ledger    Ask → Granted | Follow | Redirect | GoAlone;  Progress Finished Held Dropped Shadow Keepers
    transfer  Get → Noted? Awaiting* Vouched* Piece* Part* End | Refused;  Cancel

Whoever asks chooses the `request` number; it means something on that link only. Golden frames and shapes in tests/wire
hold every message of protocol 1. What may be added to them without a new protocol number stands in wire/version.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids
from ecdn_proxy.wire.codec import decoder
from ecdn_proxy.wire.integrity import PIECE_BYTES, SEGMENT_BYTES_MAX, PartVoucher, Voucher

Request = Annotated[int, Meta(ge=0, lt=2**32)]
Lease = Annotated[int, Meta(ge=0, lt=2**62)]
PieceIndex = Annotated[int, Meta(ge=0, le=SEGMENT_BYTES_MAX // PIECE_BYTES)]
Streams = Annotated[tuple[ids.Stream, ...], Meta(max_length=64)]
KBPS_MAX = 100_000_000
MS_MAX = 2**40
"""The longest time that a message can tell in milliseconds, 35 years: whoever has waited longer says this."""
ElapsedMs = Annotated[int, Meta(ge=0, le=MS_MAX)]
LinkKind = Literal["wired", "wifi", "metered"]


SegmentGeneration = Annotated[str, Meta(max_length=64)]


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages between agents."""


class Contact(Message, frozen=True):
    """Where a device listens for links from other agents of its site."""

    device: ids.Device
    addresses: Annotated[tuple[ids.Address, ...], Meta(max_length=8)]
    port: ids.Port
    link: LinkKind = "wired"


class Hello(Message, frozen=True, tag=1):
    """The first message on every link, in both directions. `device` must be the one in the sender's certificate."""

    protocol: int
    device: ids.Device
    tenant: ids.Device
    version: Annotated[str, Meta(max_length=40)]
    contact: Contact
    streams: Streams
    """The streams that the sender watches now."""
    serves: bool
    """False while a setting or the coordinator's site map forbids uploads."""


class Watching(Message, frozen=True, tag=2):
    """The streams that the sender watches have changed; these are all of them."""

    streams: Streams
    serves: bool


class Ping(Message, frozen=True, tag=3):
    """Asks for a Pong, which measures the round trip and shows that the other end lives."""

    number: Request


class Pong(Message, frozen=True, tag=4):
    """Answers the Ping with the same number."""

    number: Request


PARTING_TLS = "another link between these two is kept"
"""The reason in the Bye of a TLS connection that is left for another TLS connection (core/connect/handover)."""
PARTING_WEBRTC = "this link goes on over TLS"
"""The reason in the Bye of a WebRTC connection that is left for a TLS connection."""


class Bye(Message, frozen=True, tag=5):
    """The last message on a connection that is closed on purpose, with the reason."""

    why: ids.Sentence
    """Words for a log. Two of them mean something: "another link between these two is kept" and "this link goes on over
    TLS" say that the link moves to another connection; whoever hears them says the same as its last word here."""


class Ask(Message, frozen=True, tag=10):
    """Asks the home of a segment's key: may I fetch this segment from the origin, or from whom do I read it?"""

    request: Request
    key: ids.Key
    stream: ids.Stream
    reason: Literal["first", "parent slow", "parent lost", "hedge", "home lost", "elder"]
    """Why the asker asks, or asks again. `elder`: the asker is this key's home since a moment ago, and asks a home by
    an older list what it knows; `Granted` with a lease of 0 answers that it knows nothing."""
    avoid: Annotated[tuple[ids.Device, ...], Meta(max_length=8)] = ()
    have: PieceIndex = 0
    """How many pieces from the first one on the asker has already, without a gap."""
    hops: Annotated[int, Meta(ge=0, le=4)] = 0
    """How many Redirects the asker has followed so far."""
    isolated: bool = False
    """True if the asker reaches no other Wi-Fi machine of its own network: an access point seems to keep them apart."""
    stale: SegmentGeneration | None = None
    """Set if the asker knows a copy that it may not use before the origin confirms it: the copy's generation. A home
    that knows of another one names who has it; else it grants a lease, under which the asker sends a conditional
    request (RFC 9110 section 13.1)."""
    idle_ms: ElapsedMs = 0
    """For so long the origin has said nothing of that copy."""
    waited_ms: ElapsedMs = 0
    """For so long the asker's viewer has waited: what the origin said meanwhile counts as said to that viewer."""


class Granted(Message, frozen=True, tag=11):
    """The asker has the lease: it shall fetch the segment from the origin.

    `hedge` is true if another machine fetches it too, but so slowly that the asker's viewers would wait too long.
    """

    request: Request
    key: ids.Key
    lease: Lease
    hedge: bool


class Follow(Message, frozen=True, tag=12):
    """The asker shall read from the first of these parents, and from the next if that one fails.

    `why` says how the first parent was chosen.
    """

    request: Request
    key: ids.Key
    parents: Annotated[tuple[Contact, ...], Meta(min_length=1, max_length=4)]
    why: ids.Sentence


class Redirect(Message, frozen=True, tag=13):
    """The asked machine is not this key's home: the asker shall ask `home`."""

    request: Request
    key: ids.Key
    home: Contact


class GoAlone(Message, frozen=True, tag=14):
    """Nobody may share this segment: every viewer asks the origin for itself. The asker remembers it for `for_ms`."""

    request: Request
    key: ids.Key
    why: ids.Sentence
    for_ms: Annotated[int, Meta(ge=0, le=600_000)]
    status: Annotated[int, Meta(ge=0, le=999)] = 0
    """404, 410 or 5xx: the viewer is answered with this status, and the origin is not asked again. 0: each asks it."""


class Progress(Message, frozen=True, tag=15):
    """From a lease holder to the home: bytes arrive from the origin, or it waits for them. It keeps the lease alive."""

    key: ids.Key
    lease: Lease
    received_bytes: Annotated[int, Meta(ge=0)]
    """So many have come. When it is the same number once more, and also when it is 0, the holder says that its
    connection is good and that it is the origin which takes its time: nobody else had better ask. A holder that waits
    says so every 0.2 s."""


class Finished(Message, frozen=True, tag=16):
    """From a lease holder to the home: how its fetch from the origin ended. The lease ends with it."""

    key: ids.Key
    lease: Lease
    outcome: Literal["complete", "failed", "private", "cancelled"]
    status: Annotated[int, Meta(ge=0, le=999)]
    why: ids.Sentence
    generation: SegmentGeneration | None = None
    """Which version of the segment is complete, or was confirmed by the origin."""


class Held(Message, frozen=True, tag=17):
    """To the home: the sender has all of this segment and can serve it."""

    key: ids.Key
    stream: ids.Stream


class Dropped(Message, frozen=True, tag=18):
    """To the home: the sender no longer has this segment, or has too little of it yet to be a parent."""

    key: ids.Key


class Shadow(Message, frozen=True, tag=19):
    """From a key's home to the next in rank, which goes on if the home dies: who has the lease."""

    key: ids.Key
    stream: ids.Stream
    fetcher: Contact
    lease: Lease


class Keepers(Message, frozen=True, tag=26):
    """While the coordinator is away: who keeps a stream's ledgers, as the coordinator said last.

    It is sent to a machine that may have joined since then.
    """

    stream: ids.Stream
    members: Annotated[tuple[Contact, ...], Meta(min_length=1, max_length=16)]


class Get(Message, frozen=True, tag=20):
    """Asks for a segment's pieces from number `first` on, each as soon as the asked machine has it.

    `count` is how many pieces are wanted, for an asker that reads parts from several parents at once; None is all.
    """

    request: Request
    key: ids.Key
    stream: ids.Stream
    first: PieceIndex
    count: PieceIndex | None = None
    errand: ids.Device | None = None
    """Set by an isolated machine, which cannot reach most who have the segment: if the asked machine has not begun to
    read it, it shall ask this home for a parent and read it for the asker."""
    judges_age: bool = False
    """True if the asker judges by `Vouched` whether it may use a copy: it may be sent one that is stale, and asks the
    origin to confirm it. Agents that do not say so are sent fresh copies only."""


class Noted(Message, frozen=True, tag=27):
    """The Get is accepted, but none of its pieces has arrived yet. It shows the asker that the other end lives."""

    request: Request


class Awaiting(Message, frozen=True, tag=28):
    """Nothing new has come, and rightly so: whoever fetches the segment has a good connection and waits for the origin.

    Said every 0.2 s while that is so. Whoever relays the segment passes it on.
    """

    request: Request


class Vouched(Message, frozen=True, tag=21):
    """The signed hashes of pieces that follow."""

    request: Request
    voucher: Voucher
    origin_kbps: Annotated[int, Meta(ge=0, le=KBPS_MAX)] = 0
    """How fast the origin sends the segment to its fetcher, in kbit/s; 0 while less than half of it has come."""
    age_ms: ElapsedMs | None = None
    """The copy's age (RFC 9111 section 4.2.3) by the sender's clock: since the origin made the answer or confirmed it.
    None: the sender does not say, and only the head's date tells."""
    idle_ms: ElapsedMs = 0
    """Since when the origin has sent nothing of the copy and confirmed nothing; 0 while it is still arriving. Whoever
    asked before that may use the copy however old it is (collapsed forwarding)."""
    number: Annotated[int, Meta(ge=-1, lt=2**62)] = -1
    """The place in its rendition at which the copy was listed when it was fetched; -1 if it is not known. Under
    another place the same address is another segment."""


class Piece(Message, frozen=True, tag=22):
    """The bytes of one piece, after the voucher that holds its hash."""

    request: Request
    index: PieceIndex
    data: Annotated[bytes, Meta(max_length=PIECE_BYTES)]


class Part(Message, frozen=True, tag=29):
    """The next bytes of a piece that is not whole yet, of a segment that is made while it is sent.

    The voucher speaks for the piece's beginning up to the end of these bytes. The whole piece follows when it is there.
    """

    request: Request
    offset: Annotated[int, Meta(ge=0, lt=PIECE_BYTES)]
    """Where in the piece the bytes begin: where those of the last Part ended, or 0."""
    data: Annotated[bytes, Meta(min_length=1, max_length=PIECE_BYTES)]
    voucher: PartVoucher


class End(Message, frozen=True, tag=23):
    """All pieces that a Get asked for have been sent."""

    request: Request


class Refused(Message, frozen=True, tag=24):
    """A Get is not served, or no longer: its sender must read from another machine."""

    request: Request
    reason: Literal["busy", "unknown", "lost", "policy", "private"]


class Cancel(Message, frozen=True, tag=25):
    """The asker needs no more pieces of this request."""

    request: Request
    late_with: PieceIndex | None = None
    """Set if the pieces came too slowly: how many pieces from the first on the asker has. The others that were sent are
    still on their way, so this tells the sender how fast its uplink is."""
    after_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 0
    """ElapsedMs from the first message of the answer until the asker had these pieces."""


Transfer = Noted | Awaiting | Vouched | Piece | Part | End | Refused
"""What answers a Get."""
PeerMessage = (
    Hello | Watching | Ping | Pong | Bye
    | Ask | Granted | Follow | Redirect | GoAlone | Progress | Finished | Held | Dropped | Shadow | Keepers
    | Get | Noted | Awaiting | Vouched | Piece | Part | End | Refused | Cancel
)  # fmt: skip

read_peer_message: Callable[[bytes | memoryview], PeerMessage] = decoder(PeerMessage)  # type: ignore[arg-type]  # a union is a type form
