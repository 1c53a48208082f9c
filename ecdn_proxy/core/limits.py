"""Every number that decides something: its name, unit, bound and reason, declared once.

Settings   what IT may set (agent.toml, policy, environment, flags); docs and policy templates come from it
Limits     what we measured and do not offer as a setting
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Megabytes = Annotated[int, Meta(ge=0, le=1_048_576)]


def _said(description: str) -> Meta:
    return Meta(description=description)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An agent's settings, each by the name it has in agent.toml."""

    listen: Annotated[str, _said("Where browsers reach the proxy, address:port.")] = "127.0.0.1:3128"
    page_listen: Annotated[str, _said("Where the local status page, PAC and metrics are served.")] = "127.0.0.1:8688"
    peer_listen: Annotated[str, _said("Where other agents connect; 0.0.0.0 means every allowed interface.")] = (
        "0.0.0.0:7688"
    )
    intercept_domains: Annotated[
        tuple[str, ...], _said("Streaming domains to intercept, subdomains included. All others are tunnelled.")
    ] = ()
    bypass_domains: Annotated[tuple[str, ...], _said("Domains below an intercepted one to leave alone.")] = ()
    origin_ca_file: Annotated[str, _said("PEM file with extra roots for origins, besides the system's.")] = ""
    origin_hosts: Annotated[
        dict[str, str], _said("Fixed addresses for host names, as in a hosts file. For tests and laboratories.")
    ] = {}
    allow_local_origins: Annotated[
        bool, _said("Let origins have loopback or private addresses. For tests and laboratories.")
    ] = False
    upstream_pac_file: Annotated[str, _said("The customer's own PAC file, asked for all other hosts.")] = ""
    peer_networks: Annotated[
        tuple[str, ...], _said("Networks (CIDR) to share in; empty: the private networks of this machine's interfaces.")
    ] = ()
    lan_discovery: Annotated[bool, _said("Find agents on the same link by mDNS.")] = True
    webrtc: Annotated[
        bool, _said("Reach agents by WebRTC (UDP) whom TCP does not reach; the coordinator arranges it.")
    ] = True
    webrtc_engine: Annotated[
        Literal["aiortc", "wrtc"],
        _said("What carries WebRTC links: aiortc, or wrtc (libwebrtc), which must be installed: ecdn[webrtc-fast]."),
    ] = "aiortc"
    stun_servers: Annotated[
        tuple[str, ...],
        _said(
            "STUN servers (stun:host:port) for agents behind NAT; empty: addresses of this machine's interfaces only."
        ),
    ] = ()
    sharing: Annotated[bool, _said("Off: everything comes from the origin or this machine's own cache.")] = True
    uploads: Annotated[bool, _said("Serve other agents. Off: a leech, as for metered sites.")] = True
    link: Annotated[
        Literal["auto", "wired", "wifi", "metered"], _said("What this machine's link counts as for fan-out.")
    ] = "auto"
    cache_memory_mb: Annotated[Megabytes, _said("Segments kept in memory, MB.")] = 96
    cache_disk_mb: Annotated[Megabytes, _said("Segments kept on disk for catch-up and replay, MB; 0 keeps none.")] = (
        1024
    )
    upload_mbps_max: Annotated[
        float, Meta(gt=0, le=100_000), _said("Most that this machine uploads to others at once, Mbit/s.")
    ] = 20.0
    share_after_watching_s: Annotated[
        float, Meta(ge=0, le=86_400), _said("How long after the last request a stream is still shared, seconds.")
    ] = 60.0
    entitlement_window_s: Annotated[
        float,
        Meta(ge=10, le=86_400),
        _said("How long a viewer's own successful manifest fetch entitles it to shared segments, seconds."),
    ] = 300.0
    lean_path: Annotated[
        bool,
        _said(
            "Answer segments and fetch manifests before mitmproxy, at a part of its cost. Off: all passes through it."
        ),
    ] = True
    source_headers: Annotated[bool, _said("Tell the browser where a segment came from (X-Ecdn-Source).")] = False
    profiles_file: Annotated[str, _said("TOML file with further provider profiles.")] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _said("Least severity written to the log.")] = (
        "info"
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of the swarm; times in seconds. Each stands with its reason."""

    join_wait_s: float = 0.15
    """A stream's first segment waits this long for the tracker or mDNS to name the neighbours, once."""
    join_wait_tracker_s: float = 0.3
    """The same while the coordinator is connected: its list is worth more than the wait, as one copy serves all."""
    home_answer_s: float = 0.04
    """A LAN round trip is 1 ms; after 40 ms the home is presumed busy or gone and the second rank is asked too."""
    home_answer_max_s: float = 0.4
    """The same where answers are usually late (machines under load): their mean and four times its variation."""
    home_ranks: int = 3
    """How many homes are tried before the node goes to the origin by itself."""
    first_byte_grace_s: float = 0.3
    """A lease without response headers ends this long after the origin's usual first byte."""
    first_byte_unknown_s: float = 0.7
    """Taken as an origin's usual first byte until one has been measured."""
    silence_s: float = 0.25
    """A parent or lease that has begun and then says nothing for this long is replaced."""
    slack_floor_s: float = 1.0
    slack_floor_segments: float = 2.0
    """The least slack, in durations of a segment. With one, an office of slow uplinks spends them on changing parents:
    3.1 copies and 889 stalls in simulation, against 1.02 and 71."""
    slack_ceiling_s: float = 6.0
    soft_share: float = 0.15
    """Part of the slack after which another parent is asked for, if at this rate the rest would come too late."""
    hard_share: float = 0.5
    """Part of the slack after which, in the same case, the hedge lease is asked for."""
    batch_wait_s: float = 0.1
    """Hashed pieces wait at most this long for their batch to fill before it is signed."""
    fan_out_wired: int = 3
    fan_out_wifi: int = 2
    fan_out_webrtc: int = 4
    """Segments given over WebRTC at once, whoever gets them: at 3 Mbit/s each costs half a percent of a core, and ten
    to twenty times what TLS costs."""
    webrtc_overhead: float = 1.1
    """Bytes on the wire for each byte of a piece: SCTP, DTLS, UDP and IP around every 1,160 (1.03 over TLS)."""
    uplink_wired_mbps: float = 100.0
    uplink_wifi_mbps: float = 20.0
    """What parent choice assumes of a link until it knows better."""
    hop_s: float = 0.01
    """Added latency per relay, measured with 32 KiB pieces."""
    slow_parent_s: float = 0.3
    """Added to a parent's predicted finish for each child that found it slow lately: about the silence it cost."""
    suspect_s: float = 4.0
    """A device that did not answer in time is asked nothing for so long; any word of it ends that at once."""
    unsettled_s: float = 2.0
    """So long after a stream's committee has changed, a home asks the homes of older lists before it fetches."""
    give_way_s: float = 0.25
    """So long a machine that gives nothing to others, but asks first, lets one fetch that does."""
    committee_max: int = 7
    """Seven ledgers are enough for 200 viewers and survive deaths (simulation)."""
    gone_s: float = 0.2
    """404 and 410 are told to waiters, not remembered longer: at the live edge the segment may appear at any time."""
    private_s: float = 600.0
    """How long a rendition that the origin marked as not shareable is not asked about again."""
    ban_s: float = 600.0
    """How long a device that broke the protocol is not spoken to."""
    dial_retry_s: float = 5.0
    """A device that could not be reached is not tried again before."""
    keys_remembered: int = 4_096
    """Entries of a ledger; a two-hour event of 2 s segments in two tracks is 7,200, of which the oldest go first."""
    acquisitions_max: int = 256
    """Segments being fetched at once; beyond it viewers go to the origin."""
    in_flight_bytes_max: int = 256 * 1024 * 1024
    """Bytes of unfinished segments in memory; beyond it viewers go to the origin."""
    neighbours_max: int = 4_096
    """Devices remembered; those only heard of through others go first."""
    gets_per_device_max: int = 64
    """Segments that one device may be reading from here at once: a player asks for two or three."""
    recent_max: int = 50
    """Served segments that the status page explains."""
    piece_burst: int = 32
    """Pieces (1 MiB) handed to links in one go before other work has its turn."""
    upload_burst_s: float = 2.0
    """The host-wide upload cap may be used this far ahead: a segment must not be spread over its own duration."""
    progress_s: float = 0.1
    """A lease holder reports to the home this often while bytes arrive."""


def describe(settings: type[Settings] = Settings) -> list[tuple[str, object, str]]:
    """Name, default and description of each setting, in the order of declaration."""
    hints = msgspec.inspect.type_info(settings)
    assert isinstance(hints, msgspec.inspect.StructType)
    rows: list[tuple[str, object, str]] = []
    for field in hints.fields:
        default: object = field.default
        if default is msgspec.NODEFAULT:
            default = field.default_factory() if callable(field.default_factory) else None
        kind = field.type
        text = ""
        while isinstance(kind, msgspec.inspect.Metadata):
            text = (kind.extra_json_schema or {}).get("description", text)
            kind = kind.type
        rows.append((field.encode_name, default, text))
    return rows
