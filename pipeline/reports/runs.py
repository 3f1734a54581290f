"""A finished run as everything here sees it: its settings, its totals and its rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipeline.records import Prediction
from pipeline.reports.summary import RunMetrics


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run as a comparison sees it."""

    name: str
    """What the comparison calls it."""
    settings: Mapping[str, Any]
    """Its settings by name, those left out that change no answer."""
    graph: str
    """Its role graph as a file; graphs of one name may differ."""
    metrics: RunMetrics
    """What it reports."""
    rows: Sequence[Prediction]
    """One a question; texts of the agents may have been left out when they were read."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """Settings that change no answer but may change how long it takes."""
    git_commit: str = ""
    """The code that it ran with; empty if that is not known."""

    @cached_property
    def correct(self) -> dict[str, bool | None]:
        """By question id whether the answer is right; none if it is unscored."""
        return {row.question_id: row.correct for row in self.rows}

    @cached_property
    def correct_lenient(self) -> dict[str, bool | None]:
        """The same by the lenient score."""
        return {row.question_id: row.correct_lenient for row in self.rows}

    @cached_property
    def asked(self) -> dict[str, tuple[str, str]]:
        """Text and right answer of each question by its id."""
        return {row.question_id: (row.question, row.gold) for row in self.rows}

    @cached_property
    def questions(self) -> str:
        """A digest of what was asked, whatever the order: equal where ids, texts and right answers are."""
        return hashlib.sha256(json.dumps(sorted(self.asked.items())).encode()).hexdigest()

    @property
    def scored(self) -> int:
        """How many questions have a score."""
        return self.metrics.num_questions - self.metrics.num_unscored

    @property
    def period(self) -> tuple[float, float] | None:
        """When the first question went in and the last answer came out, seconds since the epoch; none if none did."""
        times = [(row.started, row.finished) for row in self.rows if row.turns or row.started]
        return (min(start for start, _ in times), max(end for _, end in times)) if times else None
