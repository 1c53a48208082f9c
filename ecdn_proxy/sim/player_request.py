"""One request of a simulated player, from the proxy's side: what the host's node answers, byte by byte.

Every byte is compared with the origin's: a wrong one ends the run.
"""

from typing import TYPE_CHECKING

from ecdn_proxy.core import events, values
from ecdn_proxy.core.download.pacing import Pace
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.sim.host import Host
from ecdn_proxy.sim.live_stream import STREAM, LiveSegment
from ecdn_proxy.sim.player import Player
from ecdn_proxy.sim.virtual_clock import UTC_MINUS_NOW

if TYPE_CHECKING:
    from ecdn_proxy.sim.office import Office


class PlayerRequest:
    """A `HostViewer`: a player that waits for a segment."""

    __slots__ = ("_asked_at", "_came_bytes", "_host", "_office", "_pace_kbps", "_player", "_segment", "_viewer")

    def __init__(self, office: "Office", host: Host, player: Player, segment: LiveSegment) -> None:
        self._office = office
        self._host = host
        self._player = player
        self._segment = segment
        self._viewer = host.asked + 1
        self._asked_at = office.clock.now
        self._came_bytes = 0
        self._pace_kbps = 0

    def ask(self) -> None:
        """Ask the host's node."""
        segment = self._segment
        segment.wanted += 1
        self._host.ask(
            events.Wanted(
                viewer=self._viewer,
                stream=STREAM,
                rendition=segment.rendition,
                key=segment.key,
                number=segment.number,
                duration_s=self._player.segment_s,
                live=True,
                resource_range=None,
                origin=values.OriginRequest(segment.url, ()),
                utc=self._asked_at + UTC_MINUS_NOW,
                best_kbps=self._player.best_kbps,
            ),
            self,
        )

    # ---- what becomes of it

    def answer_begins(self, effect: events.BeginAnswer) -> None:
        """Note how fast the player is to get the answer."""
        self._pace_kbps = effect.pace_kbps

    def bytes_came(self, data: bytes | memoryview) -> None:
        """Compare the bytes with the origin's."""
        at = self._came_bytes
        self._came_bytes = end = at + len(data)
        if data != self._segment.body[at:end]:
            raise Impossible(
                f"{self._host.device} gave its player wrong bytes of segment {self._segment.number} at {at}"
            )

    def answer_finished(self) -> None:
        """The player has the segment now, or when the pace of the answer lets it have the last byte."""
        host, segment = self._host, self._segment
        if self._came_bytes != len(segment.body):
            raise Impossible(f"{host.device} gave its player {self._came_bytes} of {len(segment.body)} bytes")
        assert host.node is not None
        stored = host.node.cache.peek(segment.key)
        if stored is not None and stored.body is not segment.body:
            # every node joins its pieces to a body of its own: keep one for all, memory is what limits a site's size
            host.node.cache.replace_body(segment.key, segment.body)
        clock = self._office.clock
        due = Pace(self._asked_at, self._pace_kbps).due(self._came_bytes)
        if due > clock.now:
            clock.at(due, self._whole)
        else:
            self._player.finished()

    def answer_failed(self, status: int, why: str) -> None:
        """The player asks again in a moment."""
        del status, why
        self._player.broken()

    def passed_on(self, why: str) -> None:
        """The player asks the origin by itself."""
        del why
        office = self._office
        office.figures.passed += 1
        office.origin.send(
            self._host, -self._viewer, self._segment, first_byte_s=office.first_byte_s, whole=self._whole
        )

    def handed_over(self, fetch: int, why: str) -> None:
        """What is still to come of the node's fetch is the player's."""
        del why
        office = self._office
        office.figures.passed += 1
        office.origin.hand_over(self._host, fetch, self._whole)

    def _whole(self) -> None:
        if not self._player.gone:
            self._player.finished()
