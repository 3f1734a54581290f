"""What was run: settings, periods and code of runs, and the commands that run them again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.config import settings
from pipeline.reports.grid import Grid, columns_of, row_of_texts
from pipeline.reports.runs import FinishedRun
from pipeline.reports.variants import LABELS, essence, label_pieces, one_a_seed, same_but_for_seeds, tails
from pipeline.validation import flag

CAPTION = (
    "Runs that differ in their seed alone share a row. Most tokens: of each agent that writes, unless it says in all. "
    "Sampling: temperature / top-p. Times are UTC: the first question in to the last answer out."
)
_IN_COLUMNS = ("max_new_tokens", "budget", "temperature", "top_p", "latent_steps")
"""Settings that have a column of their own."""
_NAMED = ("method", "task", "model")
"""Settings that a command always names."""
SHORT_COMMIT = 10
"""Characters of a commit that are shown."""


def setups_grid(runs: Sequence[FinishedRun]) -> Grid:
    """What was run, a row for all seeds of a way to run it."""
    models, tasks = (tails(getattr(run.metrics, what) for run in runs) for what in ("model", "task"))
    rows = []
    for group in same_but_for_seeds(runs):
        first = group[0]
        others = {name: value for name, value in essence(first).items() if name not in _IN_COLUMNS}
        rows.append(
            (
                models[first.metrics.model],
                tasks[first.metrics.task],
                LABELS.get(first.metrics.method, first.metrics.method),
                first.metrics.graph,
                ", ".join(label_pieces([others], always=tuple(others))[0]),
                ", ".join(run.name for run in group),
                period_of(group),
                ", ".join(dict.fromkeys(run.git_commit[:SHORT_COMMIT] for run in group if run.git_commit)),
                str(first.metrics.num_questions),
                f"{first.settings['max_new_tokens']}{' in all' if first.settings['budget'] == 'system' else ''}",
                _sampling(first),
                str(first.settings["latent_steps"]) if first.metrics.method == "latent_mas" else "",
                ", ".join(str(run.settings["seed"]) for run in one_a_seed(group)),
            )
        )
    words = ("Model", "Task", "Method", "Graph", "Other settings", "Runs", "When", "Commit")
    columns = columns_of(words, ("n", "Most tokens", "Sampling", "m", "Seeds"))
    return Grid(title="What was run", caption=CAPTION, columns=columns, rows=tuple(map(row_of_texts, rows)))


def commands(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """The command of each run, with the settings that are not the default; data and machine are the reader's own."""
    return tuple(dict.fromkeys(map(_command, runs)))


def period_of(runs: Sequence[FinishedRun]) -> str:
    """The days, or on one day the minutes, in which some runs were answered; empty if that is not known."""
    periods = [run.period for run in runs if run.period]
    if not periods:
        return ""
    begin = datetime.fromtimestamp(min(start for start, _ in periods), UTC)
    end = datetime.fromtimestamp(max(stop for _, stop in periods), UTC)
    if begin.date() != end.date():
        return f"{begin:%Y-%m-%d} to {end:%Y-%m-%d}"
    return f"{begin:%Y-%m-%d %H:%M} to {end:%H:%M}"


def _sampling(run: FinishedRun) -> str:
    temperature = run.settings["temperature"]
    return "greedy" if temperature == 0 else f"{temperature:g} / {run.settings['top_p']:g}"


def _command(run: FinishedRun) -> str:
    parts = ["python", "jobs/eval.py"]
    for setting in settings():
        value = run.settings.get(setting.name, setting.default)
        if value != setting.default or setting.name in _NAMED:
            text = json.dumps(value) if isinstance(value, dict | bool) else str(value)
            parts += [flag(setting.name), text]
    return shlex.join(parts)
