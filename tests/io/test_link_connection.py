"""What both kinds of connection have in common, without either of them: a connection that keeps what it would send."""

import asyncio

import pytest

from ecdn_proxy.io.handshake import LinkEnd, Ourselves
from ecdn_proxy.io.link_connection import LinkConnection, LinkStats
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage
from ecdn_proxy.wire.peer import Bye, Cancel, Contact, Hello, PeerMessage, Ping, Pong
from ecdn_proxy.wire.version import PROTOCOL
from tests.io.holding import Holder
from tests.io.waiting import Record

pytestmark = pytest.mark.asyncio
TENANT = "tenant-1"
CONTACT = Contact("b", ("10.1.0.12",), 7688)


class Kept(LinkConnection):
    """A connection to `b`; `brings` is what would come from its socket."""

    kind = "lan"
    parting = "somewhere else"

    def __init__(self, owner: "Owner") -> None:
        super().__init__(owner, owner, TENANT, "b", dialled=True)
        self.sent: list[PeerMessage] = []
        self.released: list[bool] = []

    def send(self, message: PeerMessage) -> None:
        if self.end is None and not self._leaving:
            self.sent.append(message)
            self.bytes_out += len(pack(message))

    def begin(self) -> None:
        self._begin()

    def brings(self, message: PeerMessage) -> None:
        self._take_message(message)

    def brings_unknown(self, tag: int) -> None:
        self._pass_over(UnknownMessage(tag))

    def _keep_up(self) -> None:
        self._timer = self._loop.call_later(60, lambda: None)

    def _release(self, *, at_once: bool) -> None:
        self.released.append(at_once)

    def rings(self) -> bool:
        return self._timer is not None


class Owner(Holder):
    """Whoever made the connection."""

    def __init__(self) -> None:
        super().__init__(Record())
        self.connection = Kept(self)

    def hello(self) -> Hello:
        return Ourselves("a", TENANT, "1.0", ("10.1.0.11",), port=7688).hello()

    def greeted(self, connection: LinkConnection, hello: Hello) -> None:  # type: ignore[override]  # a hub's owner hears more
        super().greeted(connection, CONTACT, hello)


def opened() -> tuple[Owner, Kept]:
    owner = Owner()
    owner.connection.begin()
    owner.connection.brings(Hello(PROTOCOL, "b", TENANT, "2.0", CONTACT, (), True))
    return owner, owner.connection


async def test_it_is_open_after_both_hellos() -> None:
    owner = Owner()
    connection = owner.connection
    connection.begin()
    assert connection.sent == [owner.hello()]
    assert not connection.open
    connection.brings(Hello(PROTOCOL, "b", TENANT, "2.0", CONTACT, (), True))
    assert owner.record.all("opened") == [(CONTACT, "lan", (), True, 1.0)]
    assert connection.settled.is_set()
    connection.close("the test is over")


async def test_what_the_node_says_goes_straight_to_the_consumer() -> None:
    owner, connection = opened()
    connection.brings(Ping(7))
    assert connection.sent[-1] == Pong(7)
    assert not connection.heard
    for number in range(2):
        connection.brings(Cancel(number))
    assert owner.record.all("received") == [("b", Cancel(0)), ("b", Cancel(1))]
    assert vars(connection)["heard"]
    connection.close("the test is over")


async def test_what_a_later_release_says_is_told_once_and_counted() -> None:
    owner, connection = opened()
    for tag in (250, 251, 250):
        connection.brings_unknown(tag)
    assert owner.record.all("passed_over") == [("b", "2.0", 250)]
    stats = connection.statistics()
    assert stats == LinkStats("", 1.0, 0, connection.bytes_out, True, "lan", version="2.0", passed_over=3)
    connection.close("the test is over")


@pytest.mark.parametrize("misbehaved", [False, True])
async def test_closing_says_why_unless_the_other_end_misbehaved(misbehaved: bool) -> None:
    owner, connection = opened()
    connection.close("enough", misbehaved=misbehaved)
    connection.close("twice")
    assert connection.sent[-1] == (owner.hello() if misbehaved else Bye("enough"))
    assert connection.released == [misbehaved]
    assert not connection.rings()
    assert owner.record.all("closed") == [("b", "enough", misbehaved)]


async def test_before_hello_is_said_there_is_nobody_to_say_bye_to() -> None:
    connection = Owner().connection
    connection.close("enough")
    assert connection.sent == []
    assert connection.end == LinkEnd("enough")


async def test_leaving_goes_on_reading_until_the_other_end_parts() -> None:
    owner, connection = opened()
    connection.leave()
    connection.leave()
    connection.send(Cancel(1))
    assert connection.sent[1:] == [Bye("somewhere else")]
    connection.brings(Cancel(2))
    assert owner.record.all("received") == [("b", Cancel(2))]
    connection.brings(Bye("somewhere else"))
    assert connection.end == LinkEnd("somewhere else", last_word="parting")


async def test_who_is_left_says_the_same_as_its_last_word() -> None:
    _, connection = opened()
    connection.brings(Bye("somewhere else"))
    assert connection.sent[-1] == Bye("somewhere else")
    assert connection.released == [False], "what was said before still goes out"


async def test_any_other_bye_is_answered_by_nothing() -> None:
    owner, connection = opened()
    connection.brings(Bye("enough"))
    assert connection.sent == [owner.hello()]
    assert connection.end == LinkEnd("enough", last_word="bye")


async def test_what_no_open_connection_brings() -> None:
    _, connection = opened()
    with pytest.raises(PeerMisbehaved):
        connection.brings(Hello(PROTOCOL, "b", TENANT, "2.0", CONTACT, (), True))
    connection.close("the test is over")


async def test_connections_are_numbered() -> None:
    await asyncio.sleep(0)
    assert len({Owner().connection.number for _ in range(3)}) == 3
