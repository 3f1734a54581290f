"""The bytes of a parcel for the object store: as they lie, in pieces, or staged in one run.

The store copies whatever it is given once, and several buffers of one object end to end. So large pieces of a cache are
handed to it where they lie, and that copy is the only one. Small pieces cost it more than a copy, and a GPU's memory it
can't read: these are copied first, into memory that stays, because fresh pages cost more than what is written to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from pickle import PickleBuffer
from threading import Lock
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

ALIGNED = 64
"""Bytes to a multiple of which every tensor of a parcel begins, so that any number format can be viewed in place."""
PIECE = 32 * 1024
"""Bytes that pieces have at least, on average, to be handed over where they lie: below it each costs more to describe
than to copy."""

Pieces = tuple[Any, ...]
"""Buffers whose bytes, one after another, are the payload."""
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Staging:
    """Memory that parcels are copied into, used again once they have been sent. Several threads may take of it."""

    def __init__(self) -> None:
        self._blocks: list[tuple[Tensor, ReferenceType[Bytes]]] = []
        self._lock = Lock()

    def take(self, size: int, *, pinned: bool) -> Bytes:
        """Memory of `size` bytes that nobody else has as long as somebody holds it: [size].

        Args:
            size: How much.
            pinned: Whether a GPU is to copy into it.
        """
        with self._lock:
            free = [place for place, (_, held) in enumerate(self._blocks) if held() is None]
            block = self._blocks.pop(free[0])[0] if free else torch.empty(0, dtype=torch.uint8)
            if len(block) < size:
                block = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
            taken: Bytes = block.numpy()[:size]
            self._blocks.append((block, ref(taken)))
            return taken


def as_they_lie(tensors: Sequence[Tensor]) -> Pieces | None:
    """The bytes of tensors as pieces of the memory that they are views of: no copy.

    The memory must not change before the pieces have been sent.

    Returns:
        The pieces; none where copying first is better: on a GPU, where pieces are small, or would need padding.
    """
    if any(tensor.device.type != "cpu" for tensor in tensors):
        return None
    runs = [_runs(tensor) for tensor in tensors if tensor.nbytes]
    count = sum(math.prod(run.shape[:-1]) for run in runs)
    if sum(run.nbytes for run in runs) < PIECE * max(count, 1) or any(run.shape[-1] % ALIGNED for run in runs):
        return None
    buffer: Any = PickleBuffer  # typing does not know that arrays are buffers
    return tuple(buffer(piece) for run in runs for piece in _pieces(run))


def joined(payload: Bytes | Pieces, size: int) -> Bytes:
    """The payload in one run of `size` bytes: a view where its pieces lie one after another, else a copy."""
    if not isinstance(payload, tuple):
        return payload
    first, last = (np.frombuffer(payload[at], np.uint8) for at in (0, -1))
    # Buffers that came with one object of the store lie in it in their order; whatever never was in it lies anywhere.
    stored = not isinstance(payload[0], PickleBuffer | bytes | bytearray)
    if stored and last.ctypes.data + last.nbytes - first.ctypes.data == size:
        return as_strided(first, (size,), (1,), writeable=False)
    return np.concatenate([np.frombuffer(piece, np.uint8) for piece in payload])


def _pieces(run: Bytes) -> Iterable[Bytes]:
    """All rows of an array, in order; there can be thousands, and this is the fastest way to them."""
    rows: Iterable[Bytes] = run if run.ndim > 1 else [run]
    for _ in range(run.ndim - 2):
        rows = chain.from_iterable(rows)
    return rows


def _runs(tensor: Tensor) -> Bytes:
    """A tensor's bytes, with all dimensions that lie one after another in the last one: [..., bytes], no copy."""
    expected, first = 1, tensor.dim()
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if size != 1 and stride != expected:
            break
        expected, first = expected * size, first - 1
    tensor = tensor.unsqueeze(-1) if first == tensor.dim() else tensor.flatten(first)
    return tensor.view(torch.uint8).numpy()
