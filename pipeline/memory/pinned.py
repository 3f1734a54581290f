"""Copies between the host and a GPU through page-locked memory, on a stream of their own, beside what is computed.

On a CPU nothing of it is needed: `to_device` hands back what it got, and `copies` does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

CHUNK = 32 << 20
"""Bytes of a page-locked buffer; two of them take turns."""


class Line(Protocol):
    """Copies to a device that go on by themselves."""

    def start(self, target: Tensor, source: Tensor) -> object:
        """Begins a copy; returns what to wait for."""

    def wait(self, copy: object) -> None:
        """Returns when a copy is done."""


class Stream:
    """Copies on a stream of a GPU."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def start(self, target: Tensor, source: Tensor) -> object:
        """Begins a copy."""
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
            return self._stream.record_event()

    def wait(self, copy: object) -> None:
        """Waits for it, and no other."""
        assert isinstance(copy, torch.cuda.Event)
        copy.synchronize()


class _Side:
    """A GPU's stream for copies and the buffers that they go through."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.buffers = [torch.empty(CHUNK, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self.lock = threading.Lock()


_sides: dict[torch.device, _Side] = {}
_making = threading.Lock()


def to_device(flat: Tensor, device: torch.device) -> Tensor:
    """Bytes on a device, uint8 [bytes]; those of the host go to a GPU in chunks.

    The host does not wait for the last chunks, but what is computed with the result on the current stream does. The
    source may change or go once this returns.

    Args:
        flat: Bytes, uint8 [bytes].
        device: Where they are to be.
    """
    if device.type != "cuda" or flat.is_cuda:
        return flat.to(device)
    side, current = _side(device), torch.cuda.current_stream(device)
    target = torch.empty(flat.shape, dtype=flat.dtype, device=device)
    with side.lock:
        side.stream.wait_stream(current)  # the target's memory may still be in use there, by what had it before
        in_chunks(target, flat, side.buffers, Stream(side.stream))
    current.wait_stream(side.stream)
    return target


def in_chunks(target: Tensor, source: Tensor, buffers: Sequence[Tensor], line: Line) -> None:
    """Copies bytes through buffers that take turns: one is filled while the others are on their way.

    Args:
        target: Where to, uint8 [bytes].
        source: What, as many bytes, on the host.
        buffers: Page-locked buffers of one size, which nobody else uses; free again once this returns.
        line: What copies from them.
    """
    size, under_way = len(buffers[0]), dict[int, object]()
    for number, first in enumerate(range(0, len(source), size)):
        turn = number % len(buffers)
        if turn in under_way:
            line.wait(under_way.pop(turn))
        part = source[first : first + size]
        buffers[turn][: len(part)].copy_(part)
        under_way[turn] = line.start(target[first : first + size], buffers[turn][: len(part)])
    for copy in under_way.values():
        line.wait(copy)


@contextmanager
def copies(device: torch.device) -> Iterator[None]:
    """Within it, copies that are asked for are on a GPU's stream for copies; when it is left, they are done.

    They begin after what the current stream was asked for before, and what it is asked for meanwhile, by other threads,
    does not wait for them. What they read must not be written to until then.
    """
    if device.type != "cuda":
        yield
        return
    stream = _side(device).stream
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def _side(device: torch.device) -> _Side:
    place = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    with _making:
        if place not in _sides:
            _sides[place] = _Side(place)
        return _sides[place]
