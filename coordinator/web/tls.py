"""TLS of the web server: Mozilla's "intermediate" settings, and client certificates of the tenant, which are optional.

OpenSSL checks who signed a device's certificate, but not when it ends: a device may renew a certificate that has ended,
and the register judges the date for every other use.
"""

import asyncio
import hashlib
import ssl
from pathlib import Path

from cryptography import x509

from coordinator.service.system import DeviceCertificate
from ecdn_proxy.wire.enrolment import parse_device_uri

CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)
"""Mozilla's intermediate list, version 5.7, for TLS 1.2; TLS 1.3 brings its own."""
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name."""


def server_context(certificate: Path, root_pem: str) -> ssl.SSLContext:
    """The context of the web server; `load_cert_chain` on it puts a renewed certificate in force."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # a resumed session would carry a certificate that was judged earlier
    context.load_cert_chain(certificate)
    context.load_verify_locations(cadata=root_pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= _NO_CHECK_TIME
    return context


def device_certificate(transport: asyncio.BaseTransport, tenant: str) -> DeviceCertificate | None:
    """The device certificate that the client of this connection has shown; None without one of this tenant."""
    tls = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) if tls else None
    if der is None:
        return None
    names = transport.get_extra_info("peercert").get("subjectAltName", ())  # read by OpenSSL after the handshake
    uris = [parse_device_uri(name) for kind, name in names if kind == "URI"]
    if len(names) != 1 or len(uris) != 1 or uris[0] is None or uris[0][0] != tenant:
        return None
    ends_utc = x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp()
    return DeviceCertificate(uris[0][1], hashlib.sha256(der).hexdigest(), ends_utc)
