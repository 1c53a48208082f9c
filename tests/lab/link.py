"""An ISP's line with distance: a pair of TUN devices with delay, jitter and loss, where the kernel has no netem.

    python -m tests.lab.link NAMESPACE_A DEVICE_A NAMESPACE_B DEVICE_B --weather FILE --ready-file FILE

Map:
    Weather      what the line does to packets, one way; a JSON file, looked at again while it runs
    Queue        packets under way in one direction
    main         moves packets until it is ended; about 20 microseconds of a core for each
Speed is the kernel's: tbf on each device (`net`). Packets come here as the wire carries them: TUN has no offloads.
"""

import argparse
import collections
import contextlib
import fcntl
import json
import os
import random
import select
import struct
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.demo.clock import seconds
from tests.demo.files import write_whole
from tests.lab.inside import Inside
from tests.lab.shell import TUN

_SET_INTERFACE = 0x400454CA
_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
_LOOK_EVERY_SECONDS = 0.2
_EARLY_SECONDS = 0.0002  # a poll returns no more exactly than this
_PACKETS_A_TURN = 64


@dataclass(frozen=True)
class Weather:
    """One way; a round trip takes twice the delay."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0

    @classmethod
    def read(cls, file: Path) -> "Weather":
        return cls(**json.loads(file.read_text()))

    def write(self, file: Path) -> None:
        """In one step, so that the line never reads half a file."""
        write_whole(file, json.dumps(asdict(self)))


class Queue:
    """Packets under way, in the order in which they were sent: jitter makes them late, never out of order."""

    def __init__(self, dice: random.Random) -> None:
        self._packets: collections.deque[tuple[float, bytes]] = collections.deque()
        self._dice = dice

    def send(self, packet: bytes, weather: Weather, now: float) -> None:
        if weather.loss_percent and self._dice.random() * 100 < weather.loss_percent:
            return
        due = now + (weather.delay_ms + self._dice.random() * weather.jitter_ms) / 1000
        if self._packets:
            due = max(due, self._packets[-1][0])
        self._packets.append((due, packet))

    def arrived(self, now: float) -> bytes | None:
        """The next packet that is due."""
        if self._packets and self._packets[0][0] <= now:
            return self._packets.popleft()[1]
        return None

    def wait(self, now: float) -> float:
        return self._packets[0][0] - now if self._packets else _LOOK_EVERY_SECONDS


def _device(namespace: str, name: str) -> int:
    with Inside(namespace).entered():
        device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _SET_INTERFACE, struct.pack("16sH22x", name.encode(), _TUN_WITHOUT_HEADER))
    return device


def _take(device: int, queue: Queue, weather: Weather) -> None:
    for _ in range(_PACKETS_A_TURN):
        try:
            packet = os.read(device, 65536)
        except BlockingIOError:
            return
        except OSError:  # this end is down
            time.sleep(0.01)
            return
        queue.send(packet, weather, seconds())


def _carry(a: int, b: int, file: Path) -> None:
    queues = {a: Queue(random.Random(1)), b: Queue(random.Random(2))}  # by the device that a packet leaves by
    other = {a: b, b: a}
    weather, changed, looked = Weather.read(file), file.stat().st_mtime_ns, seconds()
    while True:
        now = seconds()
        if now - looked >= _LOOK_EVERY_SECONDS:
            looked = now
            if (at := file.stat().st_mtime_ns) != changed:
                weather, changed = Weather.read(file), at
        for device, queue in queues.items():
            while (packet := queue.arrived(now + _EARLY_SECONDS)) is not None:
                with contextlib.suppress(OSError):  # the far end is down: the packet is lost
                    os.write(device, packet)
        wait = min(queue.wait(now) for queue in queues.values())
        for device in select.select([a, b], [], [], max(0.0, min(wait, _LOOK_EVERY_SECONDS)))[0]:
            _take(device, queues[other[device]], weather)


def main() -> None:
    parser = argparse.ArgumentParser(description="A line with delay, jitter and loss.")
    parser.add_argument("ends", nargs=4, metavar="NAMESPACE DEVICE")
    parser.add_argument("--weather", type=Path, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    options = parser.parse_args()
    a, b = _device(*options.ends[:2]), _device(*options.ends[2:])
    write_whole(options.ready_file, "ready")
    with contextlib.suppress(FileNotFoundError):  # the office's directory is gone, and so is the office
        _carry(a, b, options.weather)


if __name__ == "__main__":
    main()
