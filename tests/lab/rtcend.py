"""One end of a WebRTC link in a namespace: our hub, its switchboard on standard input and output.

    python -m tests.lab.rtcend --address 10.1.1.1 --networks 10.0.0.0/8 --identity FILE [--stun HOST:PORT]
                           [--engine wrtc]

in     heard BASE64 · dial DEVICE ADDRESS · stop
out    say BASE64 · opened DEVICE ADDRESS · closed DEVICE WHY · forged DEVICE WHY
"""

import argparse
import asyncio
import base64
import sys
from ipaddress import ip_network
from pathlib import Path

import msgspec

from ecdn_proxy.io import clock
from ecdn_proxy.io.handshake import LinkEnd, Ourselves
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.link_connection import ConnectionKind, LinkConnection
from ecdn_proxy.io.webrtc.hub import WebrtcHub
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.peer import Contact, Hello
from ecdn_proxy.wire.signalling import Relayed
from ecdn_proxy.wire.tracker import read_from_coordinator
from tests.io.holding import Holder
from tests.io.waiting import Record

PORT = 7688


def _say(*words: str) -> bool:
    print(*words, flush=True)  # noqa: T201 - its output is what its parent reads
    return True


class Teller(Holder):
    """Prints what becomes of links."""

    def greeted(self, connection: LinkConnection, contact: Contact, hello: Hello) -> None:
        super().greeted(connection, contact, hello)
        _say("opened", contact.device, connection.address)

    def ended(self, connection: LinkConnection, end: LinkEnd) -> None:
        if self.links.get(connection.device) is connection:
            _say("closed", connection.device, end.why)
        super().ended(connection, end)

    def dial_failed(self, kind: ConnectionKind, device: str, why: str, misbehaved: bool) -> None:
        _say("closed", device, why)

    def offer_forged(self, device: str, why: str) -> None:
        _say("forged", device, why)


async def _run(options: argparse.Namespace, who: Identity) -> None:

    def say(message: Relayed) -> bool:
        return _say("say", base64.b64encode(pack(message)).decode())

    networks = [ip_network(text) for text in options.networks.split(",")]
    stun = (f"stun:{options.stun}",) if options.stun else ()
    ourselves = Ourselves(who.device, who.tenant, "lab", (options.address,), port=PORT)
    owner = Teller(Record(), dial=lambda contact: hub.dial(contact))
    hub = WebrtcHub(ourselves, who, networks, owner, owner, say, clock.utc, stun, options.engine)
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        match line:
            case ["heard", text]:
                hub.heard(read_from_coordinator(base64.b64decode(text)))  # type: ignore[arg-type]  # from the other end
            case ["dial", device, address]:
                hub.dial(Contact(device, (address,), PORT))
            case _:
                break
    await hub.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--networks", required=True)
    parser.add_argument("--identity", required=True)
    parser.add_argument("--stun", default="")
    parser.add_argument("--engine", default="aiortc", choices=["aiortc", "wrtc"])
    options = parser.parse_args()
    asyncio.run(_run(options, msgspec.json.decode(Path(options.identity).read_bytes(), type=Identity)))


if __name__ == "__main__":
    main()
