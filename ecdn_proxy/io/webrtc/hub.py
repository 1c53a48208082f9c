"""Connections to other agents over WebRTC data channels, for those whom TCP does not reach.

    WebrtcHub(ourselves, identity, networks, owner, consumer, say, utc, stun_servers, engine)
        close()                            dial(contact)        end_attempt(device, why)
        set_identity(identity)             heard(message)       what the coordinator's switchboard brought
    owner       WebrtcLinkOwner: hears of every connection, and decides which one carries a link
    consumer    MessageConsumer: gets what other agents' nodes say
    say         gives the switchboard a message; False when there is no coordinator
    engine      the library below (io/webrtc/engine)

An attempt and the channel that comes of it are one task (`_attend`), which always ends by closing its peer connection.
Only the lower device id offers; the higher one calls. Every description is signed, and checked before the engine sees
it (io/webrtc/signed_sdp). What is offered and tried is decided in io/webrtc/connections. After DTLS has compared the
fingerprint, both ends say Hello, and only then the owner is told `greeted`.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

from ecdn_proxy.io.handshake import ADDRESSES_MAX, LinkEnd, Ourselves
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.link_connection import LinkConnection, LinkOwner, MessageConsumer
from ecdn_proxy.io.tls_links.sockets import Networks, allowed
from ecdn_proxy.io.webrtc.channel import Channel
from ecdn_proxy.io.webrtc.connections import CLOSE_S, FLUSH_S, PeerConnection, PeerConnections
from ecdn_proxy.io.webrtc.engine import EngineName, engine
from ecdn_proxy.io.webrtc.signed_sdp import SignedDescriptions
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Fault, PeerMisbehaved, Unavailable
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Contact, Hello
from ecdn_proxy.wire.signalling import (
    NONCE_BYTES,
    Answer,
    Bye,
    Call,
    Offer,
    Relayed,
    Undeliverable,
)

OPEN_S = 8.0
"""How long an attempt may take, from its first message to both Hellos; on a LAN 50 ms, through two NATs 1 or 2 s."""
ANSWER_S = 4.0
"""How long the answer to an offer or a call may take, through the coordinator."""
LINKS_MAX = 64
"""Enough for seven homes in a Wi-Fi of 60 stations that cannot reach each other. A link that only pings costs 0.07 % of
a core and 200 KB."""
ATTEMPTS_MAX = 16
"""Attempts under way at once."""
LABEL = "ecdn/1"
"""The name of the data channel."""


class WebrtcLinkOwner(LinkOwner, Protocol):
    """Whoever has the links that WebRTC connections carry."""

    def called(self, contact: Contact, /) -> None:
        """A higher device id wants this agent to dial it."""
        ...

    def offer_forged(self, device: str, why: str, /) -> None:
        """A description in this device's name was not what the device had signed, or came too late."""
        ...


@dataclass(slots=True, eq=False)
class _Attempt:
    """One attempt, and the channel that comes of it."""

    device: str
    number: str
    asked: bool
    """This agent wants the link; else only the other one does."""
    answer: asyncio.Future[Answer | Offer]
    channel: Channel
    peering: PeerConnection | None = None
    counts: bool = False
    """The owner was told that its channel is open."""
    task: asyncio.Task[None] | None = None


class WebrtcHub:
    """Every WebRTC connection of this agent; belongs to one event loop.

    Raises:
        Unavailable: the engine's package is not installed.
    """

    def __init__(
        self,
        ourselves: Ourselves,
        identity: Identity,
        networks: Networks,
        owner: WebrtcLinkOwner,
        consumer: MessageConsumer,
        say: Callable[[Relayed], bool],
        utc: Callable[[], float],
        stun_servers: tuple[str, ...] = (),
        engine_name: EngineName = "aiortc",
    ) -> None:
        self._tasks = Tasks(self._failed)
        self._peerings = PeerConnections(engine(engine_name), networks, stun_servers, self._tasks, self._failed)
        self._descriptions = SignedDescriptions(ourselves.tenant, ourselves.device, identity, utc)
        self._ourselves = ourselves
        self._networks = networks
        self._owner = owner
        self._consumer = consumer
        self._say = say
        self._attempts: dict[str, _Attempt] = {}
        """Attempts and the channels that came of them, by device."""
        self._closed = False

    async def close(self) -> None:
        """Say Bye everywhere, close every peer connection, and wait until all are gone."""
        self._closed = True
        for attempt in list(self._attempts.values()):
            self._end(attempt, "the agent is stopping")
        tasks = [attempt.task for attempt in self._attempts.values() if attempt.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=FLUSH_S + CLOSE_S)
        await self._tasks.close()

    def dial(self, contact: Contact) -> None:
        """Open a connection; ends in `greeted` or `dial_failed`. Nothing happens when one is open or on its way."""
        device = contact.device
        if self._closed:
            return
        if (known := self._attempts.get(device)) is not None:
            known.asked = True  # the other agent's offer is being answered: if that fails, this agent must hear of it
            return
        if (why := self._no_room()) is not None or device == self._ourselves.device:
            self._owner.dial_failed("webrtc", device, why or "that is this agent itself", False)
            return
        attempt = self._begin(device, secrets.token_hex(8), asked=True)
        lower = self._ourselves.device < device
        self._run(attempt, lambda: self._offer(attempt) if lower else self._call(attempt))

    def end_attempt(self, device: str, why: str) -> None:
        """End the attempt at a connection, or the connection that has come of it."""
        if (attempt := self._attempts.get(device)) is not None:
            if not attempt.channel.open:
                self._say(Bye(device, self._ourselves.device, attempt.number, sentence(why)))
            self._end(attempt, why)

    def set_identity(self, identity: Identity) -> None:
        """A renewed certificate, for attempts from now on."""
        self._descriptions.identity = identity

    # ---- what the switchboard brings

    def heard(self, message: Relayed | Undeliverable) -> None:
        """Take a message of the coordinator's socket; whatever is wrong with it ends at most its own attempt."""
        if self._closed or (not isinstance(message, Undeliverable) and message.to != self._ourselves.device):
            return
        match message:
            case Undeliverable():
                if (attempt := self._attempt(message.to, message.attempt)) is not None:
                    self._end(attempt, f"the coordinator does not connect them: {message.why}")
            case Bye():
                if (attempt := self._attempt(message.sender, message.attempt)) is not None:
                    self._end(attempt, message.why or "it declined")
            case Call() if message.contact.device == message.sender and self._ourselves.device < message.sender:
                self._owner.called(message.contact)
            case Answer():
                attempt = self._attempt(message.sender, message.attempt)
                if attempt is not None and not attempt.answer.done():
                    attempt.answer.set_result(message)
            case Offer() if message.sender < self._ourselves.device:
                self._offered(message)
            case _:
                pass

    def _attempt(self, device: str, number: str) -> _Attempt | None:
        attempt = self._attempts.get(device)
        return attempt if attempt is not None and attempt.number == number and not attempt.channel.open else None

    def _offered(self, offer: Offer) -> None:
        """A lower id offers: because we called, or because it wants the link itself."""
        device = offer.sender
        try:
            self._descriptions.check(offer)
        except Fault as fault:
            self._owner.offer_forged(device, str(fault))
            self._say(Bye(device, self._ourselves.device, offer.attempt, sentence(f"refused: {fault}")))
            return
        known = self._attempts.get(device)
        asked = known is not None and known.asked and not known.channel.open
        if known is not None and asked and not known.answer.done():
            known.number = offer.attempt
            known.answer.set_result(offer)
            return
        if known is not None:  # the other agent has begun anew, so the channel that stands here is dead
            self._end(known, "replaced by a newer link")
            del self._attempts[device]
        if (why := self._no_room()) is not None:
            self._say(Bye(device, self._ourselves.device, offer.attempt, why))
            return
        attempt = self._begin(device, offer.attempt, asked=False)
        self._run(attempt, lambda: self._answer(attempt, offer))

    # ---- attempts

    def _no_room(self) -> str | None:
        if len(self._attempts) >= LINKS_MAX:
            return "this agent has all the WebRTC links it may have"
        standing = sum(it.counts and it.channel.end is None for it in self._attempts.values())
        if len(self._attempts) - standing >= ATTEMPTS_MAX:
            return "this agent is opening enough WebRTC links already"
        return None

    def _begin(self, device: str, number: str, *, asked: bool) -> _Attempt:
        lower = self._ourselves.device < device
        channel = Channel(self, self._consumer, self._ourselves.tenant, device, dialled=lower)
        answer: asyncio.Future[Answer | Offer] = asyncio.get_running_loop().create_future()
        attempt = self._attempts[device] = _Attempt(device, number, asked, answer, channel)
        return attempt

    def _run(self, attempt: _Attempt, opening: Callable[[], Coroutine[None, None, None]]) -> None:
        attempt.task = self._tasks.start(self._attend(attempt, opening), f"webrtc {attempt.device[:8]}")

    def _end(self, attempt: _Attempt, why: str) -> None:
        """End an attempt or its link, from here or because the other side or the switchboard said so."""
        if not attempt.answer.done():
            attempt.answer.set_exception(Unavailable(why))
            attempt.answer.exception()  # nobody may be waiting for it
        attempt.channel.close(why)

    async def _attend(self, attempt: _Attempt, opening: Callable[[], Coroutine[None, None, None]]) -> None:
        """An attempt from its beginning, and its link to its end; the peer connection is closed whatever happens."""
        channel = attempt.channel
        try:
            try:
                async with asyncio.timeout(OPEN_S):
                    await opening()
            except TimeoutError:
                self._give_up(
                    attempt, f"WebRTC found no way within {OPEN_S:g} s: UDP is blocked, or both are behind NAT"
                )
            except PeerMisbehaved as fault:
                self._owner.offer_forged(attempt.device, fault.why)
                self._give_up(attempt, fault.why)
            except Unavailable as fault:
                self._give_up(attempt, fault.why)
            await channel.over.wait()
        finally:
            channel.lost("the agent is stopping")
            if attempt.peering is not None:
                await attempt.peering.close()
            if self._attempts.get(attempt.device) is attempt:
                del self._attempts[attempt.device]
            if attempt.asked and not attempt.counts:
                end = channel.end or LinkEnd("it came to nothing")
                self._owner.dial_failed("webrtc", attempt.device, end.why, end.misbehaved)

    def _give_up(self, attempt: _Attempt, why: str) -> None:
        if attempt.channel.end is None:
            attempt.channel.lost(why)
            self._say(Bye(attempt.device, self._ourselves.device, attempt.number, sentence(why)))

    async def _call(self, attempt: _Attempt) -> None:
        """The higher id asks the lower one to dial, and answers its offer."""
        us = self._ourselves
        self._tell(Call(attempt.device, us.device, attempt.number, us.contact()))
        offer = await self._reply(attempt, "it did not offer a WebRTC link when called")
        if isinstance(offer, Offer):
            await self._answer(attempt, offer)

    async def _offer(self, attempt: _Attempt) -> None:
        """The lower id's side."""
        peering = attempt.peering = self._peerings.new(attempt.channel)
        attempt.channel.attach(peering.peer.open_channel(LABEL))
        sdp = await peering.describe("offer", self._ourselves.addresses)
        nonce = secrets.token_bytes(NONCE_BYTES)
        self._tell(self._descriptions.sign(Offer, attempt.device, attempt.number, sdp, nonce))
        answer = await self._reply(attempt, "it did not answer the offer of a WebRTC link")
        if not isinstance(answer, Answer) or answer.nonce != nonce:
            raise PeerMisbehaved("an answer to another offer")
        self._descriptions.check(answer)
        await peering.set_remote("answer", answer.sdp)
        await self._opened(attempt)

    async def _answer(self, attempt: _Attempt, offer: Offer) -> None:
        """The higher id's side; the offer has been checked."""
        peering = attempt.peering = self._peerings.new(attempt.channel)
        peering.peer.on_channel(attempt.channel.attach)
        await peering.set_remote("offer", offer.sdp)
        sdp = await peering.describe("answer", self._ourselves.addresses)
        self._tell(self._descriptions.sign(Answer, attempt.device, attempt.number, sdp, offer.nonce))
        await self._opened(attempt)

    async def _reply(self, attempt: _Attempt, otherwise: str) -> Answer | Offer:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.shield(attempt.answer)
        except TimeoutError:
            raise Unavailable(otherwise) from None

    async def _opened(self, attempt: _Attempt) -> None:
        """Wait until both Hellos are there, or the attempt is over."""
        await attempt.channel.settled.wait()

    def _tell(self, message: Relayed) -> None:
        if not self._say(message):
            raise Unavailable("there is no coordinator to arrange a WebRTC link")

    def _failed(self, name: str, error: BaseException) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": f"{name} failed", "exception": error})

    # ---- what channels tell (ConnectionOwner)

    def hello(self) -> Hello:
        """What we say of ourselves now."""
        return self._ourselves.hello()

    def began(self, channel: LinkConnection) -> None:
        """Signature and DTLS have shown who is there, and our Hello is said."""
        self._owner.began(channel)

    def greeted(self, channel: LinkConnection, hello: Hello) -> None:
        """A good Hello: the channel counts, unless its attempt is over or it runs where it may not."""
        attempt = self._attempts.get(channel.device)
        if attempt is None or attempt.channel is not channel or attempt.peering is None:
            channel.close("replaced by a newer link")
            return
        ours, channel.address = attempt.peering.peer.path()
        if not self._peerings.may_run(ours, channel.address, self._ourselves.addresses):
            channel.close("outside the networks that this agent shares in")
            return
        attempt.counts = True
        addresses = tuple(one for one in hello.contact.addresses if allowed(one, self._networks))
        contact = Contact(channel.device, addresses[:ADDRESSES_MAX], hello.contact.port, hello.contact.link)
        self._owner.greeted(channel, contact, hello)

    def drained(self, channel: LinkConnection) -> None:
        """A full channel can take more."""
        self._owner.drained(channel)

    def ended(self, channel: LinkConnection, end: LinkEnd) -> None:
        """A channel is over; a dial that came to nothing is told by its task, when all below is closed."""
        if channel.said is not None:
            self._owner.ended(channel, end)
