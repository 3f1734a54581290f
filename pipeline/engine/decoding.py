"""Writing text: a batched decode loop from which finished rows leave.

Shapes: B rows, D hidden size, V vocabulary, S steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from pipeline.config import DecodingConfig
from pipeline.engine.model import LanguageModel
from pipeline.engine.sampling import noise_stream, sample
from pipeline.memory import KVBatch
from pipeline.records import Finish

KEEP = 0.75
"""The cache is compacted when fewer than this share of its rows still write."""


@dataclass(kw_only=True)
class Written:
    """The text of one row, as token ids."""

    token_ids: list[int] = field(default_factory=list)
    """Generated ids, the stop token included."""
    finish: Finish = "length"
    """stop: the model ended the text; length: its budget did; context: the model's context did, before the budget."""


def decode(
    lm: LanguageModel,
    batch: KVBatch,
    hidden_BD: Tensor,
    *,
    noise_keys: Sequence[tuple[str, str]],
    budgets: Sequence[int],
    config: DecodingConfig,
    watch: Callable[[int, int], None] = lambda row, token: None,
) -> list[Written]:
    """Writes text after what the batch holds.

    Args:
        lm: The model.
        batch: Working memory; it is used up (grows, and may be compacted into another batch).
        hidden_BD: Last hidden states after the final norm, from which the first tokens are drawn.
        noise_keys: For each row (question id, role), which select its sampling noise.
        budgets: For each row the most tokens that it writes, 1 or more; the model's context may end it before.
        config: Sampling.
        watch: Told of every token that is written: the row, by its place at the beginning, and the token's id.

    Returns:
        What each row wrote, in the order of the rows.
    """
    positions_B = batch.next_positions()
    room = [lm.context - position + 1 for position in positions_B.tolist()]
    limits = [min(pair) for pair in zip(budgets, room, strict=True)]
    written = [
        Written(finish="length" if limit == own else "context") for limit, own in zip(limits, budgets, strict=True)
    ]
    # A shorter stream is the beginning of a longer one, so a row's noise does not depend on its neighbours' budgets.
    noise_SB = torch.stack([noise_stream(config.seed, *key, max(limits)) for key in noise_keys], dim=1)
    noise_SB = noise_SB.to(lm.device)
    rows = list(range(batch.rows))  # which answer each row of the batch writes
    for step in range(max(limits)):
        # 1. One token a row; rows that have finished but not left yet write into the void.
        logits_BV = lm.logits(hidden_BD)
        ids_B = sample(logits_BV, noise_SB[step, rows], temperature=config.temperature, top_p=config.top_p)
        alive = [
            _note(written[row], token, lm, limits[row], partial(watch, row))
            for row, token in zip(rows, ids_B.tolist(), strict=True)
        ]
        if not any(alive):
            break
        # 2. Finished rows leave once they are many enough to pay for the copy; until then they write padding.
        if sum(alive) < KEEP * len(alive):
            kept = [i for i, live in enumerate(alive) if live]
            batch, rows, alive = batch.select(kept), [rows[i] for i in kept], [True] * len(kept)
            ids_B, positions_B = ids_B[kept], positions_B[kept]
        written_B = torch.where(torch.tensor(alive, device=lm.device), positions_B, -1)
        # 3. The tokens become the next inputs.
        batch.reserve(1)
        hidden_BD = lm.forward(batch, lm.embed(ids_B[:, None]), written_B[:, None])[:, -1]
        positions_B = positions_B + 1
    return written


def _note(text: Written, token: int, lm: LanguageModel, limit: int, watch: Callable[[int], None]) -> bool:
    """Adds a token to a text that is still being written; returns whether it goes on."""
    if text.finish == "stop" or len(text.token_ids) >= limit:
        return False
    text.token_ids.append(token)
    watch(token)
    if token in lm.stop_ids:
        text.finish = "stop"
    return text.finish != "stop" and len(text.token_ids) < limit
