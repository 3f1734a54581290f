"""Rebuilding what other replicas' agents left behind, from what their models were fed: tokens and latent inputs.

Inputs are many times smaller than the keys and values that they become, and cost one forward to turn into them again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import TurnResult
from pipeline.agents.walk import collect
from pipeline.engine import RunningBatch
from pipeline.memory import Inputs
from pipeline.records import Assignment, Turn, Usage


def recall_work(
    assignments: Sequence[Assignment],
    team: Mapping[str, Agent],
    inputs: Mapping[str, Sequence[Inputs]],
    batch: RunningBatch,
) -> dict[str, list[TurnResult]]:
    """Lets a team take over, without thinking, the turns that thinking agents elsewhere took on a batch of questions.

    Args:
        assignments: The batch.
        team: The agents by role, in working order.
        inputs: By role, what the model was fed for each question; every role that one of them reads is among them.
        batch: Where it is computed; nobody else's questions are in it.

    Returns:
        By role, in working order, what it had left behind for each question: its segment, and a turn that tells what
        rebuilding took. These turns belong to no answer; the agents' own do.

    Raises:
        ValueError: A memory belongs to another model or question.
    """
    work: dict[str, list[TurnResult]] = {}
    for name in (role for role in team if role in inputs):
        began = time.perf_counter()
        agent, fed = team[name], inputs[name]
        requests = [
            collect(assignment, agent, [work[read][row] for read in agent.role.reads])
            for row, assignment in enumerate(assignments)
        ]
        segments = agent.recall(requests, fed, batch)
        seconds = time.perf_counter() - began
        turns = [_turn(name, len(row), seconds / len(fed)) for row in fed]
        work[name] = [TurnResult(turn=turn, segment=made) for turn, made in zip(turns, segments, strict=True)]
    return work


def _turn(role: str, positions: int, seconds: float) -> Turn:
    return Turn(role=role, text="", finish="latent", usage=Usage(prefill_tokens=positions), seconds=seconds)
