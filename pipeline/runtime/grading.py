"""Grading as CPU tasks: never inside a model's actor, so that a slow answer can't stall a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from pipeline.config import ScoringConfig
from pipeline.records import Answer, Assignment, Prediction
from pipeline.scoring import Grader, SandboxError

TRIES = 3
"""How often a batch of answers is graded before those of it that end their worker are left unscored."""


def score_one(assignment: Assignment, answer: Answer, attempt: int, grader: Grader) -> Prediction:
    """Grades one answer; one that a fault of ours prevented stays unscored."""
    began, score = time.perf_counter(), None
    if not answer.error:
        try:
            score = grader.grade(assignment.question, answer.text, truncated=answer.truncated)
        except SandboxError as error:
            answer = replace(answer, error=str(error))
    return Prediction.of(assignment, answer, score, seconds=time.perf_counter() - began, attempt=attempt)


def score_batch(
    assignments: Sequence[Assignment], answers: Sequence[Answer], attempt: int, config: ScoringConfig
) -> list[Prediction]:
    """Grades a batch of answers; runs as a CPU task."""
    with Grader(config) as grader:
        return [score_one(*pair, attempt, grader) for pair in zip(assignments, answers, strict=True)]


class Scoring:
    """Grades answers on the cluster's CPUs, and hands on the rows."""

    def __init__(
        self,
        config: ScoringConfig,
        *,
        at_once: int,
        attempt: int,
        say: Callable[[str], None],
        hand_on: Callable[[list[Prediction]], None],
    ) -> None:
        """Nothing is started before there are answers.

        Args:
            config: How answers are graded.
            at_once: Grading tasks under way at most.
            attempt: Recorded with every row.
            say: Told of tasks that are tried again.
            hand_on: Gets finished rows.
        """
        # Lost tasks are tried again here and not by Ray, which would not tell. They claim no CPU in Ray's books: where
        # nodes have died, replicas may have moved into the last ones, and rows would wait for ever.
        self._task: Any = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="SPREAD")(score_batch)
        self._slots = asyncio.Semaphore(at_once)
        self._config, self._attempt, self._say, self._hand_on = config, attempt, say, hand_on

    async def finish(self, assignments: Sequence[Assignment], answers: Sequence[Answer]) -> None:
        """Grades answers and hands on their rows, one of `assignments` each."""
        told = list(answers)
        for left in reversed(range(TRIES)):
            try:
                async with self._slots:
                    rows = await self._task.remote(list(assignments), told, self._attempt, self._config)
                return self._hand_on(rows)
            except RayError as error:
                reason = f"grading failed: {str(error).strip().splitlines()[0][:200]}"
                if isinstance(error, RayTaskError) or not left:
                    break
                self._say(f"a scoring worker died; {len(told)} answers are graded again")
                told = [replace(answer, retries=answer.retries + 1) for answer in told]
        if len(told) > 1:  # one of them ends its worker: it must cost no other
            for pair in zip(assignments, told, strict=True):
                await self.finish(pair[:1], pair[1:])
            return None
        unscored = [replace(answer, error=reason) for answer in told]
        return self._hand_on(score_batch(assignments, unscored, self._attempt, self._config))
