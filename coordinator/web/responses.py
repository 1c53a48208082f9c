"""Answers in JSON; every refusal is a `Rejected` (ecdn_proxy.wire.enrolment)."""

from typing import Any

import msgspec
from aiohttp import web

from coordinator.core.registry import Refusal
from ecdn_proxy.wire.enrolment import Rejected
from ecdn_proxy.wire.ids import sentence

STATUS = {"bad-csr": 400, "unknown-device": 403, "token-unknown": 403, "slow-down": 429}
"""HTTP status of a refusal of the register, by its code; other codes have 403."""


def answer(body: Any, status: int = 200) -> web.Response:
    """`body` as JSON."""
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def refusal(status: int, code: str, why: str) -> web.Response:
    """The answer to a request that is refused: a code for programs, a sentence for people."""
    response = answer(Rejected(code, sentence(why)), status)
    response.headers["X-Ecdn-Refused"] = code  # a WebSocket client does not see the body
    return response


def no_certificate() -> web.Response:
    """The answer to a request without a device certificate of this tenant, for a path that needs one."""
    return refusal(401, "no-certificate", "this path needs a device certificate of this tenant")


def written(response: web.Response) -> bytes:
    """The bytes of an answer that ends its connection (RFC 9112), for a connection that aiohttp does not serve."""
    assert isinstance(response.body, bytes)
    headers = {**response.headers, "Content-Length": str(len(response.body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + response.body


def refused(by_register: Refusal) -> web.Response:
    """The answer for a refusal of the register."""
    return refusal(STATUS.get(by_register.code, 403), by_register.code, by_register.why)
