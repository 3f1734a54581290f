"""What crosses a boundary: plain frozen records, without torch and without Ray.

A `Question` goes in, every agent's turn leaves a `Turn`, the turns of one question make an `Answer`, and grading an
answer gives a `Score`. Records travel between processes as JSON (`to_json`, `from_json`), so that a row of a Ray data
set or of a Parquet file can be read without this package.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self

Kind = Literal["number", "choice", "code"]
"""How an answer is written and graded."""

Finish = Literal["stop", "length", "latent"]
"""Why a turn ended: the model's own stop token, the token budget, or the last latent step."""


class Record:
    """A frozen dataclass that travels as one JSON object."""

    parts: ClassVar[dict[str, type[Record]]] = {}
    """Fields that are records, or tuples of records, themselves."""

    def to_json(self) -> str:
        """Returns the record as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Reads what `to_json` wrote."""
        return cls.from_dict(json.loads(line))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Builds the record from its fields; lists become tuples, and the parts that are records themselves records."""
        return cls(**{name: _revive(v, cls.parts.get(name)) for name, v in values.items()})


def _revive(value: Any, part: type[Record] | None) -> Any:
    if isinstance(value, list):
        return tuple(_revive(item, part) for item in value)
    return part.from_dict(value) if part else value


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
    """For code: the program that is run after the answer and fails if it is wrong."""


@dataclass(frozen=True, kw_only=True)
class Usage(Record):
    """What a turn, an answer or a run used, counted from token ids and positions."""

    output_tokens: int = 0
    """Generated token ids, the stop token included."""
    latent_steps: int = 0
    """Latent steps taken."""
    prefill_tokens: int = 0
    """Prompt positions computed (inherited memory is not computed again and not counted)."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Turn(Record):
    """What one agent did for one question."""

    parts = {"usage": Usage}

    role: str
    """The agent's role in the graph."""
    text: str
    """What it wrote; empty for a latent agent."""
    finish: Finish
    """Why it ended."""
    usage: Usage
    """What it used."""
    seconds: float
    """The question's share of its batch's wall time (an equal part a question), so that sums are wall time."""
    handover_bytes: int = 0
    """Size of the working memory that it inherited, in bytes."""
    handover_seconds: float = 0.0
    """The question's share of the time it took to bring that memory into place."""


@dataclass(frozen=True, kw_only=True)
class Answer(Record):
    """All turns of one question; the last one's text is the answer."""

    parts = {"turns": Turn}

    question_id: str
    """The question."""
    turns: tuple[Turn, ...] = ()
    """One per agent, in the order in which they were taken."""
    started: float = 0.0
    """When the question's batch began, seconds since the epoch."""
    finished: float = 0.0
    """When it ended."""
    replica: str = ""
    """Which replica answered."""
    load_seconds: float = 0.0
    """How long that replica took to load its model."""
    peak_bytes: int = 0
    """The replica's peak memory so far: device memory on a GPU, resident memory on a CPU."""
    error: str = ""
    """Why there is no answer, where a fault of ours prevented one; never set for bad model output."""

    @property
    def text(self) -> str:
        """The last agent's text."""
        return self.turns[-1].text if self.turns else ""

    @property
    def truncated(self) -> bool:
        """Whether the last agent's text ended with its budget."""
        return bool(self.turns) and self.turns[-1].finish == "length"

    @property
    def usage(self) -> Usage:
        """The sum over all turns."""
        return sum((turn.usage for turn in self.turns), Usage())


@dataclass(frozen=True, kw_only=True)
class Score(Record):
    """How one answer was graded."""

    correct: bool
    """Strict: the last boxed answer has the gold's value."""
    correct_lenient: bool
    """Lenient: where nothing is boxed, the last number or lone letter counts."""
    prediction: str
    """What was extracted strictly; empty if nothing was."""
    prediction_lenient: str
    """What was extracted leniently; empty if nothing was."""
    reason: str
    """`correct`, or why not: no_answer, truncated, wrong, not_an_option."""


@dataclass(frozen=True, kw_only=True)
class Prediction(Record):
    """One row of a run's results: the question, its answer and its score. The columns of `predictions.parquet`."""

    parts = {"turns": Turn}

    question_id: str
    """Unique within the task."""
    question: str
    """What the agents read."""
    kind: Kind
    """number, choice or code."""
    gold: str
    """The right answer."""
    prediction: str
    """The strictly extracted answer; empty if there is none."""
    prediction_lenient: str
    """The leniently extracted answer; empty if there is none."""
    correct: bool | None
    """Strict score; null if the question is unscored through a fault of ours."""
    correct_lenient: bool | None
    """Lenient score; null if unscored."""
    reason: str
    """correct, or why not; `unscored` for a fault of ours."""
    output_text: str
    """The last agent's text."""
    output_tokens: int
    """Token ids generated by all agents."""
    latent_steps: int
    """Latent steps taken by all agents."""
    prefill_tokens: int
    """Prompt positions computed by all agents."""
    seconds: float
    """The question's share of its batches' wall time, all agents."""
    truncated: bool
    """Whether the last agent's text ended with its budget."""
    handover_bytes: int
    """Working memory inherited, summed over the agents."""
    handover_seconds: float
    """Time to bring it into place."""
    scoring_seconds: float
    """Time to grade the answer."""
    started: float
    """When the question's batch began, seconds since the epoch."""
    finished: float
    """When it ended."""
    attempt: int
    """1 in the first go; counts up each time the run is resumed."""
    replica: str
    """Which replica answered."""
    load_seconds: float
    """How long that replica took to load its model."""
    peak_bytes: int
    """The replica's peak memory so far."""
    error: str
    """Why the question is unscored; empty otherwise."""
    turns: tuple[Turn, ...]
    """What each agent did."""

    @classmethod
    def of(cls, question: Question, answer: Answer, score: Score | None, *, seconds: float, attempt: int) -> Prediction:
        """Puts together what is known of one question.

        Args:
            question: What was asked.
            answer: What came of it.
            score: Its grade; none if a fault of ours prevented an answer.
            seconds: Time to grade it.
            attempt: Which go at the run it was answered in.
        """
        usage = answer.usage
        return cls(
            question_id=question.id,
            question=question.text,
            kind=question.kind,
            gold=question.gold,
            prediction=score.prediction if score else "",
            prediction_lenient=score.prediction_lenient if score else "",
            correct=score.correct if score else None,
            correct_lenient=score.correct_lenient if score else None,
            reason=score.reason if score else "unscored",
            output_text=answer.text,
            output_tokens=usage.output_tokens,
            latent_steps=usage.latent_steps,
            prefill_tokens=usage.prefill_tokens,
            seconds=sum(turn.seconds for turn in answer.turns),
            truncated=answer.truncated,
            handover_bytes=sum(turn.handover_bytes for turn in answer.turns),
            handover_seconds=sum(turn.handover_seconds for turn in answer.turns),
            scoring_seconds=seconds,
            started=answer.started,
            finished=answer.finished,
            attempt=attempt,
            replica=answer.replica,
            load_seconds=answer.load_seconds,
            peak_bytes=answer.peak_bytes,
            error=answer.error,
            turns=answer.turns,
        )
