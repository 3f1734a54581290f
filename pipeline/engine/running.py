"""The running batch: questions enter, read, think or write side by side, and leave one by one as they finish.

Every step is one forward over a packed row of inputs: the next input of each question that thinks or writes, guesses of
what follows it, and as much of the prompts that are yet to be read as fits. So no position is padding, a place that
gets free is taken at once, and questions that write share the weights' way through the caches with those that read.

Shapes: S new positions of all questions, B questions, D hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pipeline.engine.guessing import GUESSES, ROOM, Guesser, Past
from pipeline.engine.lanes import SHORT, Lanes
from pipeline.engine.model import LanguageModel
from pipeline.engine.prefixes import Prefixes
from pipeline.engine.rows import Row, Writing

READ_AT_ONCE = {"cpu": 512, "cuda": 4096}
"""Positions of prompts that a step reads at most, by device: on a CPU no more than make matrix products fast."""


@dataclass(kw_only=True)
class Tally:
    """What the steps of a running batch computed."""

    steps: int = 0
    """Forwards."""
    positions: int = 0
    """Positions computed, which are all of some question."""
    shared: int = 0
    """Positions of prompts that were not computed because they had been before."""
    decoded: int = 0
    """Positions of questions that were thinking or writing, guesses not counted."""
    guessed: int = 0
    """Positions of guessed tokens."""
    right: int = 0
    """How many of these were right: steps that their texts did not need."""
    seconds: float = 0.0
    """Time of all steps."""


class RunningBatch:
    """Questions that one model works on side by side.

    Attributes:
        lm: The model.
        cache: Where slots for new rows come from.
        rows: The questions in it.
        tally: What has been computed.
        served: Whether another engine writes its texts (`served.py`).
    """

    served = False

    def __init__(self, lm: LanguageModel, *, read_at_once: int | None = None, guesses: int | None = None) -> None:
        """Begins empty.

        Args:
            lm: The model.
            read_at_once: Positions of prompts that a step reads at most; by default what suits the device.
            guesses: Tokens that are guessed after a text's next input at most; by default what suits the device.
        """
        self.lm, self.cache = lm, lm.cache()
        self.rows: list[Row] = []
        self.tally = Tally()
        self._prefixes = Prefixes(lm)
        self._new: list[Row] = []
        self._most = read_at_once or READ_AT_ONCE.get(lm.device.type, READ_AT_ONCE["cuda"])
        self._guesses = GUESSES.get(lm.device.type, 0) if guesses is None else guesses
        self._guesser, self._room = Guesser(), ROOM.get(lm.device.type, ROOM["cuda"])

    def anew(self) -> RunningBatch:
        """An empty one for the same model; the memory of this one is freed with the slots that others hold of it.

        What prompts begin with is kept: it lies in memory of its own, and is right whatever failed after it.
        """
        fresh = RunningBatch(self.lm, read_at_once=self._most, guesses=self._guesses)
        fresh._prefixes = self._prefixes
        return fresh

    def add(self, row: Row) -> None:
        """Lets a question enter before the next step; its slot is its own until it leaves."""
        row.slot.taken = True
        self._new.append(row)

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Computes one forward for all rows that it has room for.

        Returns:
            The rows that are done; they have left.
        """
        began = time.perf_counter()
        self._enter()
        reached = [row for row in self.rows if row.hidden_D is not None]
        if reached:  # they came with everything read
            self._go_on(reached, torch.stack([row.hidden_D for row in reached if row.hidden_D is not None]))
        lanes = self._lanes()
        if lanes:
            self._compute(lanes, began)
        done = [row for row in self.rows if row.done]
        self.rows = [row for row in self.rows if not row.done]
        for row in done:
            row.slot.taken = False
            self._learn(row)
        return done

    def run(self, rows: Sequence[Row]) -> None:
        """Steps until these rows are done; if a step fails, they are taken out, so that none fails for those to come.

        Rows of others that were in a step that failed can't go on: the step may have grown their slots.
        """
        try:
            for row in rows:
                self.add(row)
            while not all(row.done for row in rows):
                self.step()
        finally:
            ours = set(map(id, rows))
            self.rows = [row for row in self.rows if id(row) not in ours]
            self._new = [row for row in self._new if id(row) not in ours]

    def _enter(self) -> None:
        """Takes new rows in, with what they share with others."""
        if self._new:
            self.tally.shared += self._prefixes.place(self._new)
            self.rows += self._new
            self._new = []

    def _lanes(self) -> list[tuple[Row, int]]:
        """Who gets how many positions in the next forward, in the order that lanes have."""
        chosen, writing, left = list[tuple[Row, int]](), list[Row](), self._most
        for row in self.rows:
            if row.done:
                continue
            if row.unread:
                count = min(row.unread, left)
                left -= count
                chosen += [(row, count)] if count else []
            elif isinstance(row.goal, Writing):
                writing.append(row)
            else:
                chosen.append((row, 1))
        if writing:
            room = (self._room - sum(count for _, count in chosen)) // len(writing) - 1
            self._guess(writing, min(self._guesses, room))
            chosen += [(row, row.width) for row in writing]
        shorts = [lane for lane in chosen if lane[1] <= SHORT]
        return sorted(shorts, key=lambda lane: lane[0].slot.row) + [lane for lane in chosen if lane[1] > SHORT]

    def _guess(self, rows: Sequence[Row], most: int) -> None:
        """Guesses how texts go on, by so many tokens each at most."""
        for row in rows if self._guesses else ():
            if row.past is None:
                row.past = Past.of(row.token_ids)
            self._learn(row)
            goal = row.goal
            assert isinstance(goal, Writing)
            left = goal.limit - len(goal.token_ids) - 1  # the model draws one more than were guessed
            row.guesses = self._guesser.guess(row.past, min(most, left))

    def _learn(self, row: Row) -> None:
        """Learns from what a text has become since it was last looked at."""
        if row.past is not None and isinstance(row.goal, Writing):
            self._guesser.learn(row.past, row.goal.token_ids[row.past.written :])

    def _compute(self, chosen: Sequence[tuple[Row, int]], began: float) -> None:
        for row, count in chosen:
            row.slot.reserve(count)
        if self.lm.graphs is None or not self.lm.graphs.step(self.lm, [row for row, _ in chosen]):
            self._forward(chosen)
        else:
            self.tally.decoded += len(chosen)
        seconds, total = time.perf_counter() - began, sum(count for _, count in chosen)
        for row, count in chosen:
            row.seconds += seconds * count / total
        self.tally.steps += 1
        self.tally.positions += total
        self.tally.seconds += seconds

    def _forward(self, chosen: Sequence[tuple[Row, int]]) -> None:
        """One forward over a packed row of inputs; rows that have read all go on from it."""
        lanes = Lanes([(row.slot, count) for row, count in chosen])
        hidden_SD = self.lm.forward(lanes, self._inputs(chosen, lanes))
        ready, places = list[Row](), list[int]()
        for (row, count), end in zip(chosen, lanes.offsets[1:], strict=True):
            if row.unread:
                row.read += count
            else:
                self.tally.decoded += 1
                self.tally.guessed += len(row.guesses)
            if not row.unread:
                ready.append(row)
                places += range(end - row.width, end)
        if ready:
            self._go_on(ready, hidden_SD if len(places) == len(hidden_SD) else hidden_SD[places])

    def _inputs(self, chosen: Sequence[tuple[Row, int]], lanes: Lanes) -> Tensor:
        """The inputs of all lanes, [S, D]: tokens are looked up at once, latent inputs put in their places."""
        ids, places, latents = list[int](), list[int](), list[Tensor]()
        for (row, count), offset in zip(chosen, lanes.offsets, strict=False):
            if row.unread:
                tokens = list(row.token_ids[row.read : row.read + count])
                ids += tokens + [0] * (count - len(tokens))
                if len(tokens) < count:
                    assert row.latents_MD is not None, "what is not a token is latent"
                    first = row.read + len(tokens) - len(row.token_ids)
                    places += range(offset + len(tokens), offset + count)
                    latents += row.latents_MD[first : first + count - len(tokens)].unbind()
            else:
                ids += [row.token or 0, *row.guesses]
                if row.latent_D is not None:
                    places.append(offset)
                    latents.append(row.latent_D)
        if len(latents) == len(ids):
            return torch.stack(latents)
        embeds_SD = self.lm.embed(torch.tensor(ids, device=self.lm.device))
        if latents:
            embeds_SD[places] = torch.stack(latents).to(embeds_SD)
        return embeds_SD

    def _go_on(self, rows: Sequence[Row], hidden_SD: Tensor) -> None:
        """Lets rows whose inputs are read think or write on, those of one kind together.

        Args:
            rows: The rows.
            hidden_SD: Each one's last hidden state, and those after each of its guesses.
        """
        kinds: dict[object, list[int]] = {}
        for index, row in enumerate(rows):
            kinds.setdefault((type(row.goal), row.goal.kind), []).append(index)
        begins = [0, *accumulate(row.width for row in rows)]
        for chosen in kinds.values():
            together = [rows[index] for index in chosen]
            places = [place for index in chosen for place in range(begins[index], begins[index + 1])]
            own_SD = hidden_SD if len(chosen) == len(rows) else hidden_SD[places]
            held, begin = together[0].goal.step_all(self.lm, together, own_SD), 0
            for row, count in zip(together, held, strict=True):
                row.hidden_D = own_SD[begin + count - 1] if row.done else None
                begin += row.width
                row.slot.length -= row.width - count
                row.guesses = ()
                self.tally.right += count - 1
