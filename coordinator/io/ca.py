"""The tenant's certificate authority and the certificates that it makes (library: cryptography).

    Authority.open(data_dir, utc)       the tenant root; made at the first call, by whichever process is first
    .issue_device(csr, ...)             a device's certificate: only the key is taken from the signing request (CSR)
    .server_certificate(names, utc)     a file with the coordinator's own key and chain, renewed when it is due

One file `tenant/root.pem` (0600) holds the root's key and certificate. The tenant's UUID is the root's organisation.
"""

import base64
import binascii
import hashlib
import ipaddress
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coordinator.io.files import create_private, write_private
from ecdn_proxy.wire.enrolment import SIGNING_KEY_OID, device_uri

ROOT_LIFE = timedelta(days=3_652)
SERVER_LIFE = timedelta(days=30)
"""Life of the coordinator's own certificate. Agents pin the root and nothing stores this one, so it may be short."""
SKEW = timedelta(minutes=5)
"""Certificates begin this long before now: an agent's clock may lag so far behind the coordinator's."""

_PEM = serialization.Encoding.PEM


class BadCsr(Exception):
    """A certificate signing request that cannot be signed; `args[0]` says why."""


class Issued(msgspec.Struct, frozen=True):
    """A certificate made for a device."""

    pem: str
    fingerprint: str
    """SHA-256 of its DER form, hexadecimal."""
    ends_utc: float


class Authority:
    """The tenant root with its key: the only signer of the devices' certificates and of the coordinator's own."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, root: x509.Certificate, folder: Path) -> None:
        self._key = key
        self._root = root
        self._folder = folder
        self.root_pem = root.public_bytes(_PEM).decode()
        self.root_sha256 = hashlib.sha256(root.public_bytes(serialization.Encoding.DER)).hexdigest()
        self.tenant = str(root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)

    @classmethod
    def open(cls, data_dir: Path, utc: float) -> "Authority":
        """The authority whose files are in `data_dir`; it is made when there is none.

        Raises:
            OSError: the folder cannot be written or read.
            ValueError: `tenant/root.pem` is damaged.
        """
        folder = data_dir / "tenant"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "root.pem"
        content = path.read_bytes() if path.exists() else create_private(path, _new_root(_time(utc)))
        key = serialization.load_pem_private_key(content, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path} holds no P-256 key")
        return cls(key, x509.load_pem_x509_certificate(content), folder)

    def issue_device(self, csr_pem: str, signing_key: str, device: str, *, utc: float, hours: int) -> Issued:
        """Certify the key of `csr_pem` for `device`; names and extensions of the request are ignored.

        Raises:
            BadCsr: the request is unreadable, is not signed by its own key, or its key is not P-256; or `signing_key`
                is no Ed25519 public key in base64.
        """
        public = _key_of(csr_pem)
        signer = _raw_ed25519(signing_key)
        starts = _time(utc)
        ends = min(starts + timedelta(hours=hours), self._root.not_valid_after_utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts - SKEW)
            .not_valid_after(ends)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device_uri(self.tenant, device))]),
                critical=True,  # RFC 5280 section 4.1.2.6: the subject is empty
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(_authority_key(self._root), critical=False)
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier(SIGNING_KEY_OID), signer),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            certificate.public_bytes(_PEM).decode(),
            certificate.fingerprint(hashes.SHA256()).hex(),
            certificate.not_valid_after_utc.timestamp(),
        )

    def server_certificate(self, names: Iterable[str], utc: float) -> Path:
        """A file with key and chain for `names` (host names or addresses), made anew when it is due or names differ."""
        path = self._folder / "server.pem"
        wanted = [known for name in dict.fromkeys(names) if (known := _general_name(name)) is not None]
        if not self._still_good(path, wanted, _time(utc)):
            write_private(path, self._new_server(wanted, _time(utc)))
        return path

    def _still_good(self, path: Path, wanted: list[x509.GeneralName], now: datetime) -> bool:
        try:
            certificate, issuer = x509.load_pem_x509_certificates(path.read_bytes())
            certificate.verify_directly_issued_by(issuer)
            names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except Exception:  # absent, damaged or of another root: all cured by a new one
            return False
        starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return issuer == self._root and names == wanted and starts <= now < starts + (ends - starts) * 2 / 3

    def _new_server(self, names: list[x509.GeneralName], now: datetime) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ecdn coordinator")]))
            .issuer_name(self._root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(min(now + SERVER_LIFE, self._root.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_authority_key(self._root), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        # Its issuer stands behind it, as otherwise OpenSSL looks for that, and verifies this one, at every handshake.
        return _key_pem(key) + certificate.public_bytes(_PEM) + self._root.public_bytes(_PEM)


def _new_root(now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "ecdn tenant root"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, str(uuid.uuid4())),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key) + certificate.public_bytes(_PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_of(csr_pem: str) -> ec.EllipticCurvePublicKey:
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        signed, public = csr.is_signature_valid, csr.public_key()
    except Exception as error:  # the parser of a stranger's bytes raises many kinds
        raise BadCsr(f"the signing request cannot be read: {error}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise BadCsr("the signing request's key is not P-256")
    if not signed:
        raise BadCsr("the signing request is not signed by its own key")
    return public


def _raw_ed25519(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCsr("signing_key is not base64") from error
    if len(raw) != 32:
        raise BadCsr(f"signing_key has {len(raw)} bytes; an Ed25519 public key has 32")
    return raw


def _general_name(name: str) -> x509.GeneralName | None:
    """`name` as a certificate names it; None for a host name that cannot be written in DNS."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode())
    except ValueError:
        return None


def _time(utc: float) -> datetime:
    return datetime.fromtimestamp(int(utc), UTC)
