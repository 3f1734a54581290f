"""Which kernel attends in captured steps: our own, where it runs and finds what torch's does; else torch's with a mask.

Shapes: B places, Q query heads, N key/value heads, R rows, C columns, H head size.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from pipeline.engine.model import LanguageModel

log = logging.getLogger(__name__)

COLUMNS = 300
"""Of the check: several parts, the last of them not full."""


class Split(Protocol):
    """Attention of place b to the columns of row b up to its own position; `splitting.split_attention` is one."""

    def __call__(
        self,
        query_BQH: Tensor,
        keys_RNCH: Tensor,
        values_RNCH: Tensor,
        position_B: Tensor,
        *,
        scale: float | None = None,
        window: int | None = None,
    ) -> Tensor:
        """Returns [B, Q, H]."""


def split_for(lm: LanguageModel) -> Split | None:
    """Our kernel for a model's captured steps; none where torch's has to do."""
    size = lm.shape.key_size
    if lm.device.type != "cuda" or size != lm.shape.value_size or size < 16 or size & (size - 1):
        return None
    try:
        from pipeline.engine.splitting import split_attention

        if agrees(split_attention, lm):
            return split_attention
        log.warning("attention of our own differs from torch's on this device and is not used")
    except Exception as error:  # of Triton, its compiler or the driver: torch's kernel needs none of them
        log.warning("attention of our own does not run here: %s", (str(error).splitlines() or [repr(error)])[0])
    return None


def agrees(split: Split, lm: LanguageModel) -> bool:
    """Whether a kernel finds what torch's does, with a model's sizes and number format."""
    shape, heads = lm.shape, lm.config.num_attention_heads
    generator = torch.Generator(device=lm.device).manual_seed(0)

    def noise(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float32, device=lm.device).to(shape.dtype)

    query_BQH = noise(heads, 3, shape.key_size).transpose(0, 1)
    # As they lie in a cache: position after position.
    keys_RNCH, values_RNCH = (noise(4, COLUMNS, shape.heads, shape.key_size).transpose(1, 2) for _ in range(2))
    position_B = torch.tensor([0, COLUMNS - 1, COLUMNS // 2], device=lm.device)
    column_C = torch.arange(COLUMNS, device=lm.device)
    for window in (None, 70):
        found_BQH = split(query_BQH, keys_RNCH, values_RNCH, position_B, window=window)
        read_BC = (column_C <= position_B[:, None]) & (column_C > position_B[:, None] - (window or COLUMNS))
        own_BNGH = scaled_dot_product_attention(
            query_BQH.reshape(3, shape.heads, -1, shape.key_size).float(),
            keys_RNCH[:3].float(),
            values_RNCH[:3].float(),
            attn_mask=read_BC[:, None, None],
        )
        distance = (found_BQH.float() - own_BNGH.flatten(1, 2)).norm() / own_BNGH.norm()
        if not float(distance) <= (1e-3 if shape.dtype == torch.float32 else 2e-2):
            return False
    return True
