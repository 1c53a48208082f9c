"""Whose signature counts: that of a device of this tenant, with its certificate, while it holds and a week longer."""

from dataclasses import dataclass

import msgspec
import pytest

from coordinator.io.ca import Authority
from ecdn_proxy.agent.signer import VOUCHER_GRACE_S, DeviceSeal, LonelySeal
from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.open_piece import OpenPiece
from ecdn_proxy.core.seal import Seal
from ecdn_proxy.io.identity import Identity, new_keys_and_csr
from ecdn_proxy.wire.enrolment import Enrolled
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import Voucher
from tests.core.makers import KEY, fetched, head

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.open(tmp_path_factory.mktemp("tenant"), NOW)


def identity(authority: Authority, device: str) -> Identity:
    keys, csr = new_keys_and_csr()
    issued = authority.issue_device(csr, keys.signing_public(), device, utc=NOW, hours=24)
    enrolled = Enrolled(device, authority.tenant, issued.pem, authority.root_pem, "ab" * 32, {})
    return Identity.given(enrolled, keys, "https://127.0.0.1:8443")


@dataclass
class Clock:
    utc: float = NOW

    def __call__(self) -> float:
        return self.utc


def vouched(seal: Seal) -> Voucher:
    assembly = Assembly(KEY, seal)
    assembly.begin_origin(head(5), 0, NOW)
    assembly.take_origin(b"bytes", 0.0)
    assembly.end_origin(0.0)
    return assembly.vouchers[0]


def test_what_one_signs_the_other_believes(authority: Authority) -> None:
    ann, bob = (DeviceSeal(identity(authority, name), Clock()) for name in ("ann", "bob"))
    assert (ann.device, ann.tenant) == ("ann", authority.tenant)
    said = vouched(ann)
    bob.check(said)
    with pytest.raises(PeerMisbehaved, match="wrong signature"):
        bob.check(msgspec.structs.replace(said, first=1))
    copy = Assembly(KEY, bob)
    source = fetched(ann, b"bytes")  # type: ignore[arg-type]
    copy.take_voucher(source.vouchers[0])
    copy.take_piece(0, b"bytes")
    assert copy.body() == b"bytes"


def test_what_is_said_of_a_part_of_a_piece_is_believed_in_the_same_way(authority: Authority) -> None:
    ann, bob = (DeviceSeal(identity(authority, name), Clock()) for name in ("ann", "bob"))
    part = OpenPiece(KEY, ann)
    part.sign(0, b"byt", "g1", head(5), 0.0)
    assert part.voucher is not None
    bob.check(part.voucher)
    for change in ({"size_bytes": 2}, {"hash": bytes(32)}, {"index": 1}, {"generation": "g2"}, {"head": None}):
        with pytest.raises(PeerMisbehaved, match="wrong signature"):
            bob.check(msgspec.structs.replace(part.voucher, **change))


def test_a_voucher_without_a_certificate_does_not_count(authority: Authority) -> None:
    ann, bob = (DeviceSeal(identity(authority, name), Clock()) for name in ("ann", "bob"))
    bob.check(vouched(ann))
    with pytest.raises(PeerMisbehaved):
        bob.check(msgspec.structs.replace(vouched(ann), certificate=b""))


def test_another_devices_certificate_does_not_count(authority: Authority) -> None:
    ann, bob, eve = (DeviceSeal(identity(authority, name), Clock()) for name in ("ann", "bob", "eve"))
    relabelled = msgspec.structs.replace(vouched(eve), signer="ann")
    with pytest.raises(PeerMisbehaved, match="with the certificate of eve"):
        bob.check(relabelled)
    forged = msgspec.structs.replace(vouched(eve), signer="ann", certificate=ann.certificate())
    with pytest.raises(PeerMisbehaved, match="wrong signature"):
        bob.check(forged)


def test_another_tenants_does_not_count(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Authority.open(tmp_path_factory.mktemp("other"), NOW)
    bob = DeviceSeal(identity(authority, "bob"), Clock())
    with pytest.raises(PeerMisbehaved):
        bob.check(vouched(DeviceSeal(identity(other, "ann"), Clock())))


def test_a_replay_a_week_later_is_believed_and_after_it_not(authority: Authority) -> None:
    clock = Clock()
    said, bob = vouched(DeviceSeal(identity(authority, "ann"), clock)), DeviceSeal(identity(authority, "bob"), clock)
    clock.utc = NOW + DAY + VOUCHER_GRACE_S - 60.0
    bob.check(said)
    clock.utc = NOW + DAY + VOUCHER_GRACE_S + 60.0
    with pytest.raises(PeerMisbehaved, match="ended"):
        bob.check(said)


def test_a_renewed_device_goes_on_with_its_new_keys(authority: Authority) -> None:
    ann, bob = (DeviceSeal(identity(authority, name), Clock()) for name in ("ann", "bob"))
    before = vouched(ann)
    bob.check(before)
    new = identity(authority, "ann")
    ann.renewed(new)
    after = vouched(ann)
    assert ann.certificate() == after.certificate == new.certificate_der != before.certificate
    bob.check(after)
    with pytest.raises(PeerMisbehaved, match="wrong signature"):
        bob.check(msgspec.structs.replace(after, signature=before.signature))


def test_a_machine_that_is_not_enrolled_keeps_its_own_segments_and_believes_nobody(authority: Authority) -> None:
    lonely = LonelySeal()
    said = vouched(lonely)
    assert (lonely.certificate(), len(said.signature)) == (b"", 64)
    with pytest.raises(PeerMisbehaved, match="not enrolled"):
        lonely.check(said)
    with pytest.raises(PeerMisbehaved):
        lonely.check(vouched(DeviceSeal(identity(authority, "ann"), Clock())))
