"""Tokens, devices and their keys."""

from ipaddress import ip_address

from coordinator.core import limits
from coordinator.core.registry import CLONED, Device, Refusal, Registry, Token, digest_of, judge_token

DAY = 86_400.0
HERE = ip_address("10.1.2.3")


def device(name: str = "d", key: str = "k1", *, ends: float = DAY) -> Device:
    return Device(name, 0.0, "1", key, key_seen=False, former="", ends_utc=ends)


def registry(*devices: Device) -> Registry:
    return Registry(devices, grace_s=7 * DAY)


def code(answer: object) -> str:
    assert isinstance(answer, Refusal)
    assert answer.why
    return answer.code


def test_a_token_is_judged_by_hash_expiry_uses_and_network() -> None:
    good = Token(digest_of("secret"), expires_utc=10.0, uses_max=2, uses=0)
    assert judge_token(good, HERE, 9.9) is None
    assert code(judge_token(None, HERE, 0.0)) == "token-unknown"
    assert code(judge_token(good, HERE, 10.0)) == "token-expired"
    assert code(judge_token(Token("x", 10.0, 2, 2), HERE, 0.0)) == "token-used-up"
    near = Token("x", 10.0, 2, 0, "10.1.0.0/16 fd00::/8")
    assert judge_token(near, HERE, 0.0) is None
    assert judge_token(near, ip_address("fd00::5"), 0.0) is None
    assert code(judge_token(near, ip_address("10.2.0.1"), 0.0)) == "token-elsewhere"


def test_a_device_is_admitted_until_its_certificate_ends_and_renews_within_the_grace() -> None:
    register = registry(device())
    assert isinstance(register.admit("d", "k1", DAY, DAY - 1), Device)
    assert code(register.admit("d", "k1", DAY, DAY)) == "certificate-ended"
    assert isinstance(register.may_renew("d", "k1", DAY, 8 * DAY - 1), Device)
    assert code(register.may_renew("d", "k1", DAY, 8 * DAY)) == "grace-over"


def test_a_device_that_the_register_does_not_know_is_refused() -> None:
    assert code(registry().admit("d", "k1", DAY, 0.0)) == "unknown-device"


def test_a_lost_answer_to_a_renewal_may_be_asked_for_again() -> None:
    register = registry(device())
    register.may_renew("d", "k1", DAY, 1.0)
    register.renewed("d", "k1", "k2", 2 * DAY, "1")
    assert isinstance(register.may_renew("d", "k1", DAY, 2.0), Device)
    register.renewed("d", "k1", "k3", 2 * DAY, "2")
    assert isinstance(register.admit("d", "k3", 2 * DAY, 3.0), Device)


def test_the_old_key_after_the_new_one_suspends_both() -> None:
    register = registry(device())
    register.renewed("d", "k1", "k2", 2 * DAY, "1")
    assert isinstance(register.admit("d", "k1", DAY, 1.0), Device), "the old key until the new one is seen"
    assert isinstance(register.admit("d", "k2", 2 * DAY, 2.0), Device)
    answer = register.admit("d", "k1", DAY, 3.0)
    assert code(answer) == CLONED
    assert isinstance(answer, Refusal)
    assert answer.suspended is not None
    assert code(register.admit("d", "k2", 2 * DAY, 4.0)) == CLONED
    assert code(register.may_renew("d", "k2", 2 * DAY, 4.0)) == CLONED
    assert register.denied(5.0) == ("d",)
    assert [d.device for d in register.suspended()] == ["d"]


def test_two_clones_that_renew_one_after_the_other_are_found() -> None:
    register = registry(device())
    register.may_renew("d", "k1", DAY, 1.0)
    register.renewed("d", "k1", "k2", 2 * DAY, "1")
    register.admit("d", "k2", 2 * DAY, 2.0)
    assert code(register.may_renew("d", "k1", DAY, 3.0)) == CLONED


def test_denied_and_allowed() -> None:
    register = registry(device())
    assert register.deny("nobody", "") is None
    assert register.allow("nobody") is None
    register.deny("d", "stolen laptop")
    answer = register.admit("d", "k1", DAY, 1.0)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.why) == ("denied", "stolen laptop")
    assert register.denied(1.0) == ("d",)
    register.allow("d")
    assert isinstance(register.admit("d", "k1", DAY, 1.0), Device)
    assert register.denied(1.0) == ()


def test_the_deny_set_fits_a_frame_and_drops_what_has_ended() -> None:
    many = [device(f"d{n}", ends=float(n)) for n in range(limits.DENIED_MAX + 10)]
    register = registry(*many)
    for one in many:
        register.deny(one.device, "x")
    denied = register.denied(0.0)
    assert len(denied) == limits.DENIED_MAX
    assert "d0" not in denied
    assert register.denied(1e9) == ()


def test_the_register_counts_and_adds() -> None:
    register = registry()
    register.add(device())
    assert len(register) == 1
    assert register.get("d") == device()
