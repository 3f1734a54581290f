"""How the new positions of one forward lie: one question after another in a single row of inputs, without padding.

A lane is what one slot gets: a chunk of a prompt, or the next input of a question that thinks or writes, with guesses
of what follows it. Linear layers see one long row [1, S, D]; attention reads every lane's own slot and nothing else.
Short lanes come first, in the order of their slots, so that neighbouring slots are attended to together, as views of
the cache; only there, lanes of unequal length are padded.

Shapes: S new positions of all lanes, R rows of a cache, N key/value heads, G query heads that share one, Q = N G query
heads, C columns, T positions of a lane, H head size.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipeline.engine.attention import Kernel
from pipeline.engine.blocks import Block, grouped, term
from pipeline.memory import KVCache, Slot

Made = TypeVar("Made")

SHORT = 16
"""Positions of a lane that is attended to together with its neighbours, at most."""
SKIPPING = frozenset({"cuda"})
"""Devices whose kernels are faster where they know that a text is read from its first position on."""
BAND = {"cpu": 128}
"""Positions of a long lane that are attended to at once, by device: none of a band reads what comes after it."""
WASTE = 1 << 20
"""Bytes of keys and values past lanes' ends that a CPU reads in the time that another call of attention takes."""


@dataclass(eq=False)
class Lanes:
    """The lanes of one forward; also carries what attention needs from layer to layer."""

    spans: Sequence[tuple[Slot, int]]
    """Each lane's slot and how many positions it gets, 1 or more; short lanes first, by their slot's row."""
    window: int | None = None
    """How many positions back the layer that is being computed sees; none is all."""
    _made: dict[Hashable, Any] = field(default_factory=dict)

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
        self.blocks = list(self._blocks(rows))
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
            key = ("written", cache_RNCH.stride(0), cache_RNCH.shape[3], cache_RNCH.device)
            index, sizes, strides = self._once(key, lambda: self._written(cache_RNCH))
            new_SX = new_1NSH.transpose(1, 2).reshape(-1, sizes[1])
            own_SX = new_SX if self.shorts == len(self.spans) else new_SX[: index.shape[0]]
            cache_RNCH.as_strided(sizes, strides).index_copy_(0, index, own_SX)
        for lane in range(self.shorts, len(self.spans)):
            start, here = self.starts[lane], slice(self.offsets[lane], self.offsets[lane + 1])
            cache_RNCH[self.spans[lane][0].row, :, start : start + self.counts[lane]] = new_1NSH[0, :, here]

    def attend(self, query_1QSH: Tensor, keys_RNCH: Tensor, values_RNCH: Tensor, kernel: Kernel) -> Tensor:
        """Attention of all lanes, [1, S, Q, H]: each new position reads what its slot holds up to itself."""
        if len(self.blocks) == 1 and self.shorts == len(self.spans) == query_1QSH.shape[2]:
            found_SNGH = self._attend_singles(self.blocks[0], query_1QSH, keys_RNCH, values_RNCH, kernel)
            return found_SNGH.flatten(1, 2)[None]
        out_1SQH = query_1QSH.new_empty(1, query_1QSH.shape[2], query_1QSH.shape[1], values_RNCH.shape[-1])
        for block in self.blocks:
            here_SQH = out_1SQH[0, block.first : block.first + sum(block.counts)]
            if block.width == 1:
                found_SNGH = self._attend_singles(block, query_1QSH, keys_RNCH, values_RNCH, kernel)
                here_SQH.view(found_SNGH.shape).copy_(found_SNGH)
            else:
                self._attend_several(block, query_1QSH, keys_RNCH, values_RNCH, kernel, here_SQH)
        for lane in range(self.shorts, len(self.spans)):
            self._attend_long(lane, query_1QSH, keys_RNCH, values_RNCH, kernel, out_1SQH)
        return out_1SQH

    def _written(self, cache_RNCH: Tensor) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
        """Where short lanes are written in a layer that is seen as one place after another: index, sizes and strides.

        A place is all heads of a position, which lie together; between two rows there may be places of other layers.
        """
        width = cache_RNCH.shape[1] * cache_RNCH.shape[3]
        step = cache_RNCH.stride(0) // width
        index = (self._rows * step + self._columns).to(cache_RNCH.device)
        return index, ((cache_RNCH.shape[0] - 1) * step + cache_RNCH.shape[2], width), (width, 1)

    def _once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Something that all layers use, made where the first of them needs it."""
        if key not in self._made:
            self._made[key] = make()
        found: Made = self._made[key]
        return found

    def _attend_singles(
        self, block: Block, query_1QSH: Tensor, keys_RNCH: Tensor, values_RNCH: Tensor, kernel: Kernel
    ) -> Tensor:
        """Attention of a block whose lanes have one position each, [S, N, G, H], S those of the block."""
        heads = keys_RNCH.shape[1]
        query_SQH = query_1QSH[0].transpose(0, 1)[block.first : block.first + len(block.starts)]
        read_all = block.even and self.window is None
        mask = None if read_all else self._block_mask(block, query_SQH.shape[1] // heads, query_1QSH)
        query_RNGH = query_SQH.view(query_SQH.shape[0], heads, -1, query_SQH.shape[-1])
        return kernel(query_RNGH, keys_RNCH[block.span], values_RNCH[block.span], mask)

    def _attend_several(
        self,
        block: Block,
        query_1QSH: Tensor,
        keys_RNCH: Tensor,
        values_RNCH: Tensor,
        kernel: Kernel,
        out_SQH: Tensor,
    ) -> None:
        """Attention of a block with a lane of several positions, into [S, Q, H], S those of the block."""
        heads, device = keys_RNCH.shape[1], query_1QSH.device
        groups = query_1QSH.shape[1] // heads
        taken = self._once(("taken", block.row, heads, groups, device), lambda: block.taken(heads, groups).to(device))
        back = self._once(("back", block.row, heads, groups, device), lambda: block.back(heads, groups).to(device))
        query_XH = query_1QSH[0].transpose(0, 1).flatten(0, 1).index_select(0, taken)
        query_RNXH = query_XH.view(len(block.starts), heads, groups * block.width, -1)
        mask = self._block_mask(block, groups, query_1QSH)
        found_RNXH = kernel(query_RNXH, keys_RNCH[block.span], values_RNCH[block.span], mask)
        found_XH = found_RNXH.transpose(1, 2).flatten(0, 2)  # torch's kernel on a CPU lays them like this
        torch.index_select(found_XH, 0, back, out=out_SQH.view(-1, out_SQH.shape[-1]))

    def _attend_long(
        self, lane: int, query_1QSH: Tensor, keys_RNCH: Tensor, values_RNCH: Tensor, kernel: Kernel, out_1SQH: Tensor
    ) -> None:
        begin, count = self.offsets[lane], self.counts[lane]
        plain = self.window is None and not kernel.softcap
        if plain and not self.starts[lane] and query_1QSH.device.type in SKIPPING:
            here = slice(begin, begin + count)
            row = slice(self.spans[lane][0].row, self.spans[lane][0].row + 1)
            found_1QTH = kernel.causal(query_1QSH[:, :, here], keys_RNCH[row, :, :count], values_RNCH[row, :, :count])
            out_1SQH[0, here] = found_1QTH[0].transpose(0, 1)
            return
        size = BAND.get(query_1QSH.device.type, count)
        for first in range(0, count, size):
            last = min(first + size, count)
            found_QTH = self._attend_band(lane, first, last, query_1QSH, keys_RNCH, values_RNCH, kernel)
            out_1SQH[0, begin + first : begin + last] = found_QTH.transpose(0, 1)

    def _attend_band(
        self,
        lane: int,
        first: int,
        last: int,
        query_1QSH: Tensor,
        keys_RNCH: Tensor,
        values_RNCH: Tensor,
        kernel: Kernel,
    ) -> Tensor:
        """Attention of some neighbouring positions of a long lane, [Q, T, H]."""
        row, end, heads = self.spans[lane][0].row, self.starts[lane] + last, keys_RNCH.shape[1]
        span = slice(row, row + 1), slice(None), slice(0, end)
        here = slice(self.offsets[lane] + first, self.offsets[lane] + last)
        found_1NXH = kernel(
            grouped(query_1QSH[:, :, here], heads),
            keys_RNCH[span],
            values_RNCH[span],
            self._band_mask(lane, first, last, query_1QSH.shape[1] // heads, query_1QSH),
        )
        return found_1NXH.reshape(-1, last - first, found_1NXH.shape[-1])

    def _blocks(self, rows: Sequence[int]) -> Iterator[Block]:
        """Runs of short lanes whose slots are neighbours, as long as they read little past their own ends."""
        first, longest, read, most = 0, 0, 0, self._waste
        for lane, row in enumerate(rows):
            end = self.starts[lane] + self.counts[lane]
            wasted = max(longest, end) * (lane - first + 1) - read - end
            if lane > first and (row != rows[lane - 1] + 1 or wasted > most):
                yield self._block(first, lane, row=rows[first], columns=longest)
                first, longest, read = lane, 0, 0
            longest, read = max(longest, end), read + end
        if rows:
            yield self._block(first, len(rows), row=rows[first], columns=longest)

    def _block(self, first: int, last: int, *, row: int, columns: int) -> Block:
        starts, counts = self.starts[first:last], self.counts[first:last]
        width = max(counts)
        return Block(
            first=self.offsets[first],
            row=row,
            starts=starts,
            counts=counts,
            width=width,
            columns=columns,
            even=width == 1 and min(starts) + 1 == columns,
        )

    @property
    def _waste(self) -> float:
        """Columns past the ends of a block's lanes that may be read for nothing."""
        shape = self.cache.shape
        if shape.device.type != "cpu":
            return float("inf")
        return WASTE * shape.layers / shape.bytes_per_position

    def _block_mask(self, block: Block, groups: int, like: Tensor) -> Tensor:
        """Which columns each position of a block reads, as a term of scores [rows, 1, G T, C]."""

        def made() -> Tensor:
            own_RT = torch.tensor(block.own())
            own_RX = own_RT if block.width == 1 else own_RT.repeat(1, groups)
            return term(own_RX, block.columns, self.window, like)[:, None]

        return self._once(("block", block.row, self.window, like.device), made)

    def _band_mask(self, lane: int, first: int, last: int, groups: int, like: Tensor) -> Tensor:
        """Which columns each position of a band reads, for all heads that share a key, as a term of scores."""

        def made() -> Tensor:
            begin, end = self.starts[lane] + first, self.starts[lane] + last
            return term(torch.arange(begin, end).repeat(groups), end, self.window, like)[None, None]

        return self._once(("band", lane, first, self.window, like.device), made)
