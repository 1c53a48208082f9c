"""Settings from everywhere that may set them, each value with who set it (libraries: tomllib, msgspec).

    the coordinator  <  agent.toml  <  ECDN_* environment  <  flags          what stands further right wins

    load_settings(...)    the values in force, as EffectiveValues
    BadSettings           a setting cannot be used: one sentence with its place, its name, what is allowed, and the
                          nearest name that there is
    as_text(value)        a value as a person reads it

Which settings there are is not known here: `agent.settings` brings the struct and the checks of its values.

A mistake of whoever wrote a file, a variable or a flag ends the start. A mistake of the coordinator does not, because
that would stop every machine at once: the value is left out and noted in `warnings`.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

ENVIRONMENT: Final = "ECDN_"
_NOT_OURS: Final = ("ECDN_COORDINATOR_", "ECDN_TEST_")


class BadSettings(Exception):
    """A setting cannot be used; the text is one sentence that says where and what is allowed."""


@dataclass(frozen=True)
class EffectiveValues[S]:
    """What is in force, and who set each value."""

    settings: S
    sources: dict[str, str]
    warnings: tuple[str, ...] = field(default=())


Checks = Mapping[str, Callable[[Any], object]]
"""By setting name: a function that raises ValueError, with what is allowed, if the value is not."""


def load_settings[S: msgspec.Struct](
    kind: type[S],
    checks: Checks,
    config: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> EffectiveValues[S]:
    """The settings in force.

    Args:
        kind: the struct of all settings.
        checks: further checks by setting name.
        config: the path of agent.toml; None when there is none.
        environment: all variables; only those that begin with ECDN_ count.
        flags: values by setting name; texts are read as those of the environment, None counts as absent.
        given: values by setting name that the coordinator has sent.

    Raises:
        BadSettings: a file, a variable or a flag names a setting that there is not, or a value that is not allowed.
    """
    pile = _Pile(get_type_hints(kind, include_extras=True), checks)
    warnings: list[str] = []
    for name, value in (given or {}).items():
        try:
            pile.put(name, value, "coordinator", "coordinator")
        except BadSettings as error:
            warnings.append(f"{error} It is left out.")
    if config is not None:
        _from_file(pile, config)
    for variable, text in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT) and not variable.startswith(_NOT_OURS):
            name = variable.removeprefix(ENVIRONMENT).lower()
            where = f"environment ({variable})"
            if name in pile.hints:
                pile.put(name, _from_text(pile.hints[name], text), where, where)
            else:
                warnings.append(pile.unknown(name, where))
    for name, value in flags.items():
        if value is not None:
            where = f"flag --{name.replace('_', '-')}"
            text_in = isinstance(value, str) and name in pile.hints
            pile.put(name, _from_text(pile.hints[name], value) if text_in else value, where, where)
    sources = {name: pile.sources.get(name, "default") for name in pile.hints}
    return EffectiveValues(kind(**pile.values), sources, tuple(warnings))


@dataclass(slots=True)
class _Pile:
    """Values by setting name; a later one replaces an earlier one."""

    hints: dict[str, Any]
    checks: Checks
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, value: Any, where: str, source: str) -> None:
        """Take a value, converted to the setting's type.

        Raises:
            BadSettings: there is no such setting, or the value is not allowed.
        """
        if name not in self.hints:
            raise BadSettings(self.unknown(name, where))
        try:
            made = msgspec.convert(value, self.hints[name], strict=not isinstance(value, str))
            check = self.checks.get(name)
            if check is not None and made:
                check(made)
        except msgspec.ValidationError as error:
            shown = repr(value)[:80]
            raise BadSettings(f"{where}: {name} must be {_allowed(self.hints[name])}, not {shown}.") from error
        except ValueError as error:
            raise BadSettings(f"{where}: {name}: {error}.") from error
        self.values[name] = made
        self.sources[name] = source

    def unknown(self, name: str, where: str) -> str:
        near = difflib.get_close_matches(name, self.hints, n=1, cutoff=0.6)
        return f"{where}: there is no setting {name!r}{f'; did you mean {near[0]!r}?' if near else '.'}"


def as_text(value: object) -> str:
    """A value as a person reads it."""
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return ", ".join(str(it.get("name", it)) if isinstance(it, dict) else str(it) for it in value)
        case dict():
            return ", ".join(f"{key}={item}" for key, item in value.items())
        case _:
            return str(value)


def _from_file(pile: _Pile, config: Path) -> None:
    try:
        text = config.read_text("utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError as error:
        raise BadSettings(f"{config}: no such file; write it, or name another with --config.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{config}: cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{config}: not valid TOML: {error}.") from error
    for name, value in values.items():
        pile.put(name, value, f"{config}, line {_line(text, name)}", config.name)


def _line(text: str, name: str) -> int:
    pattern = re.compile(rf"\s*\[{{0,2}}\s*[\"']?{re.escape(name)}[\"']?\s*[\].=]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _from_text(hint: Any, text: str) -> Any:
    """A value written as text: lists are separated by commas or spaces, maps are written `name=value`."""
    kind = _bare(hint)
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return [part for part in re.split(r"[,\s]+", text) if part]
    if isinstance(kind, msgspec.inspect.DictType):
        return dict(part.partition("=")[::2] for part in re.split(r"[,\s]+", text) if part)
    if isinstance(kind, msgspec.inspect.BoolType):
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        return words.get(text.strip().lower(), text)
    return text.strip()


def _bare(hint: Any) -> msgspec.inspect.Type:
    kind = msgspec.inspect.type_info(hint)
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    return kind


def _allowed(hint: Any) -> str:
    """What a setting may be, in words."""
    match _bare(hint):
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(map(str, values))
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType() as kind:
            return "a whole number" + _bounds(kind.gt, kind.ge, kind.le)
        case msgspec.inspect.FloatType() as kind:
            return "a number" + _bounds(kind.gt, kind.ge, kind.le)
        case msgspec.inspect.VarTupleType(item_type=items):
            return "a list of tables" if isinstance(items, msgspec.inspect.DictType) else "a list of texts"
        case msgspec.inspect.DictType():
            return "a table of texts"
        case _:
            return "a text"


def _bounds(above: float | None, least: float | None, most: float | None) -> str:
    bounds = (("above", above), ("from", least), ("up to", most))
    return "".join(
        f" {word} {int(bound) if bound == int(bound) else bound}" for word, bound in bounds if bound is not None
    )
