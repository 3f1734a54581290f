"""What crosses between an answer and its tests: values come out equal, and nothing else comes out at all."""

from __future__ import annotations

import pickle
import socket
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scoring.sandbox.codec import Opaque, receive, send

Pair = namedtuple("Pair", "left right")
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers())
    ),
    max_leaves=20,
)


@pytest.fixture
def link() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def crossed(value: Any) -> Any:
    left, right = socket.socketpair()
    with left, right:
        send(left, {"value": value})
        return receive(right)["value"]


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_plain_values_come_out_as_they_went_in(value: Any) -> None:
    got = crossed(value)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        1 << 5000, -(1 << 70), 1e308, float("inf"), "\ud800", b"\x00", True, range(3, 9, 2), {1, 2}, frozenset({"a"}),
        ..., {}, deque([1, (2,)]), Fraction(1, 3), Decimal("1.10"), complex(1, -2), {(1, 2): [{"x": {3}}]},
        [range(2), (None, {4.5})], Counter("aab"), OrderedDict(a=1), defaultdict(list, a=[1]), Pair(1, (2,)), bytearray(b"x"),
    ],
    ids=repr,
)  # fmt: skip
def test_values_of_built_in_types_come_out_equal(value: Any) -> None:
    assert crossed(value) == value


def test_arrays_and_their_numbers_come_out_equal() -> None:
    array = crossed([np.arange(6.0).reshape(2, 3)])[0]
    assert array.dtype == np.float64
    assert np.array_equal(array, np.arange(6.0).reshape(2, 3))
    assert crossed(np.int64(3)) == 3
    assert isinstance(crossed(np.array([object()])), Opaque)


def test_what_is_gone_through_once_comes_out_as_that() -> None:
    got = crossed(x * x for x in range(4))
    assert got != [0, 1, 4, 9]
    assert list(got) == [0, 1, 4, 9]
    assert crossed({"a": 1}.keys()) == {"a"}
    assert set(crossed({"a": 1}.items())) == {("a", 1)}


class Yes:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


class YesNumber(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


def test_objects_leave_their_behaviour_behind() -> None:
    got = crossed([Yes(), YesNumber(3), Yes])
    assert isinstance(got[0], Opaque)
    assert (got[0] == got[0]) is False
    assert "Yes object" in repr(got[0])
    assert (type(got[1]), got[1]) == (int, 3)
    assert isinstance(got[2], Opaque)


class Evil:
    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps((False, {"value": Evil(eval, ("1/0",))})),
        pickle.dumps((False, {"value": Evil(Counter, ("a",))})),
        pickle.dumps((False, {"value": Fraction})),
        pickle.dumps((True, ("no such tag", 1))),
        pickle.dumps((True, ("array", ["O", [1]]))),
        pickle.dumps((True, ("fraction", [1, 0]))),
        pickle.dumps((False, ["no mapping"])),
        pickle.dumps("no pair"),
        b"\x80\x04N}X\x01\x00\x00\x00ab.",
        b"\x82\x01.",
        b"no pickle",
        b"",
    ],
    ids=range(12),
)
def test_forged_messages_are_refused(link: tuple[socket.socket, socket.socket], data: bytes) -> None:
    link[0].sendall(len(data).to_bytes(4, "big") + data)
    with pytest.raises(Exception, match=r"."):
        receive(link[1])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_whatever_is_read_is_plain_or_refused(data: bytes) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(len(data).to_bytes(4, "big") + data)
        left.shutdown(socket.SHUT_WR)
        try:
            message = receive(right)
        except Exception:  # refused, in whatever way
            return
    assert type(message) is dict


def test_the_end_of_the_other_side_is_told_from_a_message(link: tuple[socket.socket, socket.socket]) -> None:
    link[0].sendall((9).to_bytes(4, "big") + b"half")
    link[0].close()
    with pytest.raises(EOFError):
        receive(link[1])
