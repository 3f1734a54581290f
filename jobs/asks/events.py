"""What happens while a question is answered, as records: what `watching` tells and `show` makes lines of."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.asks.harmless import harmless
from pipeline.config import Method
from pipeline.records import Answer, Finish, Kind, Score, Thought


@dataclass(frozen=True, kw_only=True)
class Held:
    """Working memory."""

    positions: int
    """Positions of keys and values, all layers each."""
    nbytes: int
    """What they take."""


@dataclass(frozen=True, kw_only=True)
class ModelLoaded:
    """The model is ready."""

    model: str
    """Its name."""
    parameters: int
    """How many."""
    dtype: str
    """Number format of weights and memory."""
    device: str
    """Where it is."""
    seconds: float
    """How long that took."""


@dataclass(frozen=True, kw_only=True)
class MethodBegins:
    """A method begins with the question."""

    method: Method
    """Which one."""
    graph: str
    """The graph that is walked."""
    roles: tuple[str, ...]
    """Its agents in working order."""


@dataclass(frozen=True, kw_only=True)
class AgentReads:
    """An agent has its prompt in memory, on top of what it inherited."""

    role: str
    """Who."""
    latent_steps: int | None
    """Steps that it will think; none if it writes."""
    memory_of: tuple[str, ...]
    """Roles whose memory it has."""
    texts_of: tuple[str, ...]
    """Roles whose texts its prompt holds."""
    inherited: int
    """Positions of memory that it got."""
    prompt: int
    """Tokens of its prompt."""
    held: Held
    """Its memory now."""


@dataclass(frozen=True, kw_only=True)
class StepTaken:
    """An agent takes a latent step."""

    thought: Thought
    """What the step looks like."""
    of: int
    """Steps of the turn."""


@dataclass(frozen=True, kw_only=True)
class TextWritten:
    """An agent has written on."""

    text: str
    """What, in whole words."""


@dataclass(frozen=True, kw_only=True)
class AgentEnds:
    """An agent's turn is over."""

    role: str
    """Whose."""
    finish: Finish
    """Why."""
    output_tokens: int
    """Tokens that it wrote."""
    seconds: float
    """How long it took, watching left out."""
    held: Held
    """Its memory now; of a thinking agent what it hands over, with what it inherited."""


@dataclass(frozen=True, kw_only=True)
class AgentLeftOut:
    """An agent had no turn: the texts or the memory that it was to go on from fill the model's context."""

    role: str
    """Whose."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a method."""

    method: Method
    """Which one."""
    answer: Answer
    """What all agents did."""
    score: Score
    """What was read of the last one's text; right or wrong means something only where there is a gold."""
    graded: bool
    """Whether there is one."""
    kind: Kind
    """The question's."""
    seconds: float
    """How long it took, watching left out."""

    @property
    def text(self) -> str:
        """The answer: what was read strictly, else leniently; empty if nothing was."""
        return harmless(self.score.prediction or self.score.prediction_lenient).strip()

    @property
    def handover_bytes(self) -> int:
        """Working memory inherited, summed over the agents."""
        return sum(turn.handover_bytes for turn in self.answer.turns)


Event = ModelLoaded | MethodBegins | AgentReads | StepTaken | TextWritten | AgentEnds | AgentLeftOut | Outcome
