"""Fewer operations for the small parts of a layer within the engine's forward: norms and rotary embeddings.

In the library they are five to eight operations each. On a GPU, where a step waits for every kernel, they become one.
On a CPU, where each operation goes through memory once more, the same sums are made with fewer results in between, and
come out the same to the last bit. Every replacement is tried against the original, and used only where they agree;
outside the engine's forward the original runs.

Shapes: Q heads, S positions, H head size.
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

Norm = Callable[[Tensor, Tensor, float], Tensor]
"""Hidden states, weight and epsilon -> normalised and weighted hidden states."""
Rotate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Vectors [1, Q, S, H], cosines and sines [1, S, H] -> rotated vectors."""
Agree = Callable[[Tensor, Tensor], bool]
"""Whether what a replacement computes is what the original does."""
SIGNED = "latentmas_signed"
"""Attribute of a tensor of sines: the same with signs, as `rotate_in_place` needs them."""
HEADS, POSITIONS = 3, 5
"""Of the check."""


_rotates: dict[str, Rotate] = {}
"""By device, what the families' functions have been replaced with; a family's function is shared by its models."""


@torch.inference_mode()
def fuse(causal_lm: Any) -> int:
    """Replaces what can be replaced in a model; returns how many parts were.

    A model over several devices is left as it is, and one on a CPU that does not compute in float32.
    """
    if any(hasattr(module, "_hf_hook") for module in causal_lm.modules()):
        return 0
    if causal_lm.device.type == "cpu" and causal_lm.dtype == torch.float32:
        exact = torch.equal
        return fuse_norms(causal_lm, norm_in_place, exact) + fuse_rotary(causal_lm, rotate_in_place, exact)
    if causal_lm.device.type != "cuda":
        return 0
    replaced = fuse_norms(causal_lm, norm_in_one, _close)
    try:
        from pipeline.engine.rotating import rotate

        return replaced + fuse_rotary(causal_lm, rotate, _close)
    except Exception as error:  # of Triton, its compiler or the driver: the model's own function needs none of them
        log.warning("rotary embeddings of our own do not run here: %s", (str(error).splitlines() or [repr(error)])[0])
    return replaced


def fuse_norms(causal_lm: nn.Module, norm: Norm, agree: Agree) -> int:
    """Has RMS norms computed by another function, those that it computes as the model does; returns how many."""
    count = 0
    for module in causal_lm.modules():
        weight = getattr(module, "weight", None)
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if not type(module).__name__.endswith("RMSNorm") or weight is None or epsilon is None:
            continue
        noise = torch.randn(2, len(weight), device=weight.device).to(weight.dtype)
        if agree(norm(noise, weight, epsilon), module(noise)):
            module.forward = _norm(module, norm, epsilon)
            count += 1
    return count


def fuse_rotary(causal_lm: Any, rotate: Rotate, agree: Agree) -> int:
    """Has queries and keys rotated by another function, if it does what the family's own does; returns 1, or 0."""
    decoder, config = causal_lm.get_decoder(), causal_lm.config.get_text_config()
    family = sys.modules[type(decoder).__module__]
    apply, module = getattr(family, "apply_rotary_pos_emb", None), getattr(decoder, "rotary_emb", None)
    if apply is None or module is None:
        return 0
    apply = getattr(apply, "original", apply)
    like: dict[str, Any] = {"dtype": causal_lm.dtype, "device": causal_lm.device}
    try:
        cosine, sine = module(torch.zeros(1, **like), torch.arange(POSITIONS, device=causal_lm.device)[None] * 7)
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        queries = torch.randn(1, POSITIONS, HEADS, size, device=causal_lm.device).to(causal_lm.dtype).transpose(1, 2)
        own, _ = apply(queries, queries, cosine, sine)
    except (RuntimeError, TypeError):  # a family that is built differently
        return 0
    if cosine.shape != (1, POSITIONS, size) or not agree(rotate(queries, cosine, sine), own):
        return 0
    _rotates[causal_lm.device.type] = rotate
    vars(family)["apply_rotary_pos_emb"] = _rotary(apply)
    return 1


def norm_in_one(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """The norm as one kernel."""
    return rms_norm(hidden, weight.shape, weight, epsilon)


def norm_in_place(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """The norm with one result of the hidden states' size, in the order of operations that models have."""
    spread = hidden.pow(2).mean(-1, keepdim=True).add_(epsilon).rsqrt_()
    return (hidden * spread).mul_(weight)


def rotate_in_place(vectors_1QSH: Tensor, cosine_1SH: Tensor, sine_1SH: Tensor) -> Tensor:
    """Vectors whose halves are the coordinates that are rotated; signs are put into the sines, once a forward.

    Args:
        vectors_1QSH: Queries or keys; H is even.
        cosine_1SH: Cosines.
        sine_1SH: Sines.
    """
    half = vectors_1QSH.shape[-1] // 2
    signed_11SH = getattr(sine_1SH, SIGNED, None)
    if signed_11SH is None:  # kept with the sines, which all layers of a forward get
        signed_11SH = _signed(sine_1SH)
        setattr(sine_1SH, SIGNED, signed_11SH)
    # As a model's layers have it, a position's heads lie together, and so they stay.
    swapped_1QSH = vectors_1QSH.transpose(1, 2).roll(half, -1).transpose(1, 2)
    return (vectors_1QSH * cosine_1SH[:, None]).add_(swapped_1QSH.mul_(signed_11SH))


def _signed(sine_1SH: Tensor) -> Tensor:
    """Sines [1, 1, S, H], those of the first half negative."""
    one, other = sine_1SH.chunk(2, dim=-1)
    return torch.cat([-one, other], dim=-1)[:, None]


def _norm(module: Any, norm: Norm, epsilon: float) -> Callable[[Tensor], Tensor]:
    original = module.forward

    def forward(hidden_states: Tensor) -> Tensor:
        return norm(hidden_states, module.weight, epsilon) if inside() else original(hidden_states)

    return forward


def _rotary(original: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    def apply(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor]:
        rotate = _rotates.get(q.device.type)
        other = rotate is None or rest or options or len(q) > 1 or cos.shape[-1] != q.shape[-1] or cos.dtype != q.dtype
        if other or not inside():
            return original(q, k, cos, sin, *rest, **options)
        assert rotate is not None, "asked above"
        return rotate(q, cos, sin), rotate(k, cos, sin)

    apply.original = original  # type: ignore[attr-defined]
    return apply


def _close(found: Tensor, own: Tensor) -> bool:
    distance = (found.float() - own.float()).norm() / own.float().norm().clamp_min(1e-6)
    return bool(distance <= (1e-5 if own.dtype == torch.float32 else 1e-2))
