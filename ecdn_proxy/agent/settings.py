"""The agent's settings in force: declared in `core/settings.py`, read from wherever they were set by `io`.

load(config, environment, flags, given) -> EffectiveSettings: `settings`, `sources` by name, `warnings`
further_profiles(file)                     the profiles of the file that the setting `profiles_file` names
_CHECKS                                    what a value must be beyond its type and bounds
"""

import ipaddress
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ecdn_proxy.core.catalog.providers import BadProfile
from ecdn_proxy.core.http.hosts import domain, place
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.io import settings_loader
from ecdn_proxy.io.webrtc import engine
from ecdn_proxy.io.webrtc.engine import EngineName

EffectiveSettings = settings_loader.EffectiveValues[Settings]


def load(
    config: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> EffectiveSettings:
    """The settings in force; the arguments are those of `settings_loader.load_settings`.

    Raises:
        settings_loader.BadSettings: one sentence for whoever set the value.
    """
    return settings_loader.load_settings(Settings, _CHECKS, config, environment, flags, given)


def further_profiles(file: str) -> tuple[dict[str, object], ...]:
    """An administrator's profiles of streaming providers, one table each; none without a file.

    Raises:
        BadProfile: the file cannot be read, or is no TOML with [[profile]] tables.
    """
    if not file:
        return ()
    try:
        tables = tomllib.loads(Path(file).read_text(encoding="utf-8")).get("profile", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadProfile(f"{file}: {error}") from error
    if not isinstance(tables, list):
        raise BadProfile(f"{file}: write each profile as a table, [[profile]]")
    return tuple(tables)


def _domains(names: tuple[str, ...]) -> None:
    for name in names:
        domain(name)


def _networks(names: tuple[str, ...]) -> None:
    for name in names:
        try:
            ipaddress.ip_network(name)
        except ValueError as error:
            raise ValueError(f"{name!r} is no network; write it as in 10.20.0.0/16") from error


def _addresses(hosts: dict[str, str]) -> None:
    for host, address in hosts.items():
        domain(host)
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise ValueError(f"{address!r} is no IP address for {host}") from error


def _stun(servers: tuple[str, ...]) -> None:
    for server in servers:
        scheme, _, rest = server.partition(":")
        host, _, port = rest.rpartition(":")
        if scheme != "stun" or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ValueError(f"{server!r} is no STUN server; write stun:host:port")


def _engine(name: EngineName) -> None:
    if (why := engine.missing(name)) is not None:
        raise ValueError(why)


def _file(name: str) -> None:
    if not Path(name).is_file():
        raise ValueError(f"there is no file {name}")


_CHECKS: Final[dict[str, Callable[[Any], object]]] = {
    "listen": place,
    "page_listen": place,
    "peer_listen": place,
    "intercept_domains": _domains,
    "bypass_domains": _domains,
    "peer_networks": _networks,
    "origin_hosts": _addresses,
    "stun_servers": _stun,
    "webrtc_engine": _engine,
    "origin_ca_file": _file,
    "profiles_file": _file,
}
"""By the name of the setting. A missing `upstream_pac_file` is no fault: a PAC that is away must not stop streams."""
