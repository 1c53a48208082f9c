"""Whose fault it is stands in the type; the viewer pays for none of them.

    Fault
    ├── PeerMisbehaved   the other agent broke the protocol: hang up, ban
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


class Unavailable(Fault):
    """A source cannot answer now; `why` is a sentence for the helpdesk."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
