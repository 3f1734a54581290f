"""Finished runs made up: their rows are given, nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Answer, Assignment, Prediction, Question, Score, Turn, Usage
from pipeline.reports import FinishedRun, summarize
from pipeline.runtime.results import FREE_TO_CHANGE, RunFolder

Outcome = bool | None
"""Whether an answer is right; none if it is unscored."""

PLAIN = {"method": "single", "max_new_tokens": 2048}
"""Settings of a run where a test gives no others; a run that was checked has a number of tokens."""


def prediction(number: int, outcome: Outcome, *, text: str = "How many?", gold: str = "1") -> Prediction:
    question = Question(id=f"q{number}", text=text, kind="number", gold=gold)
    turn = Turn(role="solver", text="one", finish="stop", usage=Usage(output_tokens=3), seconds=0.5)
    told: dict[str, Any] = {"error": "lost"} if outcome is None else {"turns": (turn,)}
    answer = Answer(question_id=question.id, started=1, finished=2, **told)
    reason = "correct" if outcome else "wrong"
    score = Score(
        correct=bool(outcome),
        correct_lenient=bool(outcome),
        prediction="1",
        prediction_lenient="1",
        reason=reason,
    )
    assignment = Assignment(question=question, source=question)
    return Prediction.of(assignment, answer, None if outcome is None else score, seconds=0, attempt=1)


def rows_of(outcomes: Sequence[Outcome], first: int = 0) -> list[Prediction]:
    """Rows of the questions from `first` on."""
    return [prediction(first + place, outcome) for place, outcome in enumerate(outcomes)]


def finished_run(name: str, rows: Sequence[Prediction], **settings: Any) -> FinishedRun:
    """A run that has never been in a folder; a single agent's on the demo unless settings say otherwise."""
    config = RunConfig.from_flat({**PLAIN, **settings})
    plan = plan_for(config.collaboration)
    return FinishedRun(
        name=name,
        settings={key: value for key, value in config.flat().items() if key not in FREE_TO_CHANGE},
        graph=plan.graph.to_yaml(),
        metrics=summarize(rows, config, graph=plan.graph.name, run_id="r", run_dir=name),
        rows=rows,
    )


def run_folder(path: Path, rows: Sequence[Prediction], *, finished: bool = True, **settings: Any) -> Path:
    """A run folder as `jobs/eval.py` leaves it behind."""
    config = RunConfig.from_flat({**PLAIN, **settings})
    plan = plan_for(config.collaboration)
    folder = RunFolder.create(path, config, plan)
    folder.append(rows)
    if finished:
        folder.consolidate({row.question_id: place for place, row in enumerate(rows)})
        metrics = summarize(rows, config, graph=plan.graph.name, run_id="r", run_dir=str(path))
        folder.write_json("metrics.json", metrics.to_dict())
    return path
