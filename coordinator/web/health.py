"""For load balancers and Prometheus: is it alive, can it work, how much does it do. Counts only, no names."""

from aiohttp import web

from coordinator.web.app_keys import SYSTEM
from coordinator.web.responses import refusal


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

    def tell(name: str, kind: str, text: str, values: dict[str, float]) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
        lines.extend(f"{name}{labels} {value:g}" for labels, value in values.items())

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
    sources = {"cache": totals.bytes_cache, "lan": totals.bytes_lan, "origin": totals.bytes_origin}
    values: dict[str, float] = {f'{{source="{source}"}}': count for source, count in sources.items()}
    tell("ecdn_viewer_bytes_total", "counter", "Bytes that agents gave to viewers, by source.", values)
    tell("ecdn_upload_bytes_total", "counter", "Bytes that agents gave to other agents.", {"": totals.bytes_up})
    links = [(agent.links_tls, agent.links_webrtc) for agent in system.tracker.agents()]
    tls, webrtc = sum(one for one, _ in links), sum(other for _, other in links)
    ends: dict[str, float] = {'{kind="tls"}': tls, '{kind="webrtc"}': webrtc}
    tell("ecdn_link_ends", "gauge", "Ends of links between agents, two for each link, by what carries it.", ends)
    by_webrtc: dict[str, float] = {'{way="in"}': totals.bytes_webrtc, '{way="up"}': totals.bytes_up_webrtc}
    text = "Of the bytes from and to other agents, those by WebRTC, which costs them many times the CPU."
    tell("ecdn_webrtc_bytes_total", "counter", text, by_webrtc)
    counts = system.tracker.switchboard.counts
    signals: dict[str, float] = {'{outcome="relayed"}': counts.relayed, '{outcome="refused"}': counts.refused}
    tell("ecdn_signals_total", "counter", "Offers, answers, calls and byes between agents, by outcome.", signals)
    tell("ecdn_segments_total", "counter", "Segments that agents gave to viewers.", {"": totals.segments})
    refused: dict[str, float] = {f'{{code="{code}"}}': count for code, count in sorted(system.refusals.items())}
    tell("ecdn_refusals_total", "counter", "Devices and tokens refused, by reason.", refused)
    return web.Response(text="\n".join(lines) + "\n", headers={"Content-Type": "text/plain; version=0.0.4"})
