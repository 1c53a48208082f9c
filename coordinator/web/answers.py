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


def refused(no: No) -> web.Response:
    """A refusal of the register."""
    return refusal(STATUS.get(no.code, 403), no.code, no.why)
