"""Keys under which the aiohttp application and a request carry what handlers need."""

from aiohttp import web

from coordinator.service.system import DeviceCertificate, System
from coordinator.web.idle_timeouts import IdleTimeouts

SYSTEM = web.AppKey("system", System)
IDLE_TIMEOUTS = web.AppKey("idle_timeouts", IdleTimeouts)
CERTIFICATE = web.RequestKey("certificate", DeviceCertificate)
"""The certificate that the device has shown; set for the routes whose credential is `device`."""
