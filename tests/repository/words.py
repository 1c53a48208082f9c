"""A type annotation in words that a table can hold: `Annotated[int, Meta(ge=0, le=8)]` is `integer, 0 … 8`.

Map: `words` (any annotation) · `named` (what a module's aliases are called) · `structs`, `hints` ·
`field_docs`, `attribute_docs` (the docstrings below fields and module constants, which Python itself forgets).
"""

import ast
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

_PLAIN: dict[Any, str] = {
    int: "integer", float: "number", str: "text", bytes: "bytes", bool: "yes or no", type(None): "nothing",
    Any: "anything",
}  # fmt: skip


def words(kind: Any, names: Mapping[str, Any]) -> str:
    """The annotation in words; `names` are the aliases that are explained elsewhere."""
    for name, alias in names.items():
        if kind == alias:
            return f"`{name}`"
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [_bound(meta) for meta in arguments[1:] if isinstance(meta, Meta)]
        return ", ".join([words(arguments[0], names), *(bound for bound in bounds if bound)])
    if origin is tuple and arguments == (dict[str, Any], ...):
        return "list of tables"
    if origin is tuple and arguments[1:] == (...,):
        return f"list of {words(arguments[0], names)}"
    if origin is tuple:
        return "(" + "; ".join(words(one, names) for one in arguments) + ")"
    if origin is dict:
        return f"table of {words(arguments[1], names)} by name"
    if origin is Literal:
        return " · ".join(f"`{value}`" for value in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(words(one, names) for one in arguments)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return _PLAIN[kind]


def _bound(meta: Meta) -> str:
    parts = [f"matches `{meta.pattern}`"] if meta.pattern is not None else []
    if meta.max_length is not None:
        least = meta.min_length or 0
        parts.append(
            f"length {meta.max_length:,}" if least == meta.max_length else f"length {least:,} … {meta.max_length:,}"
        )
    elif meta.min_length is not None:
        parts.append(f"length at least {meta.min_length:,}")
    low, high = meta.ge if meta.ge is not None else meta.gt, meta.le if meta.le is not None else meta.lt
    above, below = "above " if meta.gt is not None else "", "below " if meta.lt is not None else ""
    if low is not None and high is not None:
        parts.append(f"{above}{low:,} … {below}{high:,}")
    elif low is not None:
        parts.append(f"{above or 'at least '}{low:,}")
    elif high is not None:
        parts.append(f"{below or 'at most '}{high:,}")
    return ", ".join(parts)


def named(module: types.ModuleType) -> dict[str, Any]:
    """Aliases that the module gives names to itself, in order: `Device = Annotated[…]`, `LinkKind = Literal[…]`."""
    own = [target.id for node in _body(module) if isinstance(node, ast.Assign) for target in node.targets
           if isinstance(target, ast.Name)]  # fmt: skip
    return {name: value for name in own if get_origin(value := getattr(module, name)) in {Annotated, Literal}}


def structs(module: types.ModuleType) -> list[type[msgspec.Struct]]:
    """Messages and their parts that the module declares itself, in order; bases without fields are left out."""
    own = [getattr(module, node.name) for node in _body(module) if isinstance(node, ast.ClassDef)]
    return [one for one in own if issubclass(one, msgspec.Struct) and not one.__subclasses__()]


def hints(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return typing.get_type_hints(struct, include_extras=True)


def field_docs(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Those of a struct's fields, inherited ones included."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if base is not msgspec.Struct and issubclass(base, msgspec.Struct):
            found |= attribute_docs(base)
    return found


def attribute_docs(thing: types.ModuleType | type) -> dict[str, str]:
    """What stands as a string below an assignment."""
    body = _body(thing)
    found: dict[str, str] = {}
    for node, after in itertools.pairwise(body):
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
            continue
        targets = (
            [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(after.value.value, str):
                found[target.id] = inspect.cleandoc(after.value.value)
    return found


def _body(thing: types.ModuleType | type) -> list[ast.stmt]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    first = tree.body[0]
    return first.body if isinstance(thing, type) and isinstance(first, ast.ClassDef) else tree.body
