"""Whose fault it is stands in the type; the viewer pays for none of them.

    Fault
    ├── PeerMisbehaved   the other agent broke the protocol: hang up, ban
    ├── UnknownMessage   nobody's fault: the other end is of a later release; pass the message over
    └── Unavailable      nobody's fault (lost link, origin away, coordinator away): next source

`ecdn_proxy.sansio.machine.Impossible` is the third kind: ours. The node restarts and the viewer goes to the origin.
"""


class Fault(Exception):
    """Something outside this process went wrong."""


class PeerMisbehaved(Fault):
    """The other end broke the protocol or vouched for wrong bytes; `why` is a sentence for the helpdesk."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class UnknownMessage(Fault):
    """A whole message whose tag this release does not know (docs/adr/0046)."""

    def __init__(self, tag: int) -> None:
        super().__init__(f"a message with the tag {tag}, which this release does not know")
        self.tag = tag


class Unavailable(Fault):
    """A source cannot answer now; `why` is a sentence for the helpdesk."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
