"""What agents do: turns, the answers they add up to, and scores."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from pipeline.records.base import Record

Finish = Literal["stop", "length", "context", "latent"]
"""Why a turn ended: the model's own stop token, the token budget, the model's context (which may be full before the
first token), or the last latent step."""


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
class Thought(Record):
    """What one latent step looks like through the model's own head (logit lens) and beside its embeddings."""

    step: int
    """Which latent step, from 0."""
    tokens: tuple[str, ...]
    """The most likely tokens of the hidden state that is fed back, best first."""
    probabilities: tuple[float, ...]
    """Their probabilities at temperature 1."""
    norm: float
    """Length of the hidden state, after the final norm."""
    nearest: str
    """The token whose input embedding points most nearly where the latent input points."""
    cosine: float
    """The cosine between the two."""


@dataclass(frozen=True, kw_only=True)
class Transfer(Record):
    """How working memory reached one turn of one question."""

    transport: str
    """in_place where it never left the replica, else the transport that carried it."""
    bytes: int
    """What was carried: keys and values, or with `reencode` the inputs that they are computed from."""
    seconds: float
    """The question's share of the time to pack it, to fetch it and to bring it into place; direct transports fetch
    behind the replica's back, which is not in it."""


@dataclass(frozen=True, kw_only=True)
class Turn(Record):
    """What one agent did for one question."""

    parts = {"usage": Usage, "thoughts": Thought, "transfers": Transfer}

    role: str
    """The agent's role in the graph."""
    text: str
    """What it wrote; empty for a latent agent."""
    finish: Finish
    """Why it ended."""
    usage: Usage
    """What it used."""
    seconds: float
    """The question's share of the steps that it was in, by positions computed, so that sums are wall time. Packing,
    fetching and computing memory again are not in it but in `transfers`."""
    replica: str = ""
    """Which replica took the turn."""
    transfers: tuple[Transfer, ...] = ()
    """How the working memory that it inherited came to it, one entry a transport; empty if it inherited none."""
    verify_seconds: float = 0.0
    """The question's share of the time it took to make and check the memory's digests, where that was asked for."""
    thoughts: tuple[Thought, ...] = ()
    """The latent steps, where they were asked for."""
    prompt: str = ""
    """What it read as the model's chat template renders it, without inherited memory, where that was asked for."""
    started: float = 0.0
    """When the turn began, seconds since the epoch, by the clock of the replica's node."""
    finished: float = 0.0
    """When it ended."""
    left_bytes: int = 0
    """Working memory that it left behind to be handed over, in bytes; 0 for an agent that writes."""

    @property
    def wrote(self) -> bool:
        """Whether it was the turn of an agent that writes."""
        return self.finish != "latent"

    @property
    def truncated(self) -> bool:
        """Whether its text ended with its budget or the model's context, and not by itself."""
        return self.finish in ("length", "context")

    @property
    def handover_bytes(self) -> int:
        """Working memory that it inherited, in bytes, as it was carried."""
        return sum(transfer.bytes for transfer in self.transfers)

    @property
    def handover_seconds(self) -> float:
        """The question's share of the time it took to hand that memory over."""
        return sum(transfer.seconds for transfer in self.transfers)


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
    """The replica's peak memory in the run so far: device memory on a GPU, resident memory on a CPU."""
    retries: int = 0
    """How often the question had to be asked again because a process, a node or an object was lost."""
    error: str = ""
    """Why there is no answer, where a fault of ours prevented one; never set for bad model output."""

    @property
    def text(self) -> str:
        """The last agent's text."""
        return self.turns[-1].text if self.turns else ""

    @property
    def truncated(self) -> bool:
        """Whether the last agent's text ended with its budget or the model's context."""
        return bool(self.turns) and self.turns[-1].truncated

    @property
    def truncated_turns(self) -> int:
        """How many agents' texts did."""
        return sum(turn.truncated for turn in self.turns)

    @property
    def context_limited(self) -> bool:
        """Whether the model's context left some agent's text less room than its budget, or none, and so ended it."""
        return any(turn.finish == "context" for turn in self.turns)

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
    """`correct`, or why not: no_answer, truncated, wrong, not_an_option; of programs also test_failed, runtime_error,
    syntax_error, no_function, exited, timeout, crashed, over_limit."""
    detail: str = ""
    """What a program did wrong, in one line."""
    isolation: str = ""
    """What a program was locked in with."""
