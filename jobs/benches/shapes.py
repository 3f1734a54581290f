"""Dimensions of public models, from their config.json. Pure; no torch."""

from __future__ import annotations

from dataclasses import dataclass

BF16 = 2
"""Bytes of a number."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder's dimensions, from its public config.json."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def step_weights(self) -> int:
        """Weights that a step reads without the head, but for the norms."""
        attention = 2 * self.hidden * self.head_size * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head_weights(self) -> int:
        """Weights of the head, which is the input embedding too where they are tied."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Weights, but for the norms."""
        return self.step_weights + (1 if self.tied else 2) * self.head_weights

    @property
    def bytes_per_position(self) -> int:
        """Keys and values of one position of one question in bfloat16."""
        return 2 * self.layers * self.kv_heads * self.head_size * BF16


SHAPES = {
    "Qwen3-4B": ModelShape(
        hidden=2560, layers=36, heads=32, kv_heads=8, head_size=128, intermediate=9728, vocabulary=151936, tied=True
    ),
    "Qwen3-8B": ModelShape(
        hidden=4096, layers=36, heads=32, kv_heads=8, head_size=128, intermediate=12288, vocabulary=151936, tied=False
    ),
    "Qwen3-14B": ModelShape(
        hidden=5120, layers=40, heads=40, kv_heads=8, head_size=128, intermediate=17408, vocabulary=151936, tied=False
    ),
    "tiny": ModelShape(
        hidden=32, layers=3, heads=4, kv_heads=2, head_size=8, intermediate=64, vocabulary=10240, tied=False
    ),
}
"""By the model's name; `tiny` is made up, to try things out."""
