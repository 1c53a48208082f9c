"""Errors whose type says whose fault they are. No viewer's picture may stop for any of them.

    Fault                something outside this process went wrong
    ├── PeerMisbehaved   the other agent broke the protocol: end the link, do not speak to that device for a while
    ├── UnknownMessage   nobody's fault, the other end runs a later release: pass the message over
    └── Unavailable      nobody's fault, a link, origin or coordinator is away: ask the next source

A fault of our own is another error, `ecdn_proxy.sansio.machine.Impossible`: the node is replaced by a new one, and its
viewers go to the origin.
"""


class Fault(Exception):
    """Something outside this process went wrong."""


class PeerMisbehaved(Fault):
    """The other end broke the protocol, or vouched for wrong bytes. `why` is a sentence for the helpdesk."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class UnknownMessage(Fault):
    """A whole message came whose tag this release does not know (docs/adr/0046)."""

    def __init__(self, tag: int) -> None:
        super().__init__(f"a message with the tag {tag}, which this release does not know")
        self.tag = tag


class Unavailable(Fault):
    """A source cannot answer now. `why` is a sentence for the helpdesk."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
