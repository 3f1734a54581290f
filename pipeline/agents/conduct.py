"""What an agent gets, what it leaves behind, and the two things it can do in between: think or write.

Shapes: B rows, D hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from torch import Tensor

from pipeline.agents.observing import NOBODY, Observer
from pipeline.config import DecodingConfig
from pipeline.engine import Alignment, LanguageModel, Lens, Recorder, decode, think
from pipeline.graphs import allowance
from pipeline.memory import Inputs, KVBatch, Memory, Part, Segment
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Deed:
    """What came of one row after its prompt."""

    text: str = ""
    finish: Finish = "latent"
    output_tokens: int = 0
    latent_steps: int = 0
    segment: Segment | None = None
    thoughts: tuple[Thought, ...] = ()
    sign_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A batch of questions whose prompts are in memory: what an agent goes on from."""

    lm: LanguageModel
    batch: KVBatch
    start: int
    """Column where this turn's prompts begin."""
    hidden_BD: Tensor
    """Last hidden states of the prompts."""
    role: str
    requests: Sequence[TurnRequest]
    prompts: Sequence[Sequence[int]]
    """The prompts' token ids."""


class Conduct(Protocol):
    """What an agent does once its prompt is in memory."""

    @property
    def observer(self) -> Observer:
        """Who watches."""

    @property
    def columns(self) -> int:
        """Positions that it adds for certain; room for them is made with the prompt's."""

    def act(self, scene: Scene) -> list[Deed]:
        """Goes on from the prompts' last hidden states."""


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

    @property
    def columns(self) -> int:
        """One position a latent step."""
        return self.latent_steps

    def act(self, scene: Scene) -> list[Deed]:
        """Thinks for m steps."""
        lens = Lens(scene.lm, [row for row, request in enumerate(scene.requests) if request.traced])

        def watch(step: int, hidden_BD: Tensor, embeds_BD: Tensor) -> None:
            lens(step, hidden_BD, embeds_BD)
            self.observer.thinks(scene, step, hidden_BD, embeds_BD)

        recorder = Recorder(scene.hidden_BD, then=watch)
        think(
            scene.lm,
            scene.batch,
            scene.hidden_BD,
            self.alignment,
            self.latent_steps,
            watch=recorder if self.keep_inputs else watch,
        )
        inputs = recorder.inputs(scene.prompts) if self.keep_inputs else [None] * len(scene.requests)
        segments = [self.segment(scene, row, fed) for row, fed in enumerate(inputs)]
        began = time.perf_counter()
        handed = [segment.signed() if self.sign else segment for segment in segments]
        signing = (time.perf_counter() - began) / len(handed)
        return [
            Deed(
                latent_steps=self.latent_steps,
                segment=segment,
                thoughts=tuple(lens.thoughts.get(row, ())),
                sign_seconds=signing,
            )
            for row, segment in enumerate(handed)
        ]

    def segment(self, scene: Scene, row: int, inputs: Inputs | None) -> Segment:
        """What a row has added since its prompt began, as far as it is handed over; with its inputs, where given."""
        whole = scene.batch.cut(
            row,
            scene.start,
            role=scene.role,
            question_id=scene.requests[row].question.id,
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

    @property
    def columns(self) -> int:
        """None for certain: a text may end at once."""
        return 0

    def act(self, scene: Scene) -> list[Deed]:
        """Decodes until the model stops or the budget is spent."""
        keys = [(request.question.id, scene.role) for request in scene.requests]
        deeds = []
        budgets = [self.budget(request) for request in scene.requests]
        texts = decode(
            scene.lm,
            scene.batch,
            scene.hidden_BD,
            noise_keys=keys,
            budgets=budgets,
            config=self.decoding,
            watch=partial(self.observer.writes, scene),
        )
        for written in texts:
            text = scene.lm.tokenizer.decode(written.token_ids, skip_special_tokens=True).strip()
            deeds.append(Deed(text=text, finish=written.finish, output_tokens=len(written.token_ids)))
        return deeds

    def budget(self, request: TurnRequest) -> int:
        """Most tokens that it writes for one question."""
        total = self.decoding.most_tokens
        return total if self.share is None else allowance(total, spent=request.spent, share=self.share)
