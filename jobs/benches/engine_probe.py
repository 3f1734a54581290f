"""Where the benchmark reaches into the engine: one decode step, one prefill, and what a running batch computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pipeline.config import DecodingConfig
from pipeline.engine import LanguageModel, Reading, Row, RunningBatch, Writing

GREEDY = DecodingConfig(temperature=0.0)
ALL = 1 << 30
"""Positions of prompts read at once: whatever there is."""


@dataclass(kw_only=True)
class Occupancy:
    """What a running batch computed."""

    steps: int = 0
    """Steps in which there was something to do."""
    computed: int = 0
    """Positions computed."""
    live: int = 0
    """Those of them that belong to a question."""
    places: int = 0
    """Questions that were at work, summed over the steps."""
    waited: int = 0
    """Steps during which questions waited for a place."""
    taken: int = 0
    """Places taken during those steps, summed."""

    @property
    def padding_pct(self) -> float:
        """Percent of computed positions that belong to nobody."""
        return 100 * (1 - self.live / max(self.computed, 1))

    def slots_pct(self, rows: int) -> float:
        """Percent of places, `rows` in every step, that are taken; at the end there is nobody to take them."""
        return 100 * self.places / max(self.steps * rows, 1)

    def fed_pct(self, rows: int) -> float:
        """The same while questions wait."""
        return 100 * self.taken / max(self.waited * rows, 1)


def decode_step(lm: LanguageModel, prompts: Sequence[list[int]], steps: int) -> Callable[[], Any]:
    """Reads prompts; returns one decode step of the engine on them: head, sampling, bookkeeping, embedding, forward.

    Args:
        lm: The model; it does not end texts while this is in use.
        prompts: Token ids, one prompt a row.
        steps: How often it is going to be called.
    """
    batch = RunningBatch(endless(lm), read_at_once=ALL)
    batch.cache.reserve(rows=len(prompts), columns=max(map(len, prompts)) + steps + 2)
    for row, prompt in enumerate(prompts):
        batch.add(_row(batch, prompt, str(row), budget=steps + 2))
    batch.step()
    return batch.step


def prefill(lm: LanguageModel, prompts: Sequence[list[int]]) -> Callable[[], Any]:
    """Returns the engine's prefill of some prompts into new memory; each call does it again."""

    def read() -> Tensor:
        batch = RunningBatch(lm, read_at_once=ALL)
        batch.cache.reserve(rows=len(prompts), columns=max(map(len, prompts)))
        rows = [Row(slot=batch.cache.slot(), goal=Reading(), token_ids=prompt) for prompt in prompts]
        batch.run(rows)
        return torch.stack([row.hidden_D for row in rows if row.hidden_D is not None])

    return read


def occupancy(lm: LanguageModel, prompts: Sequence[list[int]], lengths: Sequence[int], rows: int) -> Occupancy:
    """Writes texts of given lengths, and counts what is computed for them.

    Args:
        lm: The model.
        prompts: Token ids, one prompt a text.
        lengths: Tokens of each text.
        rows: Questions at work at once.
    """
    seen, batch = Occupancy(), RunningBatch(endless(lm))
    waiting = list(zip(range(len(prompts)), prompts, lengths, strict=True))
    while waiting or batch.rows:
        at_work = len(batch.rows)
        while waiting and at_work < rows:
            place, prompt, length = waiting.pop(0)
            batch.add(_row(batch, prompt, str(place), budget=length))
            at_work += 1
        before = batch.tally.positions
        batch.step()
        seen.steps += 1
        seen.places += at_work
        seen.computed += batch.tally.positions - before
        if waiting:
            seen.waited += 1
            seen.taken += at_work
    seen.live = sum(map(len, prompts)) - batch.tally.shared + batch.tally.decoded
    return seen


def endless(lm: LanguageModel) -> LanguageModel:
    """The same model; it never ends a text by itself."""
    values = {field.name: getattr(lm, field.name) for field in fields(lm)}
    return LanguageModel(**{**values, "stop_ids": frozenset()})


def _row(batch: RunningBatch, prompt: list[int], name: str, *, budget: int) -> Row:
    goal = Writing(config=GREEDY, noise_key=(name, "text"), budget=budget, room=budget)
    return Row(slot=batch.cache.slot(), goal=goal, token_ids=prompt)
