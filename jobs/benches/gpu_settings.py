"""What the GPU benchmark measures: its settings, checked. Pure; no model."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.benches.command import listed, numbers, words
from jobs.benches.shapes import SHAPES
from pipeline.config import DType
from pipeline.validation import require

PARTS = ("decode", "latent", "prefill", "methods")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Settings of the GPU benchmark."""

    model: str = "Qwen3-4B,Qwen3-8B,Qwen3-14B"
    """Sizes of the models, whose weights are random; several with commas. tiny is one to try things out."""
    parts: str = "decode,latent,prefill,methods"
    """What to measure; several with commas."""
    device: str = "cuda"
    """Where to compute."""
    dtype: DType = "auto"
    """Number format of weights and cache; auto is bfloat16 on a GPU and float32 on a CPU."""
    rows: str = "1,32"
    """Rows of a step; several with commas."""
    context: int = 1000
    """Positions in every row's cache before the first step."""
    steps: int = 64
    """Steps in a round."""
    prefill_rows: int = 8
    """Prompts of the prefill."""
    prefill_tokens: int = 512
    """Tokens of each of them."""
    questions: int = 32
    """Questions that LatentMAS answers."""
    latent_steps: int = 10
    """Latent steps of each thinking agent."""
    max_new_tokens: int = 128
    """Tokens that the last agent writes for each question."""
    plain_batch_size: int = 32
    """Questions in a batch of the plain baseline."""
    repeats: int = 3
    """Rounds, of which the median counts."""
    profile: bool = False
    """Profile some steps too, and print which kernels took how long."""

    def __post_init__(self) -> None:
        known = bool(self.model_names) and set(self.model_names) <= SHAPES.keys()
        require(known, "model", self.model, f"some of {listed(SHAPES)}")
        some = bool(self.part_names) and set(self.part_names) <= set(PARTS)
        require(some, "parts", self.parts, f"some of {listed(PARTS)}")
        require(min(self.row_counts, default=0) >= 1, "rows", self.rows, "numbers of 1 or more: 1,32")
        require(self.latent_steps >= 0, "latent_steps", self.latent_steps, "0 or more")
        counts = "context steps prefill_rows prefill_tokens questions max_new_tokens plain_batch_size repeats"
        for name in counts.split():
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")

    @property
    def model_names(self) -> list[str]:
        """Models to measure."""
        return words(self.model)

    @property
    def part_names(self) -> list[str]:
        """What to measure."""
        return words(self.parts)

    @property
    def row_counts(self) -> list[int]:
        """Rows of a step."""
        return numbers(self.rows)
