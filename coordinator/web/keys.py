"""Names under which the application and a request carry what handlers need."""

from aiohttp import web

from coordinator.service.system import Shown, System

SYSTEM = web.AppKey("system", System)
SHOWN = web.RequestKey("shown", Shown)
"""The device that TLS has verified; set for routes that need one."""
