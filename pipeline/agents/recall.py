"""Rebuilding what other replicas' agents left behind, from what their models were fed: tokens and latent inputs.

Inputs are many times smaller than the keys and values that they become, and cost one forward to turn into them again.
It is done question by question, as the first part of its walk: so a question holds no memory before its turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.agents.agent import Agent, UnderWay
from pipeline.agents.conduct import TurnResult
from pipeline.memory import Inputs
from pipeline.records import Transfer


@dataclass(frozen=True, kw_only=True, eq=False)
class Fed:
    """What an agent's model was fed for one question, as it came from another replica."""

    inputs: Inputs
    """The inputs."""
    arrival: Transfer
    """How they came; the seconds are without those that computing takes."""

    def rebuilt(self, agent: Agent, turn: UnderWay, told: TurnResult) -> TurnResult:
        """What the agent left behind, now that its inputs have been read.

        Args:
            agent: The same role's agent here.
            turn: The reading.
            told: The agent's own turn, which is the one that counts.
        """
        seconds = self.arrival.seconds + turn.row.seconds + turn.handover
        segment = agent.recalled(turn, self.inputs)
        return replace(told, segment=replace(segment, arrival=replace(self.arrival, seconds=seconds)))
