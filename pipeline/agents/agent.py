"""One agent: a role on a model. It takes turns on batches of questions; it knows neither Ray nor the graph's walk.

A turn renders the role's prompt, prefills it on the inherited memory, and then either thinks (latent steps; the result
is a memory segment) or writes (decoding; the result is text).

Shapes: B rows, D hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pipeline.agents.chat import chat_ids
from pipeline.config import DecodingConfig
from pipeline.engine import Alignment, LanguageModel, decode, prefill, think
from pipeline.graphs import Role
from pipeline.memory import KVBatch, Memory, Segment
from pipeline.prompts import Note, role_messages
from pipeline.records import Finish, Question, Turn, Usage


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnRequest:
    """What an agent gets for one question."""

    question: Question
    """What is asked."""
    memory: Memory = field(default_factory=Memory)
    """Working memory of the agents that it reads and that think."""
    notes: tuple[Note, ...] = ()
    """Texts of the agents that it reads and that write."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnResult:
    """What an agent leaves behind for one question."""

    turn: Turn
    """What happened, for the records."""
    segment: Segment | None = None
    """What a thinking agent added to the working memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Deed:
    """What came of one row after its prompt."""

    text: str = ""
    finish: Finish = "latent"
    output_tokens: int = 0
    latent_steps: int = 0
    segment: Segment | None = None


class Conduct(Protocol):
    """What an agent does once its prompt is in memory."""

    @property
    def columns(self) -> int:
        """Positions that it adds for certain; room for them is made with the prompt's."""

    def act(
        self, lm: LanguageModel, batch: KVBatch, start: int, hidden_BD: Tensor, role: str, ids: Sequence[str]
    ) -> list[Deed]:
        """Goes on from the prompts' last hidden states; `start` is the column where the turn's prompts begin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thinking:
    """Takes latent steps and hands over the memory of prompt and thoughts."""

    alignment: Alignment
    """From hidden state to next input."""
    latent_steps: int
    """Latent steps m."""

    @property
    def columns(self) -> int:
        """One position a latent step."""
        return self.latent_steps

    def act(
        self, lm: LanguageModel, batch: KVBatch, start: int, hidden_BD: Tensor, role: str, ids: Sequence[str]
    ) -> list[Deed]:
        """Thinks for m steps."""
        think(lm, batch, hidden_BD, self.alignment, self.latent_steps)
        made = {"role": role, "fingerprint": lm.fingerprint, "latent_steps": self.latent_steps}
        segments = [batch.cut(row, start, question_id=question_id, **made) for row, question_id in enumerate(ids)]
        return [Deed(latent_steps=self.latent_steps, segment=segment) for segment in segments]


@dataclass(frozen=True, kw_only=True, eq=False)
class Writing:
    """Writes text."""

    decoding: DecodingConfig
    """Budget and sampling."""

    @property
    def columns(self) -> int:
        """None for certain: a text may end at once."""
        return 0

    def act(
        self, lm: LanguageModel, batch: KVBatch, start: int, hidden_BD: Tensor, role: str, ids: Sequence[str]
    ) -> list[Deed]:
        """Decodes until the model stops or the budget is spent."""
        keys = [(question_id, role) for question_id in ids]
        deeds = []
        for written in decode(lm, batch, hidden_BD, noise_keys=keys, config=self.decoding):
            text = lm.tokenizer.decode(written.token_ids, skip_special_tokens=True).strip()
            deeds.append(Deed(text=text, finish=written.finish, output_tokens=len(written.token_ids)))
        return deeds


@dataclass(frozen=True, kw_only=True, eq=False)
class Agent:
    """A role, played on a model."""

    role: Role
    lm: LanguageModel
    conduct: Conduct
    answers: bool
    """Whether its text is the answer."""
    chat_options: dict[str, bool | int | str] = field(default_factory=dict)
    """Settings of the chat template."""

    @torch.inference_mode()
    def take_turns(self, requests: Sequence[TurnRequest]) -> list[TurnResult]:
        """Takes one turn on each of a batch of questions.

        Raises:
            ValueError: A memory belongs to another model or question, or a prompt does not fit the model's context.
        """
        began = time.perf_counter()
        # 1. Prompts, on top of what each question inherits.
        prompts = [self.prompt(request) for request in requests]
        self._check_room(requests, prompts)
        opening = time.perf_counter()
        batch = self.lm.open([r.memory for r in requests], columns=max(map(len, prompts)) + self.conduct.columns)
        handover = (time.perf_counter() - opening) / len(requests)
        start = batch.cursor
        hidden_BD = prefill(self.lm, batch, prompts)
        # 2. Think or write.
        ids = [request.question.id for request in requests]
        deeds = self.conduct.act(self.lm, batch, start, hidden_BD, self.role.name, ids)
        if self.lm.device.type == "cuda":
            torch.cuda.synchronize(self.lm.device)
        # 3. Book what was used.
        share = (time.perf_counter() - began) / len(requests)
        return [
            self._result(*row, seconds=share, handover_seconds=handover)
            for row in zip(requests, prompts, deeds, strict=True)
        ]

    def prompt(self, request: TurnRequest) -> list[int]:
        """Token ids of the role's prompt for one question."""
        messages = role_messages(
            self.role.name,
            request.question,
            answers=self.answers,
            notes=request.notes,
            remembered=[segment.role for segment in request.memory],
        )
        return chat_ids(self.lm.tokenizer, messages, self.chat_options)

    def _check_room(self, requests: Sequence[TurnRequest], prompts: Sequence[list[int]]) -> None:
        for request, prompt in zip(requests, prompts, strict=True):
            request.memory.check(fingerprint=self.lm.fingerprint, question_id=request.question.id)
            needed = len(request.memory) + len(prompt) + self.conduct.columns
            if needed > self.lm.context:
                raise ValueError(
                    f"question {request.question.id!r}: the {self.role.name} needs {needed} positions "
                    f"(memory {len(request.memory)}, prompt {len(prompt)}, latent steps {self.conduct.columns}), "
                    f"but the model's context is {self.lm.context}"
                )

    def _result(
        self, request: TurnRequest, prompt: list[int], deed: Deed, *, seconds: float, handover_seconds: float
    ) -> TurnResult:
        usage = Usage(output_tokens=deed.output_tokens, latent_steps=deed.latent_steps, prefill_tokens=len(prompt))
        turn = Turn(
            role=self.role.name,
            text=deed.text,
            finish=deed.finish,
            usage=usage,
            seconds=seconds,
            handover_bytes=request.memory.nbytes,
            handover_seconds=handover_seconds if request.memory else 0.0,
        )
        return TurnResult(turn=turn, segment=deed.segment)
