"""The KV cache of a replica: one row, a slot, for each question that is being worked on.

Slots are left-aligned: the key of position p lies in column p, so a slot needs no more than its length to say what is
valid in it. Slots come and go one by one; what a question leaves behind are segments, views of its slot, and as long as
somebody holds one of them its slot is not given to anyone else. A model over several devices has one cache on each.

Shapes: L layers, R rows, N key/value heads, C columns (capacity), T positions, H head size.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from pipeline.memory.memory import Memory
from pipeline.memory.segment import Inputs, KVShape, Segment
from pipeline.memory.stages import StageCache, joined

Move = Callable[[Tensor, Tensor], Tensor]
"""Moves keys [L, N, T, H] by a number of positions each, int64 [T]."""

GROWTH = 256
"""Columns by which a cache grows at least, so that long texts copy it rarely."""
ROWS = 256
"""Rows that a cache on a CPU keeps room for; more than that move it."""
BUCKET = 512
"""Columns to a multiple of which a cache for captured steps grows: whenever it moves, they are captured anew."""
SPARE = 8
"""Columns of such a cache that no slot uses: what a captured step computes for nobody is written there."""


class KVCache:
    """Preallocated keys and values of many questions.

    Attributes:
        shape: What the model's keys and values look like.
        caches: Keys and values, one cache for each stage of the model.
        rows: Slots that there are, R.
        columns: Columns that slots use, C.
        spare: Columns allocated after them.
    """

    def __init__(
        self, shape: KVShape, *, rows: int = 0, columns: int = 0, most: int = 0, captured: bool = False
    ) -> None:
        """Allocates it.

        Args:
            shape: What the model's keys and values look like.
            rows: Slots at first.
            columns: Columns at first.
            most: Columns that a slot may come to need; where room for them costs nothing, the cache never moves.
            captured: Whether captured steps read it; it then moves rarely, and has spare columns.
        """
        self.spare = SPARE if captured else 0
        self.shape, self.rows, self.columns = shape, rows, self._bucket(columns)
        room = (ROWS, most) if most else (0, 0)
        self.caches = [StageCache(shape, stage, rows=rows, columns=self.allocated, most=room) for stage in shape.stages]
        self._free = list(range(rows))
        self._ends = [0] * rows  # columns of each row that something may be written in

    @property
    def allocated(self) -> int:
        """Columns of each row, the spare ones included."""
        return self.columns + self.spare

    @property
    def nbytes(self) -> int:
        """Bytes that it takes: of what slots hold where memory is taken as it is written to, else of all rows."""
        if self._lazy:
            return sum(self._ends) * self.shape.bytes_per_position
        return self.rows * self.allocated * self.shape.bytes_per_position

    @property
    def busy(self) -> int:
        """Slots that somebody holds."""
        return self.rows - len(self._free)

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, [R, N, C, H] each, on its device: views of the cache."""
        cache = next(cache for cache in self.caches if index < cache.stage.end)
        return cache.keys_LRNCH[index - cache.stage.first], cache.values_LRNCH[index - cache.stage.first]

    def reserve(self, *, rows: int = 0, columns: int = 0) -> None:
        """Makes room for at least so many rows and columns; what is there stays.

        If it has to move, segments that were cut before keep the old storage; their content does not change.
        """
        if rows <= self.rows and columns <= self.columns:
            return
        if columns > self.columns and self.columns:
            columns = max(columns, self.columns + GROWTH)
        rows, columns = max(rows, self.rows), self._bucket(max(columns, self.columns))
        for cache in self.caches:
            cache.grow(rows, columns + self.spare, self._ends)
        for row in range(self.rows, rows):
            self._ends.append(0)
            heapq.heappush(self._free, row)
        self.rows, self.columns = rows, columns

    def slot(self) -> Slot:
        """A slot that nobody holds, the lowest one, so that those in use stay together."""
        if not self._free:
            self.reserve(rows=self.rows + max(1, self.rows // 2))
        row = heapq.heappop(self._free)
        if self._ends[row]:  # attention of neighbours reads past a slot's end with weight 0, and 0 * NaN is NaN
            self._clear(row)
        return Slot(self, row)

    def open(self, memory: Memory, *, columns: int, move: Move) -> Slot:
        """Brings a memory into a slot, with room for more positions.

        A memory that still lies at the end of a slot that nobody writes to is taken over in place; nothing is copied
        then. Otherwise its segments are placed one after another, and keys made for other positions are moved.

        Args:
            memory: What is known; may be empty.
            columns: Positions about to be added.
            move: Moves keys [L, N, T, H] by a number of positions, int64 [T].
        """
        home = memory.segments[-1].home if memory.segments else None
        if isinstance(home, Slot) and home.cache is self and home.holds(memory):
            slot = home
        else:
            slot = self.slot()
            slot.place(memory, move)
        slot.reserve(columns)
        return slot

    def _bucket(self, columns: int) -> int:
        """So many columns; for captured steps more, so that with the spare ones they are a multiple of `BUCKET`."""
        return -(-(columns + self.spare) // BUCKET) * BUCKET - self.spare if self.spare else columns

    def claim(self, row: int, columns: int) -> None:
        """Makes room for so many columns of a row, which are about to be written to."""
        if columns > self.columns:
            self.reserve(columns=columns)
        self._ends[row] = columns

    def give_back(self, row: int) -> None:
        """Takes a row back, with its memory where that goes; its slot calls this when nobody holds it any more."""
        if self._lazy:
            self._clear(row)
        heapq.heappush(self._free, row)

    @property
    def _lazy(self) -> bool:
        """Whether memory is taken as it is written to."""
        return all(cache.lazy for cache in self.caches)

    def _clear(self, row: int) -> None:
        for cache in self.caches:
            cache.clear(row, self._ends[row])
        self._ends[row] = 0


class Slot:
    """A row of a cache, in the hands of one question.

    Attributes:
        cache: Where it is.
        row: Which row.
        length: Positions in use; the next one goes into the column of that number.
        taken: Whether somebody is writing to it.
        reserved: Columns that room was made for so far; nothing is written beyond.
        contents: Weak references to the keys of the segments that it begins with, in order; weak, because the segments
            keep the slot.
    """

    __slots__ = ("__weakref__", "cache", "contents", "length", "reserved", "row", "taken")
    _ending = staticmethod(sys.is_finalizing)

    def __init__(self, cache: KVCache, row: int) -> None:
        self.cache, self.row, self.length, self.taken, self.reserved = cache, row, 0, False, 0
        self.contents: tuple[ReferenceType[Tensor], ...] = ()

    def __del__(self) -> None:
        if not self._ending():  # then modules that this needs may be gone, and all memory goes anyway
            self.cache.give_back(self.row)

    def reserve(self, columns: int) -> None:
        """Makes room for `columns` more positions."""
        end = self.length + columns
        if end > self.reserved:
            self.cache.claim(self.row, end)
            self.reserved = end

    def holds(self, memory: Memory) -> bool:
        """Whether this is a memory, segment by segment, with nothing written after it and nobody writing."""
        return (
            not self.taken
            and self.length == len(memory)
            and len(memory.segments) == len(self.contents)
            and all(one.keys_LNTH is keys() for one, keys in zip(memory, self.contents, strict=True))
        )

    def cut(
        self,
        start: int,
        *,
        role: str,
        question_id: str,
        fingerprint: str,
        latent_steps: int,
        inputs: Inputs | None = None,
    ) -> Segment:
        """Cuts what was written since position `start` as a segment: views of the cache, no copy.

        Of a cache over several devices the segment is a copy on the main one; its slot still goes on in place.

        Args:
            start: First position of the turn.
            role: Who wrote it.
            question_id: For which question.
            fingerprint: The model.
            latent_steps: How many of the last positions are latent thoughts.
            inputs: What the model was fed for it, if that is to be kept.
        """
        device, caches, span = self.cache.shape.device, self.cache.caches, slice(start, self.length)
        segment = Segment(
            keys_LNTH=joined([cache.keys_LRNCH[:, self.row, :, span] for cache in caches], device),
            values_LNTH=joined([cache.values_LRNCH[:, self.row, :, span] for cache in caches], device),
            positions_T=torch.arange(start, self.length),
            home=self,
            role=role,
            question_id=question_id,
            fingerprint=fingerprint,
            latent_steps=latent_steps,
            inputs=inputs,
        )
        self.contents = (*self.contents, ref(segment.keys_LNTH))
        return segment

    def place(self, memory: Memory, move: Move) -> None:
        """Copies a memory into an empty slot; keys are moved to where they come to lie."""
        assert self.length == 0, "memory is placed from position 0 on"
        self.reserve(len(memory))
        for segment in memory:
            end = self.length + len(segment)
            by_T = torch.arange(self.length, end) - segment.positions_T
            keys_LNTH = segment.keys_LNTH.to(self.cache.shape.device)
            keys_LNTH = move(keys_LNTH, by_T) if by_T.any() else keys_LNTH
            self.write(slice(self.length, end), keys_LNTH, segment.values_LNTH)
            self.length = end
        self.contents = tuple(ref(segment.keys_LNTH) for segment in memory)

    def write(self, columns: slice, keys_LNTH: Tensor, values_LNTH: Tensor) -> None:
        """Copies keys and values of all layers into some columns."""
        for cache in self.cache.caches:
            cache.write(self.row, columns, keys_LNTH, values_LNTH)
