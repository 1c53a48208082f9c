"""Writes docs/protocol/signalling.md out of the tables of wire/signalling.

python -m tests.wire.signalling_page
"""

import inspect
from pathlib import Path

from ecdn_proxy.wire import signalling
from ecdn_proxy.wire.signalling import CODES, SDP_CHARACTERS_MAX, STEPS
from ecdn_proxy.wire.version import PROTOCOL

PAGE = Path(__file__).parents[2] / "docs" / "protocol" / "signalling.md"

HEAD = f"""\
# How a WebRTC link is arranged

<!-- Written by `python -m tests.wire.signalling_page` out of ecdn_proxy/wire/signalling.py; do not edit. -->

Protocol number {PROTOCOL}. Agents that TCP does not connect open a WebRTC data channel instead. What they must tell
each other for it goes through the coordinator's switchboard, inside the WebSocket that each has anyway (`/v1/agent`).
"""

DRAWING = """\
## An attempt

*Lower* and *higher* are the two device ids in alphabetical order.

```mermaid
sequenceDiagram
    participant L as lower id
    participant S as switchboard
    participant H as higher id
"""

RULES = f"""\
## Rules

- **Who dials.** Only the lower id offers, so two offers never cross. The higher id sends `Call` and waits 4 s.
- **What is signed.** `Offer` and `Answer` carry the Ed25519 signature of the device over: what it is (`offer`,
  `answer`), tenant, both device ids, attempt, nonce, expiry, DTLS fingerprint (SHA-256), ICE ufrag, and the SHA-256 of
  the whole description. The certificate beside it holds the key and must be of this tenant. An answer repeats the
  offer's nonce.
- **What is checked, before the description is used.** Certificate, signature, expiry (60 s; clocks may differ by a
  minute), that the nonce has not been seen, that there is one data channel section with one fingerprint and one ufrag.
- **What may be tried.** Candidates of the networks that the agent shares in; server-reflexive ones where STUN is set
  up; never a host name, never TCP.
- **What is believed.** Nothing before DTLS has compared the certificate with the signed fingerprint and both have said
  `Hello` on the channel, label `ecdn/1`, ordered; one frame of `docs/protocol.md` is one message of at most 65,536
  bytes.
- **Releases.** A message or a field that only a later release knows is passed over, by agents and by the switchboard:
  see [releases that differ](../protocol.md#releases-that-differ).
- **Life.** A `Ping` every 0.7 s each way; 2.1 to 2.8 s without any message end the link.
- **The switchboard** compares `sender` with the device behind the socket, and passes on what two agents of one site
  that share and watch a stream in common say to each other: at most 240 messages a minute of one agent, 12 to one
  other, {SDP_CHARACTERS_MAX:,} characters of description. It stores nothing, and writes an audit line for what it
  refuses.

## Why a message is not delivered

| code | meaning |
|---|---|
"""

MOVING = """\

## From WebRTC to TLS

TCP is tried again after 20 s and then ever more rarely. As soon as a TLS link stands beside the WebRTC one, each side
says everything further over TLS, says `Bye` on the data channel as its last word there, and reads TLS only after the
other's `Bye`: nothing is lost and nothing overtakes.
"""


def page() -> str:
    """The whole page."""
    lines = []
    names = {"lower": "L", "higher": "H"}
    for source, target, what, how in STEPS:
        if source == target:
            lines.append(f"    Note over {names[source]}: {what}: {_plain(how)}")
        elif what in vars(signalling):
            lines.append(f"    {names[source]}->>S: {what}")
            lines.append(f"    S->>{names[target]}: {what}")
        else:
            lines.append(f"    {names[source]}->>{names[target]}: {what}")
    rows = "".join(f"| {number} | {a} → {b} | {what} | {how} |\n" for number, (a, b, what, how) in enumerate(STEPS, 1))
    table = (
        f"\n| | from → to | what | how |\n|---|---|---|---|\n{rows}\n`Bye` or `Undeliverable` may end it at any line.\n"
    )
    drawing = DRAWING + "\n".join(lines) + "\n```\n" + table
    messages = "".join(
        f"- `{name}`: {inspect.cleandoc(getattr(signalling, name).__doc__)}\n"
        for name in ("Call", "Offer", "Answer", "Bye", "Undeliverable")
    )
    fields = (
        "\n## Messages\n\nTheir fields, tags and bounds are in [the protocol, message by message](../protocol.md).\n\n"
    )
    codes = "".join(f"| `{code}` | {meaning} |\n" for code, meaning in CODES.items())
    return f"{HEAD}\n{drawing}{fields}{messages}\n{RULES}{codes}{MOVING}"


def _plain(text: str) -> str:
    return text.replace(";", ",")


def main() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
