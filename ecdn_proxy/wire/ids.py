"""Names in messages: of devices, tenants, streams and segments.

Each is a plain string on the wire. The types keep a device's name from being passed where a segment's key is meant.
"""

from typing import Annotated, NewType

from msgspec import Meta

DeviceId = NewType("DeviceId", str)
"""UUID of an enrolled device, from the URI in its certificate."""

TenantId = NewType("TenantId", str)
"""UUID of a tenant, from the URI in its devices' certificates."""

Device = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[0-9a-z-]+$")]
Stream = Annotated[str, Meta(min_length=32, max_length=32, pattern=r"^[0-9a-f]+$")]
"""A stream's id: HMAC of the folder to which its segments belong under the tenant's secret, 32 hex digits."""
Key = Annotated[str, Meta(min_length=64, max_length=64, pattern=r"^[0-9a-f]+$")]
"""A segment's key: HMAC of its identity and byte range under the tenant's secret, 64 hex digits."""
Sentence = Annotated[str, Meta(max_length=300)]
"""Plain words for a status page or a log."""
Address = Annotated[str, Meta(min_length=2, max_length=64)]
"""A literal IPv4 or IPv6 address, never a name."""
Port = Annotated[int, Meta(ge=1, le=65535)]


def sentence(text: str) -> str:
    """`text`, cut to the 300 characters that a `Sentence` may have."""
    return text if len(text) <= 300 else text[:297] + "…"
