"""What agents of one tenant say to each other; the same over TLS and over WebRTC.

    session   Hello Watching Ping Pong Bye
    ledger    Ask → Granted | Follow | Redirect | GoAlone;  Progress Finished Held Dropped Shadow Keepers
    transfer  Get → Noted? Vouched* Piece* End | Refused;  Cancel

`request` numbers are chosen by whoever asks and mean something on that link only. Golden frames and shapes in
tests/wire hold every message of protocol 1; what may be added to them without a new number stands in wire/version.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids
from ecdn_proxy.wire.codec import decoder
from ecdn_proxy.wire.integrity import PIECE_BYTES, SEGMENT_BYTES_MAX, Voucher

Request = Annotated[int, Meta(ge=0, lt=2**32)]
Lease = Annotated[int, Meta(ge=0, lt=2**62)]
PieceIndex = Annotated[int, Meta(ge=0, le=SEGMENT_BYTES_MAX // PIECE_BYTES)]
Streams = Annotated[tuple[ids.Stream, ...], Meta(max_length=64)]
KBPS_MAX = 100_000_000
LinkKind = Literal["wired", "wifi", "metered"]


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages between agents."""


class Contact(Message, frozen=True):
    """Where a device of this site listens for peers."""

    device: ids.Device
    addresses: Annotated[tuple[ids.Address, ...], Meta(max_length=8)]
    port: ids.Port
    link: LinkKind = "wired"


class Hello(Message, frozen=True, tag=1):
    """First on every link, both ways; the device must be the one in the certificate."""

    protocol: int
    device: ids.Device
    tenant: ids.Device
    version: Annotated[str, Meta(max_length=40)]
    contact: Contact
    streams: Streams
    """Streams watched now, those of the ledger's committee."""
    serves: bool
    """False while policy, battery or a metered link forbids uploads."""


class Watching(Message, frozen=True, tag=2):
    """The streams watched now have changed."""

    streams: Streams
    serves: bool


class Ping(Message, frozen=True, tag=3):
    """Asks for a Pong; measures the round trip and shows that the other end lives."""

    number: Request


class Pong(Message, frozen=True, tag=4):
    """Answers a Ping."""

    number: Request


class Bye(Message, frozen=True, tag=5):
    """Last on a link that is closed on purpose."""

    why: ids.Sentence


class Ask(Message, frozen=True, tag=10):
    """To a key's home: who fetches this segment, and from whom may I read it?"""

    request: Request
    key: ids.Key
    stream: ids.Stream
    reason: Literal["first", "parent slow", "parent lost", "hedge", "home lost", "elder"]
    """`elder`: the asker keeps this ledger itself but is new; a lease of 0 answers that nothing is known."""
    avoid: Annotated[tuple[ids.Device, ...], Meta(max_length=8)] = ()
    have: PieceIndex = 0
    """Contiguous pieces that the asker has already."""
    hops: Annotated[int, Meta(ge=0, le=4)] = 0
    """Redirects followed so far."""
    isolated: bool = False
    """The asker reaches none of its own kind on its own network: an access point seems to keep its clients apart."""


class Granted(Message, frozen=True, tag=11):
    """The asker shall fetch the key from the origin; `hedge` when somebody else is at it too, but late."""

    request: Request
    key: ids.Key
    lease: Lease
    hedge: bool


class Follow(Message, frozen=True, tag=12):
    """Read from the first of these, or the next if it fails; `why` says how the first was chosen."""

    request: Request
    key: ids.Key
    parents: Annotated[tuple[Contact, ...], Meta(min_length=1, max_length=4)]
    why: ids.Sentence


class Redirect(Message, frozen=True, tag=13):
    """Not this key's home: ask that one."""

    request: Request
    key: ids.Key
    home: Contact


class GoAlone(Message, frozen=True, tag=14):
    """Nobody may share this key: every viewer asks the origin for itself; remembered for `for_ms`."""

    request: Request
    key: ids.Key
    why: ids.Sentence
    for_ms: Annotated[int, Meta(ge=0, le=600_000)]
    status: Annotated[int, Meta(ge=0, le=999)] = 0
    """404, 410 or 5xx: tell the viewer this instead of asking the origin once more; 0: ask for yourself."""


class Progress(Message, frozen=True, tag=15):
    """From a lease holder to the home: still at it; keeps the lease alive."""

    key: ids.Key
    lease: Lease
    received_bytes: Annotated[int, Meta(ge=0)]


class Finished(Message, frozen=True, tag=16):
    """From a lease holder to the home: how the fetch ended."""

    key: ids.Key
    lease: Lease
    outcome: Literal["complete", "failed", "private", "cancelled"]
    status: Annotated[int, Meta(ge=0, le=999)]
    why: ids.Sentence


class Held(Message, frozen=True, tag=17):
    """To the home: the sender has all of this segment and can serve it."""

    key: ids.Key
    stream: ids.Stream


class Dropped(Message, frozen=True, tag=18):
    """To the home: the sender no longer has this segment (or not yet enough to be a parent)."""

    key: ids.Key


class Shadow(Message, frozen=True, tag=19):
    """From a key's home to the next in rank: who has the lease, should the home die."""

    key: ids.Key
    stream: ids.Stream
    fetcher: Contact
    lease: Lease


class Keepers(Message, frozen=True, tag=26):
    """While the coordinator is away, to one that may have come since: who keeps a stream's ledgers by its last word."""

    stream: ids.Stream
    members: Annotated[tuple[Contact, ...], Meta(min_length=1, max_length=16)]


class Get(Message, frozen=True, tag=20):
    """Send me this segment's pieces from `first` on, as they arrive; `count` limits a parallel part."""

    request: Request
    key: ids.Key
    stream: ids.Stream
    first: PieceIndex
    count: PieceIndex | None = None
    errand: ids.Device | None = None
    """Read it for me if you have not begun, from whom this home names: access points keep me from many who have it."""


class Noted(Message, frozen=True, tag=27):
    """The Get is taken on, and nothing of it is here yet: whoever waits knows that the other end lives."""

    request: Request


class Vouched(Message, frozen=True, tag=21):
    """Signed hashes of the pieces that follow."""

    request: Request
    voucher: Voucher
    origin_kbps: Annotated[int, Meta(ge=0, le=KBPS_MAX)] = 0
    """How fast the origin gives the segment to whoever fetches it; 0 while less than half of it has come."""


class Piece(Message, frozen=True, tag=22):
    """One piece's bytes; its voucher came before."""

    request: Request
    index: PieceIndex
    data: Annotated[bytes, Meta(max_length=PIECE_BYTES)]


class End(Message, frozen=True, tag=23):
    """All that was asked for has been sent."""

    request: Request


class Refused(Message, frozen=True, tag=24):
    """The sender of a Get goes elsewhere: not here, or no longer."""

    request: Request
    reason: Literal["busy", "unknown", "lost", "policy", "private"]


class Cancel(Message, frozen=True, tag=25):
    """The asker needs no more of this request."""

    request: Request
    late_with: PieceIndex | None = None
    """Set when it came too slowly: the contiguous pieces that the asker has. What else was sent is still under way."""
    after_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 0
    """So long after the first word of the answer it had them."""


PeerMessage = (
    Hello | Watching | Ping | Pong | Bye
    | Ask | Granted | Follow | Redirect | GoAlone | Progress | Finished | Held | Dropped | Shadow | Keepers
    | Get | Noted | Vouched | Piece | End | Refused | Cancel
)  # fmt: skip

read_peer_message: Callable[[bytes | memoryview], PeerMessage] = decoder(PeerMessage)  # type: ignore[arg-type]  # a union is a type form
