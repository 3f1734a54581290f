"""How the new positions of one forward lie: one question after another in a single row of inputs, without padding.

A lane is what one slot gets: a chunk of a prompt, or the next input of a question that thinks or writes. Linear layers
see one long row [1, S, D]; attention reads every lane's own slot and nothing else. Lanes of one position come first, in
the order of their slots, so that neighbouring slots are attended to together, as views of the cache.

Shapes: S new positions of all lanes, R rows of a cache, N key/value heads, G query heads that share one, Q = N G query
heads, C columns, T positions of a lane, H head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from pipeline.engine.attention import Kernel
from pipeline.memory import KVCache, Slot

SKIPPING = frozenset({"cuda"})
"""Devices whose kernels are faster where they know that a text is read from its first position on."""
BLOCK = 8
"""Slots attended to together at most on a CPU: fewer read fewer columns past their ends, more are fewer calls."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Neighbouring slots with one new position each."""

    first: int
    """The first lane."""
    row: int
    """Its slot's row."""
    ends: tuple[int, ...]
    """For each lane the positions that it reads, its own included."""

    @property
    def columns(self) -> int:
        """Columns that the longest lane reads."""
        return max(self.ends)


@dataclass(eq=False)
class Lanes:
    """The lanes of one forward; also carries what attention needs from layer to layer."""

    spans: Sequence[tuple[Slot, int]]
    """Each lane's slot and how many positions it gets, 1 or more; lanes of one position first, by their slot's row."""
    window: int | None = None
    """How many positions back the layer that is being computed sees; none is all."""
    _masks: dict[object, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache: KVCache = self.spans[0][0].cache
        self.starts = [slot.length for slot, _ in self.spans]
        self.counts = [count for _, count in self.spans]
        self.offsets = [0, *accumulate(self.counts)]
        self.singles = next((i for i, count in enumerate(self.counts) if count > 1), len(self.counts))
        rows = [slot.row for slot, _ in self.spans[: self.singles]]
        assert rows == sorted(set(rows)), "lanes of one position come first, by row"
        assert all(count > 1 for count in self.counts[self.singles :]), "longer lanes come last"
        limit = BLOCK if self.cache.shape.device.type == "cpu" else self.cache.rows
        self.blocks = list(_blocks(rows, [start + 1 for start in self.starts], limit))
        device = self.cache.shape.device
        spans = zip(self.starts[self.singles :], self.counts[self.singles :], strict=True)
        long = [torch.arange(start, start + count) for start, count in spans]
        self.positions_S = torch.cat([torch.tensor(self.starts[: self.singles], dtype=torch.int64), *long]).to(device)
        self._rows, self._columns = torch.tensor(rows, device=device), self.positions_S[: self.singles]

    @property
    def last(self) -> list[int]:
        """Where the last position of each lane lies among all."""
        return [end - 1 for end in self.offsets[1:]]

    def advance(self) -> None:
        """The slots have got their positions."""
        for slot, count in self.spans:
            slot.length += count

    def write(self, cache_RNCH: Tensor, new_1NSH: Tensor) -> None:
        """Puts a layer's new keys or values into the slots' columns."""
        if self.singles:
            rows, columns = self._on(cache_RNCH.device)
            cache_RNCH[rows, :, columns] = new_1NSH[0, :, : self.singles].transpose(0, 1)
        for lane in range(self.singles, len(self.spans)):
            start, here = self.starts[lane], slice(self.offsets[lane], self.offsets[lane + 1])
            cache_RNCH[self.spans[lane][0].row, :, start : start + self.counts[lane]] = new_1NSH[0, :, here]

    def attend(self, query_1QSH: Tensor, keys_RNCH: Tensor, values_RNCH: Tensor, kernel: Kernel) -> Tensor:
        """Attention of all lanes, [1, S, Q, H]: each new position reads what its slot holds up to itself."""
        out_1SQH = query_1QSH.new_empty(1, query_1QSH.shape[2], query_1QSH.shape[1], values_RNCH.shape[-1])
        for block in self.blocks:
            here = slice(block.first, block.first + len(block.ends))
            span = slice(block.row, block.row + len(block.ends)), slice(None), slice(0, block.columns)
            found_NRGH = kernel(
                grouped(query_1QSH[0, :, here].transpose(0, 1)[:, :, None], keys_RNCH.shape[1]),
                keys_RNCH[span],
                values_RNCH[span],
                self._block_mask(block, query_1QSH.device),
            )
            out_1SQH[0, here] = found_NRGH.flatten(1, 2)
        for lane in range(self.singles, len(self.spans)):
            self._attend_long(lane, query_1QSH, keys_RNCH, values_RNCH, kernel, out_1SQH)
        return out_1SQH

    def _attend_long(
        self, lane: int, query_1QSH: Tensor, keys_RNCH: Tensor, values_RNCH: Tensor, kernel: Kernel, out_1SQH: Tensor
    ) -> None:
        here = slice(self.offsets[lane], self.offsets[lane + 1])
        row, end = self.spans[lane][0].row, self.starts[lane] + self.counts[lane]
        span = slice(row, row + 1), slice(None), slice(0, end)
        heads, count = keys_RNCH.shape[1], self.counts[lane]
        plain = self.window is None and not kernel.softcap
        if plain and not self.starts[lane] and query_1QSH.device.type in SKIPPING:
            found_1QTH = kernel.causal(query_1QSH[:, :, here], keys_RNCH[span], values_RNCH[span])
            out_1SQH[0, here] = found_1QTH[0].transpose(0, 1)
            return
        found_1NXH = kernel(
            grouped(query_1QSH[:, :, here], heads),
            keys_RNCH[span],
            values_RNCH[span],
            self._long_mask(lane, query_1QSH.shape[1] // heads, query_1QSH.device),
        )
        found_QTH = found_1NXH.reshape(-1, count, found_1NXH.shape[-1])
        out_1SQH[0, here] = found_QTH.transpose(0, 1)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows and columns of the lanes of one position, where a layer needs them."""
        if device == self._rows.device:
            return self._rows, self._columns
        if ("rows", device) not in self._masks:
            self._masks["rows", device], self._masks["columns", device] = (
                self._rows.to(device),
                self._columns.to(device),
            )
        return self._masks["rows", device], self._masks["columns", device]

    def _block_mask(self, block: Block, device: torch.device) -> Tensor | None:
        """Which columns each lane of a block reads, bool [rows, 1, 1, C]; none if all read all."""
        if self.window is None and min(block.ends) == block.columns:
            return None
        key = (block.first, self.window, device)
        if key not in self._masks:
            column_C = torch.arange(block.columns)
            ends_R1 = torch.tensor(block.ends)[:, None]
            readable_RC = column_C < ends_R1
            if self.window is not None:
                readable_RC &= column_C >= ends_R1 - self.window
            self._masks[key] = readable_RC[:, None, None].to(device)
        return self._masks[key]

    def _long_mask(self, lane: int, groups: int, device: torch.device) -> Tensor:
        """Which columns each position of a lane reads, for all query heads that share a key, bool [1, 1, G T, C]."""
        key = (lane, self.window, device)
        if key not in self._masks:
            start, count = self.starts[lane], self.counts[lane]
            own_T1 = torch.arange(start, start + count)[:, None]
            column_C = torch.arange(start + count)
            readable_TC = column_C <= own_T1
            if self.window is not None:
                readable_TC &= column_C > own_T1 - self.window
            self._masks[key] = readable_TC.repeat(groups, 1)[None, None].to(device)
        return self._masks[key]


def _blocks(rows: Sequence[int], ends: Sequence[int], limit: int) -> Iterator[Block]:
    """Runs of neighbouring rows, at most `limit` of them each."""
    first = 0
    for lane in range(1, len(rows) + 1):
        if lane == len(rows) or rows[lane] != rows[lane - 1] + 1 or lane - first == limit:
            yield Block(first=first, row=rows[first], ends=tuple(ends[first:lane]))
            first = lane


def grouped(query_RQTH: Tensor, heads: int) -> Tensor:
    """Queries [R, N, G T, H]: those of the G heads that share a key one after another, so that no key is copied."""
    rows, _, _, size = query_RQTH.shape
    return query_RQTH.reshape(rows, heads, -1, size)
