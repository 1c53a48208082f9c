"""What a person reads when the proxy itself must answer: what happened, whose fault it is, what helps.

Map: `page` (one plain HTML page) · `refused`, `bad_request`, `unresolved`, `bad_certificate`, `unreachable` (one for
each kind of trouble) · `instead_of_mitmproxys` (takes the place of mitmproxy's own page) · `REFUSED`, `UNRESOLVED` (how
the addon marks a connection that it did not allow).
"""

import html
from typing import Final

from mitmproxy import http
from mitmproxy.net.http import http1

REFUSED: Final = "ecdn refused: "
UNRESOLVED: Final = "ecdn found no address: "
MESSAGE_MAX: Final = 600

_KILLED = "Connection killed: "
_CERTIFICATE = "Certificate verify failed: "
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<h1>{title}</h1><p>{text}</p><p>{remedy}</p><p><small>ecdn on this machine, {status}</small></p></html>
"""


def page(status: int, title: str, text: str, remedy: str) -> http.Response:
    """A page that loads nothing else and is stored by nobody."""
    body = _PAGE.format(
        status=status,
        title=html.escape(title),
        text=html.escape(text[:MESSAGE_MAX]),
        remedy=html.escape(remedy),
    )
    fields = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "connection": "close",
    }
    return http.Response.make(status, body.encode(), fields)


def refused(why: str) -> http.Response:
    """403: a target that nobody is connected to through us."""
    return page(
        403,
        "This address is not reachable through ecdn",
        f"The ecdn agent did not connect: {why}.",
        "Streams come from the internet. If your organisation's origin has a private address, IT can allow it.",
    )


def bad_request(why: str) -> http.Response:
    """400: bytes that no browser sends."""
    return page(400, "This request is not valid", why, "The program that sent it is at fault, not the streaming site.")


def unresolved(why: str) -> http.Response:
    """502: no address for a name."""
    return page(
        502,
        "The site's address was not found",
        f"No address for {why}.",
        "Either the name is wrong or the name servers of this network do not answer.",
    )


def bad_certificate(why: str) -> http.Response:
    """502: the origin could not prove who it is, so nothing was sent to it."""
    return page(
        502,
        "The site could not prove its identity",
        f"Its certificate was not accepted: {why}. Nothing was sent to it.",
        "The fault lies with the site or with a device between this network and the site, not with this machine: tell "
        "whoever runs the site. If the reason is a date, check this machine's clock. If your organisation has its own "
        "certificate authority for origins, IT can add it with the setting origin_ca_file.",
    )


def unreachable(why: str) -> http.Response:
    """502: the origin did not answer."""
    return page(502, "The site did not answer", f"The connection to it failed: {why}.", "Try again; then ask the site.")


def instead_of_mitmproxys(status_code: int, message: str = "") -> bytes:
    """The whole response, as bytes, to a request that mitmproxy gave up on."""
    message = message.removeprefix(_KILLED)
    if message.startswith(REFUSED):
        response = refused(message.removeprefix(REFUSED))
    elif message.startswith(UNRESOLVED):
        response = unresolved(message.removeprefix(UNRESOLVED))
    elif message.startswith(_CERTIFICATE):
        response = bad_certificate(message.removeprefix(_CERTIFICATE))
    elif status_code == 400:
        response = bad_request(message.partition(":")[0].partition(",")[0].replace("mitmproxy", "The proxy") + ".")
    else:
        response = unreachable(message)
    return bytes(http1.assemble_response(response))  # type: ignore[no-untyped-call]
