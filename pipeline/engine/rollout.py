"""Reading, thinking and writing for a few questions that all do the same, all at once: the engine as a library.

Agents put rows into a running batch themselves; these functions do it for callers that have slots and wait.

Shapes: B questions, D hidden size, M latent inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.config import DecodingConfig
from pipeline.engine.alignment import Alignment
from pipeline.engine.model import LanguageModel
from pipeline.engine.rows import Reading, Row, Thinking, Writing
from pipeline.engine.running import RunningBatch
from pipeline.memory import Inputs, Slot

Watch = Callable[[int, int, Tensor, Tensor], None]
"""Told of a latent step: whose (by place), its number, the hidden state and the input made of it, both [D]."""


def prefill(lm: LanguageModel, slots: Sequence[Slot], prompts: Sequence[Sequence[int]]) -> Tensor:
    """Computes prompts on top of what slots hold; positions continue after it.

    Args:
        lm: The model.
        slots: Working memory, a slot a question.
        prompts: Token ids, one non-empty prompt each.

    Returns:
        Hidden states of the prompts' last tokens after the final norm, [B, D].
    """
    return _read(lm, [Row(slot=s, goal=Reading(), token_ids=p) for s, p in zip(slots, prompts, strict=True)])


def feed(lm: LanguageModel, slots: Sequence[Slot], inputs: Sequence[Inputs]) -> Tensor:
    """Computes what `prefill` and `think` had computed from the same inputs, without thinking: what was fed is known.

    Args:
        lm: The model.
        slots: Working memory, a slot a question.
        inputs: Each one's prompt and latent inputs, not both empty.

    Returns:
        Hidden states of the last inputs after the final norm, [B, D].
    """
    width = lm.causal_lm.get_input_embeddings().weight.shape[1]
    assert all(fed.latents_MD.shape[1] == width for fed in inputs), "latent inputs are as wide as embeddings"
    return _read(
        lm,
        [
            Row(slot=slot, goal=Reading(), token_ids=fed.token_ids.tolist(), latents_MD=fed.latents_MD)
            for slot, fed in zip(slots, inputs, strict=True)
        ],
    )


def think(
    lm: LanguageModel,
    slots: Sequence[Slot],
    hidden_BD: Tensor,
    alignment: Alignment,
    steps: int,
    watch: Watch | None = None,
) -> Tensor:
    """Takes latent steps: each feeds the aligned last hidden state back as the next input.

    Args:
        lm: The model.
        slots: Working memory; grows by `steps` positions each.
        hidden_BD: Last hidden states after the final norm.
        alignment: From hidden state to input embedding.
        steps: Latent steps m; with 0 nothing happens.
        watch: Told of every step.

    Returns:
        The last hidden states after the last step, [B, D].
    """

    def told(place: int) -> Callable[[int, Tensor, Tensor], None] | None:
        return None if watch is None else lambda step, hidden_D, embeds_D: watch(place, step, hidden_D, embeds_D)

    goals = [Thinking(alignment=alignment, steps=steps, watch=told(place)) for place in range(len(slots))]
    rows = [Row(slot=s, goal=g, hidden_D=h) for s, g, h in zip(slots, goals, hidden_BD, strict=True)]
    return _read(lm, rows)


def decode(
    lm: LanguageModel,
    slots: Sequence[Slot],
    hidden_BD: Tensor,
    *,
    noise_keys: Sequence[tuple[str, str]],
    budgets: Sequence[int],
    config: DecodingConfig,
) -> list[Writing]:
    """Writes text after what slots hold; a text that has ended leaves, and the others go on.

    Args:
        lm: The model.
        slots: Working memory; it is written on.
        hidden_BD: Last hidden states after the final norm, from which the first tokens are drawn.
        noise_keys: For each (question id, role), which select its sampling noise.
        budgets: The most tokens that each writes, 1 or more; the model's context may end it before.
        config: Sampling.

    Returns:
        What each wrote.
    """
    goals = [
        Writing(config=config, noise_key=key, budget=budget, room=lm.context - slot.length + 1)
        for key, budget, slot in zip(noise_keys, budgets, slots, strict=True)
    ]
    _read(lm, [Row(slot=s, goal=g, hidden_D=h) for s, g, h in zip(slots, goals, hidden_BD, strict=True)])
    return goals


@torch.inference_mode()
def _read(lm: LanguageModel, rows: Sequence[Row]) -> Tensor:
    RunningBatch(lm).run(rows)
    return torch.stack([row.hidden_D for row in rows if row.hidden_D is not None])
