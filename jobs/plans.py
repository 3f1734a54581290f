"""Several runs in one folder, planned: each is checked, and has a folder of its own, before the first one begins.

The folder holds a file of settings, from which the same series can be run again, and each run's own folder by its name.
`eval.py --task a,b` is a series over tasks, `sweep.py` one over any settings; `series.py` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.checks import checked, located, say_isolation
from pipeline.config import DataConfig, RunConfig, ScoringConfig
from pipeline.runtime.planned import PlannedRun

if TYPE_CHECKING:
    from pipeline.records import Question
    from pipeline.runtime.evaluate import RunRequest
    from pipeline.runtime.results import RunFolder


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of several."""

    name: str = ""
    """Its folder in the folder of the series."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it sets, on top of what all of them share."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Runs that have been checked, with a folder each."""

    settings: Path
    """The file that the same series can be made from again, in the folder that theirs are in."""
    requests: Mapping[str, RunRequest]
    """By name, in the order in which they are run."""

    @property
    def folder(self) -> Path:
        """The folder that theirs are in."""
        return self.settings.parent

    def answered(self) -> int:
        """Questions whose rows are on disk, of all runs."""
        return sum(len(request.folder.read()) for request in self.requests.values())

    @property
    def asked(self) -> int:
        """Questions of all runs."""
        return sum(len(request.assignments) for request in self.requests.values())


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the runs of a series come from."""

    base: RunConfig
    """The settings that all of them share."""
    settings: Path
    """The file of settings in the folder of the series."""
    text: str
    """What it is to hold."""
    resume: bool = False
    """Whether the folder is there already, and its runs are gone on with."""
    flags: Mapping[str, Any] = field(default_factory=dict)
    """Settings that a resumed series is to change; those that change an answer are refused."""
    questions: Callable[[RunConfig], list[Question]]
    """Reads the questions of a run's task."""


def by_task(cells: Sequence[Cell], base: RunConfig) -> list[Cell]:
    """Cells of one task each: one that names several tasks is run with every one of them.

    Raises:
        ValueError: There is no such task.
    """
    return [part for cell in cells for part in _parts(cell, str(cell.settings.get("task", base.data.task)))]


def _parts(cell: Cell, task: str) -> Iterator[Cell]:
    from pipeline.benchmarks import short_name, task_names

    names = task_names(task)
    for name in names:
        called = [cell.name, short_name(name) if len(names) > 1 else ""]
        yield Cell(name="-".join(filter(None, called)), settings={**cell.settings, "task": name})


def open_series(cells: Sequence[Cell], origin: Origin) -> Series:
    """Checks every run, and makes or finds their folders.

    Args:
        cells: The runs, of one task each.
        origin: What they have in common.

    Raises:
        ValueError: One of them can't be, or its folder is not what it has to be; the message begins with its name.
    """
    from pipeline.runtime.cluster import base_dir
    from pipeline.runtime.results import RunFolder, new_folder

    # 1. Nothing is written before everything has been checked.
    runs = check_series(cells, origin)
    # 2. All folders are made, so that they hold the settings of now whenever their turn comes.
    if not origin.resume:
        new_folder(origin.settings.parent, {origin.settings.name: origin.text})
    store = base_dir()
    requests: dict[str, RunRequest] = {}
    store.mkdir(parents=True, exist_ok=True)
    for name, (run, found) in runs.items():
        folder = found or RunFolder.create(origin.settings.with_name(name), run.config, run.plan)
        requests[name] = run.request(folder, store)
    say_isolation(run for run, _ in runs.values())  # only now that nothing is left to complain of
    return Series(settings=origin.settings.resolve(), requests=requests)


def check_series(cells: Sequence[Cell], origin: Origin) -> dict[str, tuple[PlannedRun, RunFolder | None]]:
    """Checks every run; writes nothing.

    Args:
        cells: The runs, of one task each.
        origin: What they have in common.

    Returns:
        By name the runs, each with its folder where there is one to go on with.

    Raises:
        ValueError: One of them can't be, or their folder is not what it has to be.
    """
    from pipeline.runtime.results import check_free

    names = [cell.name for cell in cells]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two runs would be called {name!r}; give each one a name of its own")
        if name == origin.settings.name:
            raise ValueError(f"a run can't be called {name!r}, as the file of settings beside it is; rename its --task")
    read = _reading_once(origin.questions)
    runs = {cell.name: _checked(cell, origin, read) for cell in cells}
    if not origin.resume:
        check_free(origin.settings.parent)
    return runs


def _checked(
    cell: Cell, origin: Origin, read: Callable[[RunConfig], list[Question]]
) -> tuple[PlannedRun, RunFolder | None]:
    """A run, and its folder if there is one."""
    from pipeline.runtime.results import RunFolder

    path = origin.settings.with_name(cell.name)
    try:
        folder = RunFolder.open(path) if origin.resume and path.exists() else None
        flat = {**folder.config.flat(), **origin.flags} if folder else {**origin.base.flat(), **cell.settings}
        config = RunConfig.from_flat(located(flat))
        run = checked(config, read(config))
        if folder:
            folder.check_same(run.config, run.plan)
            folder.check_questions(run.assignments, run.config.data.task)
    except ValueError as error:
        raise ValueError(f"{cell.name}: {error}") from error
    return run, folder


def _reading_once(questions: Callable[[RunConfig], list[Question]]) -> Callable[[RunConfig], list[Question]]:
    """Reads questions that several runs share once: from the Hub that takes a while, and every time tells the same."""
    known: dict[tuple[DataConfig, ScoringConfig], list[Question]] = {}

    def read(config: RunConfig) -> list[Question]:
        key = (config.data, config.scoring)
        if key not in known:
            known[key] = questions(config)
        return known[key]

    return read
