"""What came of all methods: a table for people, the answers for a pipe, and all of it as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from jobs.asks.events import Outcome
from jobs.asks.show import in_a_line, verdict_of
from pipeline.records import Question
from pipeline.reports.tables import LABELS


def table(outcomes: Sequence[Outcome]) -> Table:
    """All methods, a row each."""
    shown = Table(
        box=SIMPLE_HEAD,
        collapse_padding=True,
        caption="Seconds: without the show. Leniently: nothing was boxed, and the last number or letter counts.",
    )
    graded = any(outcome.graded for outcome in outcomes)
    shown.add_column("method", no_wrap=True)
    for name in ("answer", "read", *(["verdict"] if graded else [])):
        shown.add_column(name, overflow="fold")
    for name in ("seconds", "output\ntokens", "latent\nsteps", "prefill\ntokens", "memory handed\nover MB"):
        shown.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        usage = outcome.answer.usage
        shown.add_row(
            LABELS[outcome.method],
            Text(in_a_line(outcome)),
            way_of_reading(outcome),
            *([verdict_of(outcome)] if graded else []),
            f"{outcome.seconds:.1f}",
            str(usage.output_tokens),
            str(usage.latent_steps),
            str(usage.prefill_tokens),
            f"{outcome.handover_bytes / 1e6:.1f}",
        )
    return shown


def way_of_reading(outcome: Outcome) -> str:
    """How the answer was read."""
    score = outcome.score
    if score.prediction:
        return "strictly"
    return "leniently" if score.prediction_lenient else outcome.score.reason


def answers(outcomes: Sequence[Outcome]) -> str:
    """The answers alone: a line a method, its name and a tab before it; of programs all lines, after one of `#`."""
    if any(outcome.kind == "code" for outcome in outcomes):
        return "\n".join(f"# {outcome.method}\n{outcome.text}\n" for outcome in outcomes)
    return "".join(f"{outcome.method}\t{' '.join(outcome.text.split())}\n" for outcome in outcomes)


def as_json(question: Question, model: str, outcomes: Sequence[Outcome]) -> str:
    """Everything in one line of JSON."""
    methods = {outcome.method: _numbers(outcome) for outcome in outcomes}
    asked = {"question": question.text, "kind": question.kind, "gold": question.gold or None, "model": model}
    return json.dumps({**asked, "methods": methods})


def _numbers(outcome: Outcome) -> dict[str, Any]:
    score, answer = outcome.score, outcome.answer
    return {
        "answer": score.prediction,
        "answer_lenient": score.prediction_lenient,
        "correct": score.correct if outcome.graded else None,
        "correct_lenient": score.correct_lenient if outcome.graded else None,
        "reason": score.reason if outcome.graded or not score.prediction else "",
        "text": answer.text,
        "truncated": answer.truncated,
        "seconds": outcome.seconds,
        **asdict(answer.usage),
        "handover_bytes": outcome.handover_bytes,
        "turns": [asdict(turn) for turn in answer.turns],
    }
