"""Every setting and number of the coordinator: name, unit, bound and reason, declared once.

The table in docs/coordinator.md is made from `table()`; validation of file, environment and flags from the same types.

Settings     what `coordinator.toml`, `ECDN_COORDINATOR_*` and flags may say
table()      one line for each setting
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta


def _number(least: float, most: float, unit: str, why: str) -> Meta:
    return Meta(ge=least, le=most, description=why, extra={"unit": unit})


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What IT may set; a name that is not here is a typing error and is reported as one."""

    listen: Annotated[str, Meta(max_length=260, description="Address and port of the only door, `host:port`.")] = (
        "127.0.0.1:8443"
    )
    public_url: Annotated[
        str, Meta(max_length=260, description="URL under which agents reach the coordinator; empty: made of `listen`.")
    ] = ""
    sites: Annotated[
        str, Meta(max_length=4_096, description="Site map (CSV) that replaces the stored one at every start.")
    ] = ""
    wan_peers: Annotated[
        list[Annotated[list[str], Meta(min_length=1)]],
        Meta(description="Sets of groups of the site map whose agents may share across the WAN; none unless named."),
    ] = msgspec.field(default_factory=list)
    agents: Annotated[
        dict[str, Any], Meta(description="Table sent to every agent as settings; names as in agent.toml.")
    ] = msgspec.field(default_factory=dict)
    certificate_hours: Annotated[
        int, _number(1, 168, "h", "A stolen device key is of use for no longer; agents renew at two thirds of it.")
    ] = 24
    grace_days: Annotated[
        int, _number(0, 30, "d", "A laptop that was off may still renew an ended certificate; longer asks for a token.")
    ] = 7
    enrol_per_minute: Annotated[
        int, _number(1, 6_000, "1/min", "Enrolments from one address; one core signs far more, a guesser far fewer.")
    ] = 240
    agents_max: Annotated[
        int,
        _number(
            1,
            100_000,
            "sockets",
            "Each takes 45 KiB, two thirds of them TLS, 1.1 GiB for 25,000; more are turned away. Each is an open file;"
            " where `ulimit -Hn` allows fewer, fewer are taken, and the log says so.",
        ),
    ] = 25_000
    spacing_s: Annotated[
        float,
        _number(
            0.05,
            60,
            "s",
            "Least time between two lists for one swarm: a newcomer's player waits 150 ms for its first one, and "
            "whoever has an older list may fetch what another fetches already.",
        ),
    ] = 0.1
    stun_listen: Annotated[
        str,
        Meta(
            max_length=260,
            description="Address and UDP port of a STUN responder for agents behind NAT, such as `0.0.0.0:3478`; "
            "agents are told of it. Empty: none.",
        ),
    ] = ""


SETTLE_S = 0.05
"""Wait after the first change of a quiet swarm: the handful that arrives together shares one list."""

SWARM_MEMBERS_MAX = 1_500
"""Viewers of one stream at one site that share one copy. Seven of them hold a link to each other one, of the 2,048 that
an agent may have; with more, whoever comes later finds no room at any of the seven and fetches alone."""

NEIGHBOURS_ENOUGH = 22
"""A list with so many members standing is left as it is: the committee of 7, and 15 others to fetch from. A list of 30
loses a quarter before it is sent anew; sending it at every change cost 23 lists and 77 KB for each agent that joined
while a hundred sites filled at once."""

MEMBERS_PER_S = 2_000
"""Lists worked out per second in one swarm: a full one is told of changes every 0.75 s. Whoever has none yet is told at
once: its player asks for a segment in a moment, and without neighbours it would fetch alone."""

REQUEST_BYTES_MAX = 65_536
"""A CSR of P-256 has under 1 KB; anything near this is no enrolment."""

HERE_WITHIN_S = 10.0
"""An agent speaks first; a socket that stays silent is closed."""

HANDSHAKE_S = 10.0
"""For TLS; a phone's network takes one."""

ANSWER_WITHIN_S = 40.0
"""From a connection's opening, or its last answer, to its next one; idle connections of browsers end after 30 s."""

HEARTBEAT_S = 20.0
"""Ping interval; the answer must come within half of it, so a dead socket is gone within 30 s."""

QUEUE_MESSAGES_MAX = 256
"""Messages waiting for one slow agent; 64 streams and their renewal fit, beyond it the agent is let go."""

DENIED_MAX = 1_600
"""As many UUIDs as one frame of 64 KiB holds; older entries have certificates that ended long ago."""

AGENT_SETTINGS_BYTES_MAX = 16_384
"""The settings travel in one frame with room to spare."""

SOURCES_MAX = 10_000
"""Addresses whose enrolment rate is remembered."""


class Line(msgspec.Struct, frozen=True):
    """One setting as documentation shows it."""

    name: str
    default: str
    bound: str
    why: str


def table() -> list[Line]:
    """Every setting with default, bound and reason."""
    info = msgspec.inspect.type_info(Settings)
    assert isinstance(info, msgspec.inspect.StructType)
    defaults = Settings()
    lines = []
    for field in info.fields:
        kind, meta = field.type, {}
        if isinstance(kind, msgspec.inspect.Metadata):
            meta = {**(kind.extra_json_schema or {}), **(kind.extra or {})}
            kind = kind.type
        bound = ""
        if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            bound = f"{kind.ge:g} … {kind.le:g} {meta['unit']}"
        lines.append(Line(field.name, str(getattr(defaults, field.name)), bound, str(meta["description"])))
    return lines
