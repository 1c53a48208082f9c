"""Names under which the application and a request carry what handlers need."""

from aiohttp import web

from coordinator.service.system import Shown, System
from coordinator.web.idle_timeouts import IdleTimeouts

SYSTEM = web.AppKey("system", System)
PATIENCE = web.AppKey("patience", IdleTimeouts)
SHOWN = web.RequestKey("shown", Shown)
"""The device that TLS has verified; set for routes that need one."""
