"""Progress on stderr, of one run or of several as one: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
PACE = 24 * 3600.0
"""Seconds back to which the time left is reckoned from: batches may take minutes, and runs differ in their pace."""
GETTING_READY = "getting ready"


class Report(Protocol):
    """Tells how far a run is."""

    def __call__(self, done: int, note: str) -> None:
        """Says that `done` questions have finished, with a note on how they went."""

    def say(self, text: str) -> None:
        """Says something else, on a line of its own."""


class Board(Report, Protocol):
    """Where progress is shown."""

    def name(self, title: str) -> None:
        """Says what is under way from now on."""


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Board]:
    """Shows progress towards `total` questions, of which some are done, while the block runs."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(title, total=total, completed=done, note=GETTING_READY)
            yield _Bar(bar, task)
    else:
        lines = Lines(lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True), title, total)
        known = f", {done} of them answered before" if done else ""
        lines.say(f"{title}: {total} questions{known}; {GETTING_READY}")
        yield lines


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        speed_estimate_period=PACE,
    )


class _Bar:
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def __call__(self, done: int, note: str) -> None:
        self._bar.update(self._task, completed=done, note=note)

    def name(self, title: str) -> None:
        self._bar.update(self._task, description=title, note=GETTING_READY)

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)


class Lines:
    """Progress where there is no terminal."""

    def __init__(
        self, show: Callable[[str], None], title: str, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing has been done.

        Args:
            show: Takes a line.
            title: What is under way.
            total: Questions of all of it.
            clock: Tells the time, in seconds.
        """
        self._show, self._title, self._total, self._clock = show, title, total, clock
        self._last, self._shown = -EVERY, -1
        self._first: tuple[float, int] | None = None  # when something was first told, and how much was done then

    def __call__(self, done: int, note: str) -> None:
        """Says how far it is, if the last time is long enough ago or all is done."""
        now = self._clock()
        self._first = self._first or (now, done)
        if now - self._last >= EVERY or (done == self._total and done != self._shown):
            self._last, self._shown = now, done
            parts = [f"{self._title}: {done}/{self._total}", note, self._left(now, done)]
            self._show(", ".join(filter(None, parts)))

    def name(self, title: str) -> None:
        """Says what is under way from now on."""
        self._title = title

    def say(self, text: str) -> None:
        """Says something else."""
        self._show(text)

    def _left(self, now: float, done: int) -> str:
        assert self._first is not None, "something has been told"
        since, before = self._first
        if done <= before or done >= self._total:
            return ""
        return f"about {in_minutes((now - since) / (done - before) * (self._total - done))} left"


def in_minutes(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True, kw_only=True)
class Share:
    """One of several runs in the progress of all."""

    title: str
    """What it is called."""
    size: int
    """Its questions."""
    before: int
    """Those that were answered before."""


class Whole:
    """Several runs' progress as one: questions of all of them, whichever is under way."""

    def __init__(self, board: Board, shares: Sequence[Share]) -> None:
        self._board, self._shares = board, shares

    @contextmanager
    def part(self, place: int) -> Iterator[Report]:
        """The progress of one run while the block runs; after it none of its questions are left, nor if it failed."""
        self._board.name(self._shares[place].title)
        yield _Part(self, place)
        self.tell(place, self._shares[place].size, "")

    def tell(self, place: int, done: int, note: str) -> None:
        """Says how far the run at a place is; those before it are past, and those after it are as they were before."""
        past = sum(share.size for share in self._shares[:place])
        later = sum(share.before for share in self._shares[place + 1 :])
        self._board(past + done + later, note)

    def say(self, text: str) -> None:
        """Says something else."""
        self._board.say(text)


@dataclass(frozen=True)
class _Part:
    whole: Whole
    place: int

    def __call__(self, done: int, note: str) -> None:
        self.whole.tell(self.place, done, note)

    def say(self, text: str) -> None:
        self.whole.say(text)


@contextmanager
def progress_of_all(shares: Sequence[Share]) -> Iterator[Whole]:
    """Shows the progress of several runs as one while the block runs."""
    total, done = sum(share.size for share in shares), sum(share.before for share in shares)
    finished = sum(share.before == share.size for share in shares)
    with progress(f"{len(shares)} runs", total, done) as board:
        if finished:
            board.say(f"{finished} of {len(shares)} runs {'was' if finished == 1 else 'were'} finished before")
        yield Whole(board, shares)
