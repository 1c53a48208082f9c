"""Dialling and being dialled; what becomes of an open connection stands in test_connection.py."""

import asyncio
import contextlib
from ipaddress import ip_network

import pytest

from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.tls_links import dialer as tls_dialer
from ecdn_proxy.io.tls_links.contexts import Contexts, client_context
from ecdn_proxy.io.tls_links.hub import TlsHub
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact
from tests.io.agents import LOOPBACK, Agent, Start, served_by_hand
from tests.io.material import TENANT, Root, root

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


async def test_the_next_address_is_tried(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(Contact("b", ("192.0.2.9", "127.0.0.44", "127.0.0.3"), b.hub.port))
    assert (await a.record.first("opened"))[0].device == "b"


async def test_nobody_there(start: Start) -> None:
    a = await start("a", "127.0.0.2")
    a.hub.dial(Contact("b", ("127.0.0.44",), 1))
    device, why, misbehaved = await a.record.first("closed")
    assert (device, misbehaved) == ("b", False)
    assert "refused" in why


async def test_another_device_answers(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(Contact("c", (b.address,), b.hub.port))
    assert await a.record.first("closed") == ("c", "another device answers at 127.0.0.3", False)
    assert not a.record.all("opened")


async def test_a_dial_outside_the_networks_is_not_made(start: Start) -> None:
    a = await start("a", "127.0.0.2", networks=(ip_network("127.0.0.0/30"),))
    b = await start("b", "127.0.0.5")
    a.hub.dial(b.contact)
    device, why, _ = await a.record.first("closed")
    assert device == "b"
    assert "network" in why
    b.hub.dial(a.contact)
    assert "outside" in (await a.record.first("refused"))[1]
    await b.record.first("closed")


async def test_a_server_of_another_ca_gets_no_hello(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    other = root("Tenant Root")
    certificate, key = other.device("b")
    context = Contexts(other.contexts("b").server, client_context(certificate, key, tenant_root.pem))
    impostor = Agent("b", "127.0.0.3", context)
    await impostor.hub.start()
    try:
        a.hub.dial(impostor.contact)
        device, why, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", False)
        assert "certificate" in why
        assert not impostor.record.all("opened")
    finally:
        await impostor.hub.close()


async def test_strangers_are_counted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_dialer, "STRANGERS_MAX", 2)
    a = await start("a", "127.0.0.2")
    writers = [(await asyncio.open_connection(a.address, a.hub.port))[1] for _ in range(3)]
    assert "too many" in (await a.record.first("refused"))[1]
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_taken_port_is_said(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    ourselves, here = Ourselves("b", TENANT, "test", ()), (a.address, a.hub.port)
    second = TlsHub(ourselves, here, tenant_root.contexts("b"), LOOPBACK, a, a)
    with pytest.raises(Unavailable, match="cannot listen"):
        await second.start()
    await second.close()


async def test_a_dial_into_silence(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_dialer, "CONNECT_S", 0.1)
    b = await start("b", "127.0.0.3")
    async with served_by_hand(None) as (contact, _):
        b.hub.dial(contact)
        why = f"TCP {contact.port} to 127.0.0.9 timed out"
        assert await b.record.first("closed") == ("a", why, False)


async def test_closing_breaks_off_dials_and_handshakes(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    async with served_by_hand(None) as (contact, accepted):
        b.hub.dial(contact)
        await accepted.get()
        async with asyncio.timeout(20):
            await b.hub.close()
    a.hub.dial(b.contact)
    await a.hub.close()
    a.hub.dial(b.contact)
    assert not a.record.all("opened")
