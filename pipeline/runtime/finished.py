"""Finished runs, read back from their folders for a comparison."""

from __future__ import annotations

import os.path
import typing
from collections.abc import Sequence
from pathlib import Path

from pipeline.reports import EXECUTION, FinishedRun, RunMetrics
from pipeline.runtime.results import FREE_TO_CHANGE, RunFolder
from pipeline.validation import fits_type, type_name

DEPTH = 2
"""Folders down in which runs are looked for: a folder of series of runs."""


def finished_folders(path: Path) -> tuple[list[Path], list[Path]]:
    """Run folders that a path stands for: itself, or those in it, by name; runs of a series lie one folder deeper.

    Returns:
        The finished runs, and those in it that are not finished; absolute paths.

    Raises:
        ValueError: There is no finished run.
    """
    finished, unfinished = _search(path.resolve(), DEPTH)
    if not finished:
        raise ValueError(f"{str(path)!r} holds no finished run (no metrics.json in it or in a folder in it)")
    return finished, unfinished


def run_folders(path: Path) -> list[Path]:
    """Run folders that a path stands for, finished or not; absolute paths.

    Raises:
        ValueError: There is none.
    """
    finished, unfinished = _search(path.resolve(), DEPTH)
    if not (finished or unfinished):
        raise ValueError(f"{str(path)!r} holds no run (no config.yaml in it or in a folder in it)")
    return [*finished, *unfinished]


def read_runs(folders: Sequence[Path], *, texts: bool = True) -> dict[Path, FinishedRun]:
    """Reads finished runs, by their folders; each gets a name that none of the others has.

    Args:
        folders: Run folders, absolute.
        texts: Whether their rows have the agents' texts and turns, which many runs have no room for.

    Raises:
        ValueError: One of them is damaged, or was written by another version of this program.
    """
    return {folder: _read(folder, name, texts) for folder, name in short_names(folders).items()}


def short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Names for absolute paths: of all of them as many last parts as tell each from the others."""
    names = {folder: folder.name for folder in folders}
    count = 1
    while len(set(names.values())) < len(names):
        count += 1
        names = {folder: str(Path(*folder.parts[-count:])) for folder in folders}
    return names


def _search(here: Path, depth: int) -> tuple[list[Path], list[Path]]:
    if os.path.isfile(here / "metrics.json"):  # unlike Path.is_file(), it takes a name that is too long for no file's
        return [here], []
    inside = sorted(child for child in here.iterdir() if child.is_dir()) if depth and os.path.isdir(here) else []
    below = [_search(child, depth - 1) for child in inside]
    finished, unfinished = ([folder for found in below for folder in found[kind]] for kind in (0, 1))
    if not finished and not unfinished and os.path.isfile(here / "config.yaml"):
        return [], [here]
    return finished, unfinished


def _read(path: Path, name: str, texts: bool) -> FinishedRun:
    folder = RunFolder.open(path)
    rows = folder.read(texts=texts)
    metrics = _metrics(folder)
    if len(rows) != metrics.num_questions:
        raise ValueError(
            f"{path} holds {len(rows)} rows and its metrics.json tells of {metrics.num_questions} questions; "
            "go on with the run (eval.py --resume), or copy the folder again"
        )
    graph = path / "graph.yaml"
    settings = folder.config.flat()
    return FinishedRun(
        name=name,
        settings={key: value for key, value in settings.items() if key not in FREE_TO_CHANGE},
        graph=graph.read_text("utf-8") if graph.is_file() else "",
        metrics=metrics,
        rows=rows,
        execution={key: settings[key] for key in EXECUTION} | _chosen(metrics),
        git_commit=str(folder.read_json("run.json").get("git_commit", "")),
    )


def _chosen(metrics: RunMetrics) -> dict[str, int]:
    """How many questions were worked on at once, which the settings may have left open."""
    return {"batch_size": metrics.batch_size} if metrics.batch_size else {}


def _metrics(folder: RunFolder) -> RunMetrics:
    """What a run reports, as far as it can be of this version's making."""
    try:
        metrics = RunMetrics(**folder.read_json("metrics.json"))
        for name, kind in typing.get_type_hints(RunMetrics).items():
            value = getattr(metrics, name)
            if not fits_type(value, kind):
                raise ValueError(f"{name} is {value!r}; allowed: {type_name(kind)}")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{folder.path / 'metrics.json'} was written by another version of this program, or is damaged ({error})"
        ) from error
    return metrics
