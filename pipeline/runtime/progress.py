"""Progress on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EVERY = 10.0
"""Seconds between lines where there is no terminal."""


class Report(Protocol):
    """Tells how far a run is."""

    def __call__(self, done: int, note: str) -> None:
        """Says that `done` questions have finished, with a note on how they went."""

    def say(self, text: str) -> None:
        """Says something else, on a line of its own."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Report]:
    """Shows progress towards `total` questions while the block runs."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(title, total=total, note="getting ready")
            yield _Bar(bar, task)
    else:
        console.print(f"{title}: {total} questions; getting ready", highlight=False, soft_wrap=True)
        yield _Lines(console, title, total)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


class _Bar:
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def __call__(self, done: int, note: str) -> None:
        self._bar.update(self._task, completed=done, note=note)

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)


class _Lines:
    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self._last = 0.0

    def __call__(self, done: int, note: str) -> None:
        if time.monotonic() - self._last >= EVERY or done == self._total:
            self._last = time.monotonic()
            self._console.print(f"{self._title}: {done}/{self._total} {note}", highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
