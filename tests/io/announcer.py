"""Another agent's mDNS in its own process: `python -m tests.io.announcer DEVICE ADDRESS TAG`.

Prints a line for each thing told; reads commands: `streams a,b serves`, `quit`.
"""

import asyncio
import sys
from ipaddress import ip_network

from ecdn_proxy.io.mdns import Announced, MdnsBrowser
from ecdn_proxy.wire.peer import Contact


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Printer:
    """Prints who is seen and who is lost."""

    def lan_seen(self, contact: Contact, stream_tags: tuple[str, ...], serves: bool) -> None:
        _say("seen", contact.device, contact.addresses[0], contact.port, ",".join(stream_tags) or "-", serves)

    def lan_lost(self, device: str) -> None:
        _say("lost", device)


async def main(device: str, address: str, tag: str) -> None:
    lan = MdnsBrowser(Announced(device, tag, 7688), [address], [ip_network("127.0.0.0/8")], Printer())
    await lan.start()
    _say("started")
    loop = asyncio.get_running_loop()
    while (line := await loop.run_in_executor(None, sys.stdin.readline)) and line != "quit\n":
        _, streams, serves = line.split()
        lan.set_streams(tuple(streams.split(",")), serves == "True")
    await lan.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
