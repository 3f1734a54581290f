"""What the tracker gets of a run: one record, made from the run folder, while the run goes on or whenever later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import uuid4

from pipeline.records import Prediction

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
"""How a run is: MLflow's own words."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """How a run went up to some moment."""

    step: int
    """Questions that were finished then."""
    time: int
    """When it was, milliseconds since the epoch."""
    values: Mapping[str, float]
    """What there was to tell, by name."""


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """The questions of a run, as a data set that runs have in common."""

    name: str
    """The task."""
    digest: str
    """Tells any two sets of questions apart: ids, texts, kinds and right answers, in order."""
    count: int
    """How many there are."""
    place: Mapping[str, str]
    """Where they come from, in the words of the kind of source."""
    source: str
    """The kind of source: hugging_face, local or code."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under named columns."""

    columns: tuple[str, ...]
    """Their names."""
    rows: Sequence[Sequence[Any]]
    """Plain values, one a column."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that the tracker is told of one run, or of a sweep; what is not known yet is empty."""

    name: str
    """What it is called."""
    experiment: str
    """The MLflow experiment that it belongs to."""
    tags: Mapping[str, str]
    """What runs are found and grouped by."""
    params: Mapping[str, str]
    """Its settings by dotted names."""
    text: str = ""
    """What there is to read of it, in Markdown."""
    started: float = 0.0
    """When it began, seconds since the epoch; 0 is now."""
    ended: float = 0.0
    """When it ended, or was last seen alive."""
    status: Status = "RUNNING"
    """How it is."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What it reports: numbers, and mappings of them; all else is left out."""
    history: Sequence[Point] = ()
    """How it went."""
    questions: QuestionSet | None = None
    """What was asked."""
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Tables by the path of their file."""
    files: Sequence[Path] = ()
    """Files that are kept as they are."""
    made: Mapping[str, bytes] = field(default_factory=dict)
    """Files that are not on disk, such as pictures and their numbers, by path."""
    traced: Sequence[Prediction] = ()
    """Rows whose turns hold what a trace shows."""
    task: str = ""
    """The task, as traces call it."""
    parent: RunRecord | None = None
    """The sweep that it is a part of; it is found by all its tags, or begun."""


class Ledger(Protocol):
    """What a run folder remembers of trackers, so that nothing is told twice."""

    def run_ids(self, uri: str) -> Sequence[str]:
        """Ids that the run may have in a store, the most likely first; none if it has been in no store yet."""

    def run_key(self) -> str:
        """What the run is marked with in every store; empty as long as no store has been asked to begin it."""

    def new_key(self) -> str:
        """Makes that up, and remembers it."""

    def opened(self, uri: str, run_id: str) -> None:
        """Remembers that id."""

    def traced(self, run_id: str) -> frozenset[str]:
        """Ids of the questions whose traces are there."""

    def add_traced(self, run_id: str, question_ids: Sequence[str]) -> None:
        """Remembers some more."""


class NoLedger:
    """Remembers nothing: for runs that are found by their tags."""

    def run_ids(self, uri: str) -> Sequence[str]:
        """No id."""
        return ()

    def run_key(self) -> str:
        """No key."""
        return ""

    def new_key(self) -> str:
        """One that is forgotten."""
        return uuid4().hex

    def opened(self, uri: str, run_id: str) -> None:
        """Forgets it."""

    def traced(self, run_id: str) -> frozenset[str]:
        """None."""
        return frozenset()

    def add_traced(self, run_id: str, question_ids: Sequence[str]) -> None:
        """Forgets them."""


def numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    """Yields every number, those of nested mappings as `name/key`."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)


def flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yields every setting as text, those in mappings under dotted names; an empty mapping is a value."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
