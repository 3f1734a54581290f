"""What an agent gets, what it leaves behind, and the two things it can do in between: think or write.

Shapes: D hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from pipeline.agents.observing import NOBODY, Observer
from pipeline.config import DecodingConfig
from pipeline.engine import Alignment, LanguageModel, Lens, rows
from pipeline.graphs import allowance
from pipeline.memory import Inputs, Memory, Part, Segment, Slot
from pipeline.prompts import Note
from pipeline.records import Finish, Question, Thought, Turn


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnRequest:
    """What an agent gets for one question."""

    question: Question
    """What is asked."""
    memory: Memory = field(default_factory=Memory)
    """Working memory of the agents that it reads and that think."""
    notes: tuple[Note, ...] = ()
    """Texts of the agents that it reads and that write."""
    remembered: tuple[str, ...] = ()
    """Roles whose memory it is told that it has; the prompt stays the same when a control takes the memory away."""
    source_id: str | None = None
    """The question that the memory belongs to, if it is not the one that is asked."""
    traced: bool = False
    """Whether the prompt and the latent steps are recorded."""
    spent: int = 0
    """Tokens that the agents that it reads have written for this question."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnResult:
    """What an agent leaves behind for one question."""

    turn: Turn
    """What happened, for the records."""
    segment: Segment | None = None
    """What a thinking agent added to the working memory."""
    thinks: bool = False
    """Whether it is a thinking agent's, which leaves no text: where it found no room, it leaves nothing at all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Deed:
    """What came of a turn after its prompt."""

    text: str = ""
    finish: Finish = "latent"
    output_tokens: int = 0
    latent_steps: int = 0
    segment: Segment | None = None
    thoughts: tuple[Thought, ...] = ()
    sign_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """An agent's turn on one question."""

    lm: LanguageModel
    slot: Slot
    """Where the question's memory is."""
    start: int
    """Position where this turn's prompt begins."""
    role: str
    request: TurnRequest
    """What the agent got, but for the memory: that is in the slot by now, before `start`."""
    prompt: Sequence[int]
    """The prompt's token ids."""
    lens: Lens | None = None
    """Looks at latent steps, where the question is traced."""


class Conduct(Protocol):
    """What an agent does once its prompt is in memory."""

    @property
    def observer(self) -> Observer:
        """Who watches."""

    @property
    def writes(self) -> bool:
        """Whether it writes a text; else it thinks and leaves memory behind."""

    @property
    def columns(self) -> int:
        """Positions that it adds for certain; room for them is made with the prompt's."""

    def goal(self, scene: Scene) -> rows.Goal:
        """What the engine is to do once the prompt is read."""

    def deed(self, scene: Scene, goal: rows.Goal) -> Deed:
        """What came of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thinking:
    """Takes latent steps and hands over memory."""

    alignment: Alignment
    """From hidden state to next input."""
    latent_steps: int
    """Latent steps m."""
    handover: Part = "full"
    """What of prompt and thoughts is handed over."""
    sign: bool = False
    """Whether segments get a digest that their reader can verify."""
    keep_inputs: bool = False
    """Whether segments carry what the model was fed, so that another replica can compute them again."""
    observer: Observer = NOBODY
    """Told of every latent step."""
    writes: ClassVar[bool] = False

    @property
    def columns(self) -> int:
        """One position a latent step."""
        return self.latent_steps

    def goal(self, scene: Scene) -> rows.Thinking:
        """To think for m steps."""

        def watch(step: int, hidden_D: Tensor, embeds_D: Tensor) -> None:
            if scene.lens is not None:
                scene.lens(step, hidden_D, embeds_D)
            self.observer.thinks(scene, step, hidden_D, embeds_D)

        watched = scene.lens is not None or self.observer is not NOBODY
        return rows.Thinking(
            alignment=self.alignment,
            steps=self.latent_steps,
            watch=watch if watched else None,
            keep=self.keep_inputs,
        )

    def deed(self, scene: Scene, goal: rows.Goal) -> Deed:
        """The segment that was added."""
        assert isinstance(goal, rows.Thinking), "what was asked for"
        inputs = None
        if self.keep_inputs:
            width = scene.lm.causal_lm.get_input_embeddings().weight.shape[1]
            none_MD = torch.empty(0, width, dtype=scene.lm.shape.dtype, device=scene.lm.device)
            latents_MD = torch.stack(goal.latents) if goal.latents else none_MD
            inputs = Inputs(token_ids=torch.tensor(scene.prompt, dtype=torch.int64), latents_MD=latents_MD)
        segment = self.segment(scene, inputs)
        began = time.perf_counter()
        handed = segment.signed() if self.sign else segment
        return Deed(
            latent_steps=self.latent_steps,
            segment=handed,
            thoughts=tuple(scene.lens.thoughts) if scene.lens else (),
            sign_seconds=time.perf_counter() - began,
        )

    def segment(self, scene: Scene, inputs: Inputs | None) -> Segment:
        """What was added since the prompt began, as far as it is handed over; with its inputs, where given."""
        whole = scene.slot.cut(
            scene.start,
            role=scene.role,
            question_id=scene.request.question.id,
            fingerprint=scene.lm.fingerprint,
            latent_steps=self.latent_steps,
            inputs=inputs,
        )
        return whole.part(self.handover)


@dataclass(frozen=True, kw_only=True, eq=False)
class Writing:
    """Writes text."""

    decoding: DecodingConfig
    """Budget and sampling."""
    share: int | None = None
    """Among how many agents what is left of the system's budget is divided; none: the budget is this agent's own."""
    observer: Observer = NOBODY
    """Told of every token."""
    writes: ClassVar[bool] = True

    @property
    def columns(self) -> int:
        """None for certain: a text may end at once."""
        return 0

    def goal(self, scene: Scene) -> rows.Writing:
        """To write until the model stops or the budget is spent."""
        return rows.Writing(
            config=self.decoding,
            noise_key=(scene.request.question.id, scene.role),
            budget=self.budget(scene.request),
            room=scene.lm.context - scene.start - len(scene.prompt) + 1,
            watch=None if self.observer is NOBODY else partial(self.observer.writes, scene),
        )

    def deed(self, scene: Scene, goal: rows.Goal) -> Deed:
        """The text; its positions are given up, so that others can go on from the memory before them in place."""
        assert isinstance(goal, rows.Writing), "what was asked for"
        scene.slot.length = scene.start
        text = scene.lm.tokenizer.decode(goal.token_ids, skip_special_tokens=True).strip()
        return Deed(text=text, finish=goal.finish, output_tokens=len(goal.token_ids))

    def budget(self, request: TurnRequest) -> int:
        """Most tokens that it writes for one question."""
        total = self.decoding.most_tokens
        return total if self.share is None else allowance(total, spent=request.spent, share=self.share)
