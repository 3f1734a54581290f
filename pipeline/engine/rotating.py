"""The rotary embedding of queries or keys in one kernel, written in Triton; in torch's operations it takes five.

Importing this needs Triton, which comes with torch's builds for CUDA.

Shapes: Q heads, S positions, H head size.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _rotate(
    vectors, cosine, sine, out, heads, v_head, v_position, c_position, o_head, o_position,
    HALF: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """One head at one position: halves of a vector are the two coordinates that are rotated."""
    head, position = tl.program_id(1), tl.program_id(0)
    h = tl.arange(0, TILE)
    there = h < HALF
    at = vectors + head * v_head + position * v_position + h
    one = tl.load(at, mask=there, other=0.0).to(tl.float32)
    other = tl.load(at + HALF, mask=there, other=0.0).to(tl.float32)
    angle = position * c_position + h
    cos_one = tl.load(cosine + angle, mask=there, other=0.0).to(tl.float32)
    cos_other = tl.load(cosine + angle + HALF, mask=there, other=0.0).to(tl.float32)
    sin_one = tl.load(sine + angle, mask=there, other=0.0).to(tl.float32)
    sin_other = tl.load(sine + angle + HALF, mask=there, other=0.0).to(tl.float32)
    to = out + head * o_head + position * o_position + h
    tl.store(to, (one * cos_one - other * sin_one).to(out.dtype.element_ty), mask=there)
    tl.store(to + HALF, (other * cos_other + one * sin_other).to(out.dtype.element_ty), mask=there)


def rotate(vectors_1QSH: Tensor, cosine_1SH: Tensor, sine_1SH: Tensor) -> Tensor:
    """Vectors [1, Q, S, H], each rotated by its position's angles; strided, but for the last dimension.

    Args:
        vectors_1QSH: Queries or keys; H is even.
        cosine_1SH: Cosines, strided alike.
        sine_1SH: Sines.
    """
    _, heads, positions, size = vectors_1QSH.shape
    # As a model's layers have it: a position's heads lie together.
    out_1QSH = torch.empty(1, positions, heads, size, dtype=vectors_1QSH.dtype, device=vectors_1QSH.device)
    out_1QSH = out_1QSH.transpose(1, 2)
    _rotate[positions, heads](
        vectors_1QSH, cosine_1SH, sine_1SH, out_1QSH, heads,
        *vectors_1QSH.stride()[1:3], cosine_1SH.stride(1), *out_1QSH.stride()[1:3],
        HALF=size // 2, TILE=triton.next_power_of_2(size // 2),
    )  # fmt: skip
    return out_1QSH
