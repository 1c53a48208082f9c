"""Where mitmproxy has no hook and would harm a viewer; `install` replaces these parts of it, once.

Map, by the name in mitmproxy:
    Http1Client.read_headers       would take an interim response, 100 or 103, for the final one, and wait for ever
    ChunkedReader                  would end a connection with trailers by an exception; a proxy may drop them
                                   (RFC 9110 section 6.5.1)
    make_error_response            would show mitmproxy's own page; ours is `front/errorpage.py`
    create_proxy_server_context    does not tell which origins ask for the client's certificate: `ASKED_FOR_CERTIFICATE`

Each is checked against the installed mitmproxy by a test with sockets, which fails when a new version moves it.
"""

import re
from functools import cache
from typing import Any, Final

import h11
from h11._readers import ChunkedReader
from mitmproxy.net import tls
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers.http import _http1
from OpenSSL import SSL

from ecdn_proxy.core.http.hosts import host_name
from ecdn_proxy.front.errorpage import instead_of_mitmproxys

_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[ \r]")
_read_headers: Final = _http1.Http1Client.read_headers
_make_context: Final[Any] = tls.create_proxy_server_context
ASKED_FOR_CERTIFICATE: Final[set[str]] = set()
"""Intercepted hosts whose handshake held a CertificateRequest; as many as there are intercepted hosts."""


def _skip_interim(self: _http1.Http1Client, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
    """Drop interim responses. 101 is not dropped, for it ends HTTP on the connection."""
    if isinstance(event, events.DataReceived) and self.request is not None:
        while _INTERIM.match(bytes(self.buf)) and self.buf.maybe_extract_lines():
            pass
    yield from _read_headers(self, event)


class _WithoutTrailers(ChunkedReader):
    """Reads chunks and their end, and drops trailers."""

    def __call__(self, buf: Any) -> Any:
        event = super().__call__(buf)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


@cache
def _listening_context(**wanted: Any) -> SSL.Context:
    """Mitmproxy's TLS context, made once for each set of options; the callback must be set before its first use."""
    context: SSL.Context = _make_context.__wrapped__(**wanted)
    context.set_info_callback(_note_certificate_request)
    return context


def _note_certificate_request(connection: SSL.Connection, where: int, _: int) -> None:
    if where & SSL.SSL_CB_LOOP and b"certificate request" in connection.get_state_string():
        ASKED_FOR_CERTIFICATE.add(host_name((connection.get_servername() or b"").decode("ascii", "replace")))


def install() -> None:
    """Replace them in this process."""
    _http1.Http1Client.read_headers = _skip_interim  # type: ignore[method-assign]
    vars(_http1)["ChunkedReader"] = _WithoutTrailers
    tls.create_proxy_server_context = _listening_context
    _http1.make_error_response = instead_of_mitmproxys
