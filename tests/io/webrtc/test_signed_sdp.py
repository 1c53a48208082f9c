"""What is done to a description between two agents is seen by the one that gets it, and nothing comes of it."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from coordinator.io.ca import Authority
from ecdn_proxy.io.webrtc import signed_sdp as descriptions
from ecdn_proxy.wire.signalling import Answer, Bye, Offer, Relayed
from tests.io.switching import authority, exchange, identity, linked

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


def _other_fingerprint(sdp: str) -> str:
    return re.sub(r"(a=fingerprint:sha-256 )(\S\S)", lambda found: found[1] + ("00" if found[2] != "00" else "11"), sdp)


@pytest.mark.parametrize("which", [Offer, Answer])
async def test_a_relay_that_swaps_the_fingerprint_gets_no_channel(tenant: Authority, which: type[Relayed]) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")

        def swap(message: Relayed) -> Relayed:
            if isinstance(message, Offer | Answer) and isinstance(message, which):
                return msgspec.structs.replace(message, sdp=_other_fingerprint(message.sdp))
            return message

        made.tamper = swap
        a.hub.dial(b.contact)
        device, why, misbehaved = await a.record.first("closed")
        assert device == "b"
        assert "not signed" in why
        assert not misbehaved, "whoever relayed it is to blame"
        deceived = b if which is Offer else a
        assert "not signed" in deceived.record.all("forged")[0][1]
        assert not a.record.all("opened")
        assert not b.record.all("opened")


def _changed(change: Callable[[Offer], Offer], message: Relayed) -> Relayed:
    return change(message) if isinstance(message, Offer) else message


async def test_any_other_change_on_the_way_is_seen_too(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b, c = made("a"), made("b"), made("c")
        other = identity(tenant, "c").certificate_der
        changes: list[Callable[[Offer], Offer]] = [
            lambda it: msgspec.structs.replace(it, sdp=it.sdp.replace("127.0.0.1", "127.0.0.9")),
            lambda it: msgspec.structs.replace(it, nonce=bytes(16)),
            lambda it: msgspec.structs.replace(it, expires_utc=it.expires_utc + 1),
            lambda it: msgspec.structs.replace(it, to="c"),
            lambda it: msgspec.structs.replace(it, certificate=other),
        ]
        for change in changes:
            made.tamper = partial(_changed, change)
            a.record.told.clear()
            a.hub.dial(b.contact)
            await a.record.first("closed")
            assert not a.record.all("opened")
        assert not b.record.all("opened")
        assert len(b.record.all("forged")) == 4
        assert len(c.record.all("forged")) == 1


async def test_an_offer_is_good_once_and_for_a_while(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        await linked(a, b)
        offer = made.relayed[0]
        assert isinstance(offer, Offer)
        b.hub.heard(offer)
        assert "made before" in b.record.all("forged")[-1][1]
        b.utc_shift = descriptions.EXPIRY_S + 1
        b.hub.heard(offer)
        assert "expired" in b.record.all("forged")[-1][1]
        b.utc_shift = -2 * descriptions.EXPIRY_S
        b.hub.heard(offer)
        assert "future" in b.record.all("forged")[-1][1]
        assert [it.to for it in made.relayed if isinstance(it, Bye)] == ["a"] * 3
        assert set(b.stats()) == {"a"}, "the link that stands is not touched"


async def test_another_tenants_offer_opens_nothing(tenant: Authority, tmp_path: Path) -> None:
    foreign = identity(authority(tmp_path), "a")
    async with exchange(tenant) as made:
        a, b = made("a", who=foreign), made("b")
        a.hub.dial(b.contact)
        device, why, _ = await a.record.first("closed")
        assert (device, "refused" in why) == ("b", True)
        assert "no device's of this tenant" in b.record.all("forged")[0][1]
        assert not b.record.all("opened")
