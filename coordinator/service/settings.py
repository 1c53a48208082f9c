"""Where the coordinator's settings come from: coordinator.toml, then ECDN_COORDINATOR_*, then flags; the later wins.

load(file, environment, flags)      -> Settings; a mistake is told with its file, line, name and cure
host_and_port(listen)               the two halves of `host:port`
ConfigurationError                  any mistake of whoever started the command, in one sentence
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from coordinator.core import limits
from coordinator.core.limits import Settings
from ecdn_proxy.wire.sharing_rules import read_rules

PREFIX = "ECDN_COORDINATOR_"
_TABLES = ("agents", "wan_peers")
"""Settings that are tables or lists: only the file can hold them, not a variable or a flag."""
_NAMES = tuple(field.name for field in msgspec.structs.fields(Settings))


class ConfigurationError(Exception):
    """The coordinator or a command cannot do what it was told; the text is one clear sentence for whoever told it."""


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """The settings in force.

    Raises:
        ConfigurationError: the file is unreadable, a name is misspelt, or a value is out of its bounds.
    """
    said: dict[str, Any] = {}
    where: dict[str, str] = {}
    if file is not None:
        said, where = _from_file(file)
    for variable, value in sorted(environment.items()):
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            if name not in _NAMES or name in _TABLES:
                raise ConfigurationError(
                    f"environment variable {variable}: no such setting{_nearest(name, PREFIX, upper=True)}"
                )
            said[name], where[name] = value, f"environment variable {variable}"
    for name, value in flags.items():
        if value is not None:
            said[name], where[name] = value, f"--{name.replace('_', '-')}"
    for name, value in said.items():
        try:
            msgspec.convert({name: value}, Settings, strict=isinstance(value, dict | list))
        except msgspec.ValidationError as error:
            why = str(error).split(" - at ")[0]
            raise ConfigurationError(f"{where[name]}: {name} = {value!r}: {why[0].lower()}{why[1:]}") from error
    settings = msgspec.convert(said, Settings, strict=False)
    _, mistakes = read_rules(settings.agents.get("sharing_rules", ()), "agents.sharing_rules", "the coordinator")
    if mistakes:
        raise ConfigurationError(f"{where['agents']}: {' '.join(mistakes)}")
    groups = [group for joint in settings.wan_peers for group in joint]
    for group in groups:
        if groups.count(group) > 1:
            raise ConfigurationError(
                f"{where['wan_peers']}: wan_peers: {group!r} stands twice; all that may meet are one set"
            )
    try:
        size = len(msgspec.msgpack.encode(settings.agents))
    except (TypeError, OverflowError) as error:
        raise ConfigurationError(f"{where['agents']}: agents: {error}") from error
    if size > limits.AGENT_SETTINGS_BYTES_MAX:
        raise ConfigurationError(
            f"{where['agents']}: agents: {size} bytes; at most {limits.AGENT_SETTINGS_BYTES_MAX} can be sent"
        )
    return settings


def _from_file(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {_reason(error)}") from error
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    for name in said:
        if name not in _NAMES:
            raise ConfigurationError(f"{file}, line {_line(text, name)}: no setting is called {name!r}{_nearest(name)}")
    return said, {name: f"{file}, line {_line(text, name)}" for name in said}


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _line(text: str, name: str) -> int:
    pattern = re.compile(rf"""\s*(\[{{1,2}}\s*)?["']?{re.escape(name)}["']?\s*(=|\.|\])""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _nearest(name: str, prefix: str = "", *, upper: bool = False) -> str:
    close = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {prefix}{close[0].upper() if upper else close[0]}?"
    return f"; there are: {', '.join(_NAMES)}"


def host_and_port(listen: str) -> tuple[str, int]:
    """The two halves of `listen`.

    Raises:
        ConfigurationError: `listen` is not of that form.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"listen = {listen!r}: write host:port, such as 0.0.0.0:8443 or [::]:8443")
    return host.removeprefix("[").removesuffix("]"), int(port)
