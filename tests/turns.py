"""Turns of one agent on some questions, side by side in a running batch, without the walk over a graph."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.agents.agent import Agent, UnderWay
from pipeline.agents.conduct import TurnRequest, TurnResult
from pipeline.engine import RunningBatch


def take_turns(agent: Agent, requests: Sequence[TurnRequest], batch: RunningBatch | None = None) -> list[TurnResult]:
    """What the agent leaves behind, one result a question.

    Args:
        agent: Who.
        requests: What it gets.
        batch: Where it is computed; memory stays in place only where the agents before it used the same one.
    """
    batch = batch or RunningBatch(agent.lm)
    begun = [agent.begin(request, batch) for request in requests]
    under_way = [turn for turn in begun if isinstance(turn, UnderWay)]
    while not all(turn.row.done for turn in under_way):
        batch.step()
    return [agent.end(turn) if isinstance(turn, UnderWay) else turn for turn in begun]
