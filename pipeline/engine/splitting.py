"""Attention of one new position a place, written in Triton: each place reads as much as it has, and no more.

The columns of a place are split over several programs, so that a few places keep a whole GPU busy; a second kernel
joins what they found. Importing this needs Triton, which comes with torch's builds for CUDA.

Shapes: B places, Q query heads, N key/value heads, G = Q / N of them share one, R rows, C columns, H head size, X query
heads in a tile (G or more), P parts.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64
"""Columns that a program reads at once."""
TILE = 16
"""The least rows of a tile that tensor cores multiply."""
PROGRAMS = 512
"""Programs that keep a large GPU busy, some for each of its multiprocessors."""
UNLIMITED = 1 << 30


@triton.jit
def _read(
    query, keys, values, position, found, top, total, scale, window, heads, parts,
    q_place, q_head, k_row, k_head, k_column, v_row, v_head, v_column,
    G: tl.constexpr, X: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One part of one place's columns, for the query heads that share a key/value head."""
    own, part = tl.program_id(0), tl.program_id(1)
    place, head = own // heads, own % heads
    end = tl.load(position + place).to(tl.int32) + 1
    begin = tl.maximum(end - window, 0)
    each = tl.cdiv(tl.cdiv(end - begin, BLOCK), parts) * BLOCK
    first = begin + part * each
    last = tl.minimum(first + each, end)
    x, h, c = tl.arange(0, X), tl.arange(0, H), tl.arange(0, BLOCK)
    q_XH = tl.load(
        query + place * q_place + (head * G + x)[:, None] * q_head + h[None, :], mask=(x < G)[:, None], other=0.0
    )
    keys += place.to(tl.int64) * k_row + head * k_head
    values += place.to(tl.int64) * v_row + head * v_head
    top_X = tl.full([X], float("-inf"), tl.float32)
    total_X = tl.zeros([X], tl.float32)
    found_XH = tl.zeros([X, H], tl.float32)
    for at in range(first, last, BLOCK):
        column = at + c
        there = column < last
        k_HC = tl.load(keys + column[None, :] * k_column + h[:, None], mask=there[None, :], other=0.0)
        score_XC = tl.dot(q_XH, k_HC, input_precision="ieee") * scale
        score_XC = tl.where(there[None, :], score_XC, float("-inf"))
        most_X = tl.maximum(top_X, tl.max(score_XC, 1))
        weight_XC = tl.exp(score_XC - most_X[:, None])
        fade_X = tl.exp(top_X - most_X)
        v_CH = tl.load(values + column[:, None] * v_column + h[None, :], mask=there[:, None], other=0.0)
        found_XH = found_XH * fade_X[:, None] + tl.dot(weight_XC.to(v_CH.dtype), v_CH, input_precision="ieee")
        total_X = total_X * fade_X + tl.sum(weight_XC, 1)
        top_X = most_X
    slot = (own * parts + part) * X + x
    tl.store(top + slot, top_X)
    tl.store(total + slot, total_X)
    tl.store(found + slot[:, None] * H + h[None, :], found_XH)


@triton.jit
def _join(
    found, top, total, out, parts, G: tl.constexpr, X: tl.constexpr, H: tl.constexpr, P: tl.constexpr
):  # fmt: skip
    """The parts of one query head, weighted as one softmax over all of them would."""
    own, g = tl.program_id(0), tl.program_id(1)
    p, h = tl.arange(0, P), tl.arange(0, H)
    there = p < parts
    slot = (own * parts + p) * X + g
    top_P = tl.load(top + slot, mask=there, other=float("-inf"))
    weight_P = tl.exp(top_P - tl.max(top_P, 0))
    whole = tl.sum(tl.load(total + slot, mask=there, other=0.0) * weight_P, 0)
    found_PH = tl.load(found + slot[:, None] * H + h[None, :], mask=there[:, None], other=0.0)
    out_H = tl.sum(found_PH * weight_P[:, None], 0) / whole
    tl.store(out + (own * G + g) * H + h, out_H.to(out.dtype.element_ty))


def split_attention(
    query_BQH: Tensor,
    keys_RNCH: Tensor,
    values_RNCH: Tensor,
    position_B: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
) -> Tensor:
    """Attention of place b to the columns of row b up to and with its own position, [B, Q, H].

    Args:
        query_BQH: Queries; strided, but for the last dimension.
        keys_RNCH: Keys, R at least B; strided, but for the last dimension. H is a power of two, 16 or more.
        values_RNCH: Values, of the same sizes.
        position_B: Each place's position, int64, on the device; 0 or more.
        scale: Factor of the scores; none is 1 / sqrt(H).
        window: How many positions back are seen; none is all.
    """
    (places, queries, size), (_, heads, columns, _) = query_BQH.shape, keys_RNCH.shape
    group = queries // heads
    tile = max(TILE, triton.next_power_of_2(group))
    parts = max(1, min(triton.cdiv(PROGRAMS, places * heads), triton.cdiv(columns, BLOCK)))
    partial: dict[str, Any] = {"dtype": torch.float32, "device": query_BQH.device}
    found = torch.empty(places * heads, parts, tile, size, **partial)
    top, total = (torch.empty(places * heads, parts, tile, **partial) for _ in range(2))
    out_BQH = torch.empty(places, queries, size, dtype=query_BQH.dtype, device=query_BQH.device)
    _read[places * heads, parts](
        query_BQH, keys_RNCH, values_RNCH, position_B, found, top, total,
        size**-0.5 if scale is None else scale, window or UNLIMITED, heads, parts,
        *query_BQH.stride()[:2], *keys_RNCH.stride()[:3], *values_RNCH.stride()[:3],
        G=group, X=tile, H=size, BLOCK=BLOCK,
    )  # fmt: skip
    powered = triton.next_power_of_2(parts)
    _join[places * heads, group](found, top, total, out_BQH, parts, G=group, X=tile, H=size, P=powered)
    return out_BQH
