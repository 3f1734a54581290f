"""How a run goes: what has come in so far, and progress.jsonl, which keeps a line of it for every point."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from pipeline.records import Prediction
from pipeline.reports.summary import run_seconds
from pipeline.runtime.results import RunFolder
from pipeline.tracking import Point

FILE = "progress.jsonl"
EVERY = 1.0
"""Seconds at least between two points."""


class Tally:
    """What has come in so far, and whether it is time for another point, where a word takes as long as a batch."""

    def __init__(self, done: Sequence[Prediction] = ()) -> None:
        """Begins with the rows that earlier attempts at the run have brought in."""
        self.rows = self._scored = self._correct = self._lenient = self._tokens = 0
        self._told = -float("inf")
        self._earlier, self._began, self._ended = run_seconds(done), float("inf"), 0.0
        self._count(done)

    @property
    def accuracy(self) -> float:
        """Of the rows that are scored."""
        return self._correct / max(self._scored, 1)

    @property
    def seconds(self) -> float:
        """From the first question in to the last answer out, pauses between attempts left out."""
        return self._earlier + max(self._ended - self._began, 0.0)

    def add(self, rows: Sequence[Prediction]) -> None:
        """Counts rows in."""
        self._count(rows)
        for row in (row for row in rows if row.turns):
            self._began, self._ended = min(self._began, row.started), max(self._ended, row.finished)

    def point(self) -> Point:
        """What there is to tell now."""
        values = {
            "accuracy_so_far": self.accuracy,
            "accuracy_lenient_so_far": self._lenient / max(self._scored, 1),
            "output_tokens_so_far": float(self._tokens),
        }
        if self.seconds > 0:
            values["tokens_per_second_so_far"] = self._tokens / self.seconds
            values["questions_per_second_so_far"] = self.rows / self.seconds
        return Point(step=self.rows, time=int(1000 * time.time()), values=values)

    def due(self) -> bool:
        """Whether the last time was long enough ago; if so, this is one."""
        now = time.monotonic()
        due = now - self._told >= EVERY
        self._told = now if due else self._told
        return due

    def _count(self, rows: Sequence[Prediction]) -> None:
        self.rows += len(rows)
        self._scored += sum(row.correct is not None for row in rows)
        self._correct += sum(bool(row.correct) for row in rows)
        self._lenient += sum(bool(row.correct_lenient) for row in rows)
        self._tokens += sum(row.output_tokens for row in rows)


def add_point(folder: RunFolder, point: Point) -> None:
    """Puts a point on disk."""
    line = json.dumps({"step": point.step, "time": point.time, **point.values})
    with (folder.path / FILE).open("a+b") as file:
        torn = file.tell() > 0 and (file.seek(-1, 2), file.read(1))[1] != b"\n"  # a killed driver's last line
        file.write(f"{chr(10) if torn else ''}{line}\n".encode())


def read_points(folder: RunFolder) -> list[Point]:
    """All points of a run, over all attempts at it; a line that was half written is none."""
    file = folder.path / FILE
    lines = file.read_text("utf-8", errors="replace").splitlines() if file.is_file() else []
    return [point for point in map(_point, lines) if point]


def _point(line: str) -> Point | None:
    try:
        values = json.loads(line)
        return Point(step=values.pop("step"), time=values.pop("time"), values=values)
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
