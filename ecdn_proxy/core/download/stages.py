"""Where a download stands, how it may go on from there, and what is under way meanwhile: three tables, one guard.

    Stage          where it stands, in the words that the status page shows
    TRANSITIONS    stage → the stages that may follow it, each with the reason
    UNDER_WAY      stage → what is open while a download stands there, when an event is over
    Staged         stands somewhere, and takes no step that the table does not hold

`Download` takes no step that `TRANSITIONS` does not hold, and its `check` compares itself with `UNDER_WAY`.
docs/download.md is drawn from this file (`make docs`).
"""

from collections.abc import Mapping
from enum import Enum
from typing import Literal

from ecdn_proxy.sansio.machine import impossible


class Stage(Enum):
    """Where a download stands."""

    NEW = "just begun"
    LOADING = "read from disk"
    JOINING = "waiting for the neighbours' names"
    ASKING = "asking who fetches it"
    GIVING_WAY = "letting somebody fetch who can send it to others"
    FOLLOWING = "reading from a neighbour"
    FETCHING = "fetching from the origin"
    ENDED = "over"


TRANSITIONS: Mapping[Stage, Mapping[Stage, str]] = {
    Stage.NEW: {
        Stage.LOADING: "The segment is on this machine's disk.",
        Stage.JOINING: "The stream was opened a moment ago, and the coordinator or mDNS may yet name neighbours.",
        Stage.ASKING: "The neighbours are known, or a neighbour sent for the segment.",
    },
    Stage.LOADING: {
        Stage.JOINING: "The disk has lost the segment or kept it too long, and neighbours may yet be named.",
        Stage.ASKING: "The disk has lost the segment or kept it too long, and the neighbours are known.",
        Stage.FETCHING: "The disk has not answered for seconds.",
        Stage.ENDED: "The disk had the segment, or nobody waits for it any more.",
    },
    Stage.JOINING: {
        Stage.ASKING: "The neighbours were named, or the time for that is over.",
        Stage.FETCHING: "Nothing happened for seconds, as on a machine that slept.",
        Stage.ENDED: "Nobody waits for the segment any more.",
    },
    Stage.ASKING: {
        Stage.ASKING: "None of the neighbours that the home named can be asked, so the home is asked again.",
        Stage.GIVING_WAY: "The lease was granted, but this machine may not give the segment to others.",
        Stage.FOLLOWING: "The home named neighbours that have the segment or are receiving it.",
        Stage.FETCHING: "The lease was granted, or no home and no neighbour could help.",
        Stage.ENDED: "The segment cannot be shared, or nobody at this machine waits for it.",
    },
    Stage.GIVING_WAY: {
        Stage.ASKING: "Others had their chance to fetch the segment, so the home is asked again.",
        Stage.FETCHING: "Nothing happened for seconds, as on a machine that slept.",
        Stage.ENDED: "Nobody waits for the segment any more.",
    },
    Stage.FOLLOWING: {
        Stage.ASKING: "The parent is slow, failed and was the last that the home named, or has a copy that is stale.",
        Stage.FOLLOWING: "The parent failed, and the home had named another.",
        Stage.FETCHING: "No new byte came from neighbours for seconds, or the origin must confirm the parent's copy.",
        Stage.ENDED: "All of it is here, sources contradict each other, or nobody waits for it any more.",
    },
    Stage.FETCHING: {
        Stage.ASKING: "The fetch failed, the origin has another version, or neighbours became known before it began.",
        Stage.FOLLOWING: "A neighbour in reserve has it: the origin is silent, failed, or confirmed its copy.",
        Stage.ENDED: "All of it is here, it cannot be shared, the origin failed twice, or nobody waits any more.",
    },
    Stage.ENDED: {},
}
"""What is absent is impossible: `Download` raises `Impossible`, and the agent starts its node anew."""

Work = Literal["lease request", "parent", "own fetch"]
_NOTHING: frozenset[Work] = frozenset()

UNDER_WAY: Mapping[Stage, tuple[frozenset[Work], ...]] = {
    Stage.LOADING: (_NOTHING,),
    Stage.JOINING: (_NOTHING,),
    Stage.ASKING: (
        frozenset({"lease request"}),
        frozenset({"lease request", "parent"}),  # its copy comes behind the gate: the origin must confirm it
    ),
    Stage.GIVING_WAY: (_NOTHING,),
    Stage.FOLLOWING: (frozenset({"parent"}),),
    Stage.FETCHING: (
        frozenset({"own fetch"}),
        frozenset({"own fetch", "lease request"}),  # the origin is silent: the home is asked for a neighbour
        frozenset({"own fetch", "parent"}),  # a neighbour in reserve
    ),
    Stage.ENDED: (_NOTHING,),
}
"""One of these sets; a download is never left in a stage that is missing here."""


class Staged:
    """Something that stands in one stage at a time."""

    def __init__(self) -> None:
        self._stage = Stage.NEW

    @property
    def stage(self) -> Stage:
        """Where it stands."""
        return self._stage

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._stage is Stage.ENDED

    def enter(self, stage: Stage) -> None:
        """Go on to another stage; nothing else writes the stage.

        Raises:
            Impossible: the table does not hold this step.
        """
        if stage not in TRANSITIONS[self._stage]:
            impossible(f"a download that goes from {self._stage.name} to {stage.name}")
        self._stage = stage
