"""What the engine benchmark measures: its settings, checked. Pure; no model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast, get_args

from jobs.benches.command import listed, numbers, words
from pipeline.config import BACKENDS, Backend, DType, Method
from pipeline.validation import require

PARTS = ("methods", "step", "prefill", "occupancy")
STEP_MODELS = ("tiny", "own")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Settings of the engine benchmark."""

    parts: str = "methods,step,prefill,occupancy"
    """What to measure; several with commas."""
    model: str = "embedded"
    """Hub id, folder, or `embedded` for SmolLM2-135M-Instruct."""
    dtype: DType = "auto"
    """Number format of weights and cache; auto is bfloat16 on a GPU and float32 on a CPU."""
    device: str | None = None
    """Where to compute; by default a GPU where there is one."""
    task: str = "gsm8k"
    """Whose questions are asked: demo (built in), a benchmark, or a file of your own."""
    data_dir: str | None = None
    """Folder with the benchmarks' Parquet files; without it the Hugging Face Hub is asked."""
    limit: int = 32
    """How many questions the methods answer."""
    methods: str = "single,text_mas,latent_mas"
    """Methods to compare; several with commas."""
    max_new_tokens: int = 128
    """Most tokens that one agent writes for one question; decoding is greedy."""
    latent_steps: int = 10
    """Latent steps of each thinking agent."""
    batch_size: int | None = None
    """Questions that our engine gets at once; by default all."""
    lookup_tokens: int | None = None
    """Tokens that our engine guesses ahead, as in a run; it is measured without as well."""
    plain_batch_sizes: str = "8,32"
    """Batch sizes of the plain baseline, each of which is measured; several with commas."""
    backend: Backend = "hf"
    """vllm: measure vLLM too, and our engine again, with as many questions at once as the baseline's batches have."""
    generate_batch: bool = True
    """Measure the library's own continuous batching too, for methods that write text alone."""
    repeats: int = 3
    """How often each is measured, all of them in turn."""
    step_rows: str = "1,8,32"
    """Batch sizes of a decode step; several with commas."""
    step_columns: int = 150
    """Positions in every row's cache before the first decode step."""
    steps: int = 50
    """How many decode steps are measured."""
    prefill_rows: int = 8
    """Prompts of the prefill."""
    prefill_tokens: int = 512
    """Tokens of each of them."""
    slots: int = 8
    """Rows of the running batch whose occupancy is measured."""
    texts: int = 64
    """Texts that go through it; the longest is 20 times as long as the shortest."""
    shortest: int = 6
    """Tokens of the shortest of them."""
    quick: bool = False
    """Everything very small, to see that it works."""

    def __post_init__(self) -> None:
        known = get_args(Method)
        BACKENDS[self.backend].check_installed()
        require(_some(self.part_names, PARTS), "parts", self.parts, f"some of {listed(PARTS)}")
        require(_some(self.method_names, known), "methods", self.methods, f"some of {listed(known)}")
        for name in ("plain_batch_sizes", "step_rows"):
            require(min(numbers(getattr(self, name))) >= 1, name, getattr(self, name), "numbers of 1 or more: 8,32")
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.latent_steps >= 0, "latent_steps", self.latent_steps, "0 or more")
        counts = "limit max_new_tokens repeats step_columns steps prefill_rows prefill_tokens slots texts shortest"
        for name in counts.split():
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")

    @property
    def part_names(self) -> list[str]:
        """What to measure."""
        return words(self.parts)

    @property
    def method_names(self) -> list[Method]:
        """Methods to compare."""
        return cast(list[Method], words(self.methods))

    @property
    def sized(self) -> Engine:
        """The same, or all of it very small if that was asked for."""
        if not self.quick:
            return self
        return replace(
            self,
            limit=min(self.limit, 3),
            max_new_tokens=min(self.max_new_tokens, 5),
            latent_steps=min(self.latent_steps, 2),
            plain_batch_sizes="2",
            repeats=1,
            step_rows="1,2",
            step_columns=16,
            steps=3,
            prefill_tokens=16,
            slots=2,
            texts=6,
            shortest=1,
        )

    def lengths(self) -> list[int]:
        """Tokens of each text whose occupancy is measured, spread evenly from the shortest to 20 times as many.

        Long and short ones alternate by a fixed stride, as they would in a stream of questions.
        """
        longest, count = 20 * self.shortest, self.texts
        even = [self.shortest + round((longest - self.shortest) * i / max(count - 1, 1)) for i in range(count)]
        return [even[i * _stride(count) % count] for i in range(count)]


def _stride(count: int) -> int:
    """A step near the golden section of `count` that visits every number below it."""
    from math import gcd

    return next(step for step in range(max(round(0.382 * count), 1), count + 1) if gcd(step, count) == 1)


def _some(given: list[str] | list[Method], known: tuple[str, ...]) -> bool:
    return bool(given) and set(given) <= set(known)
