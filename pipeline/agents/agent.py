"""One agent: a role on a model. It takes turns on questions; it knows neither Ray nor the graph's walk.

A turn renders the role's prompt and brings the inherited memory into place; the engine reads the prompt on top of it,
and then either thinks (latent steps; the result is a memory segment) or writes (decoding; the result is text).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pipeline.agents.conduct import Conduct, Scene, Thinking, TurnRequest, TurnResult
from pipeline.agents.prompting import prompt_ids, prompt_text
from pipeline.engine import LanguageModel, Lens, Reading, Row, RunningBatch
from pipeline.engine.served import opened
from pipeline.graphs import Role
from pipeline.memory import Inputs, Memory, Segment
from pipeline.records import Transfer, Turn, Usage


@dataclass(frozen=True, kw_only=True, eq=False)
class UnderWay:
    """A turn that the engine works on."""

    scene: Scene
    row: Row
    """The question in the running batch."""
    started: float
    """When the turn began, seconds since the epoch."""
    handover: float = 0.0
    """Seconds that it took to bring memory into place."""
    verifying: float = 0.0
    """Seconds that it took to check it."""
    transfers: tuple[Transfer, ...] = ()
    """How the memory came."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Agent:
    """A role, played on a model."""

    role: Role
    lm: LanguageModel
    conduct: Conduct
    """Whether it thinks or writes."""
    chat_options: dict[str, Any] = field(default_factory=dict)
    """Settings of the chat template."""

    @torch.inference_mode()
    def begin(self, request: TurnRequest, batch: RunningBatch) -> UnderWay | TurnResult:
        """Begins a turn on a question: lets it enter the running batch.

        Earlier work is never shortened. Where texts or memory leave no room in the model's context, the turn is empty
        and counts as cut off by it: that is the model's doing, and a score like any other.

        Returns:
            The turn, which `end` ends once its row is done; or at once what came of one that is cut off.

        Raises:
            ValueError: A memory belongs to another model or question, or a prompt without earlier work does not fit the
                model's context.
        """
        prompt = self.prompt(request)
        if not self._fits(request, prompt):
            return self._cut_off(request)
        started, began = time.time(), time.perf_counter()
        request.memory.verify()
        verifying = time.perf_counter() - began
        scene, handover = self._scene(request, prompt, batch, columns=len(prompt) + self.conduct.columns)
        self.conduct.observer.reads(scene)
        family = "" if request.memory else self.role.name
        row = Row(slot=scene.slot, goal=self.conduct.goal(scene), token_ids=prompt, family=family)
        batch.add(row)
        came = transfers(request.memory, handover)
        return UnderWay(scene=scene, row=row, started=started, handover=handover, verifying=verifying, transfers=came)

    def _scene(
        self, request: TurnRequest, prompt: Sequence[int], batch: RunningBatch, *, columns: int
    ) -> tuple[Scene, float]:
        """The turn with its memory in place; and how many seconds that took."""
        opening = time.perf_counter()
        slot = opened(batch, request.memory, columns=columns, writes=self.conduct.writes)
        self.lm.synchronize()
        seconds = time.perf_counter() - opening
        scene = Scene(
            lm=self.lm,
            slot=slot,
            start=slot.length,
            role=self.role.name,
            request=replace(request, memory=Memory()),  # what was copied may go, long before the turn ends
            prompt=prompt,
            lens=Lens(self.lm) if request.traced else None,
        )
        return scene, seconds

    def end(self, turn: UnderWay) -> TurnResult:
        """Ends a turn whose row is done."""
        scene = turn.scene
        deed = self.conduct.deed(scene, turn.row.goal)
        self.conduct.observer.ends(scene, deed)
        prompt = len(scene.prompt)
        usage = Usage(output_tokens=deed.output_tokens, latent_steps=deed.latent_steps, prefill_tokens=prompt)
        booked = Turn(
            role=self.role.name,
            text=deed.text,
            finish=deed.finish,
            usage=usage,
            seconds=turn.row.seconds + turn.handover + turn.verifying + deed.sign_seconds,
            transfers=turn.transfers,
            verify_seconds=(turn.verifying if turn.transfers else 0.0) + deed.sign_seconds,
            thoughts=deed.thoughts,
            prompt=self._recorded(scene.request),
            started=turn.started,
            finished=time.time(),
            left_bytes=deed.segment.nbytes if deed.segment else 0,
        )
        return TurnResult(turn=booked, segment=deed.segment, thinks=self.thinks)

    @property
    def thinks(self) -> bool:
        """Whether it thinks; else it writes."""
        return isinstance(self.conduct, Thinking)

    @torch.inference_mode()
    def recall(self, request: TurnRequest, fed: Inputs, batch: RunningBatch) -> UnderWay:
        """Begins to rebuild what this role's agent left behind on another replica, from what its model was fed there.

        Nothing is rendered or thought again: all inputs are read.

        Args:
            request: What the agent had got.
            fed: What its model was then fed.
            batch: Where it is computed.

        Returns:
            The reading, which `recalled` ends once its row is done.

        Raises:
            ValueError: A memory belongs to another model or question.
        """
        assert self.thinks, f"the {self.role.name} writes and leaves no memory behind"
        self._check(request)
        prompt, started = fed.token_ids.tolist(), time.time()
        scene, handover = self._scene(request, prompt, batch, columns=len(fed))
        row = Row(slot=scene.slot, goal=Reading(), token_ids=prompt, latents_MD=fed.latents_MD)
        batch.add(row)
        return UnderWay(scene=scene, row=row, started=started, handover=handover)

    def recalled(self, turn: UnderWay, fed: Inputs) -> Segment:
        """The segment that the agent made, but for rounding; it carries its inputs and is unsigned."""
        assert isinstance(self.conduct, Thinking), "what is recalled was thought"
        return self.conduct.segment(turn.scene, fed)

    def prompt(self, request: TurnRequest) -> list[int]:
        """Token ids of the role's prompt for one question."""
        return prompt_ids(self.role, request, self.lm.tokenizer, self.chat_options)

    def _fits(self, request: TurnRequest, prompt: list[int]) -> bool:
        self._check(request)
        needed = len(request.memory) + len(prompt) + self.conduct.columns
        if needed > self.lm.context and not (request.notes or request.memory):
            raise ValueError(
                f"question {request.question.id!r}: the {self.role.name} needs {needed} positions "
                f"(prompt {len(prompt)}, latent steps {self.conduct.columns}), but the model's context is "
                f"{self.lm.context}{self.lm.context_note}"
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
        return TurnResult(turn=turn, thinks=self.thinks)

    def _recorded(self, request: TurnRequest) -> str:
        """The prompt as text, for a question that is traced."""
        return prompt_text(self.role, request, self.lm.tokenizer, self.chat_options) if request.traced else ""


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
