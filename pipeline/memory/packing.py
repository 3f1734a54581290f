"""From rows of memory to a padded batch and back.

`KVBatch` holds the keys and values of B questions in one preallocated cache. Rows are right-aligned: they share the
column at which the next position is written, so one step of the model writes one column for all of them. Columns that
belong to no position of a row (left padding, or the gap before a shorter prompt) carry position -1; everything that
reads the cache masks them, and segments are cut without them. A model over several devices has one cache on each.

Shapes: L layers, B rows, N key/value heads, C columns (capacity), T positions, H head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from pipeline.memory.memory import Memory
from pipeline.memory.segment import Inputs, KVShape, Segment
from pipeline.memory.stages import StageCache, joined

Move = Callable[[Tensor, Tensor], Tensor]
"""Moves keys [L, N, T, H] by a number of positions each, int64 [T]."""

GROWTH = 256
"""Columns by which a cache grows at least, so that long decoding copies it rarely."""


class KVBatch:
    """The working memory of B questions in one preallocated, right-aligned cache.

    Attributes:
        caches: Keys and values, one cache for each stage of the model.
        positions_BC: Position of each column's key, int64, on the main device; -1 where a row has nothing.
        cursor: The next column to write; columns before it are in use.
        contents: For each row weak references to the keys of the segments that it holds, in order; weak, because the
            segments keep the batch alive and a circle would keep its memory until the garbage collector comes by.
    """

    def __init__(self, shape: KVShape, rows: int, capacity: int) -> None:
        self.shape = shape
        self.caches = [StageCache(shape, stage, rows=rows, capacity=capacity) for stage in shape.stages]
        self.positions_BC = torch.full((rows, capacity), -1, dtype=torch.int64, device=shape.device)
        self.cursor = 0
        self.contents: list[tuple[ReferenceType[Tensor], ...]] = [()] * rows

    @property
    def rows(self) -> int:
        """Questions in the batch, B."""
        return self.positions_BC.shape[0]

    @property
    def capacity(self) -> int:
        """Columns allocated, C."""
        return self.positions_BC.shape[1]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, [B, N, C, H] each, on its device: views of the cache."""
        cache = next(cache for cache in self.caches if index < cache.stage.end)
        return cache.keys_LBNCH[index - cache.stage.first], cache.values_LBNCH[index - cache.stage.first]

    def next_positions(self) -> Tensor:
        """The position that follows each row's last one, [B]; 0 for an empty row."""
        if self.cursor == 0:
            return torch.zeros(self.rows, dtype=torch.int64, device=self.shape.device)
        return self.positions_BC[:, : self.cursor].amax(dim=1) + 1

    def reserve(self, columns: int) -> None:
        """Makes room for `columns` more columns, growing the cache in steps.

        Segments that were cut before keep the old storage; their content does not change.
        """
        needed = self.cursor + columns
        if needed <= self.capacity:
            return
        capacity = max(needed, self.capacity + GROWTH)
        for cache in self.caches:
            cache.grow(capacity, used=self.cursor)
        positions_BC = torch.full((self.rows, capacity), -1, dtype=torch.int64, device=self.shape.device)
        positions_BC[:, : self.cursor] = self.positions_BC[:, : self.cursor]
        self.positions_BC = positions_BC

    def select(self, rows: Sequence[int]) -> KVBatch:
        """A new batch with some of the rows, in the order given, without the columns that none of them uses."""
        index_R = torch.tensor(list(rows), dtype=torch.int64, device=self.shape.device)
        used = (self.positions_BC[index_R, : self.cursor] >= 0).any(dim=0)
        first = int(used.to(torch.int8).argmax()) if bool(used.any()) else self.cursor
        chosen = KVBatch(self.shape, len(rows), self.capacity - first)
        chosen.cursor = self.cursor - first
        for new, old in zip(chosen.caches, self.caches, strict=True):
            new.copy_rows(old, index_R, slice(first, self.cursor))
        chosen.positions_BC[:, : chosen.cursor] = self.positions_BC[index_R, first : self.cursor]
        chosen.contents = [self.contents[row] for row in rows]
        return chosen

    def cut(
        self,
        row: int,
        start: int,
        *,
        role: str,
        question_id: str,
        fingerprint: str,
        latent_steps: int,
        inputs: Inputs | None = None,
    ) -> Segment:
        """Cuts what `row` wrote since column `start` as a segment: views of the cache, no copy, no padding.

        Of a cache over several devices the segment is a copy on the main one; its row still goes on in place.

        Args:
            row: Row of the batch.
            start: First column of the turn; padding columns after it are left out.
            role: Who wrote it.
            question_id: For which question.
            fingerprint: The model.
            latent_steps: How many of the last positions are latent thoughts.
            inputs: What the model was fed for it, if that is to be kept.
        """
        held = self.positions_BC[row, start : self.cursor] >= 0
        first = self.cursor - int(held.sum())
        assert bool(held[first - start :].all()), "a turn's positions are contiguous"
        device = self.shape.device
        segment = Segment(
            keys_LNTH=joined([c.keys_LBNCH[:, row, :, first : self.cursor] for c in self.caches], device),
            values_LNTH=joined([c.values_LBNCH[:, row, :, first : self.cursor] for c in self.caches], device),
            positions_T=self.positions_BC[row, first : self.cursor].cpu(),
            home=self,
            role=role,
            question_id=question_id,
            fingerprint=fingerprint,
            latent_steps=latent_steps,
            inputs=inputs,
        )
        self.contents[row] = (*self.contents[row], ref(segment.keys_LNTH))
        return segment

    def holds(self, memories: Sequence[Memory]) -> bool:
        """Whether the rows are these memories, segment by segment, with nothing written after them."""
        return len(memories) == self.rows and all(
            len(memory.segments) == len(held)
            and all(segment.keys_LNTH is keys() for segment, keys in zip(memory, held, strict=True))
            and self._ends_with(row, memory)
            for row, (memory, held) in enumerate(zip(memories, self.contents, strict=True))
        )

    def place(self, row: int, memory: Memory, move: Move) -> None:
        """Copies a memory into an empty row so that it ends at the cursor; keys are moved to where they come to lie."""
        column = self.cursor - len(memory)
        position = 0
        for segment in memory:
            end = column + len(segment)
            target_T = torch.arange(position, position + len(segment))
            by_T = target_T - segment.positions_T
            keys_LNTH = segment.keys_LNTH.to(self.shape.device)
            keys_LNTH = move(keys_LNTH, by_T) if by_T.any() else keys_LNTH
            for cache in self.caches:
                cache.write(row, slice(column, end), keys_LNTH, segment.values_LNTH)
            self.positions_BC[row, column:end] = target_T.to(self.shape.device)
            column, position = end, position + len(segment)
        self.contents[row] = tuple(ref(segment.keys_LNTH) for segment in memory)

    def _ends_with(self, row: int, memory: Memory) -> bool:
        return int(self.positions_BC[row, self.cursor - 1]) == len(memory) - 1 if self.cursor else not memory


def open_batch(shape: KVShape, memories: Sequence[Memory], *, columns: int, move: Move, spare: int = 0) -> KVBatch:
    """Brings memories into one batch, with room for `columns` more columns.

    Memories that still lie in one live batch, row by row, are taken over in place; nothing is copied then. Otherwise a
    row's segments are placed one after another, from position 0 on, and keys made for other positions are moved.

    Args:
        shape: What the model's keys and values look like.
        memories: One per row; an empty memory is an empty row.
        columns: Positions about to be added.
        spare: Columns that a new batch gets on top, for those who go on in place.
        move: Moves keys [L, N, T, H] by a number of positions, int64 [T].
    """
    home = memories[0].segments[-1].home if memories[0].segments else None
    if isinstance(home, KVBatch) and home.shape == shape and home.holds(memories):
        batch = home
    else:
        longest = max(len(memory) for memory in memories)
        batch = KVBatch(shape, len(memories), longest + columns + spare)
        batch.cursor = longest
        for row, memory in enumerate(memories):
            batch.place(row, memory, move)
    batch.reserve(columns)
    return batch
