"""Finished runs, read back from their folders for a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.reports import FinishedRun, RunMetrics
from pipeline.runtime.results import FREE_TO_CHANGE, RunFolder


def finished_folders(path: Path) -> tuple[list[Path], list[Path]]:
    """Run folders that a path stands for: itself, or those in it, by name.

    Returns:
        The finished runs, and those in it that are not finished; absolute paths.

    Raises:
        ValueError: There is no finished run.
    """
    here = path.resolve()
    if _is_finished(here):
        return [here], []
    inside = sorted(child for child in here.iterdir() if (child / "config.yaml").is_file()) if here.is_dir() else []
    finished = [child for child in inside if _is_finished(child)]
    if not finished:
        raise ValueError(f"{str(path)!r} holds no finished run (no metrics.json in it or in a folder in it)")
    return finished, [child for child in inside if child not in finished]


def read_runs(folders: Sequence[Path]) -> dict[Path, FinishedRun]:
    """Reads finished runs, by their folders; each gets a name that none of the others has.

    Raises:
        ValueError: One of them is damaged, or was written by another version of this program.
    """
    return {folder: _read(folder, name) for folder, name in short_names(folders).items()}


def short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Names for absolute paths: of all of them as many last parts as tell each from the others."""
    names = {folder: folder.name for folder in folders}
    count = 1
    while len(set(names.values())) < len(names):
        count += 1
        names = {folder: "/".join(folder.parts[-count:]) for folder in folders}
    return names


def _is_finished(path: Path) -> bool:
    return (path / "metrics.json").is_file()


def _read(path: Path, name: str) -> FinishedRun:
    folder = RunFolder.open(path)
    rows = folder.read()
    try:
        metrics = RunMetrics(**folder.read_json("metrics.json"))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path / 'metrics.json'} was written by another version of this program, or is damaged ({error})"
        ) from error
    graph = path / "graph.yaml"
    return FinishedRun(
        name=name,
        settings={key: value for key, value in folder.config.flat().items() if key not in FREE_TO_CHANGE},
        graph=graph.read_text("utf-8") if graph.is_file() else "",
        metrics=metrics,
        rows=rows,
    )
