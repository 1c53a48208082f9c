"""Agents of one tenant find each other on the link by mDNS (RFC 6762, RFC 6763).

    MdnsBrowser(ourselves, addresses, networks, consumer)      start()  set_streams(streams, serves)  close()
    LanConsumer     hears who is seen and who is lost

    instance   <device>._ecdn._tcp.local.     host   <device>.local.     never a host's or a user's name
    TXT        v   protocol number            id  device
               t   tenant tag, 16 hex digits  l   link kind            up  1 while it serves others, else 0
               s   up to 8 stream tags of 8 hex digits (a stream id's first), comma between

Records prove nothing: whoever is found is only dialled, and TLS decides. So what a record can cost is bounded: only our
own tenant's tag counts, only addresses in the allowed networks, and at most `DEVICES_MAX` devices; no question is ever
asked about a name that somebody else chose, so an announcement that is not complete in itself is ignored until it is.
For the same reason this file listens to records itself instead of using zeroconf's browser, which keeps a timer for
every name it hears of.

Several agents on one machine work too, each with its own address (127.0.0.2, 127.0.0.3 …): Linux carries multicast
over `lo` for anybody who names the interface by address, without root and although `lo` lacks the MULTICAST flag.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from zeroconf import (  # type: ignore[attr-defined]  # the package keeps the DNS classes there without listing them
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    IPVersion,
    RecordUpdate,
    RecordUpdateListener,
    Zeroconf,
    current_time_millis,
)
from zeroconf import Error as ZeroconfError
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from ecdn_proxy.io.tls_links.sockets import Networks, allowed
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact, LinkKind
from ecdn_proxy.wire.version import PROTOCOL

SERVICE = "_ecdn._tcp.local."
DEVICES_MAX = 256
"""More than twice the largest site that one link holds; a flood of forged records fills it and no more."""
STREAM_TAGS_MAX = 8
TTL_S = 1_200
"""An agent that died without a word is forgotten after this; its links are long gone by then."""
QUESTIONS_S = (0.05, 1.0, 3.0, 9.0, 27.0, 81.0)
"""Waits before the first questions, in seconds, at least doubling (RFC 6762 section 5.2); then `QUESTION_S` each."""
QUESTION_S = 300.0
"""Wait before each further question. It lists answers that are younger than half their life, and whoever gave them does
not answer again (section 7.1)."""

_PTR, _SRV, _TXT, _IN = 12, 33, 16, 1
_QUERY = 0
_DEVICE = re.compile(r"[0-9a-z-]{1,63}")
_TAG = re.compile(r"[0-9a-f]{8}")
_LINKS: Mapping[str, LinkKind] = {"wired": "wired", "wifi": "wifi", "metered": "metered"}
_SUFFIX = "." + SERVICE


@dataclass(frozen=True, slots=True)
class Announced:
    """What this agent announces; `tenant_tag` is the first 16 hex digits of HMAC(the tenant's salt, "mdns")."""

    device: str
    tenant_tag: str
    port: int
    link: LinkKind = "wired"


class LanConsumer(Protocol):
    """Whoever wants to know which agents are on the link; told on the event loop, never awaited."""

    def lan_seen(self, contact: Contact, stream_tags: tuple[str, ...], serves: bool, /) -> None:
        """An agent is there; told again whenever something that it announces has changed."""
        ...

    def lan_lost(self, device: str, /) -> None:
        """An agent said goodbye, or its records have expired."""
        ...


def stream_tag(stream: str) -> str:
    """What mDNS shows of a stream id: its first 8 hex digits."""
    return stream[:8]


class MdnsBrowser(RecordUpdateListener):
    """Announces this agent and watches for others; belongs to one event loop."""

    def __init__(
        self,
        ourselves: Announced,
        addresses: Sequence[str],
        networks: Networks,
        consumer: LanConsumer,
    ) -> None:
        self._ourselves = ourselves
        self._addresses = list(addresses)
        self._networks = networks
        self._consumer = consumer
        self._tasks = Tasks(_our_fault)
        self._zeroconf: AsyncZeroconf | None = None
        self._known: dict[str, tuple[Contact, tuple[str, ...], bool]] = {}
        self._touched: dict[str, list[RecordUpdate]] = {}
        self._gone: set[str] = set()
        self._streams: tuple[str, ...] = ()
        self._serves = True
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Announce and listen on the chosen addresses.

        Raises:
            Unavailable: multicast cannot be used on these addresses.
        """
        four = [each for each in self._addresses if ":" not in each]
        version = IPVersion.V4Only if len(four) == len(self._addresses) else IPVersion.All
        try:
            self._zeroconf = AsyncZeroconf(interfaces=self._addresses, ip_version=version)
            await self._zeroconf.zeroconf.async_wait_for_start()
            self._zeroconf.zeroconf.async_add_listener(self, None)
            # A device id is unique in the tenant: no probing for the name, which would cost 0.5 s.
            await self._zeroconf.async_register_service(self._info(), cooperating_responders=True)
        except (OSError, ZeroconfError, RuntimeError, TimeoutError) as error:
            await self.close()
            raise Unavailable(f"mDNS cannot be used on {', '.join(self._addresses)}: {error}") from error
        self._tasks.start(self._ask(self._zeroconf.zeroconf), "mdns questions")
        self._tasks.start(self._announce(self._zeroconf), "mdns announcements")

    async def close(self) -> None:
        """Say goodbye and close the sockets."""
        await self._tasks.close()
        if self._zeroconf is not None:
            with contextlib.suppress(OSError, ZeroconfError):
                await self._zeroconf.async_close()
            self._zeroconf = None

    def set_streams(self, streams: tuple[str, ...], serves: bool) -> None:
        """Announce, within a second, which streams are watched here and whether this agent serves others."""
        if (streams, serves) != (self._streams, self._serves):
            self._streams, self._serves = streams, serves
            self._changed.set()

    # ---- speaking

    def _info(self) -> AsyncServiceInfo:
        us = self._ourselves
        tags = list(dict.fromkeys(stream_tag(stream) for stream in self._streams))[:STREAM_TAGS_MAX]
        said = {"v": str(PROTOCOL), "id": us.device, "t": us.tenant_tag, "l": us.link}
        said |= {"up": str(int(self._serves)), "s": ",".join(tags)}
        return AsyncServiceInfo(
            SERVICE,
            us.device + _SUFFIX,
            us.port,
            properties=said,
            server=f"{us.device}.local.",
            parsed_addresses=self._addresses,
            host_ttl=TTL_S,
            other_ttl=TTL_S,
        )

    async def _announce(self, zeroconf: AsyncZeroconf) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            with contextlib.suppress(OSError, ZeroconfError):
                await (await zeroconf.async_update_service(self._info()))

    async def _ask(self, zeroconf: Zeroconf) -> None:
        waits = iter(QUESTIONS_S)
        while True:
            await asyncio.sleep(next(waits, QUESTION_S))
            now = current_time_millis()
            question = DNSOutgoing(_QUERY)
            question.add_question(DNSQuestion(SERVICE, _PTR, _IN))
            for device in self._known:
                record = DNSPointer(SERVICE, _PTR, _IN, TTL_S, device + _SUFFIX)
                cached = zeroconf.cache.get(record)
                if cached is not None and not cached.is_stale(now):
                    question.add_answer_at_time(cached, now)
            zeroconf.async_send(question)

    # ---- listening (zeroconf calls these on the event loop)

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """Note which agents a packet speaks of; zeroconf puts the packet's records into its cache only afterwards."""
        for update in records:
            record = update.new
            name = record.alias if isinstance(record, DNSPointer) and record.name == SERVICE else record.name
            device = _device_in(name)
            if device is None or device == self._ourselves.device:
                continue
            if not record.is_expired(now):
                self._touched.setdefault(device, []).append(update)
            elif record.type in {_PTR, _SRV}:
                self._gone.add(device)

    def async_update_records_complete(self) -> None:
        """The packet's records are in the cache: tell who is there and who is gone."""
        touched, self._touched = self._touched, {}
        gone, self._gone = self._gone, set()
        for device in gone:
            if self._known.pop(device, None) is not None:
                self._consumer.lan_lost(device)
        if self._zeroconf is None:
            return
        zeroconf = self._zeroconf.zeroconf
        now = current_time_millis()
        for device, updates in touched.items():
            if device in gone or (device not in self._known and len(self._known) >= DEVICES_MAX):
                continue
            info = AsyncServiceInfo(SERVICE, device + _SUFFIX)
            if info.load_from_cache(zeroconf, now):
                info.async_update_records(zeroconf, now, updates)  # newest last: an old TXT stays cached for a second
                self._see(device, info)

    def _see(self, device: str, info: AsyncServiceInfo) -> None:
        found = self._parsed(device, info)
        if found is not None and self._known.get(device) != found:
            self._known[device] = found
            self._consumer.lan_seen(*found)

    def _parsed(self, device: str, info: AsyncServiceInfo) -> tuple[Contact, tuple[str, ...], bool] | None:
        said = info.decoded_properties
        link = _LINKS.get(said.get("l") or "")
        if said.get("v") != str(PROTOCOL) or said.get("id") != device or link is None:
            return None
        if said.get("t") != self._ourselves.tenant_tag or not info.port:
            return None
        addresses = tuple(address for address in info.parsed_addresses()[:16] if allowed(address, self._networks))[:8]
        if not addresses:
            return None
        tags = tuple(tag for tag in (said.get("s") or "").split(",")[:STREAM_TAGS_MAX] if _TAG.fullmatch(tag))
        return Contact(device, addresses, info.port, link), tags, said.get("up") == "1"


def _device_in(name: str) -> str | None:
    """The device that an instance name or an agent's host name stands for; None for any other name."""
    low = name.lower()
    label = low.removesuffix(_SUFFIX) if low.endswith(_SUFFIX) else low.removesuffix(".local.")
    return label if label != low and _DEVICE.fullmatch(label) else None


def _our_fault(name: str, error: BaseException) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": f"{name} failed", "exception": error})
