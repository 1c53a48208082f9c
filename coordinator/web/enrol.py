"""The requests by which a device gets and renews its identity; ecdn_proxy.wire.enrolment declares their bodies."""

import asyncio
import math

import msgspec
from aiohttp import web

from coordinator.core.rate_limit import network_of
from coordinator.core.registry import Refusal
from coordinator.core.sites import read_address
from coordinator.service.system import System
from coordinator.web.app_keys import CERTIFICATE, SYSTEM
from coordinator.web.responses import answer, refusal, refused
from ecdn_proxy.wire.enrolment import EnrolRequest, RenewRequest


async def root(request: web.Request) -> web.Response:
    """GET /v1/root: the tenant's root certificate; the device compares its SHA-256 with the one that IT gave it."""
    return web.Response(text=request.app[SYSTEM].authority.root_pem, content_type="application/x-pem-file")


async def enrol(request: web.Request) -> web.Response:
    """POST /v1/enrol: a new machine shows a token and gets an identity."""
    system = request.app[SYSTEM]
    source = request.remote or ""
    if (too_soon := _too_soon(system, network_of(source))) is not None:
        return too_soon
    try:
        wanted = msgspec.json.decode(await request.read(), type=EnrolRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return refusal(400, "bad-request", str(error))
    given = await system.enrol(wanted, read_address(source))
    return refused(given) if isinstance(given, Refusal) else answer(given)


async def renew(request: web.Request) -> web.Response:
    """POST /v1/renew: a device shows its certificate and gets the next one."""
    system, shown = request.app[SYSTEM], request[CERTIFICATE]
    if (too_soon := _too_soon(system, f"device {shown.device}")) is not None:
        return too_soon
    try:
        wanted = msgspec.json.decode(await request.read(), type=RenewRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return refusal(400, "bad-request", str(error))
    given = await system.renew(wanted, shown)
    return refused(given) if isinstance(given, Refusal) else answer(given)


def _too_soon(system: System, source: str) -> web.Response | None:
    wait_s = system.enrolments.wait_s(source, asyncio.get_running_loop().time())
    if wait_s == 0:
        return None
    response = refusal(429, "slow-down", f"too many requests from {source}; try again in {math.ceil(wait_s)} s")
    response.headers["Retry-After"] = str(math.ceil(wait_s))
    return response
