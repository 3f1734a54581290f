"""Who answers what on whose memory: the control settings of a run, as a pure function of its questions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pipeline.config import MemoryControl
from pipeline.records import Assignment, Question


def assign(questions: Sequence[Question], *, memory: MemoryControl, seed: int, trace: int) -> list[Assignment]:
    """Pairs every question with the one whose memory its answering agent gets.

    Args:
        questions: All questions of the run.
        memory: real: each its own; shuffled: each another one's, by a seeded derangement that does not depend on the
            order of the questions or on batches; none: nothing is handed over.
        seed: Of the derangement.
        trace: For how many of the first questions latent steps are recorded.

    Raises:
        ValueError: There are too few questions to shuffle.
    """
    sources: dict[str, Question | None] = {question.id: question for question in questions}
    if memory == "shuffled":
        sources = {**derange(questions, seed)}
    elif memory == "none":
        sources = dict.fromkeys(sources)
    return [Assignment(question=q, source=sources[q.id], traced=row < trace) for row, q in enumerate(questions)]


def derange(questions: Sequence[Question], seed: int) -> dict[str, Question]:
    """Gives every question another one: one random cycle through all of them (Sattolo, 1986).

    Raises:
        ValueError: There is only one question.
    """
    if len(questions) < 2:
        raise ValueError(
            f"--memory shuffled needs at least 2 questions, got {len(questions)}; change --limit or --task"
        )
    cycle = sorted(questions, key=lambda question: question.id)
    chance = random.Random(seed)
    for last in range(len(cycle) - 1, 0, -1):
        other = chance.randrange(last)
        cycle[last], cycle[other] = cycle[other], cycle[last]
    return {question.id: other for question, other in zip(sorted(questions, key=lambda q: q.id), cycle, strict=True)}
