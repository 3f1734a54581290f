"""Values between the process of an answer and the process of its tests: plain data, never objects with behaviour.

What comes from an answer may be forged to the last byte. It is read by an unpickler that knows no classes and no
functions, so that nothing but numbers, texts, bytes, lists, tuples, sets and dicts of them can come out of it: nothing
brings an `__eq__` of its own. Values of other built-in types travel as such data with a tag and are rebuilt from a
closed list. Only the standard library, and numpy where the other side has it.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from socket import socket
from typing import Any

MAX_FRAME = 1 << 30
"""Bytes of one message at most."""
_NUMBER_KINDS = "biufcUS"
"""Arrays that can cross: of numbers and texts, not of objects."""


class Opaque:
    """Stands for a value that can't cross; it is equal to nothing."""

    def __init__(self, kind: str) -> None:
        """Keeps the name of the value's type, for messages."""
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{self.kind} object>"

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__


class _Special(Exception):
    """There is something in a value that needs a tag."""


class _Writer(pickle.Pickler):
    """Writes plain data at the library's own speed, and stops at anything else."""

    def reducer_override(self, _: Any) -> Any:
        raise _Special


class _Reader(pickle.Unpickler):
    """Reads plain data; there is no class or function that it could find."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain data")


def packed(message: dict[str, Any]) -> memoryview:
    """A message as bytes; its values may be of any type.

    Raises:
        ValueError: It is too large.
        Exception: A value can't be looked at; anything can be the matter with it.
    """
    buffer = io.BytesIO()
    try:
        _Writer(buffer, 5).dump((False, message))
    except _Special:
        buffer = io.BytesIO()
        _Writer(buffer, 5).dump((True, encode(message)))
    size = buffer.getbuffer().nbytes
    if size > MAX_FRAME:
        raise ValueError(f"a message of {size} bytes is too large")
    return buffer.getbuffer()


def transmit(link: socket, message: memoryview) -> None:
    """Sends what `packed` has made.

    Raises:
        OSError: Nobody is there to read it.
    """
    link.sendall(message.nbytes.to_bytes(4, "big"))
    link.sendall(message)


def send(link: socket, message: dict[str, Any]) -> None:
    """Packs a message and sends it."""
    transmit(link, packed(message))


def receive(link: socket) -> dict[str, Any]:
    """Waits for a message.

    Raises:
        EOFError: The other side has ended.
        Exception: What came is no message; anything can be the matter with it.
    """
    size = int.from_bytes(_exactly(link, 4), "big")
    if size > MAX_FRAME:
        raise ValueError("a message is too large")
    tagged, message = _Reader(io.BytesIO(_exactly(link, size))).load()
    values = decode(message) if tagged else message
    if not isinstance(values, dict):
        raise ValueError("a message is no mapping")
    return values


def _exactly(link: socket, size: int) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = link.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def encode(value: Any) -> Any:
    """Turns a value into lists, numbers and texts; what is none of these becomes a tuple of a tag and its parts."""
    if value is None or isinstance(value, bool):
        return value
    for kind, tag, parts in _ENCODERS:
        if isinstance(value, kind):
            return (tag, parts(value)) if tag else parts(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return encode(value.item())
    if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind in _NUMBER_KINDS:
        return ("array", [value.dtype.str, list(value.shape), encode(value.ravel().tolist())])
    if isinstance(value, Iterator):  # a test that makes a list or a set of it gets its items
        return ("iterator", _items(value))
    return ("opaque", type(value).__name__)


def decode(data: Any) -> Any:
    """Rebuilds what `encode` wrote.

    Raises:
        Exception: It was not written by `encode`; anything can be the matter with it.
    """
    if isinstance(data, list):
        return [decode(item) for item in data]
    if isinstance(data, tuple):
        tag, parts = data
        return _DECODERS[tag](parts)
    return data


def _items(value: Any) -> list[Any]:
    return [encode(item) for item in value]


def _pairs(value: Any) -> list[Any]:
    return [[encode(key), encode(item)] for key, item in value]


_ENCODERS: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (int, "", int),  # instances of subclasses become what they are at heart
    (float, "", float),
    (str, "", str.__str__),
    (list, "", _items),
    (tuple, "tuple", _items),
    (Counter, "counter", lambda value: _pairs(dict(value).items())),
    (defaultdict, "defaultdict", lambda value: [getattr(value.default_factory, "__name__", ""), _pairs(value.items())]),
    (dict, "dict", lambda value: _pairs(dict(value).items())),
    (set, "set", _items),
    (frozenset, "frozenset", _items),
    (complex, "complex", lambda value: [value.real, value.imag]),
    ((bytes, bytearray), "", bytes),
    (range, "range", lambda value: [value.start, value.stop, value.step]),
    (deque, "deque", _items),
    (datetime, "datetime", datetime.isoformat),
    (date, "date", date.isoformat),
    (time, "time", time.isoformat),
    (timedelta, "timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    (Decimal, "decimal", str),
    (Fraction, "fraction", lambda value: [value.numerator, value.denominator]),
    (type({}.keys()), "keys", _items),
    (type({}.items()), "items", _pairs),
    (type({}.values()), "iterator", _items),
    (type(Ellipsis), "ellipsis", lambda _: None),
)


def _array(parts: Any) -> Any:
    import numpy

    kind, shape, items = parts
    if numpy.dtype(kind).kind not in _NUMBER_KINDS:
        raise ValueError("an array of objects can't cross")
    return numpy.array(decode(items), dtype=kind).reshape(shape)


_FACTORIES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, str, list, tuple, dict, set)}


def _mapping(parts: Any) -> dict[Any, Any]:
    return {decode(key): decode(item) for key, item in parts}


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda parts: tuple(map(decode, parts)),
    "dict": _mapping,
    "counter": lambda parts: Counter(_mapping(parts)),
    "defaultdict": lambda parts: defaultdict(_FACTORIES.get(parts[0]), _mapping(parts[1])),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
    "set": lambda parts: set(map(decode, parts)),
    "frozenset": lambda parts: frozenset(map(decode, parts)),
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "deque": lambda parts: deque(map(decode, parts)),
    "decimal": Decimal,
    "fraction": lambda parts: Fraction(*parts),
    "keys": lambda parts: dict.fromkeys(map(decode, parts)).keys(),
    "items": lambda parts: _mapping(parts).items(),
    "iterator": lambda parts: iter(list(map(decode, parts))),
    "ellipsis": lambda _: ...,
    "array": _array,
    "opaque": lambda parts: Opaque(str(parts)),
}
