"""Fewer kernels for the small parts of a layer, within the engine's forward on a GPU: norms and rotary embeddings.

In the library they are five to eight operations each, which in a step take longer than they compute. Every replacement
is tried against the original, and used only where they agree; outside the engine's forward the original runs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from pipeline.engine.attention import inside

log = logging.getLogger(__name__)

Rotate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Vectors [1, Q, S, H], cosines and sines [1, S, H] -> rotated vectors."""
DEVICES = {"cuda"}
"""Where the kernel runs; a family's function is shared by all its models."""
HEADS, POSITIONS = 3, 5
"""Of the check."""


@torch.inference_mode()
def fuse(causal_lm: Any) -> int:
    """Replaces what can be replaced in a model on a GPU; returns how many parts were.

    A model over several devices is left as it is.
    """
    if causal_lm.device.type != "cuda" or any(hasattr(module, "_hf_hook") for module in causal_lm.modules()):
        return 0
    replaced = fuse_norms(causal_lm)
    try:
        from pipeline.engine.rotating import rotate

        return replaced + fuse_rotary(causal_lm, rotate)
    except Exception as error:  # of Triton, its compiler or the driver: the model's own function needs none of them
        log.warning("rotary embeddings of our own do not run here: %s", (str(error).splitlines() or [repr(error)])[0])
    return replaced


def fuse_norms(causal_lm: nn.Module) -> int:
    """Has torch's own kernel compute the RMS norms that it computes as the model does; returns how many."""
    count = 0
    for module in causal_lm.modules():
        weight = getattr(module, "weight", None)
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if not type(module).__name__.endswith("RMSNorm") or weight is None or epsilon is None:
            continue
        noise = torch.randn(2, len(weight), device=weight.device).to(weight.dtype)
        if _close(rms_norm(noise, weight.shape, weight, epsilon), module(noise)):
            module.forward = _norm(module.forward, weight, epsilon)
            count += 1
    return count


def fuse_rotary(causal_lm: Any, rotate: Rotate) -> int:
    """Has a kernel rotate queries and keys, if it does what the family's own function does; returns 1, or 0."""
    decoder, config = causal_lm.get_decoder(), causal_lm.config.get_text_config()
    family = sys.modules[type(decoder).__module__]
    apply, module = getattr(family, "apply_rotary_pos_emb", None), getattr(decoder, "rotary_emb", None)
    if apply is None or module is None or hasattr(apply, "fused"):
        return int(hasattr(apply, "fused"))
    like: dict[str, Any] = {"dtype": causal_lm.dtype, "device": causal_lm.device}
    try:
        cosine, sine = module(torch.zeros(1, **like), torch.arange(POSITIONS, device=causal_lm.device)[None] * 7)
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        queries = torch.randn(1, POSITIONS, HEADS, size, device=causal_lm.device).to(causal_lm.dtype).transpose(1, 2)
        own, _ = apply(queries, queries, cosine, sine)
    except (RuntimeError, TypeError):  # a family that is built differently
        return 0
    if cosine.shape != (1, POSITIONS, size) or not _close(rotate(queries, cosine, sine), own):
        return 0
    vars(family)["apply_rotary_pos_emb"] = _rotary(apply, rotate)
    return 1


def _norm(original: Callable[[Tensor], Tensor], weight: Tensor, epsilon: float) -> Callable[[Tensor], Tensor]:
    def forward(hidden_states: Tensor) -> Tensor:
        if not inside():
            return original(hidden_states)
        return rms_norm(hidden_states, weight.shape, weight, epsilon)

    return forward


def _rotary(original: Callable[..., tuple[Tensor, Tensor]], rotate: Rotate) -> Callable[..., tuple[Tensor, Tensor]]:
    def apply(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor]:
        other = rest or options or q.device.type not in DEVICES or len(q) > 1 or cos.shape[-1] != q.shape[-1]
        if other or not inside():
            return original(q, k, cos, sin, *rest, **options)
        return rotate(q, cos, sin), rotate(k, cos, sin)

    apply.fused = True  # type: ignore[attr-defined]
    return apply


def _close(found: Tensor, own: Tensor) -> bool:
    distance = (found.float() - own.float()).norm() / own.float().norm().clamp_min(1e-6)
    return bool(distance <= (1e-5 if own.dtype == torch.float32 else 1e-2))
