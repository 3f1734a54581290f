"""Attention on slots of a cache, as an attention implementation of Hugging Face transformers.

A model calls what is registered here in every layer. Inside the engine's forward the lanes say what each new position
reads; anywhere else (the model's own `generate`) it is the library's attention. A model whose attention can't be
replaced is computed question by question instead; `LanguageModel` sees to that.

Shapes: R rows, N key/value heads, Q query heads, X queries that share a key/value head, C columns, T positions, H head
size.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

if TYPE_CHECKING:
    from pipeline.engine.lanes import Lanes

NAME = "latentmas"
"""What transformers calls it."""
_here = threading.local()


@contextmanager
def on_lanes(lanes: Lanes) -> Iterator[None]:
    """Within it, this thread's attention is on lanes."""
    _here.lanes = lanes
    try:
        yield
    finally:
        _here.lanes = None


def inside() -> bool:
    """Whether this thread is in the engine's forward on lanes."""
    return getattr(_here, "lanes", None) is not None


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """How a layer attends."""

    scale: float | None
    """Factor of its scores; none is 1 / sqrt(H)."""
    softcap: float | None = None
    """Where its scores are capped smoothly (Gemma 2), if they are."""

    def __call__(self, query_RNXH: Tensor, keys_RNCH: Tensor, values_RNCH: Tensor, mask: Tensor | None) -> Tensor:
        """Attention, [R, N, X, H]: torch's own kernel, but for capped scores.

        Args:
            query_RNXH: Queries, those that share a key together.
            keys_RNCH: Keys.
            values_RNCH: Values.
            mask: A term of the scores, like [R, N, X, C]: 0 for what is read and -inf; none: all read all.
        """
        if self.softcap:
            return self._capped(query_RNXH, keys_RNCH, values_RNCH, mask)
        return scaled_dot_product_attention(query_RNXH, keys_RNCH, values_RNCH, attn_mask=mask, scale=self.scale)

    def causal(self, query_1QTH: Tensor, keys_1NTH: Tensor, values_1NTH: Tensor) -> Tensor:
        """Attention of a text that is read from its first position on, [1, Q, T, H]: what is not read is skipped."""
        return scaled_dot_product_attention(
            query_1QTH, keys_1NTH, values_1NTH, is_causal=True, scale=self.scale, enable_gqa=True
        )

    def _capped(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """In plain operations, because no fused kernel caps scores; softmax in float32."""
        assert self.softcap, "this is for capped scores"
        scores_RNXC = query @ keys.transpose(-1, -2) * (query.shape[-1] ** -0.5 if self.scale is None else self.scale)
        scores_RNXC = torch.tanh(scores_RNXC / self.softcap) * self.softcap
        if mask is not None:
            scores_RNXC = scores_RNXC + mask
        return scores_RNXC.softmax(dim=-1, dtype=torch.float32).to(query.dtype) @ values


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What a model's layer calls with its queries, and with the keys and values that its cache returned.

    Raises:
        ValueError: The layer wants something of attention that is not known here.
    """
    lanes: Lanes | None = getattr(_here, "lanes", None)
    if lanes is None and softcap:  # which the library's fused attention refuses
        return _eager(module, query, key, value, attention_mask, scaling, softcap, **options)  # type: ignore[no-any-return]
    if lanes is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)  # type: ignore[no-any-return]
    if s_aux is not None or options.get("position_bias") is not None:
        raise ValueError("its attention has sinks or position biases, which is not supported")
    return lanes.attend(query, key, value, Kernel(scale=scaling, softcap=softcap)), None


def _eager(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *rest: Any, **options: Any
) -> Any:
    """A model's own attention in plain operations."""
    scaling, softcap = rest
    new, known = query.shape[2], key.shape[2]
    if mask is None:  # where nothing is padded, the library leaves it to the kernel
        column_C = torch.arange(known, device=query.device)
        own_T1 = column_C[known - new :, None]
        mask = (column_C <= own_T1) & (column_C > own_T1 - (options.get("sliding_window") or known))
    additive = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, torch.finfo(query.dtype).min)
    additive = additive.expand(1, 1, new, known) if additive.dim() == 2 else additive
    own = sys.modules[type(module).__module__].eager_attention_forward
    return own(module, query, key, value, additive, scaling=scaling, softcap=softcap, **options)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
