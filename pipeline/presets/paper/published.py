"""The numbers of the paper's Tables 1-3, as `results.csv` holds them, in this project's names."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from pipeline.presets.paper.cells import FOLDER, MODELS, Cell

TASKS = {
    "ARC-E": "arc_easy",
    "ARC-C": "arc_challenge",
    "GSM8K": "gsm8k",
    "MedQA": "medqa",
    "MBPP+": "mbppplus",
    "HumanEval+": "humanevalplus",
    "AIME24": "aime24",
    "AIME25": "aime25",
    "GPQA-Diamond": "gpqa_diamond",
}
"""Tasks by the paper's name."""


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """What the paper reports of one method in one cell."""

    table: int
    """Number of the table."""
    cell: Cell
    """Task, model and graph."""
    method: str
    """single, text_mas or latent_mas."""
    accuracy: float
    """Per cent."""
    output_tokens_per_question: float
    """All agents' text."""
    seconds: float
    """Of the whole run, on the authors' machine."""


@cache
def published_results() -> tuple[PublishedResult, ...]:
    """All results of the three tables, in their order."""
    metrics: dict[tuple[str, str, str, str, str], dict[str, float]] = {}
    with (FOLDER / "results.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["table"], row["setting"], row["task"], row["model"], row["method"])
            metrics.setdefault(key, {})[row["metric"]] = float(row["value"])
    return tuple(_result(*key, found) for key, found in metrics.items())


def _result(table: str, graph: str, task: str, model: str, method: str, found: dict[str, float]) -> PublishedResult:
    hub_id = next(name for name in MODELS if name.endswith(f"/{model}"))
    return PublishedResult(
        table=int(table),
        cell=Cell(task=TASKS[task], model=hub_id, graph=graph),
        method=method,
        accuracy=found["accuracy_pct"],
        output_tokens_per_question=found["output_tokens_per_question"],
        seconds=found["seconds_per_run"],
    )
