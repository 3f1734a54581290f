"""Questions, and what an agent team is assigned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.records.base import Record

Kind = Literal["number", "choice", "code"]
"""How an answer is written and graded."""


@dataclass(frozen=True, kw_only=True)
class Question(Record):
    """One question of a benchmark."""

    id: str
    """Unique within its task and stable between runs: sampling and retries are keyed by it."""
    text: str
    """What the agents read; a choice question ends with its options, one a line."""
    kind: Kind
    """How the answer is written and graded."""
    gold: str
    """The right answer: a number, an option's label, or for code the reference solution."""
    labels: tuple[str, ...] = ()
    """The labels of a choice question's options, as the prompt shows them (A, B, ...)."""
    tests: str = ""
    """For code: the program that calls the answer's functions and fails if one of them is wrong."""
    entry_point: str = ""
    """For code: the function that is asked for, which the tests call."""


@dataclass(frozen=True, kw_only=True)
class Assignment(Record):
    """One question as a team gets it: what to answer, and whose memory reaches the answering agent."""

    parts = {"question": Question, "source": Question}

    question: Question
    """What the answering agent answers."""
    source: Question | None
    """What the agents before it work on: the question itself, or as a control another one; with none, all work on the
    question and nothing is handed over."""
    traced: bool = False
    """Whether prompts and latent steps are recorded."""
