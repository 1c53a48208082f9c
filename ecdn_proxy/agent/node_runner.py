"""A node that runs: with the driver that gives it time and events, and the performer that does what it wants.

    NodeRunner.begin(born, seal, surroundings, feed, failed, record)    node · machine · performer · driver

They come and go together: after a fault of ours (`failed`) the agent begins another one. With a record file the node
stands behind `core.recording`, which writes down everything that it is told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from ecdn_proxy.agent.performer import Performer, Surroundings
from ecdn_proxy.agent.recorder import RecordFile
from ecdn_proxy.agent.story import NodeStory
from ecdn_proxy.core import events
from ecdn_proxy.core.node import Node
from ecdn_proxy.core.recording import Born, Recording, Witness
from ecdn_proxy.core.seal import Seal
from ecdn_proxy.sansio.driver import Driver


@dataclass(frozen=True, slots=True)
class NodeRunner:
    """One node's life; belongs to one event loop."""

    node: Node
    machine: Node | Recording
    """The node as it is to be asked and told."""
    performer: Performer
    driver: Driver[events.Event, events.Effect]

    @classmethod
    def begin(
        cls,
        born: Born,
        seal: Seal,
        surroundings: Surroundings,
        feed: Callable[[events.Event], None],
        failed: Callable[[Exception], None],
        record: RecordFile | None = None,
    ) -> Self:
        """A node as `born` says; `feed` gets what comes of its effects, `failed` a fault of ours in it."""
        performer = Performer(surroundings, feed)
        if record is None:
            node = born.node(seal)
            return cls(node, node, performer, Driver(node, performer.perform, failed, NodeStory()))
        witness = Witness(seal)
        node = born.node(witness)
        recording = Recording(node, witness, record.write, born)
        return cls(node, recording, performer, Driver(recording, performer.perform, failed, NodeStory()))
