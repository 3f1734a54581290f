"""The methods that write text alone, on the continuous batching of Hugging Face transformers (`generate_batch`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig

from jobs.benches.plain import Prompts, greedy, walked
from pipeline.agents.agent import Agent
from pipeline.agents.conduct import Writing
from pipeline.engine import LanguageModel
from pipeline.records import Answer, Assignment

PAGE = 256
"""Positions of a page of its cache: the library's default."""
BATCH_TOKENS = 1024
"""Positions that it computes at once at most."""


def answer_continuous(assignments: Sequence[Assignment], team: Mapping[str, Agent], model: Any) -> list[Answer]:
    """Lets a team of writing agents answer questions, an agent after the other, each on all of them.

    Args:
        assignments: The questions.
        team: The agents by role, in working order.
        model: The library's model.

    Raises:
        RuntimeError: The library did not finish some of them, which it says in its log alone.
    """
    lm = next(iter(team.values())).lm
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)  # what went wrong is raised, once

    def play(agent: Agent, prompts: Prompts) -> list[list[int]]:
        assert isinstance(agent.conduct, Writing), "generate_batch can't think"
        budget = agent.conduct.decoding.most_tokens
        done: dict[str, Any] = model.generate_batch(
            [list(prompt) for prompt in prompts],
            generation_config=GenerationConfig(**greedy(lm, budget)),
            continuous_batching_config=_config(lm, prompts, budget),
            progress_bar=False,
        )
        failed = next((one.error for one in done.values() if one.error), None)
        if failed or len(done) != len(prompts):
            raise RuntimeError(f"{len(done)} of {len(prompts)} texts were written: {failed or 'it stopped'}")
        return [list(one.generated_tokens) for one in done.values()]

    return walked(assignments, team, play)


def _config(lm: LanguageModel, prompts: Prompts, budget: int) -> ContinuousBatchingConfig:
    if lm.device.type == "cuda":
        return ContinuousBatchingConfig()  # it finds out by itself what fits
    # On a CPU it would take nearly all free memory for its cache.
    blocks = sum(-(-(len(prompt) + budget) // PAGE) for prompt in prompts)
    return ContinuousBatchingConfig(page_size=PAGE, num_blocks=blocks + 1, max_batch_tokens=BATCH_TOKENS)
