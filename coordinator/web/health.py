"""For load balancers and Prometheus: does it live, can it work, how much does it do. Numbers only, no names.

Map: `healthz`, `readyz` · `metrics` (the text) · `USAGE` (the metric of each counter that agents report)
"""

from collections.abc import Mapping

from aiohttp import web

from coordinator.web.app_keys import SYSTEM
from coordinator.web.responses import refusal

USAGE: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    (
        "ecdn_viewer_bytes_total",
        "Bytes that agents gave to viewers, by source; lan is all from other agents, by TLS or WebRTC.",
        {'{source="cache"}': "bytes_cache", '{source="lan"}': "bytes_lan", '{source="origin"}': "bytes_origin"},
    ),
    ("ecdn_upload_bytes_total", "Bytes that agents gave to other agents.", {"": "bytes_up"}),
    (
        "ecdn_webrtc_bytes_total",
        "Of the bytes from and to other agents, those by WebRTC, which costs them many times the CPU.",
        {'{way="in"}': "bytes_webrtc", '{way="up"}': "bytes_up_webrtc"},
    ),
    ("ecdn_segments_total", "Segments that agents gave to viewers.", {"": "segments"}),
)
"""Name, text, and for each set of labels the field of `ReportedUsage` (ecdn_proxy.wire.usage)."""


async def healthz(_request: web.Request) -> web.Response:
    """GET /healthz: the process answers."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: the database answers as well."""
    try:
        await request.app[SYSTEM].db.map_revision()
    except Exception as error:  # whatever it is, the answer is no
        return refusal(503, "database", f"the database does not answer: {type(error).__name__}")
    return web.Response(text="ready\n")


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: Prometheus text format 0.0.4."""
    system = request.app[SYSTEM]
    totals = system.tracker.totals
    lines: list[str] = []

    def tell(name: str, kind: str, text: str, values: Mapping[str, int]) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
        lines.extend(f"{name}{labels} {value}" for labels, value in values.items())

    tell("ecdn_agents_connected", "gauge", "Agents with a socket.", {"": len(system.tracker)})
    tell("ecdn_devices_enrolled", "gauge", "Devices in the register.", {"": len(system.registry)})
    tell(
        "ecdn_devices_suspended", "gauge", "Devices of which two copies exist.", {"": len(system.registry.suspended())}
    )
    tell("ecdn_swarms", "gauge", "Pairs of site and stream that are watched.", {"": system.tracker.swarms})
    tell("ecdn_arrivals_total", "counter", "Agents that have said Here.", {"": totals.arrivals})
    tell("ecdn_lists_sent_total", "counter", "Lists of neighbours sent.", {"": totals.lists_sent})
    tell("ecdn_faults_total", "counter", "Faults of the coordinator's own.", {"": system.faults})
    text = "Messages of agents that only a later release of the coordinator knows."
    tell("ecdn_messages_passed_over_total", "counter", text, {"": system.passed_over})
    for name, text, fields in USAGE:
        tell(name, "counter", text, {labels: getattr(totals.usage, field) for labels, field in fields.items()})
    links = [(agent.links_tls, agent.links_webrtc) for agent in system.tracker.agents()]
    tls, webrtc = sum(one for one, _ in links), sum(other for _, other in links)
    ends: dict[str, int] = {'{kind="tls"}': tls, '{kind="webrtc"}': webrtc}
    tell("ecdn_link_ends", "gauge", "Ends of links between agents, two for each link, by what carries it.", ends)
    counts = system.tracker.signalling_relay.counts
    signals: dict[str, int] = {'{outcome="relayed"}': counts.relayed, '{outcome="refused"}': counts.refused}
    tell("ecdn_signals_total", "counter", "Offers, answers, calls and byes between agents, by outcome.", signals)
    refused: dict[str, int] = {f'{{code="{code}"}}': count for code, count in sorted(system.refusals.items())}
    tell("ecdn_refusals_total", "counter", "Devices and tokens refused, by reason.", refused)
    return web.Response(text="\n".join(lines) + "\n", headers={"Content-Type": "text/plain; version=0.0.4"})
