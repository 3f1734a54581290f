"""The runs that a comparison is made of: run folders, and runs that are fetched from MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.reports import FinishedRun
    from pipeline.tracking.fetching import Fetched


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where runs are to be found."""

    run_dirs: Sequence[Path] = ()
    """Run folders, or folders of such."""
    baseline: Path | None = None
    """The run that the others are paired with; one for each task if it is a folder of several."""
    experiments: Sequence[str] = ()
    """MLflow experiments, all of whose finished runs are meant."""
    run_ids: Sequence[str] = ()
    """MLflow runs; a sweep's stands for its children."""
    tracking_uri: str | None = None
    """Where MLflow keeps them."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The runs that were found."""

    runs: Sequence[FinishedRun]
    baselines: Sequence[FinishedRun]
    """Those that others are paired with; they need not be among the runs."""
    notes: Sequence[str]
    """What was left out, a line each."""


def gather(sources: Sources) -> Gathered:
    """Reads all runs, each once.

    Raises:
        ValueError: Nothing was asked for, a folder holds no finished run, MLflow does not have what was asked for, or
            the baseline answers what no other run does.
    """
    if not (sources.run_dirs or sources.experiments or sources.run_ids):
        raise ValueError("nothing to compare; give run folders (RUN_DIR ...), --experiment NAME or --run-id ID")
    from pipeline.runtime.finished import finished_folders, read_runs

    found = [finished_folders(path) for path in sources.run_dirs]
    given = list(dict.fromkeys(folder for finished, _ in found for folder in finished))
    chosen = finished_folders(sources.baseline)[0] if sources.baseline else []
    notes = [f"{folder}: not finished, so left out" for _, left in found for folder in left]
    with TemporaryDirectory(prefix="compare-") as scratch:
        fetched = _fetched(sources, Path(scratch).resolve())
        folders = [run.folder for run in fetched.runs] if fetched else []
        runs = read_runs([*given, *chosen, *folders], texts=False)
    if fetched:
        notes += fetched.notes
    local = [runs[folder] for folder in given]
    baselines = [runs[folder] for folder in chosen]
    tracked, older = _tracked([runs[folder] for folder in folders], (*local, *baselines))
    _check_baseline(
        sources.baseline, [*(runs[folder] for folder in given if folder not in chosen), *tracked], baselines
    )
    return Gathered(runs=[*local, *tracked], baselines=baselines, notes=[*notes, *older])


def _fetched(sources: Sources, into: Path) -> Fetched | None:
    """What MLflow has of it, if it is asked."""
    if not (sources.experiments or sources.run_ids):
        return None
    from pipeline.runtime.cluster import base_dir
    from pipeline.tracking import choose_store
    from pipeline.tracking.fetching import fetch_runs

    store = choose_store(sources.tracking_uri, base_dir())
    return fetch_runs(store, experiments=sources.experiments, run_ids=sources.run_ids, into=into)


def _tracked(fetched: Sequence[FinishedRun], local: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[str]]:
    """Fetched runs, the oldest first, that neither a folder nor a newer one repeats; and a note on the others."""
    from pipeline.reports import newest_of_each

    kept = {run.name for run in newest_of_each([*local, *fetched])}
    older = [run.name for run in fetched if run.name not in kept]
    why = "left out, because a folder or a newer run has the same settings, questions and seed"
    return [run for run in fetched[::-1] if run.name in kept], [f"{', '.join(older)}: {why}"] if older else []


def _check_baseline(named: Path | None, others: Sequence[FinishedRun], baselines: Sequence[FinishedRun]) -> None:
    """Refuses a baseline of other tasks.

    Raises:
        ValueError: It answers what no other run does.
    """
    tasks = {run.metrics.task for run in others}
    if tasks and baselines and not any(run.metrics.task in tasks for run in baselines):
        answers = ", ".join(dict.fromkeys(run.metrics.task for run in baselines))
        raise ValueError(f"--baseline {str(named)!r} answers {answers}; allowed: a run of {', '.join(sorted(tasks))}")
