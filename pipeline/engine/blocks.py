"""Neighbouring slots that are attended to together, and what each of their positions reads.

Shapes: R rows of a cache, N key/value heads, G query heads that share one, X queries that share a key, T positions of a
lane, C columns, H head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Block:
    """Neighbouring slots with a few new positions each, which are attended to together."""

    first: int
    """Where the first lane's first position lies among all of the forward."""
    row: int
    """Its slot's row."""
    starts: Sequence[int]
    """For each lane, the position that its first one has in its slot."""
    counts: Sequence[int]
    """For each lane, its positions."""
    width: int
    """Positions of the longest lane."""
    columns: int
    """Columns that are read at most."""
    even: bool
    """Whether every lane has one position and reads all of them."""

    @property
    def span(self) -> tuple[slice, slice, slice]:
        """Its part of a layer's keys or values [R, N, C, H]."""
        return slice(self.row, self.row + len(self.starts)), slice(None), slice(0, self.columns)

    def taken(self, heads: int, groups: int) -> Tensor:
        """Which of all positions' queries, [S Q], it attends with: [R, N, G, T] in a row.

        Where a lane is shorter than others, its last position is there several times.

        Args:
            heads: Key/value heads N.
            groups: Query heads that share one, G.
        """
        begins = accumulate(self.counts[:-1], initial=self.first)
        lanes = zip(begins, self.counts, strict=True)
        places_RT = torch.tensor([[begin + min(t, count - 1) for t in range(self.width)] for begin, count in lanes])
        queries_NG = torch.arange(heads * groups).view(heads, groups)
        return (places_RT[:, None, None] * (heads * groups) + queries_NG[None, :, :, None]).flatten()

    def back(self, heads: int, groups: int) -> Tensor:
        """Where in what was found, [R, G, T, N], the positions of its lanes are, as [S, N, G] in a row, S its own."""
        own = [(lane, t) for lane, count in enumerate(self.counts) for t in range(count)]
        lane_S, t_S = torch.tensor(own).unbind(1)
        begins_SG = lane_S[:, None] * groups * self.width + torch.arange(groups) * self.width + t_S[:, None]
        return (begins_SG[:, None] * heads + torch.arange(heads)[:, None]).flatten()

    def own(self) -> list[list[int]]:
        """Positions of all lanes in their slots, padded in the same way."""
        lanes = zip(self.starts, self.counts, strict=True)
        return [[start + min(t, count - 1) for t in range(self.width)] for start, count in lanes]


def grouped(query_RQTH: Tensor, heads: int) -> Tensor:
    """Queries [R, N, G T, H]: those of the G heads that share a key one after another, so that no key is copied."""
    rows, _, _, size = query_RQTH.shape
    return query_RQTH.reshape(rows, heads, -1, size)


def term(own: Tensor, columns: int, window: int | None, like: Tensor) -> Tensor:
    """What is added to scores so that positions read what they may: 0 for these columns, else -inf.

    Args:
        own: Positions, int64 of any shape.
        columns: Columns C that are attended to.
        window: How many positions back each reads, itself included; none is all.
        like: A tensor of the scores' format and device.

    Returns:
        The term, of the positions' shape and C.
    """
    size = 1 << (columns - 1).bit_length()
    strip = _strip(size, window, like.dtype, like.device)
    begins = (size + (window or 0) - 1 - own).to(like.device)
    return strip.unfold(0, columns, 1)[begins]


@lru_cache(maxsize=64)
def _strip(size: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros between -inf, in which every position's term is a stretch; of what reads all, zeros come first."""
    before, zeros = (0, size) if window is None else (size, window)
    strip = torch.full((before + zeros + size,), float("-inf"), dtype=dtype, device=device)
    strip[before : before + zeros] = 0
    return strip
