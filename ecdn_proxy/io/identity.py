"""This device's keys and identity on disk, and which device another certificate names (library: cryptography).

    new_keys_and_csr()                        two fresh keys, and a request to certify them
    Identity.save(state_dir)                  writes `STATE_DIR/identity/identity.json`, mode 0600, replaced whole
    load_identity(state_dir)                  reads it
    Identity.sign(bytes)                      an Ed25519 signature
    signing_key_of(certificate, root, utc)    device and signing key that a certificate names

Everything is in one file, `identity.json`: keys and certificate change together or not at all.
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID
from msgspec import Meta

from ecdn_proxy.wire import ids
from ecdn_proxy.wire.enrolment import SIGNING_KEY_OID, Enrolled, Pem, parse_device_uri
from ecdn_proxy.wire.faults import PeerMisbehaved

FOLDER = "identity"
FILE = "identity.json"
SIGNERS_MAX = 2_048
"""Certificates whose check is remembered: more than any site has agents that fetch."""
SKEW = timedelta(minutes=5)
"""How much the clocks of two machines may differ."""

_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER


class DamagedIdentity(Exception):
    """What lies in the state directory cannot be used; the text says what to do."""


class Keys(msgspec.Struct, frozen=True):
    """The two private keys of a device, as PEM."""

    tls: str
    """P-256; the key of the device's certificate."""
    signing: str
    """Ed25519; vouches for pieces and for WebRTC offers."""

    def csr(self) -> str:
        """A certificate signing request; it names nothing, for the coordinator ignores every name in it."""
        key = _p256(self.tls)
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        return request.public_bytes(_PEM).decode()

    def signing_public(self) -> str:
        """The Ed25519 public key as enrolment wants it: raw, base64."""
        raw = (
            _ed25519(self.signing).public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        )
        return base64.b64encode(raw).decode()


def new_keys_and_csr() -> tuple[Keys, str]:
    """Fresh keys and the request to certify them."""
    keys = Keys(_private_pem(ec.generate_private_key(ec.SECP256R1())), _private_pem(Ed25519PrivateKey.generate()))
    return keys, keys.csr()


class Identity(msgspec.Struct, frozen=True, dict=True):
    """Who this device is, for its coordinator and for other agents."""

    device: ids.Device
    tenant: ids.Device
    coordinator: Annotated[str, Meta(max_length=260)]
    certificate_pem: Pem
    tenant_root_pem: Pem
    salt: Annotated[str, Meta(min_length=64, max_length=64, pattern="^[0-9a-f]+$")]
    """The tenant's secret from which stream ids and segment keys are made, hex."""
    settings: dict[str, Any]
    """What the coordinator sets, by the names of agent.toml."""
    keys: Keys
    state_dir: str = ""
    """Where this identity was loaded from or saved to; not part of the file."""

    @classmethod
    def given(cls, enrolled: Enrolled, keys: Keys, coordinator: str) -> "Identity":
        """The identity that a coordinator has given for `keys`.

        Raises:
            PeerMisbehaved: the certificate is not for this device and these keys.
        """
        identity = cls(
            device=enrolled.device,
            tenant=enrolled.tenant,
            coordinator=coordinator,
            certificate_pem=enrolled.certificate,
            tenant_root_pem=enrolled.tenant_root,
            salt=enrolled.salt,
            settings=enrolled.settings,
            keys=keys,
        )
        try:
            identity._check()
        except (DamagedIdentity, ValueError) as error:
            raise PeerMisbehaved(f"the coordinator gave an identity that cannot be used: {error}") from error
        return identity

    @property
    def chain(self) -> tuple[str, str, str]:
        """Certificate, its key for TLS and the tenant's root, as PEM: what io/tls_links/contexts makes contexts of."""
        return self.certificate_pem, self.keys.tls, self.tenant_root_pem

    @cached_property
    def certificate(self) -> x509.Certificate:
        """This device's certificate."""
        return x509.load_pem_x509_certificate(self.certificate_pem.encode())

    @cached_property
    def certificate_der(self) -> bytes:
        """This device's certificate, as vouchers carry it."""
        return self.certificate.public_bytes(_DER)

    @cached_property
    def tenant_root_der(self) -> bytes:
        """The tenant root, as `signing_key_of` wants it."""
        return x509.load_pem_x509_certificate(self.tenant_root_pem.encode()).public_bytes(_DER)

    @cached_property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that vouches for pieces."""
        return _ed25519(self.keys.signing)

    @cached_property
    def tls_key(self) -> ec.EllipticCurvePrivateKey:
        """The key of the certificate."""
        return _p256(self.keys.tls)

    @property
    def starts_utc(self) -> float:
        """When the certificate begins to count, in seconds since 1970."""
        return self.certificate.not_valid_before_utc.timestamp()

    @property
    def ends_utc(self) -> float:
        """When the certificate ends, in seconds since 1970."""
        return self.certificate.not_valid_after_utc.timestamp()

    def load_into(self, context: ssl.SSLContext) -> None:
        """Make `context` show this device's certificate.

        Raises:
            OSError: no temporary file can be written; the ssl module reads keys from files only.
        """
        handle, name = tempfile.mkstemp(prefix="ecdn-")  # mkstemp: mode 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(self.certificate_pem + self.keys.tls)
            context.load_cert_chain(name)
        finally:
            Path(name).unlink()

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature of `data`, 64 bytes."""
        return self.signing_key.sign(data)

    def with_settings(self, settings: Mapping[str, Any]) -> "Identity":
        """The same device with other settings of the coordinator."""
        return msgspec.structs.replace(self, settings=dict(settings))

    def save(self, state_dir: Path) -> "Identity":
        """Write this identity under `state_dir`; return it with that `state_dir`.

        Raises:
            OSError: `state_dir` cannot be written.
        """
        folder = make_folder(state_dir)
        _write_private(folder / FILE, msgspec.json.encode(msgspec.structs.replace(self, state_dir="")))
        return msgspec.structs.replace(self, state_dir=str(state_dir))

    def _check(self) -> None:
        """Raise unless certificate, keys and root belong together."""
        device, public = _read(self.certificate_der, self.tenant_root_der)[:2]
        if device != self.device:
            raise DamagedIdentity(f"the certificate is for {device}, not for {self.device}")
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        if public.public_bytes(*raw) != self.signing_key.public_key().public_bytes(*raw):
            raise DamagedIdentity("the certificate holds another signing key")
        if self.certificate.public_key() != self.tls_key.public_key():
            raise DamagedIdentity("the certificate is for another TLS key")


def make_folder(state_dir: Path) -> Path:
    """Make the folder of the identity and try to write there, so that no token is spent on a disk that is full.

    Raises:
        OSError: it cannot be written.
    """
    folder = state_dir / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def load_identity(state_dir: Path) -> Identity | None:
    """The identity under `state_dir`, or None when this machine is not enrolled.

    Raises:
        DamagedIdentity: there is an identity, but it cannot be used.
    """
    path = state_dir / FOLDER / FILE
    cure = f"delete {path.parent} and enrol this machine again"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedIdentity(f"{path} cannot be read: {error.strerror}") from error
    try:
        identity = msgspec.structs.replace(msgspec.json.decode(content, type=Identity), state_dir=str(state_dir))
        identity._check()  # its own class's check
    except (ValueError, TypeError, PeerMisbehaved, DamagedIdentity, binascii.Error) as error:
        raise DamagedIdentity(f"{path} is damaged ({error}); {cure}") from error
    return identity


def signing_key_of(
    certificate_der: bytes, tenant_root_der: bytes, utc: float, *, grace_s: float = 0.0
) -> tuple[str, Ed25519PublicKey]:
    """The device that a certificate names and the key with which it signs.

    Args:
        certificate_der: what a peer sent.
        tenant_root_der: this tenant's root, pinned.
        utc: now, in seconds since 1970.
        grace_s: for how many seconds after its end a certificate still counts; a voucher outlives the certificate of
            the device that signed it.

    Raises:
        PeerMisbehaved: the certificate is not of this tenant, not valid now, or not a device's.
    """
    device, key, starts, ends = _read(certificate_der, tenant_root_der)
    now = datetime.fromtimestamp(utc, UTC)
    if now < starts - SKEW:
        raise PeerMisbehaved(f"the certificate of {device} begins only at {starts:%Y-%m-%d %H:%M} UTC")
    if now >= ends + timedelta(seconds=grace_s):
        raise PeerMisbehaved(f"the certificate of {device} ended at {ends:%Y-%m-%d %H:%M} UTC")
    return device, key


@lru_cache(maxsize=SIGNERS_MAX)
def _read(certificate_der: bytes, tenant_root_der: bytes) -> tuple[str, Ed25519PublicKey, datetime, datetime]:
    """Device, key, beginning and end of a certificate whose issuer is checked; a failure is not remembered."""
    root = _root(tenant_root_der)
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        certificate.verify_directly_issued_by(root)
        extensions = certificate.extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        signer = extensions.get_extension_for_oid(x509.ObjectIdentifier(SIGNING_KEY_OID)).value
        assert isinstance(signer, x509.UnrecognizedExtension)
        key = Ed25519PublicKey.from_public_bytes(signer.value)
    except Exception as error:  # the parser of a stranger's bytes raises many kinds
        raise PeerMisbehaved(f"a certificate that is no device's of this tenant: {error!r}") from error
    uri = names[0].value if len(names) == 1 and isinstance(names[0], x509.UniformResourceIdentifier) else ""
    named = parse_device_uri(uri)
    tenants = [a.value for a in root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if named is None or basic.ca or [named[0]] != tenants:
        raise PeerMisbehaved(f"a certificate that names no device of this tenant: {uri!r}")
    return named[1], key, certificate.not_valid_before_utc, certificate.not_valid_after_utc


@lru_cache(maxsize=8)
def _root(tenant_root_der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(tenant_root_der)


def _private_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> str:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def _p256(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DamagedIdentity("the TLS key is not a P-256 key")
    return key


def _ed25519(pem: str) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise DamagedIdentity("the signing key is not an Ed25519 key")
    return key


def _write_private(path: Path, content: bytes) -> None:
    """Replace `path` whole; readable for the owner only."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp: mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
