"""Grading as a CPU task: never inside a model's actor, so that a slow answer can't stall a model."""

from __future__ import annotations

import time
from typing import Any

from pipeline.records import Answer, Prediction, Question
from pipeline.scoring import grade


def score_batch(batch: dict[str, Any], attempt: int) -> dict[str, Any]:
    """Grades a batch of answers; runs as a CPU task."""
    rows = [
        score_one(Question.from_json(question), Answer.from_json(answer), attempt)
        for question, answer in zip(batch["question"], batch["answer"], strict=True)
    ]
    return {"prediction": [row.to_json() for row in rows]}


def score_one(question: Question, answer: Answer, attempt: int) -> Prediction:
    """Grades one answer; one that a fault of ours prevented stays unscored."""
    began = time.perf_counter()
    score = None if answer.error else grade(question, answer.text, truncated=answer.truncated)
    return Prediction.of(question, answer, score, seconds=time.perf_counter() - began, attempt=attempt)
