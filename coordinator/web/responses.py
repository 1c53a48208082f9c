"""Answers in JSON, refusals always as `Rejected` (ecdn_proxy.wire.enrolment)."""

from typing import Any

import msgspec
from aiohttp import web

from coordinator.core.registry import No
from ecdn_proxy.wire.enrolment import Rejected
from ecdn_proxy.wire.ids import sentence

STATUS = {"bad-csr": 400, "unknown-device": 403, "token-unknown": 403, "slow-down": 429}
"""HTTP status of a refusal by its code; all others are 403."""


def answer(body: Any, status: int = 200) -> web.Response:
    """`body` as JSON."""
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def refusal(status: int, code: str, why: str) -> web.Response:
    """A refusal."""
    response = answer(Rejected(code, sentence(why)), status)
    response.headers["X-Ecdn-Refused"] = code  # a WebSocket client sees no body
    return response


def no_certificate() -> web.Response:
    """The refusal of a path for devices to who has shown no certificate of this tenant."""
    return refusal(401, "no-certificate", "this path needs a device certificate of this tenant")


def written(response: web.Response) -> bytes:
    """An answer as it is sent, for a connection that aiohttp does not serve and that ends with it (RFC 9112)."""
    assert isinstance(response.body, bytes)
    headers = {**response.headers, "Content-Length": str(len(response.body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + response.body


def refused(no: No) -> web.Response:
    """A refusal of the register."""
    return refusal(STATUS.get(no.code, 403), no.code, no.why)
