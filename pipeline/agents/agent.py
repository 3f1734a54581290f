"""One agent: a role on a model. It takes turns on batches of questions; it knows neither Ray nor the graph's walk.

A turn renders the role's prompt, prefills it on the inherited memory, and then either thinks (latent steps; the result
is a memory segment) or writes (decoding; the result is text).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.agents.conduct import Conduct, Deed, Scene, Thinking, TurnRequest, TurnResult
from pipeline.agents.prompting import prompt_ids, prompt_text
from pipeline.engine import LanguageModel, feed, prefill
from pipeline.graphs import Role
from pipeline.memory import Inputs, KVBatch, Memory, Segment
from pipeline.records import Transfer, Turn, Usage


@dataclass(frozen=True, kw_only=True)
class _Timing:
    """How long a batch's turn took."""

    started: float
    """When it began, seconds since the epoch."""
    finished: float
    """When it ended."""
    seconds: float
    """A question's share of the time between the two."""
    handover: float
    """A question's share of the time to bring memory into place."""
    verifying: float
    """A question's share of the time to check it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Agent:
    """A role, played on a model."""

    role: Role
    lm: LanguageModel
    conduct: Conduct
    """Whether it thinks or writes."""
    followers: int = 0
    """How many agents may go on in place from its memory; room for them is made at once."""
    chat_options: dict[str, Any] = field(default_factory=dict)
    """Settings of the chat template."""

    @torch.inference_mode()
    def take_turns(self, requests: Sequence[TurnRequest]) -> list[TurnResult]:
        """Takes one turn on each of a batch of questions.

        Earlier texts are never shortened. A question for which they leave no room in the model's context gets an empty
        turn that counts as cut off by it: that is the model's doing, and a score like any other.

        Raises:
            ValueError: A memory belongs to another model or question, or a prompt without earlier texts does not fit
                the model's context.
        """
        prompts = [self.prompt(request) for request in requests]
        fits = [self._fits(*turn) for turn in zip(requests, prompts, strict=True)]
        taken = iter(
            self._take(
                [r for r, fit in zip(requests, fits, strict=True) if fit],
                [p for p, fit in zip(prompts, fits, strict=True) if fit],
            )
        )
        return [next(taken) if fit else self._cut_off(r) for r, fit in zip(requests, fits, strict=True)]

    @torch.inference_mode()
    def recall(self, requests: Sequence[TurnRequest], inputs: Sequence[Inputs]) -> list[Segment]:
        """Rebuilds what this role's agent left behind, on whichever replica it did, from what its model was fed there.

        Nothing is rendered or thought again: all inputs of a question go through the model at once. The segments are
        those that the agent made, but for rounding; they carry their inputs and are unsigned.

        Args:
            requests: What the agent had got for each question of a batch.
            inputs: What its model was then fed, for each of them.

        Raises:
            ValueError: A memory belongs to another model or question.
        """
        assert isinstance(self.conduct, Thinking), f"the {self.role.name} writes and leaves no memory behind"
        if not requests:
            return []
        for request in requests:
            self._check(request)
        batch = self._open(requests, columns=max(map(len, inputs)))
        start = batch.cursor
        hidden_BD = feed(self.lm, batch, inputs)
        scene = self._scene(requests, [fed.token_ids.tolist() for fed in inputs], batch, start, hidden_BD)
        return [self.conduct.segment(scene, row, fed) for row, fed in enumerate(inputs)]

    def _open(self, requests: Sequence[TurnRequest], *, columns: int) -> KVBatch:
        return self.lm.open([r.memory for r in requests], columns=columns, spare=self.followers * columns)

    def _scene(
        self,
        requests: Sequence[TurnRequest],
        prompts: Sequence[list[int]],
        batch: KVBatch,
        start: int,
        hidden_BD: Tensor,
    ) -> Scene:
        return Scene(
            lm=self.lm,
            batch=batch,
            start=start,
            hidden_BD=hidden_BD,
            role=self.role.name,
            requests=requests,
            prompts=prompts,
        )

    def _take(self, requests: Sequence[TurnRequest], prompts: Sequence[list[int]]) -> list[TurnResult]:
        if not requests:
            return []
        started, began = time.time(), time.perf_counter()
        # 1. Bring what each question inherits into one batch, and read the prompts on top of it.
        verifying = self._verify(requests)
        opening = time.perf_counter()
        batch = self._open(requests, columns=max(map(len, prompts)) + self.conduct.columns)
        self.lm.synchronize()
        handover = (time.perf_counter() - opening) / len(requests)
        start = batch.cursor
        hidden_BD = prefill(self.lm, batch, prompts)
        # 2. Think or write.
        scene = self._scene(requests, prompts, batch, start, hidden_BD)
        self.conduct.observer.reads(scene)
        deeds = self.conduct.act(scene)
        self.lm.synchronize()
        self.conduct.observer.ends(scene, deeds)
        # 3. Book what was used.
        timing = _Timing(
            started=started,
            finished=time.time(),
            seconds=(time.perf_counter() - began) / len(requests),
            handover=handover,
            verifying=verifying,
        )
        return [self._result(*row, timing) for row in zip(requests, prompts, deeds, strict=True)]

    def prompt(self, request: TurnRequest) -> list[int]:
        """Token ids of the role's prompt for one question."""
        return prompt_ids(self.role, request, self.lm.tokenizer, self.chat_options)

    def _fits(self, request: TurnRequest, prompt: list[int]) -> bool:
        self._check(request)
        needed = len(request.memory) + len(prompt) + self.conduct.columns
        if needed > self.lm.context and not request.notes:
            raise ValueError(
                f"question {request.question.id!r}: the {self.role.name} needs {needed} positions "
                f"(memory {len(request.memory)}, prompt {len(prompt)}, latent steps {self.conduct.columns}), "
                f"but the model's context is {self.lm.context}{self.lm.context_note}"
            )
        return needed <= self.lm.context

    def _check(self, request: TurnRequest) -> None:
        question_id = request.source_id or request.question.id
        request.memory.check(shape=self.lm.shape, fingerprints=self.lm.accepts, question_id=question_id)

    def _cut_off(self, request: TurnRequest) -> TurnResult:
        now = time.time()
        turn = Turn(
            role=self.role.name,
            text="",
            finish="context",
            usage=Usage(),
            seconds=0.0,
            prompt=self._recorded(request),
            started=now,
            finished=now,
        )
        return TurnResult(turn=turn)

    def _recorded(self, request: TurnRequest) -> str:
        """The prompt as text, for a question that is traced."""
        return prompt_text(self.role, request, self.lm.tokenizer, self.chat_options) if request.traced else ""

    def _verify(self, requests: Sequence[TurnRequest]) -> float:
        """Checks the digests of signed memory; returns a question's share of the seconds it took."""
        began = time.perf_counter()
        for request in requests:
            request.memory.verify()
        return (time.perf_counter() - began) / len(requests)

    def _result(
        self,
        request: TurnRequest,
        prompt: list[int],
        deed: Deed,
        timing: _Timing,
    ) -> TurnResult:
        usage = Usage(output_tokens=deed.output_tokens, latent_steps=deed.latent_steps, prefill_tokens=len(prompt))
        turn = Turn(
            role=self.role.name,
            text=deed.text,
            finish=deed.finish,
            usage=usage,
            seconds=timing.seconds,
            transfers=transfers(request.memory, timing.handover),
            verify_seconds=(timing.verifying if request.memory else 0.0) + deed.sign_seconds,
            thoughts=deed.thoughts,
            prompt=self._recorded(request),
            started=timing.started,
            finished=timing.finished,
            left_bytes=deed.segment.nbytes if deed.segment else 0,
        )
        return TurnResult(turn=turn, segment=deed.segment)


def transfers(memory: Memory, seconds: float) -> tuple[Transfer, ...]:
    """How a memory came to a turn, one entry a transport.

    Args:
        memory: What the turn inherits.
        seconds: How long bringing it into place took, which each transport gets its share of.
    """
    totals: dict[str, Transfer] = {}
    for segment in memory:
        came = segment.arrival or Transfer(transport="in_place", bytes=segment.nbytes, seconds=0.0)
        before = totals.get(came.transport, Transfer(transport=came.transport, bytes=0, seconds=0.0))
        placing = seconds * segment.nbytes / max(memory.nbytes, 1)
        totals[came.transport] = replace(
            before, bytes=before.bytes + came.bytes, seconds=before.seconds + came.seconds + placing
        )
    return tuple(totals.values())
