"""A series of runs, carried out: one after another, on one crew as far as it fits, and shown side by side."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from jobs.cli import BAD_INPUT, BROKEN, STOPPED, UNSCORED, complain
from jobs.plans import Series

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.runtime.evaluate import RunEnd
    from pipeline.runtime.results import RunFolder

WIDTH = 140
"""Columns of tables where there is no terminal."""
SHOWN = 3
"""Kinds of fault that are told of each run."""

Metrics = Mapping[str, Any]
"""A run's metrics, as `metrics.json` has them."""


def run_series(
    series: Series, *, prog: str, word: str, line: Callable[[Mapping[str, Metrics]], Mapping[str, Any]], result: TextIO
) -> int:
    """Runs what has been checked, and tells how all of it went.

    Args:
        series: What to run.
        prog: The name of the job, which also goes on with it.
        word: What a run of the series is called in progress.
        line: Makes the last line on stdout of the metrics, by name, of the runs that came to their end, if any did. The
            folder, their totals and why others failed are added.
        result: Where that goes.

    Returns:
        The exit code.

    Raises:
        ValueError: No run could begin; the folder is removed.
    """
    from pipeline.runtime.evaluate import evaluate_all

    try:
        ends = dict(zip(series.requests, evaluate_all(list(series.requests.values()), word), strict=True))
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; ")
        _say_how_to_go_on(series, prog)
        return STOPPED
    runs = {name: end.metrics.to_dict() for name, end in ends.items() if end.metrics}
    _show(runs, ends)
    faults = {name: end for name, end in ends.items() if end.fault}
    counts = {name: sum(run[name] for run in runs.values()) for name in ("num_questions", "num_unscored")}
    if runs:
        failed = {name: end.fault for name, end in faults.items()}
        result.write(json.dumps({"run_dir": str(series.folder), **line(runs), **counts, "failed": failed}) + "\n")
    if faults:
        return _failed(series, prog, faults)
    return UNSCORED if counts["num_unscored"] else 0


def _failed(series: Series, prog: str, faults: Mapping[str, RunEnd]) -> int:
    """Says what failed; returns the exit code."""
    broken = any(end.broken for end in faults.values())
    if not broken and not series.answered():
        _remove(series)
        raise ValueError(next(f"{name}: {end.fault}" for name, end in faults.items()))
    for name, end in faults.items():
        complain(prog, ValueError(f"{name}: {end.fault}"))
    _say_how_to_go_on(series, prog)
    return BROKEN if broken else BAD_INPUT


def _remove(series: Series) -> None:
    """Leaves nothing of a series in which nothing was answered, so that the next try finds its place free."""
    for request in series.requests.values():
        shutil.rmtree(request.folder.path)
    series.settings.unlink()
    with suppress(OSError):  # something of the user's is in it
        series.folder.rmdir()


def _say_how_to_go_on(series: Series, prog: str) -> None:
    sys.stderr.write(f"{series.answered()} of {series.asked} questions are in {series.folder}\n")
    sys.stderr.write(f"go on with: python jobs/{prog} --resume {series.folder}\n")


def _show(runs: Mapping[str, Metrics], ends: Mapping[str, RunEnd]) -> None:
    """A table of the runs that came to their end, and what of them stayed unscored."""
    from pipeline.reports import comparison_table

    out = console()
    if runs:
        out.print(comparison_table(list(runs.values()), names=list(runs)))
    for name in runs:
        say_unscored(out, ends[name].request.folder, name)


def console() -> Console:
    """Where people read: stderr."""
    from rich.console import Console

    out = Console(stderr=True)
    if not out.is_terminal:  # in a file or a pipe there is no edge to keep to
        out.width = WIDTH
    return out


def say_unscored(out: Console, folder: RunFolder, name: str = "") -> None:
    """Names the faults that left most questions of a run unscored."""
    for fault, count in Counter(row.error for row in folder.read() if row.error).most_common(SHOWN):
        prefix = f"{name}: " if name else ""
        out.print(f"{prefix}unscored ({count}): {fault}", highlight=False, markup=False, soft_wrap=True)
