"""What a question does in the running batch: read its inputs, then think or write.

Shapes: B questions, D hidden size, M latent inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pipeline.config import DecodingConfig
from pipeline.engine.alignment import Alignment
from pipeline.engine.guessing import Past
from pipeline.engine.model import LanguageModel
from pipeline.engine.sampling import noise_stream, sample
from pipeline.memory import Slot
from pipeline.records import Finish

WatchStep = Callable[[int, Tensor, Tensor], None]
"""Told of a latent step: its number, the hidden state and the input made of it, both [D]."""
WatchToken = Callable[[int], None]
"""Told of a token's id."""


class Goal(Protocol):
    """What a question does once its inputs are read."""

    @property
    def kind(self) -> Hashable:
        """Goals of one kind go on together."""

    def step_all(self, lm: LanguageModel, rows: Sequence[Row], hidden_SD: Tensor) -> list[int]:
        """Goes on from last hidden states, for rows with goals of this one's kind: each gets an input, or is done.

        Args:
            lm: The model.
            rows: The rows.
            hidden_SD: Each one's last hidden state, and those after each of its guesses.

        Returns:
            How many of these hold, for each row; the others followed a wrong guess.
        """


@dataclass(kw_only=True, eq=False)
class Row:
    """One question in the running batch."""

    slot: Slot
    """Where its memory is; it has room for what is to be read."""
    goal: Goal
    """What comes after reading."""
    token_ids: Sequence[int] = ()
    """A prompt to be read."""
    latents_MD: Tensor | None = None
    """Latent inputs to be read after it."""
    hidden_D: Tensor | None = None
    """The last hidden state, where there is nothing to be read or everything has been."""
    family: str = ""
    """Rows of one family may begin with the same tokens, which are then read once for all; none is a row by itself."""
    read: int = 0
    """Positions of the inputs that are in memory."""
    token: int | None = None
    """The next input, if it is a token."""
    latent_D: Tensor | None = None
    """The next input, if it is latent."""
    guesses: Sequence[int] = ()
    """Tokens that may follow the next input, which the model is asked about in the same step."""
    past: Past | None = None
    """What guesses come from; none before the first."""
    done: bool = False
    """Whether the goal is reached."""
    seconds: float = 0.0
    """Its share of the time of all steps that it was in."""

    def __post_init__(self) -> None:
        assert self.unread or self.hidden_D is not None, "a row has something to read or to go on from"

    @property
    def unread(self) -> int:
        """Positions yet to be read."""
        latents = 0 if self.latents_MD is None else len(self.latents_MD)
        return len(self.token_ids) + latents - self.read

    @property
    def width(self) -> int:
        """Hidden states that it goes on from."""
        return 1 + len(self.guesses)


@dataclass(kw_only=True, eq=False)
class Reading:
    """Reads, and no more: the last hidden state is what is wanted."""

    kind = "reading"

    def step_all(self, lm: LanguageModel, rows: Sequence[Row], hidden_SD: Tensor) -> list[int]:
        """Ends."""
        for row in rows:
            row.done = True
        return [1] * len(rows)


@dataclass(kw_only=True, eq=False)
class Thinking:
    """Takes latent steps: each feeds the aligned last hidden state back as the next input."""

    alignment: Alignment
    """From hidden state to input embedding."""
    steps: int
    """Latent steps m; with 0 nothing happens."""
    watch: WatchStep | None = None
    """Told of every step."""
    keep: bool = False
    """Whether the inputs are kept."""
    taken: int = 0
    """Steps so far."""
    latents: list[Tensor] = field(default_factory=list)
    """The inputs of the steps so far, [D] each, where they are kept."""

    @property
    def kind(self) -> Hashable:
        """One alignment is one matrix product."""
        return id(self.alignment)

    def step_all(self, lm: LanguageModel, rows: Sequence[Row], hidden_SD: Tensor) -> list[int]:
        """Makes the next latent inputs; nothing latent is guessed, so every row has one hidden state."""
        embeds_BD = self.alignment(hidden_SD)
        for row, hidden_D, embeds_D in zip(rows, hidden_SD, embeds_BD, strict=True):
            goal = row.goal
            assert isinstance(goal, Thinking)
            goal.take(row, hidden_D, embeds_D)
        return [1] * len(rows)

    def take(self, row: Row, hidden_D: Tensor, embeds_D: Tensor) -> None:
        """Makes an aligned hidden state its row's next input, unless all steps are taken."""
        if self.taken == self.steps:
            row.done = True
            return
        if self.watch is not None:
            self.watch(self.taken, hidden_D, embeds_D)
        if self.keep:
            self.latents.append(embeds_D)
        row.latent_D = embeds_D
        self.taken += 1


@dataclass(kw_only=True, eq=False)
class Writing:
    """Writes text until the model ends it or the budget is spent."""

    config: DecodingConfig
    """Sampling."""
    noise_key: tuple[str, str]
    """Question id and role, which select the sampling noise."""
    budget: int
    """Most tokens that are written, 1 or more."""
    room: int
    """Most tokens that the model's context has room for, 1 or more."""
    watch: WatchToken | None = None
    """Told of every token."""
    token_ids: list[int] = field(default_factory=list)
    """Generated ids, the stop token included."""
    finish: Finish = "length"
    """stop: the model ended the text; length: its budget did; context: the model's context did, before the budget."""

    def __post_init__(self) -> None:
        self.limit = min(self.budget, self.room)
        if self.room < self.budget:
            self.finish = "context"
        # A shorter stream is the beginning of a longer one, so the noise does not depend on the budget.
        self._noise = noise_stream(self.config.seed, *self.noise_key, self.limit) if self.config.temperature else None

    @property
    def kind(self) -> Hashable:
        """Sampled the same way."""
        return self.config.temperature, self.config.top_p

    @property
    def draw(self) -> float:
        """The noise of the next token, in [0, 1)."""
        return self.draws(1)[0]

    def draws(self, count: int) -> list[float]:
        """The noise of the next tokens, in [0, 1)."""
        first = len(self.token_ids)
        return [0.0] * count if self._noise is None else self._noise[first : first + count].tolist()

    def step_all(self, lm: LanguageModel, rows: Sequence[Row], hidden_SD: Tensor) -> list[int]:
        """Draws a token for every row, and another one after each guess that turns out to be right."""
        temperature, top_p = self.config.temperature, self.config.top_p
        uniform_S = torch.tensor(_draws(rows), dtype=torch.float64) if temperature else torch.zeros(len(hidden_SD))
        uniform_S = uniform_S.to(lm.device)
        drawn = sample(lm.logits(hidden_SD), uniform_S, temperature=temperature, top_p=top_p).tolist()
        widths = [row.width for row in rows]
        held, end = list[int](), 0
        for row, width in zip(rows, widths, strict=True):
            goal, begin, end = row.goal, end, end + width
            assert isinstance(goal, Writing)
            held.append(goal.take_all(row, drawn[begin:end], lm.stop_ids))
        return held

    def take_all(self, row: Row, tokens: Sequence[int], stop_ids: frozenset[int]) -> int:
        """Takes drawn tokens for as long as guesses held; returns how many were taken.

        Args:
            row: Its row.
            tokens: What was drawn after the row's next input and after each of its guesses.
            stop_ids: Tokens that end a text.
        """
        for taken, token in enumerate(tokens, 1):
            self.take(row, token, stop_ids)
            if row.done or taken == len(tokens) or row.guesses[taken - 1] != token:
                return taken
        raise AssertionError("something was drawn for every row")

    def take(self, row: Row, token: int, stop_ids: frozenset[int]) -> None:
        """Makes a token its row's next input, unless the text ends with it."""
        row.token, row.done = token, not self.note(token, stop_ids)

    def note(self, token: int, stop_ids: frozenset[int]) -> bool:
        """Adds a token to the text; returns whether it goes on."""
        self.token_ids.append(token)
        if self.watch is not None:
            self.watch(token)
        if token in stop_ids:
            self.finish = "stop"
            return False
        return len(self.token_ids) < self.limit


def _draws(rows: Sequence[Row]) -> list[float]:
    """The noise of each row's next token, and of those after its guesses."""
    return [draw for row in rows if isinstance(row.goal, Writing) for draw in row.goal.draws(row.width)]
