"""How a setting that can't be right is refused: what was got, what is allowed, which flag to change."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal


def flag(name: str) -> str:
    """The command-line flag of a setting: `latent_steps` -> `--latent-steps`."""
    return "--" + name.replace("_", "-")


def require(ok: bool, name: str, got: object, allowed: str) -> None:
    """Raises a `ValueError` that names the flag, what was got and what is allowed, unless `ok`."""
    if not ok:
        raise ValueError(f"{flag(name)} is {got!r}; allowed: {allowed}")


def fits_type(value: object, kind: Any) -> bool:
    """Whether a value has a setting's type; whole numbers count as floats, and booleans not as numbers."""
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return any(fits_type(value, option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def type_name(kind: Any) -> str:
    """A setting's type in users' words."""
    if typing.get_origin(kind) is Literal:
        return ", ".join(map(str, typing.get_args(kind)))
    if isinstance(kind, types.UnionType):
        return " or ".join("nothing" if option is types.NoneType else type_name(option) for option in kind.__args__)
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, "a mapping")
