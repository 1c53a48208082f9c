"""Which hosts are intercepted, with which certificate, and when a host is let go and tunnelled to.

Map: `Interception` (in place of mitmproxy's `tlsconfig` addon)
    intercepts(host)                           whether TLS of connections to a host ends here, now
    next_layer, tls_clienthello                mitmproxy's hooks: opened, or a byte tunnel
    tls_start_client, speak_for                TLS with the viewer: our leaf, Mozilla's "intermediate" profile
    speak_to                                   TLS with an origin: mitmproxy's own, verification included
    trusted, distrusted                        what a program on this machine makes of our leaf: one that pins the
                                               origin's certificate gets a tunnel
    origin_answered, origin_hung_up            an origin that wants the viewer's own certificate is tunnelled to

mitmproxy's own addon would write an unconstrained authority to disk and let all leaves share its key.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog
from mitmproxy import ctx, tls
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.connection import Client, Server
from mitmproxy.proxy import layer, layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from OpenSSL import SSL

from ecdn_proxy.core.http.hosts import HostScope, host_name
from ecdn_proxy.front import mitm_patches
from ecdn_proxy.front.tls.authority import Authority, OutOfScope

CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
GROUPS: Final = b"X25519:prime256v1:secp384r1"
HANDSHAKE_MAX_S: Final = 8.0
"""For a handshake with an origin. Players give a manifest up after 20 s (hls.js); told before that, they ask again."""
FAILURES_MAX: Final = 3
"""One alert may be a person who clicked a warning away; three in a row are a program that will never trust our leaf."""

_CERTIFICATE_OPTIONS = frozenset({"certs", "confdir", "key_size", "cert_passphrase"})
_WITHOUT_CERTIFICATE: Final = frozenset({400, 403, 495, 496})
"""What nginx and IIS answer to a client that has not shown the certificate that they asked for."""
_log = structlog.get_logger("ecdn.interception")


class Interception(TlsConfig):
    """Decides, host by host, between interception and tunnel."""

    name = "tlsconfig"

    def __init__(self, scope: HostScope, authority: Authority, bypassed: Callable[[str, str], None]) -> None:
        self._scope = scope
        self._authority = authority
        self._report = bypassed
        self._failures: dict[tuple[str, str], int] = {}
        self._bypassed: set[str] = set()
        self._contexts: dict[int, SSL.Context] = {}

    def intercepts(self, host: str) -> bool:
        """Whether TLS of connections to this host ends here, now."""
        return self._scope.includes(host) and host_name(host) not in self._bypassed

    def load(self, loader: object) -> None:
        """Declare the options of mitmproxy's addon."""
        super().load(loader)  # type: ignore[no-untyped-call]

    def configure(self, updated: set[str]) -> None:
        """Configure as mitmproxy's addon does, but make no certificate store."""
        super().configure(set(updated) - _CERTIFICATE_OPTIONS)  # type: ignore[no-untyped-call]

    def running(self) -> None:
        """Read the roots that origins are checked against: 30 ms, for which the first viewer would wait.

        Mitmproxy's own addon would make its certificate store here.
        """
        self.speak_to("nothing.invalid", 443, None, ())

    def request(self, flow: object) -> None:
        """Nothing: mitmproxy's own addon would serve its revocation list here."""

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """A CONNECT to a host out of scope is a byte tunnel, whatever its first bytes look like."""
        context = nextlayer.context
        if nextlayer.layer is not None or context.server.address is None:
            return
        if context.client.tls and not any(isinstance(each, layers.ClientTLSLayer) for each in context.layers):
            # opened by the lean path: what comes is plain, and must not leave this machine unencrypted, in scope or not
            nextlayer.layer = layers.ServerTLSLayer(context)
            nextlayer.layer.child_layer = layers.HttpLayer(context, HTTPMode.transparent)
        elif not self.intercepts(context.server.address[0]):
            nextlayer.layer = layers.TCPLayer(context, ignore=True)

    def tls_clienthello(self, tls_clienthello: tls.ClientHelloData) -> None:
        """A connection whose ClientHello names a host out of scope is a byte tunnel as well."""
        sni = tls_clienthello.client_hello.sni
        tunnel = tls_clienthello.context.server.address is not None  # else it is TLS to the proxy itself, refused
        tls_clienthello.ignore_connection = tunnel and sni is not None and not self.intercepts(sni)
        super().tls_clienthello(tls_clienthello)

    def tls_start_client(self, tls_start: tls.TlsData) -> None:
        """Speak for the host with a leaf of this machine's authority (mitmproxy's hook)."""
        address = tls_start.context.server.address
        if address is None:
            return  # TLS to the proxy itself
        tls_start.ssl_conn = self.speak_for(tls_start.context.client.sni or address[0])

    def speak_for(self, host: str) -> SSL.Connection | None:
        """The server's end of TLS, in memory, with a leaf for the host; None if no certificate can be had for it."""
        try:
            leaf = self._authority.leaf(host)
        except OutOfScope:
            return None
        except OSError as error:
            _log.error("the authority cannot be renewed", why=str(error))
            return None
        serial = leaf.issuer.serial_number
        if serial not in self._contexts:
            self._contexts[serial] = _server_context()
            self._contexts[serial].add_extra_chain_cert(leaf.issuer)
        connection = SSL.Connection(self._contexts[serial])
        connection.use_certificate(leaf.certificate)
        connection.use_privatekey(leaf.key)
        connection.set_accept_state()
        return connection

    def speak_to(self, host: str, port: int, sni: str | None, alpn_offers: tuple[bytes, ...]) -> SSL.Connection:
        """The client's end of TLS towards an origin, in memory, verification and all as mitmproxy makes it.

        Args:
            host: the origin, unless `sni` names it.
            port: its port.
            sni: the name in the viewer's own ClientHello.
            alpn_offers: the protocols in it.
        """
        client = Client(peername=("", 0), sockname=("", 0), timestamp_start=0.0, sni=sni, alpn_offers=alpn_offers)
        start = tls.TlsData(Server(address=(host, port)), Context(client, ctx.options))
        self.tls_start_server(start)
        assert start.ssl_conn is not None
        return start.ssl_conn

    def tls_established_client(self, data: tls.TlsData) -> None:
        """A program here accepted our certificate (mitmproxy's hook)."""
        self.trusted(_host_of(data))

    def tls_failed_client(self, data: tls.TlsData) -> None:
        """A program here did not accept our certificate, or hung up (mitmproxy's hook)."""
        self.distrusted(_host_of(data), data.conn.error or "")

    def trusted(self, host: str) -> None:
        """A program here accepted our certificate for this host."""
        self._failures.pop(("client", host_name(host)), None)

    def distrusted(self, host: str, error: str) -> None:
        """Count a client's alert, the reason being in `error`; a client that hung up without an alert says nothing."""
        if "alert" in error.lower():
            self._count(
                "client", host_name(host), f"a program here does not accept this machine's certificate ({error})"
            )

    def tls_failed_server(self, data: tls.TlsData) -> None:
        """TLS with an origin failed, perhaps for want of the viewer's own certificate (mitmproxy's hook)."""
        self.origin_hung_up(str(data.conn.sni or ""))

    def origin_hung_up(self, host: str) -> None:
        """An origin ended a connection instead of answering; one that asked for a certificate is counted."""
        if host_name(host) in mitm_patches.ASKED_FOR_CERTIFICATE:
            self._count("origin", host_name(host), "the origin asks for a certificate of the viewer's own")

    def origin_answered(self, host: str, status: int) -> None:
        """An origin answered with this status, which may be the one that it gives to whoever shows no certificate."""
        if status in _WITHOUT_CERTIFICATE:
            self.origin_hung_up(host)
        elif self._failures:
            self._failures.pop(("origin", host_name(host)), None)

    def _count(self, side: str, host: str, why: str) -> None:
        if not host or host in self._bypassed:
            return
        self._failures[side, host] = self._failures.get((side, host), 0) + 1
        if self._failures[side, host] >= FAILURES_MAX:
            del self._failures[side, host]
            self._bypassed.add(host)
            _log.warning("host bypassed: it is tunnelled from now on", host=host, why=why)
            self._report(host, why)


def _host_of(data: tls.TlsData) -> str:
    address = data.context.server.address
    return host_name(data.conn.sni or (address[0] if address else ""))


def _server_context() -> SSL.Context:
    """TLS 1.2 and 1.3 as in Mozilla's "intermediate" profile; HTTP/1.1 only (see the decision on HTTP/2)."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(CIPHERS.encode())
    # pyOpenSSL has no call for a list of groups; mitmproxy reaches for the same binding
    set_groups = SSL._lib.SSL_CTX_set1_curves_list  # type: ignore[attr-defined]
    if set_groups(context._context, GROUPS) != 1:
        raise RuntimeError("this OpenSSL does not know the groups X25519, P-256 and P-384")
    context.set_alpn_select_callback(_http1)
    return context


def _http1(_: SSL.Connection, offered: list[bytes]) -> Any:
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


OPTIONS: Final[dict[str, object]] = {"upstream_cert": False, "http2": False, "http3": False, "ciphers_client": CIPHERS}
"""The options of mitmproxy that belong to TLS."""
