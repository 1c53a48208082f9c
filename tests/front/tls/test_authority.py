"""The machine's authority: what others accept of it, and how it ages."""

import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ecdn_proxy.core.http.hosts import HostScope
from ecdn_proxy.front.tls import authority as module
from ecdn_proxy.front.tls.authority import Authority, Leaf, OutOfScope, trusted_roots, write_private

NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
DAY = 86_400.0


def opened(state: Path, now: float = NOW, domains: tuple[str, ...] = ("stream.test",)) -> Authority:
    return Authority.open(state, HostScope.of(domains, ()), lambda: now)


def openssl_verifies(tmp_path: Path, ca: Path, leaf: Leaf, name: str, now: float = NOW) -> bool:
    (tmp_path / "leaf.pem").write_bytes(leaf.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "chain.pem").write_bytes(leaf.issuer.public_bytes(Encoding.PEM))
    command: list[str | Path] = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", str(int(now))]
    command += ["-CAfile", ca, "-untrusted", tmp_path / "chain.pem", "-verify_hostname", name, tmp_path / "leaf.pem"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def forged(made: Authority, name: str) -> Leaf:
    """What a thief with the issuer's key could sign."""
    made._scope = HostScope.of((name,), ())
    return made.leaf(name)


def test_openssl_accepts_names_inside_and_refuses_others(tmp_path: Path) -> None:
    made = opened(tmp_path)
    for name in ("stream.test", "a.b.stream.test"):
        assert openssl_verifies(tmp_path, made.ca_file, made.leaf(name), name)
    for name in ("bank.test", "evilstream.test", "stream.test.evil.example"):
        with pytest.raises(OutOfScope):
            made.leaf(name)
    assert not openssl_verifies(tmp_path, made.ca_file, forged(opened(tmp_path), "bank.test"), "bank.test")


def test_python_ssl_accepts_names_inside_and_refuses_others(tmp_path: Path) -> None:
    made = opened(tmp_path, datetime.now(UTC).timestamp())
    assert _handshake(tmp_path, made, made.leaf("a.stream.test"), "a.stream.test")
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        _handshake(tmp_path, made, forged(made, "bank.test"), "bank.test")


def _handshake(tmp_path: Path, made: Authority, leaf: Leaf, name: str) -> bool:
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = key + leaf.certificate.public_bytes(Encoding.PEM) + leaf.issuer.public_bytes(Encoding.PEM)
    (tmp_path / "server.pem").write_bytes(pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = ssl.create_default_context(cafile=str(made.ca_file)).wrap_bio(back, there, server_hostname=name)
    other = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return one.version() == "TLSv1.3"


def test_addresses_and_bypassed_names_get_no_leaf(tmp_path: Path) -> None:
    made = Authority.open(tmp_path, HostScope.of(("stream.test",), ("pinned.stream.test",)), lambda: NOW)
    for name in ("127.0.0.1", "::1", "pinned.stream.test", ""):
        with pytest.raises(OutOfScope):
            made.leaf(name)


def test_constraints_are_critical_and_the_roots_key_is_nowhere(tmp_path: Path) -> None:
    made = opened(tmp_path)
    issuer = made.leaf("stream.test").issuer
    root = x509.load_pem_x509_certificate(made.ca_file.read_bytes())
    for one in (root, issuer):
        constraints = one.extensions.get_extension_for_class(x509.NameConstraints)
        assert constraints.critical
        assert constraints.value.permitted_subtrees == [x509.DNSName("stream.test")]
        assert len(constraints.value.excluded_subtrees or ()) == 2
        assert one.not_valid_after_utc - one.not_valid_before_utc <= timedelta(days=90)
    assert issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    keys = [path for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()]
    assert [path.name for path in keys] == ["issuer.key"]
    assert made.leaf("stream.test").key.public_key() not in (root.public_key(), issuer.public_key())


def test_files_are_for_this_user_only(tmp_path: Path) -> None:
    opened(tmp_path)
    for path in (tmp_path / "authority").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_kept_over_a_restart_and_different_on_another_machine(tmp_path: Path) -> None:
    first = opened(tmp_path / "a")
    text = first.ca_file.read_bytes()
    again = opened(tmp_path / "a")
    assert again.ca_file.read_bytes() == text
    assert again.leaf("stream.test").issuer == first.leaf("stream.test").issuer
    assert opened(tmp_path / "b").ca_file.read_bytes() != text


def test_other_domains_make_another_authority(tmp_path: Path) -> None:
    before = opened(tmp_path).ca_file.read_bytes()
    after = opened(tmp_path, domains=("stream.test", "more.test"))
    assert after.ca_file.read_bytes() != before
    after.leaf("more.test")
    assert len([path for path in (tmp_path / "authority").iterdir() if path.is_dir()]) == 1


def test_without_domains_it_can_vouch_for_nothing(tmp_path: Path) -> None:
    made = opened(tmp_path, domains=())
    issuer = module._read(next(path for path in (tmp_path / "authority").iterdir() if path.is_dir())).issuer
    constraints = issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    assert constraints.permitted_subtrees == [x509.DNSName("nothing.invalid")]
    with pytest.raises(OutOfScope):
        made.leaf("stream.test")


def test_rotation_has_no_gap(tmp_path: Path) -> None:
    trusted = opened(tmp_path).ca_file.read_bytes()  # what IT distributed at first
    first = x509.load_pem_x509_certificate(trusted)
    assert opened(tmp_path, NOW + 58 * DAY).ca_file.read_bytes() == trusted
    published = opened(tmp_path, NOW + 61 * DAY).ca_file.read_bytes()
    roots = x509.load_pem_x509_certificates(published)
    assert [len(roots), roots[0]] == [2, first]
    (tmp_path / "first.pem").write_bytes(trusted)
    (tmp_path / "both.pem").write_bytes(published)
    for day, ca in ((61, "first.pem"), (81, "first.pem"), (83, "both.pem"), (95, "both.pem"), (140, "both.pem")):
        now = NOW + day * DAY
        leaf = opened(tmp_path, now).leaf("stream.test")
        assert openssl_verifies(tmp_path, tmp_path / ca, leaf, "stream.test", now), day
        current = x509.load_pem_x509_certificates((tmp_path / "authority" / "ca.pem").read_bytes())
        assert len(current) == (1 if day == 95 else 2), day


def test_a_running_authority_renews_its_leaves(tmp_path: Path) -> None:
    now = NOW
    made = Authority.open(tmp_path, HostScope.of(("stream.test",), ()), lambda: now)
    first = made.leaf("stream.test")
    now += 2 * DAY
    assert made.leaf("STREAM.test.") is first
    now += 3 * DAY
    second = made.leaf("stream.test")
    assert second is not first
    assert second.certificate.not_valid_after_utc.timestamp() > now + 3 * DAY


def test_damaged_files_are_replaced(tmp_path: Path) -> None:
    before = opened(tmp_path).leaf("stream.test")
    next((tmp_path / "authority").rglob("issuer.pem")).write_text("nonsense")
    made = opened(tmp_path)
    leaf = made.leaf("stream.test")
    assert leaf.issuer.serial_number != before.issuer.serial_number
    assert openssl_verifies(tmp_path, made.ca_file, leaf, "stream.test")


def test_long_names_have_no_common_name(tmp_path: Path) -> None:
    name = "x" * 60 + ".stream.test"
    leaf = opened(tmp_path).leaf(name)
    assert not leaf.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert isinstance(leaf.certificate.signature_hash_algorithm, hashes.SHA256)
    assert openssl_verifies(tmp_path, opened(tmp_path).ca_file, leaf, name)


def test_trusted_roots_only_grow(tmp_path: Path) -> None:
    made = opened(tmp_path)
    system = trusted_roots("")
    more = trusted_roots(str(made.ca_file))
    assert more.startswith(system)
    assert system.count(b"BEGIN CERTIFICATE") > 50
    assert made.ca_file.read_bytes() in more
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ValueError, match="certificate"):
        trusted_roots(str(tmp_path / "empty.pem"))


def test_private_files_replace_whole(tmp_path: Path) -> None:
    write_private(tmp_path / "x", b"one")
    write_private(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
