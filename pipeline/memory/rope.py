"""Re-rotation: moving keys that carry a rotary position embedding to other positions (Su et al., arXiv 2104.09864).

Rotations compose, R(p + d) = R(d) R(p), so a key made at position p is moved by d without being computed again. Angles
come from the model's own rotary module and are applied by the model's own function, which settles how dimensions are
paired, how many of them turn, and which frequencies a layer uses.

Shapes: L layers, N key/value heads, T positions, H head size, R rotated dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Rotary:
    """A model's rotary embedding, as far as moving keys needs it."""

    module: Callable[..., tuple[Tensor, Tensor]]
    """(something on the device, positions [1, T], a layer kind where there are several) -> cos and sin, [1, T, R]."""
    apply: Callable[..., tuple[Tensor, Tensor]]
    """(queries, keys, cos, sin) -> rotated queries and keys, each [L, N, T, H]."""
    width: int
    """How many of a key's dimensions are given to `apply`, R; the others stay as they are."""
    kinds: tuple[str | None, ...]
    """For each layer the name of its frequencies; none where all layers share theirs."""

    def move(self, keys_LNTH: Tensor, by_T: Tensor) -> Tensor:
        """Keys as they would be `by_T` positions further on (or back); computed in float32, returned in their dtype."""
        moved_LNTH = torch.empty_like(keys_LNTH)
        for kind in dict.fromkeys(self.kinds):  # one round per set of frequencies
            layers = [layer for layer, other in enumerate(self.kinds) if other == kind]
            chosen_LNTH = keys_LNTH[layers].float()
            cos_1TR, sin_1TR = self._angles(chosen_LNTH[:1, :1], by_T.to(keys_LNTH.device), kind)
            turning_LNTR, fixed = chosen_LNTH[..., : self.width], chosen_LNTH[..., self.width :]
            turned_LNTR = self.apply(turning_LNTR, turning_LNTR, cos_1TR, sin_1TR)[1]
            moved_LNTH[layers] = torch.cat([turned_LNTR, fixed], dim=-1).to(keys_LNTH.dtype)
        return moved_LNTH

    def angle_width(self, device: torch.device) -> int:
        """How many dimensions the module has angles for."""
        cos_1TR, _ = self._angles(
            torch.zeros(1, device=device), torch.zeros(1, dtype=torch.int64, device=device), self.kinds[0]
        )
        return cos_1TR.shape[-1]

    def _angles(self, like: Tensor, by_T: Tensor, kind: str | None) -> tuple[Tensor, Tensor]:
        # Some ropes (YaRN, LongRoPE) multiply cos and sin by an attention scaling. The keys carry it already, so it is
        # taken out here; at position 0 the cosine is that scaling and nothing else.
        options: dict[str, Any] = {} if kind is None else {"layer_type": kind}
        cos_1TR, sin_1TR = self.module(like, by_T[None], **options)
        scaling_11R, _ = self.module(like, torch.zeros_like(by_T[None, :1]), **options)
        # A model over several devices may compute its angles on another one than keys are moved on.
        return (cos_1TR / scaling_11R).to(like.device), (sin_1TR / scaling_11R).to(like.device)


def immovable(reason: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A stand-in for `Rotary.move` in models whose keys can't be moved; says why when it is needed."""

    def refuse(keys_LNTH: Tensor, by_T: Tensor) -> Tensor:
        raise ValueError(f"this model's memory can't be placed at other positions than it was made for: {reason}")

    return refuse


def layer_kinds(module: object, layer_types: Sequence[str] | None, layers: int) -> tuple[str | None, ...]:
    """For each layer the name under which a rotary module keeps its frequencies; none where it keeps one set."""
    if layer_types and any(hasattr(module, f"{kind}_inv_freq") for kind in layer_types):
        return tuple(layer_types)
    return (None,) * layers
