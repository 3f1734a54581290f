"""Prefill and latent thinking: how an agent's own positions get into its working memory.

Shapes: B rows, T positions, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from pipeline.engine.alignment import Alignment
from pipeline.engine.model import LanguageModel, right_aligned
from pipeline.memory import KVBatch

Watch = Callable[[int, Tensor, Tensor], None]
"""Told of a latent step: its number, hidden states and inputs, both [B, D]."""


def unwatched(step: int, hidden_BD: Tensor, embeds_BD: Tensor) -> None:
    """Looks away."""


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
