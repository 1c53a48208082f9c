"""Usage in numbers that add up: what an agent counts, and what the coordinator sums over all agents.

Counters        base of structs of numbers, with `+` and `-` field by field
ReportedUsage   the counters of a `Beat` (wire/tracker), in the same words
"""

from collections.abc import Sequence
from operator import add, sub
from typing import Self

import msgspec
from msgspec.structs import astuple

from ecdn_proxy.wire.tracker import Beat


class Counters(msgspec.Struct, frozen=True):
    """Numbers, or further `Counters`, that are added and subtracted field by field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(add, astuple(self), astuple(other)))

    def __sub__(self, other: Self) -> Self:
        return type(self)(*map(sub, astuple(self), astuple(other)))


class ReportedUsage(Counters, frozen=True):
    """The counters of a `Beat`; what each counts is said there. A test holds the two lists of fields together."""

    bytes_cache: int = 0
    bytes_lan: int = 0
    bytes_origin: int = 0
    bytes_up: int = 0
    segments: int = 0
    bytes_webrtc: int = 0
    bytes_up_webrtc: int = 0

    @classmethod
    def of(cls, beat: Beat) -> Self:
        """The counters in `beat`."""
        return cls(*(getattr(beat, name) for name in cls.__struct_fields__))

    def beat(self, sequence: int, conditions: Sequence[str], *, links_tls: int, links_webrtc: int) -> Beat:
        """These counters as a `Beat`, beside what holds at this moment: codes of conditions, links by their kind."""
        return Beat(
            sequence=sequence,
            conditions=tuple(conditions),
            links_tls=links_tls,
            links_webrtc=links_webrtc,
            **{name: getattr(self, name) for name in self.__struct_fields__},
        )
