"""Where the benchmark reaches into the engine: one decode step, one prefill, and what a running batch computes.

Shapes: B rows, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pipeline.config import DecodingConfig
from pipeline.engine import LanguageModel, decode
from pipeline.engine import prefill as read_prompts
from pipeline.engine.sampling import noise_stream, sample
from pipeline.memory import KVBatch, Memory

GREEDY = DecodingConfig(temperature=0.0)


@dataclass(kw_only=True)
class Occupancy:
    """What a running batch computed."""

    steps: int = 0
    """Decode steps."""
    computed: int = 0
    """Rows of every decode step, summed."""
    live: int = 0
    """Those of them that went on with a text."""
    prefilled: int = 0
    """Prompt positions computed."""
    prompts: int = 0
    """Those of them that are no padding."""

    @property
    def live_pct(self) -> float:
        """Percent of computed rows that went on with a text."""
        return 100 * self.live / max(self.computed, 1)

    def slots_pct(self, rows: int) -> float:
        """Percent of slots, `rows` in every step, that went on with a text; an empty slot counts like an idle row."""
        return 100 * self.live / max(self.steps * rows, 1)

    @property
    def padding_pct(self) -> float:
        """Percent of computed prompt positions that are padding."""
        return 100 * (1 - self.prompts / max(self.prefilled, 1))


class Counted(LanguageModel):
    """A model that counts what it is asked to compute."""

    seen: Occupancy

    @classmethod
    def of(cls, lm: LanguageModel) -> Counted:
        """The same model; it never ends a text by itself."""
        counted = cls(**{field.name: getattr(lm, field.name) for field in fields(lm)})
        counted.stop_ids, counted.seen = frozenset(), Occupancy()
        return counted

    def forward(self, batch: KVBatch, embeds_BTD: Tensor, positions_BT: Tensor) -> Tensor:
        """Runs the decoder, and counts."""
        count, live = positions_BT.numel(), int((positions_BT >= 0).sum())
        if positions_BT.shape[1] == 1:
            self.seen.steps += 1
            self.seen.computed += count
            self.seen.live += live
        else:
            self.seen.prefilled += count
            self.seen.prompts += live
        return super().forward(batch, embeds_BTD, positions_BT)


@torch.inference_mode()
def decode_step(lm: LanguageModel, prompts: Sequence[list[int]], steps: int) -> Callable[[], Any]:
    """Reads prompts; returns one decode step of the engine on them: head, sampling, bookkeeping, embedding, forward.

    Args:
        lm: The model.
        prompts: Token ids, one prompt a row.
        steps: How often it is going to be called.
    """
    batch = lm.open([Memory()] * len(prompts), columns=max(map(len, prompts)))
    hidden_BD = read_prompts(lm, batch, prompts)
    positions_B = batch.next_positions()
    noise = [noise_stream(0, str(row), "step", steps) for row in range(len(prompts))]
    noise_SB = torch.stack(noise, dim=1).to(lm.device)
    written = [list[int]() for _ in prompts]
    done = 0

    @torch.inference_mode()
    def step() -> None:
        nonlocal hidden_BD, positions_B, done
        ids_B = sample(lm.logits(hidden_BD), noise_SB[done], temperature=0.0, top_p=1.0)
        for row, token in enumerate(ids_B.tolist()):
            written[row].append(token)
        alive_B = torch.tensor([True] * len(prompts), device=lm.device)
        batch.reserve(1)
        written_B = torch.where(alive_B, positions_B, -1)
        hidden_BD = lm.forward(batch, lm.embed(ids_B[:, None]), written_B[:, None])[:, -1]
        positions_B, done = positions_B + 1, done + 1

    return step


def prefill(lm: LanguageModel, prompts: Sequence[list[int]]) -> Callable[[], Any]:
    """Returns the engine's prefill of some prompts into new memory; each call does it again."""

    @torch.inference_mode()
    def read() -> Tensor:
        batch = lm.open([Memory()] * len(prompts), columns=max(map(len, prompts)))
        return read_prompts(lm, batch, prompts)

    return read


@torch.inference_mode()
def occupancy(lm: LanguageModel, prompts: Sequence[list[int]], lengths: Sequence[int], rows: int) -> Occupancy:
    """Writes texts of given lengths, and counts what is computed for them.

    Args:
        lm: The model.
        prompts: Token ids, one prompt a text.
        lengths: Tokens of each text.
        rows: Rows of the running batch.
    """
    counted = Counted.of(lm)
    for first in range(0, len(prompts), rows):
        some = prompts[first : first + rows]
        batch = counted.open([Memory()] * len(some), columns=max(map(len, some)))
        keys = [(str(first + row), "text") for row in range(len(some))]
        hidden_BD = read_prompts(counted, batch, some)
        decode(counted, batch, hidden_BD, noise_keys=keys, budgets=lengths[first : first + rows], config=GREEDY)
    return counted.seen
