"""What a turn costs on a GPU, from a model's configuration: seconds, and bytes that travel. A roofline, no measurement.

    prefill  2 FLOP a weight and token, at the device's peak times PREFILL_EFFICIENCY
    step     weights and cache are read once, at the device's bandwidth times STEP_EFFICIENCY

It leaves out everything that makes a real turn longer: kernel launches, sampling, attention's own FLOPs, and the row of
a batch that writes longest. So a real GPU asks the driver and the network for less than this says, never for more.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobs.benches.shapes import BF16, SHAPES, ModelShape
from pipeline.graphs import CollaborationPlan
from pipeline.records import Usage
from pipeline.runtime.standin import Stage

TOKEN_ID = 8
"""Bytes of a token id, as it travels with `--transport reencode`."""
CHARACTERS_PER_TOKEN = 4
"""Of English text."""
PREFILL_EFFICIENCY = 0.5
STEP_EFFICIENCY = 0.7


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a GPU can do."""

    flops: float
    """Dense bfloat16 operations a second."""
    bandwidth: float
    """Bytes of its memory a second."""


H100 = Device(flops=989e12, bandwidth=3.35e12)
"""NVIDIA H100 SXM, from its data sheet."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model at the paper's settings on GSM8K, sequential LatentMAS (Table 1)."""

    shape: ModelShape
    """The model."""
    answer_tokens: int
    """What the solver writes for one question: the paper's "Token"."""
    prompt_tokens: int = 160
    """One role's prompt: 240 characters of question (the mean of GSM8K) and 300 to 400 of role, in tokens."""
    latent_steps: int = 40
    """m, the middle of the paper's range."""
    device: Device = H100
    """Where it runs."""

    @property
    def segment_bytes(self) -> int:
        """What a thinking role leaves behind for one question: prompt and thoughts."""
        return (self.prompt_tokens + self.latent_steps) * self.shape.bytes_per_position

    @property
    def input_bytes(self) -> int:
        """The same with `--transport reencode`: token ids and latent inputs."""
        return self.prompt_tokens * TOKEN_ID + self.latent_steps * self.shape.hidden * BF16

    def prefill_seconds(self, batch: int) -> float:
        """Seconds to compute the prompts of a batch."""
        flops = 2 * self.shape.parameters * self.prompt_tokens * batch
        return flops / (self.device.flops * PREFILL_EFFICIENCY)

    def step_seconds(self, batch: int, positions: int) -> float:
        """Seconds of one step, latent or of decoding, with so many positions in each question's cache."""
        read = BF16 * self.shape.parameters + batch * positions * self.shape.bytes_per_position
        return read / (self.device.bandwidth * STEP_EFFICIENCY)

    def stages(self, plan: CollaborationPlan, batch: int) -> dict[str, Stage]:
        """What the turn of each role of a plan costs; the cache is taken at its mean length in the turn."""
        made, inherited = dict[str, Stage](), 0
        for role in (role.name for role in plan.graph.roles):
            thinks = role in plan.thinkers
            steps = self.latent_steps if thinks else self.answer_tokens
            positions = inherited + self.prompt_tokens + steps // 2
            tokens = 0 if thinks else self.answer_tokens
            made[role] = Stage(
                seconds=self.prefill_seconds(batch) + steps * self.step_seconds(batch, positions),
                parcel_bytes=self.segment_bytes if thinks else 0,
                characters=tokens * CHARACTERS_PER_TOKEN,
                usage=Usage(output_tokens=tokens, latent_steps=steps - tokens, prefill_tokens=self.prompt_tokens),
            )
            inherited += self.prompt_tokens + self.latent_steps
        return made


WORKLOADS = {
    "Qwen3-4B": Workload(shape=SHAPES["Qwen3-4B"], answer_tokens=607),
    "Qwen3-8B": Workload(shape=SHAPES["Qwen3-8B"], answer_tokens=860),
    "Qwen3-14B": Workload(shape=SHAPES["Qwen3-14B"], answer_tokens=644),
}
"""By the model's name."""
