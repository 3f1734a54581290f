"""Grading as a CPU task: never inside a model's actor, so that a slow answer can't stall a model."""

from __future__ import annotations

import time
from typing import Any

from pipeline.records import Answer, Assignment, Prediction
from pipeline.scoring import grade


def score_batch(batch: dict[str, Any], attempt: int) -> dict[str, Any]:
    """Grades a batch of answers; runs as a CPU task. A replica's failure and notices pass through."""
    passed = {"failure": batch["failure"], "notice": batch["notice"]}
    if any(batch["failure"]):
        return {"prediction": [""] * len(batch["failure"]), **passed}
    rows = [
        score_one(Assignment.from_json(assignment), Answer.from_json(answer), attempt)
        for assignment, answer in zip(batch["assignment"], batch["answer"], strict=True)
    ]
    return {"prediction": [row.to_json() for row in rows], **passed}


def score_one(assignment: Assignment, answer: Answer, attempt: int) -> Prediction:
    """Grades one answer; one that a fault of ours prevented stays unscored."""
    began = time.perf_counter()
    score = None if answer.error else grade(assignment.question, answer.text, truncated=answer.truncated)
    return Prediction.of(assignment, answer, score, seconds=time.perf_counter() - began, attempt=attempt)
