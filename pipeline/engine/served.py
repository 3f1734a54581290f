"""A running batch whose texts another engine writes: what thinks or only reads stays here, what writes goes there.

The other engine knows prompts and no working memory. By the lossless property it computes the same when it is given all
inputs that the memory was made of, in order, before the prompt: as token ids where they are tokens alone, else as
embeddings, among them the aligned hidden states of the latent steps. So a text takes no slot of our cache.

Shapes: T positions, M latent inputs, D hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import torch
from torch import Tensor

from pipeline.engine.model import LanguageModel
from pipeline.engine.rows import Row, Writing
from pipeline.engine.running import RunningBatch
from pipeline.memory import Inputs, KVCache, Memory, Segment, Slot

Prompt = list[int] | Tensor
"""Token ids, or embeddings [T, D] as they enter the first layer, on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What a server has written of one text since it was asked last."""

    key: str
    """Which text."""
    token_ids: Sequence[int] = ()
    """The tokens that are new."""
    done: bool = False
    """Whether it is whole."""
    shared: int = 0
    """Positions of its prompt, once it is whole, that were not computed because they had been before."""


class Server(Protocol):
    """Another engine, on the same model."""

    def write(self, key: str, prompt: Prompt, goal: Writing) -> None:
        """Begins a text.

        Args:
            key: What the text is called.
            prompt: What it goes on from; it has room in the model's context.
            goal: How it is sampled, and how long it gets: `limit` tokens.
        """

    def step(self) -> list[Piece]:
        """Computes one step; nothing may have come of it yet."""

    def drop(self, keys: Collection[str]) -> None:
        """Gives texts up."""

    def forget(self) -> None:
        """Lets go of what is kept of earlier prompts; no texts are under way."""


class Inherited(Slot):
    """What a text goes on from, where no cache holds it: memory whose inputs are read anew.

    Attributes:
        memory: The memory.
    """

    __slots__ = ("memory",)

    def __init__(self, cache: KVCache, memory: Memory) -> None:
        super().__init__(cache, -1)
        self.memory, self.length = memory, len(memory)

    def __del__(self) -> None:
        """Gives nothing back: it is no row of the cache."""

    def reserve(self, columns: int) -> None:
        """Needs no room."""


def opened(batch: RunningBatch, memory: Memory, *, columns: int, writes: bool) -> Slot:
    """A slot for a turn; for a text that another engine writes a stand-in, which takes no memory.

    Args:
        batch: Where the turn is taken.
        memory: What is known; may be empty. For another engine its segments have to carry their inputs.
        columns: Positions about to be added.
        writes: Whether a text is to be written then.
    """
    if writes and batch.served:
        return Inherited(batch.cache, memory)
    return batch.cache.open(memory, columns=columns, move=batch.lm.move)


class ServedBatch(RunningBatch):
    """A running batch beside another engine, which writes; one thread at a time may use both."""

    served = True
    _keys = count()

    def __init__(self, lm: LanguageModel, server: Server, *, read_at_once: int | None = None) -> None:
        """Begins empty.

        Args:
            lm: The model.
            server: Writes texts; nobody else's are in it.
            read_at_once: As in a running batch.
        """
        super().__init__(lm, read_at_once=read_at_once, guesses=0)
        self._server = server
        self._writing: dict[str, Row] = {}

    def anew(self) -> ServedBatch:
        """An empty one for the same model and server, which gives up what it was writing."""
        self._drop(self._writing)
        fresh = ServedBatch(self.lm, self._server, read_at_once=self._most)
        fresh._prefixes = self._prefixes
        return fresh

    def forget(self) -> None:
        """Lets go of what the server keeps of earlier prompts, so that a measurement does not find them there."""
        self._server.forget()

    def add(self, row: Row) -> None:
        """Lets a question enter; one that writes is begun at once, and waits for its turn in the other engine.

        Raises:
            ValueError: No prompt can reproduce what it inherits.
        """
        if not isinstance(row.goal, Writing):
            return super().add(row)
        assert isinstance(row.slot, Inherited), "a text has a place of its own kind"
        began, key = time.perf_counter(), str(next(self._keys))
        prompt = prompt_of(self.lm, row.slot.memory, row.token_ids)
        self._server.write(key, prompt, row.goal)
        self._writing[key] = row
        row.seconds += time.perf_counter() - began
        row.read = len(row.token_ids)
        self.tally.positions += len(prompt)

    def step(self) -> list[Row]:
        """Computes a step here if somebody thinks or reads, and one there if somebody writes.

        Returns:
            The rows that are done; they have left.
        """
        done = super().step() if self.rows or self._new else []
        return [*done, *self._written()] if self._writing else done

    def run(self, rows: Sequence[Row]) -> None:
        """Steps until these rows are done; if a step fails, they are taken out."""
        try:
            super().run(rows)
        finally:
            ours = set(map(id, rows))
            self._drop([key for key, row in self._writing.items() if id(row) in ours])

    @torch.inference_mode()
    def _written(self) -> list[Row]:
        """Lets the server take a step, and gives rows what it wrote."""
        began, done = time.perf_counter(), list[Row]()
        pieces = self._server.step()
        seconds = time.perf_counter() - began
        for row in self._writing.values():
            row.seconds += seconds / len(self._writing)
        for piece in pieces:
            row = self._writing[piece.key]
            self._take(row, piece)
            if row.done:
                del self._writing[piece.key]
                done.append(row)
        self.tally.steps += 1
        self.tally.seconds += seconds
        return done

    def _take(self, row: Row, piece: Piece) -> None:
        goal = row.goal
        assert isinstance(goal, Writing), "nothing else is handed over"
        inputs = len(piece.token_ids) - piece.done  # the last token is none
        self.tally.decoded += inputs
        self.tally.positions += inputs - piece.shared
        self.tally.shared += piece.shared
        goes_on = True
        for token in piece.token_ids:
            goes_on = goal.note(token, self.lm.stop_ids)
        assert goes_on != piece.done, "both engines see the end of a text at the same token"
        row.done = piece.done

    def _drop(self, keys: Collection[str]) -> None:
        keys = list(keys)
        if keys:
            self._server.drop(keys)
        for key in keys:
            del self._writing[key]


@torch.inference_mode()
def prompt_of(lm: LanguageModel, memory: Memory, token_ids: Sequence[int]) -> Prompt:
    """What the model has to read to write what it would write on top of a memory.

    Args:
        lm: The model, whose embeddings are taken.
        memory: Segments with their inputs.
        token_ids: The prompt that follows.

    Raises:
        ValueError: A segment was made on top of something else than what lies before it, so no prompt reproduces it.
    """
    fed, place = list[Inputs](), 0
    for segment in memory:
        fed.append(_inputs(segment))
        if len(segment) and int(segment.positions_T[0]) != place:
            made = int(segment.positions_T[0])
            raise ValueError(
                f"the memory of {segment.role!r} was made at position {made} and is to lie at {place}: no single "
                "prompt reproduces it; use --experts chained, or --backend hf"
            )
        place += len(segment)
    if not any(len(inputs.latents_MD) for inputs in fed):
        return [*(token for inputs in fed for token in inputs.token_ids.tolist()), *token_ids]
    parts = list[Tensor]()
    for inputs in fed:
        parts += [_embedded(lm, inputs.token_ids), inputs.latents_MD.to(lm.device, lm.shape.dtype)]
    prompt_TD = torch.cat([*parts, _embedded(lm, torch.tensor(token_ids, dtype=torch.int64))])
    return (prompt_TD * lm.input_scale if lm.input_scale != 1 else prompt_TD).cpu()


def _inputs(segment: Segment) -> Inputs:
    """What the positions of a segment were made of: those of the whole turn, or of its prompt."""
    inputs = segment.inputs
    assert inputs is not None, "agents keep the inputs of what another engine is to read"
    if len(segment) == len(inputs):
        return inputs
    if segment.latent_steps or len(segment) != len(inputs.token_ids):
        raise ValueError(
            f"the thoughts of {segment.role!r} were made after a prompt that is not handed over: no prompt reproduces "
            "them; use --handover full or prompt, or --backend hf"
        )
    return Inputs(token_ids=inputs.token_ids, latents_MD=inputs.latents_MD[:0])


def _embedded(lm: LanguageModel, ids_T: Tensor) -> Tensor:
    return lm.embed(ids_T.to(lm.device))
