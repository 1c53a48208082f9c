"""Small things that the core's tests are made of: heads, contacts, vouchers, requests, contexts."""

from hashlib import sha256

import msgspec

from ecdn_proxy.core import events, values
from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.values import ByteRange
from ecdn_proxy.wire.integrity import PIECE_BYTES, SegmentHead, Voucher
from ecdn_proxy.wire.peer import Contact, LinkKind
from ecdn_proxy.wire.sharing_rules import SharingRule, read_rules
from tests.core.world import STREAM, UTC, Seal, Seals, key_of

KEY = key_of(1)
ORIGIN = values.OriginRequest("https://origin.test/1", (("cookie", "user=me"),))


def head(total: int | None, *, etag: str | None = '"v1"', date: float = UTC, fresh_s: float = 3600.0) -> SegmentHead:
    return SegmentHead(total, "video/mp2t", etag, None, date, fresh_s, "none")


def contact(device: str, link: LinkKind = "wired") -> Contact:
    return Contact(device, ("10.0.0.1",), 7688, link)


def seal(device: str, seals: Seals | None = None) -> Seal:
    return Seal(seals or Seals(), device)


def context(device: str = "me", limits: Limits | None = None, link: LinkKind = "wired") -> NodeContext:
    return NodeContext(contact(device, link), seal(device), limits or Limits())


def linked(context: NodeContext, *devices: str, streams: tuple[str, ...] = (STREAM,), serves: bool = True) -> None:
    """Links to these devices stand, and they watch."""
    for device in devices:
        context.membership.linked(contact(device), streams, serves=serves)
        context.link_opened(contact(device), "lan", 1.0)


def wanted(
    viewer: int = 1,
    *,
    key: str = KEY,
    stream: str = STREAM,
    number: int = 1,
    utc: float = UTC,
    resource_range: ByteRange | None = None,
    headers: values.Headers = ORIGIN.headers,
    rule: SharingRule | None = None,
) -> events.Wanted:
    request = values.OriginRequest(ORIGIN.url, headers, rule)
    return events.Wanted(viewer, stream, "v1", key, number, 2.0, True, resource_range, request, utc)


def permitting(**words: object) -> SharingRule:
    """A rule of agent.toml for the tests' origin."""
    rules, mistakes = read_rules([{"name": "event", "hosts": ["origin.test"], **words}], "x", "agent.toml")
    assert not mistakes, mistakes
    return rules[0]


def pieces_of(body: bytes) -> list[bytes]:
    return [body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES)]


def fetched(seal: Seal, body: bytes, *, known: bool = True, etag: str | None = '"v1"', key: str = KEY) -> Assembly:
    """A segment as the device that fetched it has it."""
    assembly = Assembly(key, seal)
    assembly.begin_origin(head(len(body) if known else None, etag=etag), 0, UTC)
    assembly.take_origin(body, 0.0)
    assembly.end_origin(0.0)
    return assembly


def stored(body: bytes, *, key: str = KEY, date: float = UTC, fresh_s: float = 3600.0) -> values.StoredSegment:
    """A whole segment as it lies in memory; nobody looks at its vouchers."""
    about = head(len(body), date=date, fresh_s=fresh_s)
    return values.StoredSegment(key, STREAM, about, body, (), date, made_at=100.0, heard_at=100.0)


def whole(seal: Seal, body: bytes, *, etag: str | None = '"v1"', key: str = KEY) -> values.StoredSegment:
    """A whole segment as the device that fetched it keeps it."""
    return fetched(seal, body, etag=etag, key=key).stored(STREAM, UTC, 0.0)


def signed(seal: Seal, blank: Voucher) -> Voucher:
    """The same claim under this device's name and signature: what a liar with a valid key can say."""
    claim = msgspec.structs.replace(blank, signer=seal.device, certificate=seal.certificate())
    return msgspec.structs.replace(claim, signature=seal.sign(claim.signed_bytes(seal.tenant)))


def voucher(
    seal: Seal,
    hashes: list[bytes],
    *,
    first: int = 0,
    total: int | None = None,
    head: SegmentHead | None = None,
    generation: str = "g1",
    key: str = KEY,
) -> Voucher:
    """Any claim, honestly signed."""
    blank = Voucher(seal.device, key, generation, first, b"".join(hashes), total, head, bytes(64), seal.certificate())
    return signed(seal, blank)


def hash_of(data: bytes) -> bytes:
    return sha256(data).digest()
