"""Comparisons made up, with the paper's numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from finished import Outcome, finished_run, rows_of
from jobs.compare import literature
from pipeline.reports import FinishedRun, Report, compare_runs, report_on
from pipeline.reports.grid import Cell, Grid

QWEN = "Qwen/Qwen3-4B"


def measured(name: str, outcomes: Sequence[Outcome], tokens: float, seconds: float, **settings: Any) -> FinishedRun:
    """A run whose tokens and seconds are given."""
    run = finished_run(name, rows_of(outcomes), **settings)
    return replace(run, metrics=replace(run.metrics, output_tokens_per_question=tokens, seconds=seconds))


def three_methods(**settings: Any) -> list[FinishedRun]:
    """Single, TextMAS and LatentMAS on ten questions; tokens and seconds are the paper's for ARC-E and Qwen3-4B."""
    shared = {"model": QWEN, "task": "arc_easy", **settings}
    return [
        measured("single", [True] * 5 + [False] * 5, 724, 369, method="single", **shared),
        measured("text", [True] * 2 + [False] * 8, 2420, 2874, method="text_mas", **shared),
        measured("latent", [True] * 9 + [False], 581, 512, method="latent_mas", **shared),
    ]


def reported(runs: Sequence[FinishedRun], *, lenient: bool = False) -> Report:
    return report_on(compare_runs(runs), literature(), lenient=lenient)


def texts(cells: Sequence[Cell]) -> list[str]:
    return [cell.shown for cell in cells]


def row(grid: Grid, measure: str, place: int = 0) -> tuple[Cell, ...]:
    """The cells of methods and improvement in the nth row of a measure."""
    return [line.cells for line in grid.rows if line.cells[1].text == measure][place][2:]
