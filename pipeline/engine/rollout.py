"""Prefill and latent thinking: how an agent's own positions get into its working memory.

Shapes: B rows, T positions, M latent steps, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.engine.alignment import Alignment
from pipeline.engine.model import LanguageModel, right_aligned
from pipeline.memory import Inputs, KVBatch

Watch = Callable[[int, Tensor, Tensor], None]
"""Told of a latent step: its number, hidden states and inputs, both [B, D]."""


def unwatched(step: int, hidden_BD: Tensor, embeds_BD: Tensor) -> None:
    """Looks away."""


class Recorder:
    """Keeps what latent steps feed to the model; give it to `think` as `watch`."""

    def __init__(self, hidden_BD: Tensor, then: Watch = unwatched) -> None:
        """Begins a record.

        Args:
            hidden_BD: The hidden states that the steps go on from; says how wide a record without steps is.
            then: Told of every step as well.
        """
        self._steps = [hidden_BD[:, None][:, :0]]
        self._then = then

    def __call__(self, step: int, hidden_BD: Tensor, embeds_BD: Tensor) -> None:
        """Records one step, without a copy."""
        self._steps.append(embeds_BD[:, None])
        self._then(step, hidden_BD, embeds_BD)

    def inputs(self, prompts: Sequence[Sequence[int]]) -> list[Inputs]:
        """Each row's inputs: its prompt's token ids, which the steps followed, and theirs in a storage of their own."""
        latents_BMD = torch.cat(self._steps, dim=1)
        return [
            Inputs(token_ids=torch.tensor(prompt, dtype=torch.int64), latents_MD=latents_MD.clone())
            for prompt, latents_MD in zip(prompts, latents_BMD, strict=True)
        ]


def prefill(lm: LanguageModel, batch: KVBatch, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Computes prompts on top of the rows' memory; positions continue after the inherited ones.

    Args:
        lm: The model.
        batch: Working memory with room for the longest prompt.
        prompts: Token ids, one non-empty prompt a row; shorter ones are padded on the left and the padding is masked.

    Returns:
        Hidden states of the prompts' last tokens after the final norm, [B, D].
    """
    return lm.forward(batch, *right_aligned(lm, batch, prompts))[:, -1]


@torch.inference_mode()
def feed(lm: LanguageModel, batch: KVBatch, inputs: Sequence[Inputs]) -> Tensor:
    """Computes what `prefill` and `think` had computed from the same inputs, in one forward: what was fed is known.

    Args:
        lm: The model.
        batch: Working memory with room for the longest row's inputs.
        inputs: One row's prompt and latent inputs each, not both empty; rows may differ in length, as in `prefill`.

    Returns:
        Hidden states of the last inputs after the final norm, [B, D].
    """
    latents = [row.latents_MD for row in inputs]
    return lm.forward(batch, *right_aligned(lm, batch, [row.token_ids for row in inputs], latents))[:, -1]


def think(
    lm: LanguageModel,
    batch: KVBatch,
    hidden_BD: Tensor,
    alignment: Alignment,
    steps: int,
    watch: Watch = unwatched,
) -> Tensor:
    """Takes latent steps: each feeds the aligned last hidden state back as the next input.

    Args:
        lm: The model.
        batch: Working memory with room for `steps` columns; grows by them.
        hidden_BD: Last hidden states after the final norm.
        alignment: From hidden state to input embedding.
        steps: Latent steps m; with 0 nothing happens.
        watch: Told of every step: its number, the hidden states [B, D] and the inputs [B, D] made of them.

    Returns:
        The last hidden states after the last step, [B, D].
    """
    positions_B = batch.next_positions()
    for step in range(steps):
        embeds_BD = alignment(hidden_BD)
        watch(step, hidden_BD, embeds_BD)
        hidden_BD = lm.forward(batch, embeds_BD[:, None], (positions_B + step)[:, None])[:, -1]
    return hidden_BD
