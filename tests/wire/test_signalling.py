"""What is under a signature, and the page about it."""

import typing

import msgspec
import pytest

from ecdn_proxy.wire import signalling
from tests.wire import frames
from tests.wire.signalling_page import PAGE, page

DESCRIPTIONS = [it for it in frames.RELAYED if isinstance(it, signalling.Offer | signalling.Answer)]


@pytest.mark.parametrize("message", DESCRIPTIONS)
def test_whatever_changes_breaks_the_signature(message: signalling.Description) -> None:
    signed = message.signed_bytes("tenant", "AA:BB", "ufrag")
    assert message.signed_bytes("other", "AA:BB", "ufrag") != signed
    assert message.signed_bytes("tenant", "AA:BC", "ufrag") != signed
    assert message.signed_bytes("tenant", "AA:BB", "other") != signed
    changes: dict[str, object] = {
        "to": "x", "sender": "x", "attempt": "f" * 16, "sdp": "v=1", "nonce": b"x" * 16, "expires_utc": 1.0
    }  # fmt: skip
    for name, value in changes.items():
        assert msgspec.structs.replace(message, **{name: value}).signed_bytes("tenant", "AA:BB", "ufrag") != signed
    unsigned = set(message.__struct_fields__) - set(changes)
    assert unsigned == {"signature", "certificate"}


def test_an_offer_is_no_answer() -> None:
    offer, answer = DESCRIPTIONS
    same = signalling.Answer(*(getattr(offer, name) for name in offer.__struct_fields__))
    assert offer.signed_bytes("t", "f", "u") != same.signed_bytes("t", "f", "u")
    assert type(answer) is signalling.Answer


def test_every_code_has_a_meaning() -> None:
    assert set(signalling.CODES) == set(typing.get_args(signalling.Code))


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m tests.wire.signalling_page"
