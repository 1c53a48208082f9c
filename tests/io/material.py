"""Certificates for the tests: a tenant's root and devices under it, made in memory.

root(name) -> Root;   Root.device(device, tenant) -> (certificate PEM, key PEM);   Root.contexts(...) -> Contexts
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ecdn_proxy.io.tls_links.contexts import Contexts, client_context, server_context
from ecdn_proxy.wire.enrolment import device_uri

TENANT = "11111111-0000-4000-8000-000000000000"
_PEM = serialization.Encoding.PEM


def _named(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])


def _builder(subject: str, issuer: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject_name=_named(subject), issuer_name=_named(issuer), public_key=public)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=24))


@dataclass(frozen=True)
class Root:
    """A tenant root with its key."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(_PEM).decode()

    def device(self, device: str, tenant: str = TENANT) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device_uri(tenant, device))])
        made = (
            _builder("device", self.name, key.public_key())
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        secret = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return made.public_bytes(_PEM).decode(), secret.decode()

    def contexts(self, device: str, tenant: str = TENANT, trusts: "Root | None" = None) -> Contexts:
        certificate, key = self.device(device, tenant)
        pinned = (trusts or self).pem
        return Contexts(server_context(certificate, key, pinned), client_context(certificate, key, pinned))


def root(name: str = "Tenant Root") -> Root:
    key = ec.generate_private_key(ec.SECP256R1())
    made = _builder(name, name, key.public_key())
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return Root(name, key, made.sign(key, hashes.SHA256()))
