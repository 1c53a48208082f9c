"""Names that travel: who, which stream, which segment.

Each is a plain string on the wire; the types keep a device from being passed where a key is meant.
"""

from typing import Annotated, NewType

from msgspec import Meta

DeviceId = NewType("DeviceId", str)
"""UUID of an enrolled device, from the URI in its certificate."""

TenantId = NewType("TenantId", str)
"""UUID of a tenant, from the URI in its devices' certificates."""

Device = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[0-9a-z-]+$")]
Stream = Annotated[str, Meta(min_length=32, max_length=32, pattern=r"^[0-9a-f]+$")]
"""HMAC of a presentation's normalised manifest URL under the tenant's salt, 32 hex digits."""
Key = Annotated[str, Meta(min_length=64, max_length=64, pattern=r"^[0-9a-f]+$")]
"""HMAC of a segment's identity and byte range under the tenant's salt, 64 hex digits."""
Sentence = Annotated[str, Meta(max_length=300)]
"""Plain words for a status page or a log."""
Address = Annotated[str, Meta(min_length=2, max_length=64)]
"""A literal IPv4 or IPv6 address, never a name."""
Port = Annotated[int, Meta(ge=1, le=65535)]


def sentence(text: str) -> str:
    """`text` cut to what a Sentence may hold."""
    return text if len(text) <= 300 else text[:297] + "…"
