"""What a team's latent steps look like from inside: hidden states and what is fed back, with the tokens around them.

All vectors are as they enter the first layer, or as the final norm leaves them; float32 on the CPU.

Shapes: N vectors, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.agents.conduct import Scene
from pipeline.agents.observing import Observer
from pipeline.agents.team import Alignments, build_team
from pipeline.agents.walk import walk
from pipeline.config import RunConfig
from pipeline.engine import LanguageModel
from pipeline.graphs import CollaborationPlan
from pipeline.records import Assignment, Question

Vectors = NDArray[np.float32]
"""Rows of length D."""
AT_A_TIME = 8
"""Questions that are thought about together, where nothing else is set."""
AT_ONCE = 512
"""Vectors that are compared with the whole vocabulary together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thoughts:
    """All latent steps of a team on some questions, a row each: by agent, step and question."""

    before_ND: Vectors
    """e_t: the input of the position before the step, at first the prompt's last token, then what the last step fed."""
    hidden_ND: Vectors
    """h_t: the hidden state there, after the final norm."""
    fed_ND: Vectors
    """e_(t+1): what the alignment makes of it, which is fed next."""
    steps: tuple[int, ...]
    """Which step of its agent, from 0."""
    roles: tuple[str, ...]
    """Whose step."""
    questions: tuple[str, ...]
    """The question's id."""
    prompt_ids: tuple[int, ...]
    """The distinct tokens of all prompts that the agents read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    """One latent step, as it was seen."""

    number: int
    turn: tuple[str, str]
    before_D: Tensor
    hidden_D: Tensor
    fed_D: Tensor


class Capture(Observer):
    """Keeps what thinking agents are fed, and what comes of it."""

    def __init__(self, lm: LanguageModel) -> None:
        """Begins with nothing.

        Args:
            lm: The model, which says how tokens enter it.
        """
        self._lm = lm
        self._steps: list[_Step] = []
        self._last: dict[tuple[str, str], Tensor] = {}  # what each turn was fed last
        self._prompt_ids: set[int] = set()

    def reads(self, scene: Scene) -> None:
        """Keeps which tokens the prompts are made of."""
        self._prompt_ids.update(scene.prompt)

    def thinks(self, scene: Scene, step: int, hidden_D: Tensor, embeds_D: Tensor) -> None:
        """Keeps a step."""
        turn = scene.role, scene.request.question.id
        before_D = self._last[turn] if step else _entering(self._lm, [scene.prompt[-1]])[0]
        self._last[turn] = fed_D = _kept(embeds_D * self._lm.input_scale)
        self._steps.append(_Step(number=step, turn=turn, before_D=before_D, hidden_D=_kept(hidden_D), fed_D=fed_D))

    def thoughts(self) -> Thoughts:
        """All that was kept; there has to be a step."""
        assert self._steps, "no agent has taken a latent step"
        # Turns of one role go on side by side, in whatever order; told of they are by role, step and question.
        order = dict.fromkeys(step.turn[0] for step in self._steps)
        places = {role: place for place, role in enumerate(order)}
        kept = sorted(self._steps, key=lambda step: (places[step.turn[0]], step.number))
        before, hidden, fed = (
            torch.stack([getattr(step, name) for step in kept]).numpy() for name in ("before_D", "hidden_D", "fed_D")
        )
        return Thoughts(
            before_ND=before,
            hidden_ND=hidden,
            fed_ND=fed,
            steps=tuple(step.number for step in kept),
            roles=tuple(step.turn[0] for step in kept),
            questions=tuple(step.turn[1] for step in kept),
            prompt_ids=tuple(sorted(self._prompt_ids)),
        )


def think_aloud(
    lm: LanguageModel,
    config: RunConfig,
    plan: CollaborationPlan,
    questions: Sequence[Question],
    *,
    alignments: Alignments | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Thoughts:
    """Lets the thinking agents of a team work on questions, and keeps their latent steps; nobody writes an answer.

    Args:
        lm: The model.
        config: Settings of the run.
        plan: Who works; somebody has to think, for one step at least.
        questions: What they think about.
        alignments: The model's, where it has had a team before.
        progress: Told how many questions have been thought about.
    """
    capture = Capture(lm)
    team = build_team(lm, config, plan, alignments=alignments, observer=capture)
    size = config.execution.batch_size or AT_A_TIME
    for start in range(0, len(questions), size):
        batch = questions[start : start + size]
        walk([Assignment(question=question, source=question) for question in batch], team, list(plan.thinkers))
        progress(start + len(batch))
    return capture.thoughts()


def distinct_tokens(lm: LanguageModel, texts: Iterable[str]) -> tuple[int, ...]:
    """The tokens that some texts are made of, each once."""
    return tuple(sorted({token for text in texts for token in lm.tokenizer(text, add_special_tokens=False).input_ids}))


@torch.inference_mode()
def token_vectors(lm: LanguageModel, ids: Sequence[int]) -> Vectors:
    """Embeddings of tokens as they enter the first layer, [N, D]."""
    vectors: Vectors = _entering(lm, ids).numpy()
    return vectors


@torch.inference_mode()
def nearest_cosines(lm: LanguageModel, vectors_ND: Vectors, *, but_itself: bool = False) -> NDArray[np.float32]:
    """For each vector the cosine to the embedding of the vocabulary that points most nearly the same way, [N].

    Args:
        lm: The model.
        vectors_ND: What is looked at.
        but_itself: Whether the vectors are themselves embeddings, each of which has to find another one.
    """
    directions_VD = torch.nn.functional.normalize(lm.input_vectors().float(), dim=-1)
    found = []
    for start in range(0, len(vectors_ND), AT_ONCE):
        part_ND = torch.from_numpy(vectors_ND[start : start + AT_ONCE])
        cosines_NV = torch.nn.functional.normalize(part_ND.to(lm.device), dim=-1) @ directions_VD.T
        best = cosines_NV.topk(2, dim=-1).values
        found.append(best[:, 1 if but_itself else 0].cpu())
    cosines: NDArray[np.float32] = torch.cat(found).numpy()
    return cosines


def _entering(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    return _kept(lm.embed(torch.tensor(ids, dtype=torch.long, device=lm.device)) * lm.input_scale)


def _kept(vectors: Tensor) -> Tensor:
    """A copy of its own, so that what it was cut from can go."""
    return vectors.detach().to("cpu", torch.float32, copy=True)
