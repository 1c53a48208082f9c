"""This machine's own certificate authority: it can vouch for the configured streaming domains and nothing else.

    STATE/authority/ca.pem               what IT lets this machine trust: the root in use, and soon its successor
    STATE/authority/<serial>/root.pem    a generation: root (its key was never written and is gone),
                             issuer.pem  the constrained intermediate,
                             issuer.key  and the intermediate's key, 0600

Map: `Authority.open` (make, keep or renew) -> `leaf(host)` -> `Leaf` · `Generation` (one root and its intermediate).

Both certificates carry critical name constraints: the domains and their subdomains, no IP address. So a stolen key can
impersonate nothing but the streams. A successor is made and published when two thirds of the life have passed, and
comes into use a week before the end. In between IT has time to distribute its root to the machines.
"""

import ipaddress
import os
import shutil
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from cachetools import LRUCache
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ecdn_proxy.core.http.hosts import HostScope

LIFE: Final = timedelta(days=90)
RENEW_AFTER: Final = LIFE * 2 / 3
OVERLAP: Final = timedelta(days=7)
"""A generation stays in use until this long before its end."""
LEAF_LIFE: Final = timedelta(days=7)
LEAVES_MAX: Final = 512
"""A page of a large event names some dozens of hosts."""
SKEW: Final = timedelta(hours=24)
"""A viewer's clock may be this far behind ours."""

_NOWHERE = "nothing.invalid"
_EVERY_ADDRESS = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_log = structlog.get_logger("ecdn.authority")


class OutOfScope(Exception):
    """A certificate was asked for a name that this authority may not vouch for."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A root and the intermediate that it signed before its key was destroyed."""

    root: x509.Certificate
    issuer: x509.Certificate
    issuer_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains in the constraints."""
        names = self.issuer.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
        return tuple(str(name.value) for name in names if isinstance(name, x509.DNSName))


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a TLS server needs to speak for one host."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    issuer: x509.Certificate


class Authority:
    """All generations that have not ended; `clock` gives seconds since 1970."""

    def __init__(self, directory: Path, scope: HostScope, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._scope = scope
        self._clock = clock
        self._generations: list[Generation] = []
        self._leaves: LRUCache[str, Leaf] = LRUCache(LEAVES_MAX)
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())

    @staticmethod
    def open(state_dir: Path, scope: HostScope, clock: Callable[[], float]) -> "Authority":
        """Read the authority in the state directory, or make one.

        Raises:
            OSError: the directory cannot be written.
        """
        authority = Authority(state_dir / "authority", scope, clock)
        authority._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority._load()
        authority.renew()
        return authority

    @property
    def ca_file(self) -> Path:
        """The file with the roots that IT lets this machine trust."""
        return self._directory / "ca.pem"

    def renew(self) -> None:
        """Make a successor when it is time, drop generations that have ended, and publish the roots."""
        now = self._now()
        alive = [one for one in self._generations if now < one.issuer.not_valid_after_utc]
        for gone in (one for one in self._generations if one not in alive):
            shutil.rmtree(self._folder(gone), ignore_errors=True)
        if not alive or now - alive[-1].issuer.not_valid_before_utc - SKEW >= RENEW_AFTER:
            alive.append(make(self._permitted(), now))
            self._write(alive[-1])
            _log.info("authority made", serial=_serial(alive[-1]), domains=self._permitted(), successor=len(alive) > 1)
        if alive != self._generations or not self.ca_file.exists():
            self._generations = alive
            self._publish()

    def leaf(self, host: str) -> Leaf:
        """A certificate for one host name, and the key that all leaves of this process share.

        Raises:
            OutOfScope: the host is not below a configured domain, is bypassed, or is an address.
        """
        name = host.lower().rstrip(".")
        if not self._scope.includes(name):
            raise OutOfScope(name)
        now = self._now()
        kept = self._leaves.get(name)
        if kept is not None and kept.certificate.not_valid_after_utc - now > LEAF_LIFE / 2:
            return kept
        self.renew()
        made = self._sign(name, self._in_use(now), now)
        self._leaves[name] = made
        return made

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _permitted(self) -> tuple[str, ...]:
        return self._scope.intercept or (_NOWHERE,)

    def _in_use(self, now: datetime) -> Generation:
        """The oldest one that does not end within the overlap."""
        return next(
            (one for one in self._generations if one.issuer.not_valid_after_utc - now > OVERLAP), self._generations[-1]
        )

    def _sign(self, name: str, generation: Generation, now: datetime) -> Leaf:
        issuer = generation.issuer
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ecdn on this machine")]
        if len(name) <= 64:  # RFC 5280: the upper bound of a common name
            names.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        builder = (
            _builder(x509.Name(names), issuer.subject, self._leaf_key.public_key())
            .not_valid_before(max(now - SKEW, issuer.not_valid_before_utc))
            .not_valid_after(min(now + LEAF_LIFE, issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(_identifier_of(issuer), critical=False)
        )
        return Leaf(builder.sign(generation.issuer_key, hashes.SHA256()), self._leaf_key, issuer)

    def _folder(self, generation: Generation) -> Path:
        return self._directory / _serial(generation)

    def _load(self) -> None:
        """Generations whose files are whole and whose domains are today's, oldest first."""
        for folder in sorted(path for path in self._directory.iterdir() if path.is_dir()):
            try:
                found = _read(folder)
            except (OSError, ValueError, InvalidSignature, x509.ExtensionNotFound) as error:
                _log.warning("authority unusable, another is made", folder=folder.name, why=str(error))
                shutil.rmtree(folder, ignore_errors=True)
                continue
            if sorted(found.domains) != sorted(self._permitted()):
                _log.warning(
                    "the intercepted domains changed: a new authority is made, let this machine trust it",
                    before=found.domains,
                    now=self._permitted(),
                )
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._generations.append(found)
        self._generations.sort(key=lambda one: one.issuer.not_valid_before_utc)

    def _write(self, generation: Generation) -> None:
        folder = self._folder(generation)
        folder.mkdir(mode=0o700, exist_ok=True)
        pem = serialization.Encoding.PEM
        key = generation.issuer_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write_private(folder / "root.pem", generation.root.public_bytes(pem))
        write_private(folder / "issuer.pem", generation.issuer.public_bytes(pem))
        write_private(folder / "issuer.key", key)

    def _publish(self) -> None:
        pem = b"".join(one.root.public_bytes(serialization.Encoding.PEM) for one in self._generations)
        write_private(self.ca_file, pem)


def make(domains: tuple[str, ...], now: datetime) -> Generation:
    """A new root and intermediate; the root's key ends with this call."""
    root_key, issuer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    label = f"{x509.random_serial_number() & 0xFFFFFFFF:08x}"
    root_name, issuer_name = (
        x509.Name([
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ecdn on this machine"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"ecdn {kind} {label}"),
        ])
        for kind in ("root", "issuer")
    )  # fmt: skip
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = _authority(root_name, root_name, root_key.public_key(), domains, now, path_length=1)
    issuer = _authority(issuer_name, root_name, issuer_key.public_key(), domains, now, path_length=0).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return Generation(root.sign(root_key, hashes.SHA256()), issuer.sign(root_key, hashes.SHA256()), issuer_key)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody else may read, whole or not at all.

    Raises:
        OSError: the directory cannot be written.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def trusted_roots(origin_ca_file: str) -> bytes:
    """Every root that origins may have, as PEM: Mozilla's, the system's, and those that `origin_ca_file` adds.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    import certifi  # noqa: PLC0415 - brought by mitmproxy, used here only

    parts = [Path(certifi.where()).read_bytes()]
    system = ssl.create_default_context().get_ca_certs(binary_form=True)
    parts += [ssl.DER_cert_to_PEM_cert(der).encode() for der in system]
    if origin_ca_file:
        extra = Path(origin_ca_file).read_bytes()
        try:
            x509.load_pem_x509_certificates(extra)
        except ValueError as error:
            raise ValueError(f"{origin_ca_file} holds no certificate") from error
        parts.append(extra)
    return b"\n".join(parts)


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    domains: tuple[str, ...],
    now: datetime,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    constraints = x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(one) for one in domains],
        excluded_subtrees=[x509.IPAddress(network) for network in _EVERY_ADDRESS],
    )
    return (
        _builder(subject, issuer, key)
        .not_valid_before(now - SKEW)
        .not_valid_after(now - SKEW + LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer)
    return builder.public_key(key).serial_number(x509.random_serial_number())


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _identifier_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _serial(generation: Generation) -> str:
    return f"{generation.root.serial_number:040x}"


def _read(folder: Path) -> Generation:
    root = x509.load_pem_x509_certificate((folder / "root.pem").read_bytes())
    issuer = x509.load_pem_x509_certificate((folder / "issuer.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "issuer.key").read_bytes(), password=None)
    issuer.verify_directly_issued_by(root)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != issuer.public_key():
        raise ValueError("the key does not belong to the certificate")
    return Generation(root, issuer, key)
