"""How the new positions of one forward lie: one question after another in a single row of inputs, without padding.

A lane is what one slot gets: a chunk of a prompt, or the next input of a question that thinks or writes, with guesses
of what follows it. Linear layers see one long row [1, S, D]; attention reads every lane's own slot and nothing else.
Short lanes come first, in the order of their slots, so that neighbouring slots are attended to together, as views of
the cache; only there, lanes of unequal length are padded.

Shapes: S new positions of all lanes, R rows of a cache, N key/value heads, G query heads that share one, Q = N G query
heads, C columns, T positions of a lane, H head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from pipeline.engine.attention import Kernel
from pipeline.memory import KVCache, Slot

SHORT = 16
"""Positions of a lane that is attended to together with its neighbours, at most."""
SKIPPING = frozenset({"cuda"})
"""Devices whose kernels are faster where they know that a text is read from its first position on."""
BLOCK = 8
"""Slots attended to together at most on a CPU: fewer read fewer columns past their ends, more are fewer calls."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Neighbouring slots with a few new positions each, which are attended to together."""

    row: int
    """The first lane's slot's row."""
    places: tuple[tuple[int, ...], ...]
    """For each lane, where its positions lie among all of the forward."""
    starts: tuple[int, ...]
    """For each lane, the position that its first one has in its slot."""

    @property
    def rows(self) -> slice:
        """The slots' rows."""
        return slice(self.row, self.row + len(self.places))

    @property
    def width(self) -> int:
        """Positions of the longest lane."""
        return max(map(len, self.places))

    @property
    def columns(self) -> int:
        """Columns that are read at most."""
        return max(start + len(places) for start, places in zip(self.starts, self.places, strict=True))

    def padded(self) -> list[list[int]]:
        """Places of all lanes, [rows][T]: in shorter ones the last is there several times."""
        return [[*places, *places[-1:] * (self.width - len(places))] for places in self.places]

    def own(self) -> list[list[int]]:
        """Positions of all lanes in their slots, padded in the same way."""
        return [
            [start + min(t, len(places) - 1) for t in range(self.width)]
            for start, places in zip(self.starts, self.places, strict=True)
        ]


@dataclass(eq=False)
class Lanes:
    """The lanes of one forward; also carries what attention needs from layer to layer."""

    spans: Sequence[tuple[Slot, int]]
    """Each lane's slot and how many positions it gets, 1 or more; short lanes first, by their slot's row."""
    window: int | None = None
    """How many positions back the layer that is being computed sees; none is all."""
    _masks: dict[object, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache: KVCache = self.spans[0][0].cache
        self.starts = [slot.length for slot, _ in self.spans]
        self.counts = [count for _, count in self.spans]
        self.offsets = [0, *accumulate(self.counts)]
        self.shorts = next((i for i, count in enumerate(self.counts) if count > SHORT), len(self.counts))
        rows = [slot.row for slot, _ in self.spans[: self.shorts]]
        assert rows == sorted(set(rows)), "short lanes come first, by row"
        assert all(count > SHORT for count in self.counts[self.shorts :]), "longer lanes come last"
        device = self.cache.shape.device
        limit = BLOCK if device.type == "cpu" else self.cache.rows
        self.blocks = list(self._blocks(rows, limit))
        spans = zip(self.starts, self.counts, strict=True)
        own = [torch.arange(start, start + count) for start, count in spans] if max(self.counts) > 1 else []
        self.positions_S = (torch.cat(own) if own else torch.tensor(self.starts, dtype=torch.int64)).to(device)
        every = [row for row, count in zip(rows, self.counts, strict=False) for _ in range(count)]
        self._rows, self._columns = torch.tensor(every, device=device), self.positions_S[: len(every)]

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
        if self.shorts:
            rows, columns = self._on(cache_RNCH.device)
            cache_RNCH[rows, :, columns] = new_1NSH[0, :, : len(rows)].transpose(0, 1)
        for lane in range(self.shorts, len(self.spans)):
            start, here = self.starts[lane], slice(self.offsets[lane], self.offsets[lane + 1])
            cache_RNCH[self.spans[lane][0].row, :, start : start + self.counts[lane]] = new_1NSH[0, :, here]

    def attend(self, query_1QSH: Tensor, keys_RNCH: Tensor, values_RNCH: Tensor, kernel: Kernel) -> Tensor:
        """Attention of all lanes, [1, S, Q, H]: each new position reads what its slot holds up to itself."""
        out_1SQH = query_1QSH.new_empty(1, query_1QSH.shape[2], query_1QSH.shape[1], values_RNCH.shape[-1])
        for block in self.blocks:
            self._attend_block(block, query_1QSH, keys_RNCH, values_RNCH, kernel, out_1SQH)
        for lane in range(self.shorts, len(self.spans)):
            self._attend_long(lane, query_1QSH, keys_RNCH, values_RNCH, kernel, out_1SQH)
        return out_1SQH

    def _attend_block(
        self,
        block: Block,
        query_1QSH: Tensor,
        keys_RNCH: Tensor,
        values_RNCH: Tensor,
        kernel: Kernel,
        out_1SQH: Tensor,
    ) -> None:
        span = block.rows, slice(None), slice(0, block.columns)
        heads, width, device = keys_RNCH.shape[1], block.width, query_1QSH.device
        mask = self._block_mask(block, query_1QSH.shape[1] // heads, query_1QSH)
        here: Any = slice(block.places[0][0], block.places[-1][0] + 1)
        if width > 1:
            here = self._padded(block, device)
        query_QXH = query_1QSH[0][:, here]
        query_RQTH = query_QXH.reshape(len(query_QXH), -1, width, query_QXH.shape[-1]).transpose(0, 1)
        found_RNXH = kernel(grouped(query_RQTH, heads), keys_RNCH[span], values_RNCH[span], mask)
        if width == 1:
            out_1SQH[0, here] = found_RNXH.flatten(1, 2)
        else:  # a position that is there several times is computed so often, with the same result
            found_RQTH = found_RNXH.reshape(len(block.places), -1, width, found_RNXH.shape[-1])
            out_1SQH[0, here] = found_RQTH.transpose(1, 2).flatten(0, 1)

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
            self._long_mask(lane, query_1QSH.shape[1] // heads, query_1QSH),
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

    def _blocks(self, rows: Sequence[int], limit: int) -> Iterator[Block]:
        """Runs of short lanes whose slots are neighbours, at most `limit` of them each."""
        first = 0
        for lane in range(1, len(rows) + 1):
            if lane == len(rows) or rows[lane] != rows[lane - 1] + 1 or lane - first == limit:
                places = tuple(tuple(range(self.offsets[i], self.offsets[i + 1])) for i in range(first, lane))
                yield Block(row=rows[first], places=places, starts=tuple(self.starts[first:lane]))
                first = lane

    def _padded(self, block: Block, device: torch.device) -> Tensor:
        """Where the positions of a block's lanes lie, int64 [rows * T]."""
        key = ("places", block.row, device)
        if key not in self._masks:
            self._masks[key] = torch.tensor(block.padded()).flatten().to(device)
        return self._masks[key]

    def _block_mask(self, block: Block, groups: int, like: Tensor) -> Tensor | None:
        """Which columns each position of a block reads, a term of scores [rows, 1, G T, C]; none if all read all."""
        if self.window is None and block.width == 1 and min(block.starts) + 1 == block.columns:
            return None
        key = ("block", block.row, self.window, like.device)
        if key not in self._masks:
            column_C, own_RT1 = torch.arange(block.columns), torch.tensor(block.own())[..., None]
            readable_RTC = column_C <= own_RT1
            if self.window is not None:
                readable_RTC &= column_C > own_RT1 - self.window
            if block.width > 1:
                readable_RTC = readable_RTC.repeat(1, groups, 1)
            self._masks[key] = term(readable_RTC[:, None], like)
        return self._masks[key]

    def _long_mask(self, lane: int, groups: int, like: Tensor) -> Tensor:
        """Which columns each position of a lane reads, for all heads that share a key, as a term of scores."""
        key = ("lane", lane, self.window, like.device)
        if key not in self._masks:
            start, count = self.starts[lane], self.counts[lane]
            own_T1 = torch.arange(start, start + count)[:, None]
            column_C = torch.arange(start + count)
            readable_TC = column_C <= own_T1
            if self.window is not None:
                readable_TC &= column_C > own_T1 - self.window
            self._masks[key] = term(readable_TC.repeat(groups, 1)[None, None], like)
        return self._masks[key]


def term(readable: Tensor, like: Tensor) -> Tensor:
    """What is added to scores, made once for all layers: 0 where something is read, else -inf; in the scores' form."""
    return torch.zeros(readable.shape, dtype=like.dtype).masked_fill_(~readable, float("-inf")).to(like.device)


def grouped(query_RQTH: Tensor, heads: int) -> Tensor:
    """Queries [R, N, G T, H]: those of the G heads that share a key one after another, so that no key is copied."""
    rows, _, _, size = query_RQTH.shape
    return query_RQTH.reshape(rows, heads, -1, size)
