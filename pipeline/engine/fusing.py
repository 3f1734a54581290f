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

_norms: dict[tuple[type, str], Norm] = {}
"""What stands for a class's forward, by class and kind of device; on a CPU only for float32."""
_rotates: dict[tuple[str, str], Rotate] = {}
"""What stands for a family's function, by the family's module and kind of device; likewise."""


@torch.inference_mode()
def fuse(causal_lm: Any) -> int:
    """Replaces what can be replaced in a model; returns how many of its parts are.

    A model over several devices is left as it is, and one on a CPU that does not compute in float32. Replaced are
    methods of a family's classes and a function of its module, which all its models share, so that copies of a model,
    and what it is converted to, still compute what they did.
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
    except Exception as error:  # of Triton: the model's own function needs none of it
        _warn(error)
        return replaced
    return replaced + fuse_rotary(causal_lm, rotate, _close)


def fuse_norms(causal_lm: nn.Module, norm: Norm, agree: Agree) -> int:
    """Has RMS norms computed by another function, where it does what all of a class do; returns how many are."""
    kinds: dict[Any, list[Any]] = {}
    for module in causal_lm.modules():
        if type(module).__name__.endswith("RMSNorm") and getattr(module, "weight", None) is not None:
            kinds.setdefault(type(module), []).append(module)
    count = 0
    for kind, modules in kinds.items():
        original, epsilon = _original(kind.forward), _epsilon(modules[0])
        place = (kind, modules[0].weight.device.type)
        if epsilon and all(_same_norm(original, norm, module, epsilon, agree) for module in modules):
            _norms[place] = norm
            kind.forward = _norm(original, epsilon)
            count += len(modules)
        else:  # from now on for every model with norms of that class
            _norms.pop(place, None)
    return count


def _same_norm(original: Callable[..., Tensor], norm: Norm, module: Any, epsilon: str, agree: Agree) -> bool:
    noise = _noise(2, len(module.weight)).to(module.weight)
    return _agrees(lambda: original(module, noise), lambda: norm(noise, module.weight, getattr(module, epsilon)), agree)


def fuse_rotary(causal_lm: Any, rotate: Rotate, agree: Agree) -> int:
    """Has queries and keys rotated by another function, if it does what the family's own does; returns 1, or 0."""
    decoder, config = causal_lm.get_decoder(), causal_lm.config.get_text_config()
    family = type(decoder).__module__
    apply = getattr(sys.modules[family], "apply_rotary_pos_emb", None)
    if apply is None or getattr(decoder, "rotary_emb", None) is None:
        return 0
    original, device = _original(apply), causal_lm.device
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    queries_1QSH = _noise(1, POSITIONS, HEADS, size).to(device, causal_lm.dtype).transpose(1, 2)
    angles: dict[str, Tensor] = {}

    def own() -> Tensor:
        positions_1S = torch.arange(POSITIONS, device=device)[None] * 7
        angles["cosine"], angles["sine"] = decoder.rotary_emb(queries_1QSH[:, 0], positions_1S)
        if angles["cosine"].shape != (1, POSITIONS, size):
            raise ValueError("it rotates a part of each head")
        rotated: Tensor = original(queries_1QSH, queries_1QSH, angles["cosine"], angles["sine"])[0]
        return rotated

    if not _agrees(own, lambda: rotate(queries_1QSH, angles["cosine"], angles["sine"]), agree):
        _rotates.pop((family, device.type), None)
        return 0
    _rotates[family, device.type] = rotate
    vars(sys.modules[family])["apply_rotary_pos_emb"] = _rotary(family, original)
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


def _norm(original: Callable[..., Tensor], epsilon: str) -> Callable[..., Tensor]:
    """The forward of a class of norms: ours within the engine's forward, the class's own anywhere else.

    A small model spends a tenth of its time in calls of this, so it asks for little.
    """

    def forward(self: Any, hidden_states: Tensor, *rest: Any, **options: Any) -> Tensor:
        if not inside():
            return original(self, hidden_states, *rest, **options)
        weight, norm = self.weight, _norms.get((type(self), hidden_states.device.type))
        if norm is None or rest or options or not _computes(hidden_states, weight):
            return original(self, hidden_states, *rest, **options)
        return norm(hidden_states, weight, getattr(self, epsilon))

    forward.original = original  # type: ignore[attr-defined]
    return forward


def _rotary(family: str, original: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """A family's rotary function: ours within the engine's forward, the family's own anywhere else."""

    def apply(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor]:
        if not inside():
            return original(q, k, cos, sin, *rest, **options)
        rotate = _rotates.get((family, q.device.type))
        usual = not rest and not options and q.shape[0] == 1 and cos.shape[-1] == q.shape[-1] and _computes(q, cos)
        if rotate is None or not usual:
            return original(q, k, cos, sin, *rest, **options)
        return rotate(q, cos, sin), rotate(k, cos, sin)

    apply.original = original  # type: ignore[attr-defined]
    return apply


def _computes(one: Tensor, other: Tensor) -> bool:
    """Whether replacements are for tensors of such formats: on a CPU both have to be float32."""
    return not one.is_cpu or one.dtype is other.dtype is torch.float32


def _agrees(own: Callable[[], Tensor], found: Callable[[], Tensor], agree: Agree) -> bool:
    """Whether a replacement runs and does what the original does."""
    try:
        expected = own()
    except Exception:  # a family that is built differently, in whatever way
        return False
    try:
        return isinstance(expected, Tensor) and agree(found(), expected)
    except Exception as error:  # of Triton, its compiler or the driver: the original needs none of them
        _warn(error)
        return False


def _epsilon(module: Any) -> str | None:
    """The attribute in which a norm keeps what it adds to the variance, if it is known."""
    return next((name for name in ("variance_epsilon", "eps") if hasattr(module, name)), None)


def _original(function: Any) -> Any:
    """A function as its family has it, if it has been replaced."""
    return getattr(function, "original", function)


def _noise(*sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(0))


def _warn(error: Exception) -> None:
    log.warning("small parts of layers of our own do not run here: %s", (str(error).splitlines() or [repr(error)])[0])


def _close(found: Tensor, own: Tensor) -> bool:
    if found.shape != own.shape:
        return False
    distance = (found.float() - own.float()).norm() / own.float().norm().clamp_min(1e-6)
    return bool(distance <= (1e-5 if own.dtype == torch.float32 else 1e-2))
