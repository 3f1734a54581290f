"""Choosing the next token, reproducibly.

The noise of a draw is a pure function of (seed, question, agent, step): neither the batch, nor the other questions in
it, nor a retry on another machine changes it. One uniform number a step is all that is needed, because the token is
drawn by inverting the cumulative distribution of the nucleus.

Shapes: B rows, V vocabulary, K candidates.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

CANDIDATES = 256
"""Candidates looked at first; rows whose nucleus is larger get the whole vocabulary."""


def noise_stream(seed: int, question_id: str, role: str, steps: int) -> Tensor:
    """The uniform numbers in [0, 1) of one agent's turn on one question, float64, one a step."""
    key = hashlib.blake2b(f"{seed}\x1f{question_id}\x1f{role}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return torch.from_numpy(generator.random(steps))


def sample(logits_BV: Tensor, uniform_B: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Draws one token a row from the nucleus of probability `top_p` at `temperature`; greedy at temperature 0.

    Args:
        logits_BV: Logits in any float format.
        uniform_B: The rows' noise in [0, 1), on the logits' device.
        temperature: Divides the logits; 0 takes the largest.
        top_p: The smallest set of most likely tokens with at least this probability is drawn from.

    Returns:
        Token ids, int64, [B].
    """
    drawn_B, inside_B = draw(logits_BV, uniform_B, temperature=temperature, top_p=top_p)
    # Rows whose nucleus reaches the last candidate, or a tie with it, look at the whole vocabulary.
    wide = (~inside_B).nonzero().flatten() if temperature else ()
    if len(wide):
        drawn_B[wide] = draw_from_all(logits_BV[wide], uniform_B[wide], temperature=temperature, top_p=top_p)
    return drawn_B


def draw(logits_BV: Tensor, uniform_B: Tensor, *, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Draws as `sample` does, from the best candidates alone; nothing in it waits for the device.

    Returns:
        Token ids [B], and whether each row's is right, bool [B]; where it is not, `draw_from_all` finds the right one.
    """
    if temperature == 0:
        return logits_BV.argmax(dim=-1), torch.ones_like(uniform_B, dtype=torch.bool)
    scaled_BV = logits_BV.float() / temperature
    # In a well-defined order: equal logits by token id, as a stable sort of all would have it.
    ids_BK = scaled_BV.topk(min(CANDIDATES, scaled_BV.shape[1]), dim=-1).indices.sort(dim=-1).values
    best_BK, order_BK = scaled_BV.gather(1, ids_BK).sort(dim=-1, descending=True, stable=True)
    logs_BK = best_BK - scaled_BV.logsumexp(dim=-1, keepdim=True)
    drawn_B, inside_B = _invert(logs_BK, ids_BK.gather(1, order_BK), uniform_B, top_p)
    return drawn_B, inside_B | (ids_BK.shape[1] == scaled_BV.shape[1])


def draw_from_all(logits_BV: Tensor, uniform_B: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Draws as `sample` does, from the whole vocabulary in order; token ids [B]."""
    scaled_BV = logits_BV.float() / temperature
    all_BV, ids_BV = scaled_BV.sort(dim=-1, descending=True, stable=True)
    return _invert(all_BV - scaled_BV.logsumexp(dim=-1, keepdim=True), ids_BV, uniform_B, top_p)[0]


def _invert(logs_BK: Tensor, ids_BK: Tensor, uniform_B: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Draws from the nucleus by inverting its cumulative mass.

    Args:
        logs_BK: Log probabilities, largest first.
        ids_BK: Their token ids.
        uniform_B: The rows' noise.
        top_p: The nucleus's share.

    Returns:
        Token ids [B], and whether each row's nucleus ends before the last candidate's value, bool [B].
    """
    mass_BK = logs_BK.double().exp().cumsum(dim=-1)
    last_B1 = (mass_BK < top_p).sum(dim=-1, keepdim=True).clamp_max(mass_BK.shape[1] - 1)
    inside_B = logs_BK.gather(1, last_B1).squeeze(1) > logs_BK[:, -1]
    target_B1 = uniform_B.unsqueeze(1) * mass_BK.gather(1, last_B1)
    choice_B1 = (mass_BK <= target_B1).sum(dim=-1, keepdim=True).minimum(last_B1)
    return ids_BK.gather(1, choice_B1).squeeze(1), inside_B
