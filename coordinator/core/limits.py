"""Every setting of the coordinator, and every number that fixes its behaviour: unit, bound and reason, declared once.

Settings           what `coordinator.toml`, `ECDN_COORDINATOR_*` and flags may say, with the bounds that are checked
setting_rows()     the same as rows of the table in docs/coordinator.md (a test compares the two)
SETTLE_S …         numbers that are no settings, each with its reason
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta


def _number(least: float, most: float, unit: str, why: str) -> Meta:
    return Meta(ge=least, le=most, description=why, extra={"unit": unit})


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What IT may set. A name that is not declared here is reported as a mistake, with the nearest name that is."""

    listen: Annotated[
        str, Meta(max_length=260, description="Address and port of the only listening socket, `host:port`.")
    ] = "127.0.0.1:8443"
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
"""Wait after the first change of a quiet swarm before its lists are made: agents that arrive together share one."""

SWARM_MEMBERS_MAX = 1_500
"""Viewers of one stream at one site that share one copy. The seven of the committee hold a link to each of the others,
and an agent may have 2,048 links; with more viewers, an agent that comes later finds no room at any of the seven and
fetches from the origin by itself."""

NEIGHBOURS_ENOUGH = 22
"""A list of neighbours is left as it is while so many of them are still there: the committee of 7, and 15 others to
fetch from. So a list of 30 loses a quarter before it is sent anew; sending it at every change cost 23 lists and 77 KB
for each agent that joined while a hundred sites filled at once."""

MEMBERS_PER_S = 2_000
"""Lists worked out per second in one swarm, so that the members of a full one are told of changes every 0.75 s. A
member that has no list yet is told at once: its player asks for a segment in a moment, and it would fetch that
alone."""

REQUEST_BYTES_MAX = 65_536
"""Largest body of an HTTP request. A CSR of P-256 has under 1 KB; anything near this bound is no enrolment."""

HERE_WITHIN_S = 10.0
"""How long an agent may take to say `Here` after its socket has opened; a socket that stays silent is closed."""

HANDSHAKE_S = 10.0
"""How long a TLS handshake may take; over a phone's network it takes one second."""

ANSWER_WITHIN_S = 40.0
"""How long a connection for HTTP may wait for its next answer, from its opening or from its last answer. Idle ones of
browsers are ended sooner, after 30 s (`web.app.KEEPALIVE_S`)."""

HEARTBEAT_S = 20.0
"""An agent that has been silent for so long is pinged; the answer must come within half of it, so that a dead socket is
gone within 30 s."""

QUEUE_MESSAGES_MAX = 256
"""Messages that wait for an agent that reads slowly. Lists for 64 streams and their renewal fit; an agent with more
waiting is disconnected."""

DENIED_MAX = 1_600
"""Devices that agents are told not to speak to: as many UUIDs as one frame of 64 KiB holds. Those left out are the ones
whose certificates end first."""

AGENT_SETTINGS_BYTES_MAX = 16_384
"""Largest `[agents]` table, as MessagePack: it travels in one frame, which has 64 KiB."""

SOURCES_MAX = 10_000
"""Sources whose rate is remembered by one `rate_limit.RateLimit`: addresses that enrol, devices that renew or
signal."""


class SettingRow(msgspec.Struct, frozen=True):
    """One setting as the documentation shows it."""

    name: str
    default: str
    bound: str
    why: str


def setting_rows() -> list[SettingRow]:
    """Every setting with its default, its bounds and its reason, in the order of declaration."""
    info = msgspec.inspect.type_info(Settings)
    assert isinstance(info, msgspec.inspect.StructType)
    defaults = Settings()
    rows = []
    for field in info.fields:
        kind, meta = field.type, {}
        if isinstance(kind, msgspec.inspect.Metadata):
            meta = {**(kind.extra_json_schema or {}), **(kind.extra or {})}
            kind = kind.type
        bound = ""
        if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            bound = f"{kind.ge:g} … {kind.le:g} {meta['unit']}"
        rows.append(SettingRow(field.name, str(getattr(defaults, field.name)), bound, str(meta["description"])))
    return rows
