"""What IT may set (agent.toml, policy, environment, flags): name, unit, bounds, default and meaning, declared once.

Docs and policy templates come from it: `describe` reads the declaration.
"""

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
