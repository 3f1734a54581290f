"""The observer that tells what a team does as events. One question at a time.

Shapes: D hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import TextStreamer

from jobs.asks.events import AgentEnds, AgentReads, Event, Held, StepTaken, TextWritten
from pipeline.agents.conduct import Deed, Scene
from pipeline.agents.observing import Observer
from pipeline.engine import LanguageModel, Lens
from pipeline.graphs import CollaborationPlan

Tell = Callable[[Event], None]


class Watcher(Observer):
    """Tells what agents do while they do it.

    Attributes:
        seconds: How long watching has taken by itself.
    """

    def __init__(self, lm: LanguageModel, plan: CollaborationPlan, tell: Tell) -> None:
        """Nothing has happened yet.

        Args:
            lm: The model.
            plan: Who works together.
            tell: Gets every event.
        """
        self._lm, self._plan, self._tell = lm, plan, tell
        self._lens = Lens(lm)
        self._words = _Words(lm, tell)
        self.seconds = 0.0
        self.start()

    def start(self) -> None:
        """The first agent gets to work; each other one does when the one before it ends."""
        self._began = time.perf_counter()

    def reads(self, scene: Scene) -> None:
        """Tells who reads what."""
        with self._watching():
            request, prompt = scene.request, scene.prompt
            self._lens = Lens(self._lm)
            inherited = scene.start
            self._tell(
                AgentReads(
                    role=scene.role,
                    latent_steps=self._plan.thinkers.get(scene.role),
                    memory_of=request.remembered,
                    texts_of=tuple(note.role for note in request.notes),
                    inherited=inherited,
                    prompt=len(prompt),
                    held=self._held(inherited + len(prompt)),
                )
            )

    def thinks(self, scene: Scene, step: int, hidden_D: Tensor, embeds_D: Tensor) -> None:
        """Tells what a latent step looks like."""
        with self._watching():
            self._lens(step, hidden_D, embeds_D)
            self._tell(StepTaken(thought=self._lens.thoughts[-1], of=self._plan.thinkers[scene.role]))

    def writes(self, scene: Scene, token_id: int) -> None:
        """Tells words as soon as they are whole."""
        with self._watching():
            self._words.put(torch.tensor([token_id]))

    def ends(self, scene: Scene, deed: Deed) -> None:
        """Tells how a turn ended."""
        with self._watching():
            prompt = scene.prompt
            if deed.segment is None:
                self._words.end()
            # The last token of a text is fed to nobody, so it takes no position.
            own = max(deed.output_tokens - 1, 0) + len(prompt) if deed.segment is None else len(deed.segment)
            ended = AgentEnds(
                role=scene.role,
                finish=deed.finish,
                output_tokens=deed.output_tokens,
                seconds=time.perf_counter() - self._began,
                held=self._held(scene.start + own),
            )
            self._tell(ended)
        self.start()

    def _held(self, positions: int) -> Held:
        return Held(positions=positions, nbytes=positions * self._lm.shape.bytes_per_position)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Keeps the time that watching takes out of the agents'."""
        began = time.perf_counter()
        yield
        taken = time.perf_counter() - began
        self.seconds += taken
        self._began += taken


class _Words(TextStreamer):  # type: ignore[misc]  # of a library without types
    """Puts tokens together to words."""

    def __init__(self, lm: LanguageModel, tell: Tell) -> None:
        super().__init__(lm.tokenizer, skip_special_tokens=True)
        self._tell = tell

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Hands on what is whole."""
        if text:
            self._tell(TextWritten(text=text))
