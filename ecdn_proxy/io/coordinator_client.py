"""The agent's side of the coordinator: getting and renewing an identity, and the one WebSocket (library: aiohttp).

    enrol(url, tenant_root_sha256, token, state_dir, version)   this machine's first Identity, saved
    renewal_due(identity, utc)      whether two thirds of the certificate's life are over
    renew(identity, version)        the next Identity, saved
    CoordinatorLink                 one WebSocket that connects again by itself
    CoordinatorLinkOwner            says what each socket begins with, and hears what the coordinator says

Only the tenant root is trusted, pinned by its SHA-256 at enrolment; the system's trusted roots are not asked.
"""

import asyncio
import contextlib
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ecdn_proxy.io.identity import Identity, make_folder, new_keys_and_csr
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.codec import FRAME_BYTES_MAX, pack
from ecdn_proxy.wire.enrolment import Enrolled, EnrolRequest, Rejected, RenewRequest
from ecdn_proxy.wire.faults import Fault, PeerMisbehaved, Unavailable, UnknownMessage
from ecdn_proxy.wire.tracker import FromAgent, FromCoordinator, Turned, Welcome, read_from_coordinator

ANSWER_WITHIN_S = 15.0
ANSWER_BYTES_MAX = 262_144
HEARTBEAT_S = 10.0
RETRY_LEAST_S = 1.0
RETRY_MOST_S = 60.0
REFUSED_RETRY_S = 60.0
"""After a refusal: a coordinator that knows why it refuses this device will do so again."""
QUEUE_MESSAGES_MAX = 256
"""Messages that wait for the socket; beyond them `send` takes none."""
REFUSED_HEADER = "X-Ecdn-Refused"
"""Header with the code of a refusal, since a client does not see the body that answers a WebSocket's opening."""


class CoordinatorRefused(Fault):
    """The coordinator said no; asking again will not help."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code
        self.why = why


async def enrol(url: str, tenant_root_sha256: str, token: str, state_dir: Path, version: str) -> Identity:
    """Make this machine a device of the tenant; its identity is saved under `state_dir`.

    Raises:
        CoordinatorRefused: the token or the root is not right.
        Unavailable: the coordinator cannot be reached or is overloaded.
        PeerMisbehaved: it answers what no coordinator answers.
        OSError: `state_dir` cannot be written.
    """
    url = url.rstrip("/")
    root_pem = await _fetch_root(url, tenant_root_sha256)
    await asyncio.to_thread(make_folder, state_dir)
    keys, csr = new_keys_and_csr()
    asked = EnrolRequest(token=token.strip(), csr=csr, signing_key=keys.signing_public(), version=version)
    enrolled = await _ask(f"{url}/v1/enrol", asked, _context(root_pem))
    if _sha256(enrolled.tenant_root) != _sha256(root_pem):
        raise PeerMisbehaved("the coordinator gave an identity of another tenant")
    return await asyncio.to_thread(Identity.given(enrolled, keys, url).save, state_dir)


async def renew(identity: Identity, version: str) -> Identity:
    """The next identity of this device, with new keys, saved in place of `identity`.

    Raises:
        CoordinatorRefused, Unavailable, PeerMisbehaved, OSError: as for `enrol`.
    """
    keys, csr = new_keys_and_csr()
    asked = RenewRequest(csr=csr, signing_key=keys.signing_public(), version=version)
    enrolled = await _ask(f"{identity.coordinator}/v1/renew", asked, client_context(identity))
    if enrolled.device != identity.device or _sha256(enrolled.tenant_root) != _sha256(identity.tenant_root_pem):
        raise PeerMisbehaved("the coordinator renewed another device or tenant")
    renewed = Identity.given(enrolled, keys, identity.coordinator)
    return await asyncio.to_thread(renewed.save, Path(identity.state_dir))


def renewal_due(identity: Identity, utc: float) -> bool:
    """Whether two thirds of the certificate's life have passed."""
    return utc >= identity.starts_utc + (identity.ends_utc - identity.starts_utc) * 2 / 3


def client_context(identity: Identity) -> ssl.SSLContext:
    """TLS towards the coordinator: shows this device's certificate, trusts the tenant root and nothing else."""
    context = _context(identity.tenant_root_pem)
    identity.load_into(context)
    return context


def retry_wait_s(failures: int, chance: random.Random) -> float:
    """How long to wait before the next try: doubles from 1 to 60 s, with a random part of up to a half.

    A whole site whose coordinator was restarted must not return at one moment.
    """
    ceiling = min(RETRY_MOST_S, RETRY_LEAST_S * 2 ** min(failures, 10))
    return max(RETRY_LEAST_S, chance.uniform(ceiling / 2, ceiling))


class CoordinatorLinkOwner(Protocol):
    """Whoever speaks with the coordinator; asked and told on the event loop, never awaited."""

    def first_messages(self) -> Sequence[FromAgent]:
        """What every new socket begins with: Here, then Watch."""
        ...

    def coordinator_said(self, message: FromCoordinator, /) -> None:
        """A message has come."""
        ...

    def coordinator_changed(self, connected: bool, why: str, /) -> None:
        """The socket stands, or has ended or could not be made; `why` is a sentence for the status page."""
        ...

    def coordinator_passed_over(self, tag: int, /) -> None:
        """The first message on a socket that only a later release knows; the further ones are counted."""
        ...


class CoordinatorLink:
    """One WebSocket that connects again by itself until it is closed."""

    def __init__(
        self,
        identity: Identity,
        *,
        owner: CoordinatorLinkOwner,
        chance: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._identity = identity
        self._owner = owner
        self._chance = chance
        self._sleep = sleep
        self._failures = 0
        self._least_wait_s = 0.0
        self._queue: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._tasks = Tasks(self._failed)
        self.connected = False
        self.passed_over = 0
        """Messages, on all sockets, that only a later release knows."""

    def start(self) -> None:
        """Connect, now and whenever the socket ends, until `close`."""
        self._work = self._tasks.start(self._stay(), "coordinator link")

    def send(self, message: FromAgent) -> bool:
        """Queue one message; False when there is no socket (what matters stands in the owner's `first_messages`)."""
        if not self.connected or len(self._queue) >= QUEUE_MESSAGES_MAX:
            return False
        self._queue.append(pack(message))
        self._more.set()
        return True

    def use(self, identity: Identity) -> None:
        """Go on with a renewed identity: the socket ends and comes back at once."""
        self._identity = identity
        self._failures = 0
        if (former := self._work) is not None:
            former.cancel()
            self._work = self._tasks.start(self._stay(former), "coordinator link")

    async def close(self) -> None:
        """End the socket and do not come back."""
        await self._tasks.close()
        self._work = None

    def _failed(self, _name: str, error: BaseException) -> None:
        """A task can fail only because the owner's `coordinator_changed` has raised."""
        raise error

    async def _stay(self, former: asyncio.Task[None] | None = None) -> None:
        if former is not None:
            await asyncio.wait([former])
        while True:
            self._least_wait_s = 0.0
            try:
                why = await self._hold()
            except CoordinatorRefused as error:
                why, self._least_wait_s = str(error), REFUSED_RETRY_S
            except (Fault, aiohttp.ClientError, TimeoutError, OSError) as error:
                why = _sentence(error)
            except Exception as error:  # the owner raised, a fault of ours; sharing goes on without this socket
                why = f"a fault of this agent: {error!r}"
            finally:
                self.connected = False
                self._queue.clear()
            self._state(False, why)
            wait_s = max(retry_wait_s(self._failures, self._chance), self._least_wait_s)
            self._failures += 1
            await self._sleep(wait_s)

    def _state(self, connected: bool, why: str) -> None:
        self.connected = connected
        self._owner.coordinator_changed(connected, why)

    async def _hold(self) -> str:
        """One socket from its beginning to its end; the answer is why it ended."""
        context = await asyncio.to_thread(client_context, self._identity)
        async with aiohttp.ClientSession() as session:
            ws = await _connect(session, f"{self._identity.coordinator}/v1/agent", context)
            for message in self._owner.first_messages():
                await ws.send_bytes(pack(message))
            self._state(True, f"connected to {self._identity.coordinator}")
            writing = self._tasks.start(self._write(ws), "coordinator link writer")
            try:
                return await self._read(ws)
            finally:
                writing.cancel()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await ws.close()

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> str:
        why, before = "the coordinator ended the socket", self.passed_over
        async for frame in ws:
            if frame.type is aiohttp.WSMsgType.ERROR:
                raise Unavailable(f"the socket broke: {ws.exception() or 'unknown'}")
            if frame.type is not aiohttp.WSMsgType.BINARY:
                raise PeerMisbehaved(f"the coordinator sent a {frame.type.name} frame")
            try:
                message = read_from_coordinator(frame.data)
            except UnknownMessage as unknown:
                self.passed_over += 1
                if self.passed_over == before + 1:
                    self._owner.coordinator_passed_over(unknown.tag)
                continue
            if isinstance(message, Welcome):
                self._failures = 0
            if isinstance(message, Turned):
                why, self._least_wait_s = message.why, message.retry_s
            self._owner.coordinator_said(message)
        return why

    async def _write(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._queue:
                try:
                    await ws.send_bytes(self._queue.popleft())
                except (aiohttp.ClientError, ConnectionError):
                    return  # the reader sees the end too, and says why


_TIMEOUT = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)


async def _connect(
    session: aiohttp.ClientSession, url: str, context: ssl.SSLContext
) -> aiohttp.ClientWebSocketResponse:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await session.ws_connect(
                url, ssl=context, heartbeat=HEARTBEAT_S, max_msg_size=FRAME_BYTES_MAX, compress=0, autoclose=True
            )
    except aiohttp.WSServerHandshakeError as error:
        if error.status in {401, 403}:
            code = error.headers.get(REFUSED_HEADER, "") if error.headers else ""
            raise CoordinatorRefused(code or f"http-{error.status}", "the coordinator refuses this device") from error
        raise Unavailable(f"the coordinator answers {error.status} {error.message}") from error


async def _fetch_root(url: str, sha256: str) -> str:
    """The tenant root, believed only for its hash."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    status, body = await _exchange("GET", f"{url}/v1/root", None, context)
    if status != 200:
        raise Unavailable(f"{url}/v1/root answers {status}; is this the coordinator's URL?")
    try:
        pem = body.decode("ascii")
        seen = _sha256(pem)
    except ValueError as error:
        raise PeerMisbehaved(f"{url}/v1/root is no certificate; is this the coordinator's URL?") from error
    wanted = sha256.replace(":", "").strip().lower()
    if seen != wanted:
        why = f"the coordinator's tenant root is {seen}, IT gave {wanted}: wrong URL, wrong hash, or somebody between"
        raise CoordinatorRefused("wrong-root", why)
    return pem


async def _ask(url: str, asked: EnrolRequest | RenewRequest, context: ssl.SSLContext) -> Enrolled:
    status, body = await _exchange("POST", url, msgspec.json.encode(asked), context)
    if status == 200:
        try:
            return msgspec.json.decode(body, type=Enrolled)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PeerMisbehaved(f"{url} answers what is no identity: {error}") from error
    try:
        no = msgspec.json.decode(body, type=Rejected)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        no = Rejected("http", f"{url} answers {status}")
    if status == 429 or status >= 500:
        raise Unavailable(no.why)
    raise CoordinatorRefused(no.code, no.why)


async def _exchange(method: str, url: str, body: bytes | None, context: ssl.SSLContext) -> tuple[int, bytes]:
    """One request; status and body of its answer."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(method, url, data=body, headers=headers, ssl=context, allow_redirects=False) as response,
        ):
            content = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    raise PeerMisbehaved(f"{url} answers more than {ANSWER_BYTES_MAX} bytes")
            return response.status, bytes(content)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unavailable(_sentence(error)) from error


def _context(root_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=root_pem)
    return context


def _sha256(pem: str) -> str:
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


def _sentence(error: BaseException) -> str:
    match error:
        case Fault():
            return str(error)
        case aiohttp.ClientConnectorCertificateError():
            return (
                f"the coordinator's certificate is not of this tenant or not for this name: {error.certificate_error}"
            )
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or str(error.os_error)
            return f"the coordinator cannot be reached: {error.host}:{error.port}: {reason}"
        case TimeoutError():
            return f"the coordinator does not answer within {ANSWER_WITHIN_S:g} s"
        case aiohttp.InvalidURL():
            return f"no URL of a coordinator: {error}"
        case _:
            return f"the coordinator cannot be reached: {str(error) or type(error).__name__}"
