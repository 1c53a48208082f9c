"""Which hosts are ours to intercept, and which addresses nobody may be sent to.

Map: `HostScope` (intercepted domains minus bypassed ones) · `domain` (one domain as certificates and PAC want it) ·
`place` (`address:port` of a setting) · `is_public` (an IP address that a viewer may be connected to).
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from ecdn_proxy.core.http.urls import is_local_target

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def domain(text: str) -> str:
    """A domain in lower case, as A-labels, without the trailing dot, a leading `*.` or `.`.

    Raises:
        ValueError: not a domain name; the sentence says what is allowed.
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
    """Address and port of `127.0.0.1:3128` or `[::1]:3128`.

    Raises:
        ValueError: anything else; the sentence says what is allowed.
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
    """Whether an IP address is on the open internet: not this machine's, a private, link-local or reserved one."""
    return not is_local_target(f"http://[{address}]/" if ":" in address else f"http://{address}/")


def host_name(host: str) -> str:
    """A host in the form in which hosts are compared."""
    return host.lower().rstrip(".")


@dataclass(frozen=True, slots=True)
class HostScope:
    """The configured domains, each with all its subdomains; built with `HostScope.of`."""

    intercept: tuple[str, ...]
    bypass: tuple[str, ...]

    @staticmethod
    def of(intercept: tuple[str, ...], bypass: tuple[str, ...]) -> "HostScope":
        """From settings.

        Raises:
            ValueError: as `domain`.
        """
        return HostScope(tuple(map(domain, intercept)), tuple(map(domain, bypass)))

    def includes(self, host: str) -> bool:
        """Whether a host is to be intercepted; look-alikes such as `evilstream.test` for `stream.test` are not."""
        name = host_name(host)
        return _below(name, self.intercept) and not _below(name, self.bypass)


def _below(name: str, domains: tuple[str, ...]) -> bool:
    return any(name == one or name.endswith("." + one) for one in domains)
