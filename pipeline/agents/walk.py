"""The walk over the role graph for a batch of questions on one replica: who gets whose work.

The walk knows roles and what they leave behind - a memory segment or a text - and nothing of models, devices or Ray.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import TurnRequest, TurnResult
from pipeline.graphs import Role
from pipeline.memory import Memory
from pipeline.prompts import Note
from pipeline.records import Answer, Assignment

Work = dict[str, list[TurnResult]]
"""What each role has left behind, question by question, in the order of the batch."""


class Player(Protocol):
    """Whoever plays a role."""

    @property
    def role(self) -> Role:
        """The role."""


def answer_batch(assignments: Sequence[Assignment], team: Mapping[str, Agent]) -> list[Answer]:
    """Lets a team answer a batch of questions together, all on one replica.

    Args:
        assignments: The batch.
        team: The agents by role, in working order; one of them answers.

    Returns:
        One answer a question, in the same order.
    """
    started = time.time()
    work = walk(assignments, team, list(team))
    finished = time.time()
    return [
        Answer(
            question_id=assignment.question.id,
            turns=tuple(results[row].turn for results in work.values()),
            started=started,
            finished=finished,
        )
        for row, assignment in enumerate(assignments)
    ]


def walk(
    assignments: Sequence[Assignment], team: Mapping[str, Agent], roles: Sequence[str], earlier: Work | None = None
) -> Work:
    """Lets some of a team's roles take their turns, one after another.

    Args:
        assignments: The batch.
        team: The agents by role.
        roles: Whose turn it is, in working order.
        earlier: What roles before them have left behind, on this replica or on others.

    Returns:
        What each of `roles` leaves behind.
    """
    work, new = dict(earlier or {}), Work()
    for name in roles:
        # Each agent gets, question by question, what the agents that it reads have left behind.
        agent = team[name]
        requests = [
            collect(assignment, agent, [work[read][row] for read in agent.role.reads])
            for row, assignment in enumerate(assignments)
        ]
        work[name] = new[name] = agent.take_turns(requests)
        for read in agent.role.reads:
            work[read] = [_settled(result) for result in work[read]]
    return new


def collect(assignment: Assignment, agent: Player, earlier: Sequence[TurnResult]) -> TurnRequest:
    """One agent's request: its question, and the segments and texts of the agents that it reads, in order.

    The answering agent works on the question itself, the others on the assignment's source. Without a source nothing is
    handed over, while the prompts still say what they would say.
    """
    source = assignment.source or assignment.question
    handed = earlier if assignment.source else ()
    return TurnRequest(
        question=assignment.question if agent.role.answers else source,
        memory=Memory.of(result.segment for result in handed if result.segment is not None and len(result.segment)),
        notes=tuple(Note(role=r.turn.role, text=r.turn.text) for r in handed if r.turn.finish != "latent"),
        remembered=tuple(result.turn.role for result in earlier if result.turn.finish == "latent"),
        source_id=source.id,
        traced=assignment.traced,
        spent=sum(result.turn.usage.output_tokens for result in earlier),
    )


def _settled(result: TurnResult) -> TurnResult:
    """What came from elsewhere has been brought into place by its first reader; the next ones find it there."""
    if result.segment is None or result.segment.arrival is None:
        return result
    return replace(result, segment=replace(result.segment, arrival=None))
