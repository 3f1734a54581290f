"""Where the benchmark reaches into the engine: decode steps, a prefill, and what a running batch computes.

Nothing is looked up ahead here, so that a step is a token.

Shapes: S new positions of all questions, B questions, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.agents.crowd import Crowd
from pipeline.config import DecodingConfig
from pipeline.engine import LanguageModel, Reading, Row, RunningBatch, Writing
from pipeline.engine.lanes import Lanes
from pipeline.memory import Memory

GREEDY = DecodingConfig(temperature=0.0)


@dataclass(kw_only=True)
class Occupancy:
    """What a running batch computed for some texts."""

    rows: int
    """Its slots."""
    prompts: int
    """Positions of all prompts."""
    written: int
    """Positions of all texts that go on: each but its last one."""
    steps: int = 0
    """Forwards."""
    live: int = 0
    """Questions that a forward was for, summed over forwards."""
    computed: int = 0
    """Positions computed."""

    @property
    def slots_pct(self) -> float:
        """Percent of slots, over all steps, that a forward was for."""
        return 100 * self.live / max(self.steps * self.rows, 1)

    @property
    def padding_pct(self) -> float:
        """Percent of computed positions, those that texts go on from left aside, that are no prompt's."""
        return 100 * (1 - self.prompts / (self.computed - self.written))


class Counted(LanguageModel):
    """A model that counts what it is asked to compute."""

    seen: Occupancy

    @classmethod
    def of(cls, lm: LanguageModel, seen: Occupancy) -> Counted:
        """The same model; it never ends a text by itself.

        Args:
            lm: The model.
            seen: Where is counted.
        """
        counted = cls(**{field.name: getattr(lm, field.name) for field in fields(lm)})
        counted.stop_ids, counted.seen = frozenset(), seen
        return counted

    def forward(self, lanes: Lanes, embeds_SD: Tensor) -> Tensor:
        """Runs the decoder, and counts."""
        self.seen.steps += 1
        self.seen.live += len({id(slot) for slot, _ in lanes.spans})
        self.seen.computed += len(embeds_SD)
        return super().forward(lanes, embeds_SD)


class Text:
    """A text of a given length, among others that wait for a slot."""

    def __init__(self, name: str, prompt: Sequence[int], length: int) -> None:
        self.row: Row | None = None
        self._name, self._prompt, self._length = name, prompt, length

    @property
    def done(self) -> bool:
        """Whether it is written."""
        return self.row is not None and self.row.done

    def go_on(self, batch: RunningBatch) -> None:
        """Enters the running batch."""
        if self.row is None:
            self.row = row_of(batch, self._name, self._prompt, self._length)
            batch.add(self.row)

    def restart(self) -> None:
        """Begins anew."""
        self.row = None

    def fail(self, error: Exception) -> None:
        """Ends the measurement."""
        raise error


def row_of(batch: RunningBatch, name: str, prompt: Sequence[int], length: int) -> Row:
    """A question that reads a prompt and writes `length` tokens, with a slot of its own."""
    lm = batch.lm
    slot = batch.cache.open(Memory(), columns=len(prompt) + length, move=lm.move)
    goal = Writing(config=GREEDY, noise_key=(name, "text"), budget=length, room=lm.context - len(prompt) + 1)
    return Row(slot=slot, goal=goal, token_ids=prompt)


@torch.inference_mode()
def decode_step(lm: LanguageModel, prompts: Sequence[list[int]], steps: int) -> Callable[[], Any]:
    """Reads prompts; returns one step of the running batch: embedding, forward, head, sampling, bookkeeping.

    Args:
        lm: The model.
        prompts: Token ids, one prompt a row.
        steps: How often it is going to be called.
    """
    batch = RunningBatch(replace(lm, stop_ids=frozenset()), guesses=0)
    rows = [row_of(batch, str(number), prompt, steps + 1) for number, prompt in enumerate(prompts)]
    for row in rows:
        batch.add(row)
    while any(row.unread for row in rows):
        batch.step()
    return batch.step


def prefill(lm: LanguageModel, prompts: Sequence[list[int]]) -> Callable[[], Any]:
    """Returns the engine's prefill of some prompts into new memory; each call does it again."""

    @torch.inference_mode()
    def read() -> Tensor:
        batch = RunningBatch(lm, guesses=0)
        batch.cache.reserve(rows=len(prompts), columns=max(map(len, prompts)))
        rows = [Row(slot=batch.cache.slot(), goal=Reading(), token_ids=prompt) for prompt in prompts]
        batch.run(rows)
        return torch.stack([row.hidden_D for row in rows if row.hidden_D is not None])

    return read


@torch.inference_mode()
def occupancy(lm: LanguageModel, prompts: Sequence[list[int]], lengths: Sequence[int], rows: int) -> Occupancy:
    """Writes texts of given lengths, and counts what is computed for them.

    Args:
        lm: The model.
        prompts: Token ids, one prompt a text.
        lengths: Tokens of each text, 1 or more.
        rows: Slots of the running batch.
    """
    seen = Occupancy(rows=rows, prompts=sum(map(len, prompts)), written=sum(lengths) - len(lengths))
    texts = [Text(str(number), *pair) for number, pair in enumerate(zip(prompts, lengths, strict=True))]
    Crowd(RunningBatch(Counted.of(lm, seen), guesses=0), at_once=rows).answer(texts)
    return seen
