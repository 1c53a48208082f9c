"""Identity on disk, and whose signature a certificate stands for."""

import base64
import stat
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from coordinator.io.ca import Authority
from ecdn_proxy.io.identity import DamagedIdentity, Identity, Keys, load_identity, new_keys_and_csr, signing_key_of
from ecdn_proxy.wire.enrolment import Enrolled
from ecdn_proxy.wire.faults import PeerMisbehaved

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.open(tmp_path_factory.mktemp("tenant"), NOW)


def enrolled(authority: Authority, device: str = "device-1") -> tuple[Enrolled, Keys]:
    keys, csr = new_keys_and_csr()
    issued = authority.issue_device(csr, keys.signing_public(), device, utc=NOW, hours=24)
    given_by = Enrolled(device, authority.tenant, issued.pem, authority.root_pem, "ab" * 32, {"cache_memory_mb": 64})
    return given_by, keys


def identity(authority: Authority, device: str = "device-1") -> Identity:
    return Identity.given(*enrolled(authority, device), "https://127.0.0.1:8443")


def test_saved_private_and_loaded_the_same(authority: Authority, tmp_path: Path) -> None:
    assert load_identity(tmp_path) is None
    saved = identity(authority).save(tmp_path)
    path = tmp_path / "identity" / "identity.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["identity.json"]
    assert load_identity(tmp_path) == saved
    changed = saved.with_settings({"webrtc": False}).save(tmp_path)
    assert load_identity(tmp_path) == changed
    assert changed.settings == {"webrtc": False}
    assert saved.starts_utc < NOW < saved.ends_utc == NOW + DAY


def test_a_signature_is_verified_by_whoever_has_the_certificate(authority: Authority) -> None:
    mine = identity(authority)
    device, key = signing_key_of(mine.certificate_der, mine.tenant_root_der, NOW)
    assert device == "device-1"
    key.verify(mine.sign(b"pieces"), b"pieces")
    with pytest.raises(InvalidSignature):
        key.verify(mine.sign(b"pieces"), b"other")


def test_a_certificate_counts_within_its_life_and_the_grace(authority: Authority) -> None:
    mine = identity(authority)
    for utc, grace_s in ((NOW - 300, 0.0), (NOW + DAY - 1, 0.0), (NOW + DAY, 60.0)):
        assert signing_key_of(mine.certificate_der, mine.tenant_root_der, utc, grace_s=grace_s)[0] == "device-1"
    for utc, grace_s, why in (
        (NOW - 3_600, 60.0, "begins only"),
        (NOW + DAY, 0.0, "ended"),
        (NOW + DAY + 60, 60.0, "ended"),
    ):
        with pytest.raises(PeerMisbehaved, match=why):
            signing_key_of(mine.certificate_der, mine.tenant_root_der, utc, grace_s=grace_s)


def test_another_tenants_certificate_does_not_count(authority: Authority, tmp_path: Path) -> None:
    foreign = identity(Authority.open(tmp_path, NOW))
    root = identity(authority).tenant_root_der
    with pytest.raises(PeerMisbehaved, match="no device's"):
        signing_key_of(foreign.certificate_der, root, NOW)


def test_the_root_and_the_servers_certificate_are_no_devices(authority: Authority) -> None:
    root = identity(authority).tenant_root_der
    with pytest.raises(PeerMisbehaved):
        signing_key_of(root, root, NOW)
    server = x509.load_pem_x509_certificate(authority.server_certificate(["localhost"], NOW).read_bytes())
    with pytest.raises(PeerMisbehaved):
        signing_key_of(server.public_bytes(serialization.Encoding.DER), root, NOW)


@pytest.fixture(scope="module")
def mine(authority: Authority) -> Identity:
    return identity(authority)


@given(st.data())
def test_a_changed_certificate_is_never_believed(mine: Identity, data: st.DataObject) -> None:
    der = bytearray(mine.certificate_der)
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PeerMisbehaved):
        signing_key_of(bytes(der), mine.tenant_root_der, NOW)


@given(st.binary(max_size=200))
def test_random_bytes_are_the_peers_fault(mine: Identity, der: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        signing_key_of(der, mine.tenant_root_der, NOW)


def test_what_a_coordinator_gives_must_fit_the_keys(authority: Authority) -> None:
    given_by, keys = enrolled(authority)
    other, _ = new_keys_and_csr()
    mixed = [
        (given_by, Keys(other.tls, keys.signing)),
        (given_by, Keys(keys.tls, other.signing)),
        (given_by, Keys(keys.signing, keys.signing)),
        (given_by, Keys(keys.tls, keys.tls)),
        (msgspec.structs.replace(given_by, device="device-2"), keys),
        (msgspec.structs.replace(given_by, certificate="nonsense"), keys),
    ]
    for answer, held in mixed:
        with pytest.raises(PeerMisbehaved, match="cannot be used"):
            Identity.given(answer, held, "https://x")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"device": 5}'])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "identity.json").write_bytes(content)
    with pytest.raises(DamagedIdentity, match="enrol this machine again"):
        load_identity(tmp_path)


def test_an_unreadable_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "identity" / "identity.json").mkdir(parents=True)
    with pytest.raises(DamagedIdentity, match="cannot be read"):
        load_identity(tmp_path)


def test_a_failed_write_keeps_the_old_identity(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identity(authority).save(tmp_path)

    def fails(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="No space"):
        identity(authority, "device-2").save(tmp_path)
    assert load_identity(tmp_path) == first
    assert [p.name for p in (tmp_path / "identity").iterdir()] == ["identity.json"]


def test_a_csr_names_nothing(authority: Authority) -> None:
    keys, pem = new_keys_and_csr()
    csr = x509.load_pem_x509_csr(pem.encode())
    assert csr.is_signature_valid
    assert csr.subject == x509.Name([])
    assert len(base64.b64decode(keys.signing_public())) == 32
