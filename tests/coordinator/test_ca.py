"""The tenant's CA: what it signs and what it ignores."""

import base64
import stat
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coordinator.io.ca import Authority, BadCsr
from ecdn_proxy.wire.enrolment import SIGNING_KEY_OID

NOW = 1_800_000_000.0
SIGNER = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path, NOW)


def csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None, name: str = "") -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    )
    if name:
        names = [x509.DNSName(name), x509.IPAddress(ip_address("10.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    request = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def issue(authority: Authority, request: str, signer: str = SIGNER) -> x509.Certificate:
    issued = authority.issue_device(request, signer, "device-1", utc=NOW, hours=24)
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    assert issued.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert issued.ends_utc == NOW + 86_400
    return certificate


def test_the_root_is_made_once_and_kept_private(tmp_path: Path, authority: Authority) -> None:
    again = Authority.open(tmp_path, NOW + 1)
    assert (again.root_pem, again.tenant) == (authority.root_pem, authority.tenant)
    assert stat.S_IMODE((tmp_path / "tenant" / "root.pem").stat().st_mode) == 0o600
    root = x509.load_pem_x509_certificate(authority.root_pem.encode())
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert root.not_valid_after_utc - root.not_valid_before_utc > timedelta(days=3_650)
    assert authority.root_sha256 == root.fingerprint(hashes.SHA256()).hex()


def test_every_name_in_a_request_is_ignored(authority: Authority) -> None:
    certificate = issue(authority, csr(name="coordinator.example"))
    assert certificate.subject == x509.Name([])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"ecdn://{authority.tenant}/device/device-1")]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.root_pem.encode()))


def test_the_signing_key_stands_in_the_certificate(authority: Authority) -> None:
    extension = issue(authority, csr()).extensions.get_extension_for_oid(x509.ObjectIdentifier(SIGNING_KEY_OID))
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert (extension.value.value, extension.critical) == (bytes(range(32)), False)


def _forged() -> str:
    """A request whose signature is another key's."""
    body = base64.b64decode("".join(csr().splitlines()[1:-1]))
    broken = body[:-4] + bytes(byte ^ 1 for byte in body[-4:])
    return (
        f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.b64encode(broken).decode()}\n-----END CERTIFICATE REQUEST-----"
    )


@pytest.mark.parametrize(
    ("request_pem", "signer", "why"),
    [
        ("nonsense", SIGNER, "cannot be read"),
        ("\udcff", SIGNER, "cannot be read"),
        (_forged(), SIGNER, "signed|read"),
        (csr(ec.generate_private_key(ec.SECP384R1())), SIGNER, "not P-256"),
        (csr(rsa.generate_private_key(65_537, 2_048)), SIGNER, "not P-256"),
        (csr(), "!!", "base64"),
        (csr(), base64.b64encode(b"short").decode(), "5 bytes"),
    ],
)
def test_bad_requests_say_why(authority: Authority, request_pem: str, signer: str, why: str) -> None:
    with pytest.raises(BadCsr, match=why):
        issue(authority, request_pem, signer)


def test_the_servers_certificate_is_renewed_when_due_or_when_names_change(authority: Authority) -> None:
    day = 86_400
    names = ["localhost", "127.0.0.1", "127.0.0.1", f"{'x' * 64}.example"]
    path = authority.server_certificate(names, NOW)
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert authority.server_certificate(names, NOW + 19 * day).read_bytes() == first
    second = authority.server_certificate(names, NOW + 21 * day).read_bytes()
    assert second != first
    third = authority.server_certificate([*names, "::1"], NOW + 22 * day).read_bytes()
    assert third != second
    found = x509.load_pem_x509_certificate(third).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    path.write_text("damaged")
    assert authority.server_certificate(names, NOW).read_bytes() != b"damaged"


def test_the_servers_certificate_stands_with_its_issuer(authority: Authority) -> None:
    """Else OpenSSL builds the chain for every handshake, and verifies our own certificate each time."""
    path = authority.server_certificate(["localhost"], NOW)
    whole = path.read_bytes()
    _, issuer = x509.load_pem_x509_certificates(whole)
    assert issuer == x509.load_pem_x509_certificate(authority.root_pem.encode())
    end = b"-----END CERTIFICATE-----\n"
    path.write_bytes(whole[: whole.index(end) + len(end)])  # as an earlier release wrote it
    assert len(x509.load_pem_x509_certificates(authority.server_certificate(["localhost"], NOW).read_bytes())) == 2
