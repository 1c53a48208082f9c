"""Which hosts this agent intercepts, and to which addresses it connects nobody.

Map: `HostScope` (the intercepted domains without the bypassed ones) · `domain` (one domain as certificates and PAC
files need it) · `place` (`address:port` of a setting) · `is_public` (an IP address to which a viewer may be connected)
· `host_name` (the form in which hosts are compared).
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from ecdn_proxy.core.http.urls import is_local_target

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def domain(text: str) -> str:
    """A domain in lower case and as A-labels (RFC 5890), without a trailing dot, a leading `*.` or a leading `.`.

    Raises:
        ValueError: the text is no domain name; the message says what is allowed.
    """
    name = text.strip().lower().removeprefix("*.").strip(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            name = ""
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError(f"{text!r} is no domain name; write it as in stream.example.com, without scheme, port or path")
    return name


def place(text: str) -> tuple[str, int]:
    """Address and port in a text such as `127.0.0.1:3128` or `[::1]:3128`.

    Raises:
        ValueError: the text is anything else; the message says what is allowed.
    """
    host, colon, port = text.strip().rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address("127.0.0.1" if bare == "localhost" else bare)
    except ValueError:
        address = None
    if not colon or address is None or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{text!r} is no address and port; write it as in 127.0.0.1:3128 or [::1]:3128")
    return str(address), int(port)


@lru_cache(maxsize=1024)
def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: neither this machine's nor private, link-local or reserved."""
    return not is_local_target(f"http://[{address}]/" if ":" in address else f"http://{address}/")


def host_name(host: str) -> str:
    """A host in the form in which hosts are compared: lower case, without a trailing dot."""
    return host.lower().rstrip(".")


@dataclass(frozen=True, slots=True)
class HostScope:
    """The configured domains, each with all its subdomains. `HostScope.of` makes one from the settings."""

    intercept: tuple[str, ...]
    bypass: tuple[str, ...]

    @staticmethod
    def of(intercept: tuple[str, ...], bypass: tuple[str, ...]) -> "HostScope":
        """The scope of the settings `intercept_domains` and `bypass_domains`.

        Raises:
            ValueError: as `domain`.
        """
        return HostScope(tuple(map(domain, intercept)), tuple(map(domain, bypass)))

    def includes(self, host: str) -> bool:
        """Whether a host is intercepted. With `stream.test`, a look-alike such as `evilstream.test` is not."""
        name = host_name(host)
        return _below(name, self.intercept) and not _below(name, self.bypass)


def _below(name: str, domains: tuple[str, ...]) -> bool:
    return any(name == one or name.endswith("." + one) for one in domains)
