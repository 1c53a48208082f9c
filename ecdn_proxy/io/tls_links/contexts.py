"""TLS between agents: both ends show a device certificate of the one pinned tenant root.

    server_context(...)    for the listener
    client_context(...)    for dials
    contexts(...)          both
    peer_identity(ssl)     who the other end is: tenant and device from the URI in its certificate

TLS 1.3 only. No session tickets: a resumed session would outlive a certificate that was refused or has ended (they live
24 h), and a full handshake takes only 2 ms. No host names: a certificate names a device by its URI, not an address. The
system's trusted roots are never loaded. One group, P-256, which FIPS builds have too and Mozilla's "modern" list names;
the cipher suites are OpenSSL's three of TLS 1.3, all of them on that list.
"""

import contextlib
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from ecdn_proxy.wire.enrolment import parse_device_uri
from ecdn_proxy.wire.faults import PeerMisbehaved

ALPN = "ecdn/1"


@dataclass(frozen=True, slots=True)
class Contexts:
    """TLS in both directions."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def contexts(certificate_pem: str, key_pem: str, tenant_root_pem: str) -> Contexts:
    """The two contexts of one device, for all its TLS connections."""
    chain = (certificate_pem, key_pem, tenant_root_pem)
    return Contexts(server_context(*chain), client_context(*chain))


def server_context(certificate_pem: str, key_pem: str, tenant_root_pem: str) -> ssl.SSLContext:
    """For connections that others dial; asks them for their certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    return _prepared(context, certificate_pem, key_pem, tenant_root_pem)


def client_context(certificate_pem: str, key_pem: str, tenant_root_pem: str) -> ssl.SSLContext:
    """For connections that this device dials; shows its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _prepared(context, certificate_pem, key_pem, tenant_root_pem)


def _prepared(context: ssl.SSLContext, certificate_pem: str, key_pem: str, tenant_root_pem: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=tenant_root_pem)
    context.set_ecdh_curve("prime256v1")
    context.set_alpn_protocols([ALPN])
    with _as_file(certificate_pem.rstrip() + "\n" + key_pem) as path:
        context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def _as_file(pem: str) -> Iterator[str]:
    """A path from which OpenSSL reads `pem`: only in memory on Linux, elsewhere a private file, removed at once."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("ecdn")
        try:
            os.write(descriptor, pem.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        descriptor, name = tempfile.mkstemp()
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(pem)
            yield name
        finally:
            Path(name).unlink()


def peer_identity(tls: ssl.SSLObject | ssl.SSLSocket) -> tuple[str, str, bytes]:
    """Tenant, device and certificate (DER) of the other end, after a handshake that verified its chain.

    Raises:
        PeerMisbehaved: the other end speaks another protocol, or shows no certificate that names exactly one device.
    """
    if tls.selected_alpn_protocol() != ALPN:
        raise PeerMisbehaved(f"the other end does not speak {ALPN}")
    certificate = tls.getpeercert(binary_form=True)
    if not certificate:
        raise PeerMisbehaved("the other end showed no certificate")
    tenant, device = device_of(certificate)
    return tenant, device, certificate


def device_of(certificate: bytes) -> tuple[str, str]:
    """Tenant and device that a certificate (DER, already verified) names, by exactly one URI and nothing else.

    Raises:
        PeerMisbehaved: the certificate names something else, or more.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        extension = parsed.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
        names = list(extension.value) if isinstance(extension.value, x509.SubjectAlternativeName) else []
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise PeerMisbehaved("a certificate without a readable subjectAltName") from error
    only = names[0] if len(names) == 1 else None
    found = parse_device_uri(only.value) if isinstance(only, x509.UniformResourceIdentifier) else None
    if found is None:
        raise PeerMisbehaved("a certificate that does not name one device")
    return found
