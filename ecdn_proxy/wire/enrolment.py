"""How a machine becomes a device of a tenant: one HTTPS exchange with the coordinator, before any other.

    GET  /v1/root     -> tenant root, PEM; the device compares its SHA-256 (of the DER) with the one IT gave it
    POST /v1/enrol    EnrolRequest -> Enrolled          (server verified against that root)
    POST /v1/renew    RenewRequest -> Enrolled          (mutual TLS with the certificate that is about to end)

Bodies are JSON. Errors are `Rejected` with an HTTP status of 4xx.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids

Pem = Annotated[str, Meta(max_length=16_384)]

SIGNING_KEY_OID = "1.3.6.1.4.1.58888.7688.1"
"""The extension of a device certificate that holds the device's public signing key: Ed25519, 32 raw bytes. It checks
the signatures of vouchers and of WebRTC offers and answers."""


class EnrolRequest(msgspec.Struct, frozen=True):
    """What a new device asks for. The coordinator ignores every name in the CSR."""

    token: Annotated[str, Meta(min_length=8, max_length=128)]
    csr: Pem
    signing_key: Annotated[str, Meta(max_length=64)]
    """The device's public signing key: Ed25519, 32 bytes, base64."""
    version: Annotated[str, Meta(max_length=40)]


class RenewRequest(msgspec.Struct, frozen=True):
    """A device asks for a certificate for its new TLS and signing keys; mutual TLS with the old one proves who asks."""

    csr: Pem
    signing_key: Annotated[str, Meta(max_length=64)]
    version: Annotated[str, Meta(max_length=40)]


class Enrolled(msgspec.Struct, frozen=True):
    """The device's identity, and what else it needs for sharing."""

    device: ids.Device
    tenant: ids.Device
    certificate: Pem
    """The device's certificate, PEM; issued directly by the tenant root."""
    tenant_root: Pem
    salt: Annotated[str, Meta(min_length=64, max_length=64)]
    """The tenant's secret from which stream ids and segment keys are made, 32 bytes in hex."""
    settings: dict[str, Any]
    """Settings by their names in agent.toml. Policy, environment and flags on the machine are stronger."""


class Rejected(msgspec.Struct, frozen=True):
    """Why the coordinator refuses, for a log and a helpdesk."""

    code: Annotated[str, Meta(max_length=60)]
    why: ids.Sentence


def device_uri(tenant: str, device: str) -> str:
    """The one name in a device certificate, a URI in its subjectAltName (RFC 5280 section 4.2.1.6)."""
    return f"ecdn://{tenant}/device/{device}"


def parse_device_uri(uri: str) -> tuple[str, str] | None:
    """Tenant and device in a URI that `device_uri` made; None for any other text."""
    scheme, _, rest = uri.partition("://")
    tenant, _, tail = rest.partition("/device/")
    if scheme != "ecdn" or not tenant or not tail or "/" in tail or "/" in tenant:
        return None
    return tenant, tail
