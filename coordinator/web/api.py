"""The API for administrators, in JSON: who is connected, refusing a device and taking it back.

Every request needs `Authorization: Bearer` and the admin token; `web.app` checks it.
"""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from coordinator.core.neighbours import ConnectedAgent
from coordinator.web.app_keys import SYSTEM
from coordinator.web.responses import answer, refusal

WHY_CHARACTERS_MAX = 300


async def agents(request: web.Request) -> web.Response:
    """GET /api/v1/agents: all agents that are connected, in the order in which they came."""
    system, now = request.app[SYSTEM], asyncio.get_running_loop().time()
    listed = sorted(system.tracker.agents(), key=lambda agent: agent.order)
    return answer({"count": len(listed), "agents": [_agent(one, now) for one in listed]})


def _agent(agent: ConnectedAgent, now: float) -> dict[str, Any]:
    at = agent.placement
    return {
        "device": agent.device,
        "remote": str(agent.remote),
        "version": agent.version,
        "connected_s": round(now - agent.since, 1),
        "site": at.site,
        "label": at.label,
        "p2p": at.p2p,
        "why": at.why,
        "addresses": list(at.addresses),
        "peer_port": agent.peer_port,
        "link": at.link,
        "serves": agent.serves,
        "isolated": agent.isolated,
        "streams": sorted(agent.streams),
        "conditions": list(agent.conditions),
        "links": {"tls": agent.links_tls, "webrtc": agent.links_webrtc},
    }


async def deny(request: web.Request) -> web.Response:
    """POST /api/v1/agents/{device}/deny {"why"}: refuse a device from now on."""
    try:
        said = msgspec.json.decode(await request.read() or b"{}", type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return refusal(400, "bad-request", str(error))
    why = said.get("why", "IT has denied this device")[:WHY_CHARACTERS_MAX]
    found = await request.app[SYSTEM].deny(request.match_info["device"], why)
    return answer(found) if found is not None else refusal(404, "unknown-device", "there is no such device")


async def allow(request: web.Request) -> web.Response:
    """POST /api/v1/agents/{device}/allow: take a device back."""
    found = await request.app[SYSTEM].allow(request.match_info["device"])
    return answer(found) if found is not None else refusal(404, "unknown-device", "there is no such device")
