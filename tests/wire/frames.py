"""One example of every message of protocol 1, with fixed values: what the golden frames are made of."""

from ecdn_proxy.wire import peer, signalling, tracker
from ecdn_proxy.wire.integrity import PartVoucher, SegmentHead, Voucher

DEVICE = "0d5f7d3e-0000-4000-8000-000000000001"
OTHER = "0d5f7d3e-0000-4000-8000-000000000002"
TENANT = "7e4a9f10-0000-4000-8000-000000000000"
STREAM = "ab" * 16
KEY = "cd" * 32
CONTACT = peer.Contact(DEVICE, ("10.1.0.12", "fd00::12"), 7688, "wifi")
HEAD = SegmentHead(
    65_536, "video/mp4", '"v1"', None, 1_800_000_000.0, 3_600.0, "any", (("cache-control", "max-age=3600"),)
)
VOUCHER = Voucher(DEVICE, KEY, "0123456789abcdef", 0, bytes(range(64)), 65_536, HEAD, bytes(64), b"certificate")

PART = PartVoucher(DEVICE, KEY, "0123456789abcdef", 0, 4, bytes(range(32)), HEAD, bytes(64), b"certificate")

PEER_MESSAGES: tuple[peer.PeerMessage, ...] = (
    peer.Hello(1, DEVICE, TENANT, "0.1.0", CONTACT, (STREAM,), serves=True),
    peer.Watching((STREAM,), serves=False),
    peer.Ping(1),
    peer.Pong(1),
    peer.Bye("the agent is stopping"),
    peer.Ask(
        2, KEY, STREAM, "first", (OTHER,), 3, 1, isolated=True, stale="0123456789abcdef", idle_ms=1_500, waited_ms=20
    ),
    peer.Granted(2, KEY, 9, hedge=False),
    peer.Follow(2, KEY, (CONTACT,), "it fetches from the origin"),
    peer.Redirect(2, KEY, CONTACT),
    peer.GoAlone(2, KEY, "the origin answered 404", 200, 404),
    peer.Progress(KEY, 9, 32_768),
    peer.Finished(KEY, 9, "complete", 200, "", "0123456789abcdef"),
    peer.Held(KEY, STREAM),
    peer.Dropped(KEY),
    peer.Shadow(KEY, STREAM, CONTACT, 9),
    peer.Keepers(STREAM, (CONTACT,)),
    peer.Get(4, KEY, STREAM, 0, None, errand=OTHER, judges_age=True),
    peer.Noted(4),
    peer.Awaiting(4),
    peer.Vouched(4, VOUCHER, 4_800, 2_500, 300, 17),
    peer.Piece(4, 0, b"piece"),
    peer.Part(4, 0, b"part", PART),
    peer.End(4),
    peer.Refused(4, "busy"),
    peer.Cancel(4, 12, 600),
)
ATTEMPT = "0123456789abcdef"
RELAYED: tuple[signalling.Relayed, ...] = (
    signalling.Call(OTHER, DEVICE, ATTEMPT, CONTACT),
    signalling.Offer(OTHER, DEVICE, ATTEMPT, "v=0", bytes(16), 1_800_000_030.0, bytes(64), b"certificate"),
    signalling.Answer(DEVICE, OTHER, ATTEMPT, "v=0", bytes(16), 1_800_000_030.0, bytes(64), b"certificate"),
    signalling.Bye(OTHER, DEVICE, ATTEMPT, "a TLS link stands"),
)
FROM_AGENT: tuple[tracker.FromAgent, ...] = (
    tracker.Here(1, "0.1.0", (tracker.Network("10.1.0.12", 16, "wired"),), 7688, serves=True),
    tracker.Watch((STREAM,), serves=True, isolated=True),
    tracker.Beat(1, 10, 20, 30, 40, 5, ("coordinator-away",), 3, 1, 15, 25),
    tracker.Alive(),
    *RELAYED,
)
BEFORE: dict[str, tuple[str, tracker.FromAgent | peer.PeerMessage]] = {
    "Beat": ("from_agent", tracker.Beat(1, 10, 20, 30, 40, 5, ("coordinator-away",))),
    "Cancel": ("peer", peer.Cancel(4)),
    "Ask": ("peer", peer.Ask(2, KEY, STREAM, "first", (OTHER,), 3, 1)),
    "Get": ("peer", peer.Get(4, KEY, STREAM, 0, None)),
    "Vouched": ("peer", peer.Vouched(4, VOUCHER)),
    "Finished": ("peer", peer.Finished(KEY, 9, "complete", 200, "")),
    "Ask 2": ("peer", peer.Ask(2, KEY, STREAM, "first", (OTHER,), 3, 1, isolated=True)),
    "Get 2": ("peer", peer.Get(4, KEY, STREAM, 0, None, errand=OTHER)),
    "Vouched 2": ("peer", peer.Vouched(4, VOUCHER, 4_800)),
    "Watch": ("from_agent", tracker.Watch((STREAM,), serves=True)),
}
"""Messages that have got further fields at their end since, as agents before sent them; the frame of today has the
same name and a number."""
NOW = {
    "Beat": "Beat 2",
    "Cancel": "Cancel 2",
    "Ask": "Ask 3",
    "Finished": "Finished 2",
    "Get": "Get 3",
    "Vouched": "Vouched 3",
    "Watch": "Watch 2",
}
FROM_COORDINATOR: tuple[tracker.FromCoordinator, ...] = (
    tracker.Welcome("10.1.0.0/16", "Bern", "on", "same subnet", {"upload_mbps_max": 20.0}, ("10.1.0.0/16",)),
    tracker.Settings({"sharing": True}),
    tracker.Neighbours(STREAM, (DEVICE,), (tracker.Near(CONTACT, "same subnet"),)),
    tracker.Denied((OTHER,)),
    tracker.Turned("denied", "this device was suspended", 60.0),
    tracker.Alive(),
    *RELAYED,
    signalling.Undeliverable(OTHER, ATTEMPT, "no-common-stream", "they watch no stream in common"),
)
