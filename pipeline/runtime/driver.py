"""How a batch of questions becomes answers: the walk over the role graph. Read this first.

The walk knows roles and what they leave behind - a memory segment or a text - and nothing of models, devices or Ray.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pipeline.agents import Agent, TurnResult
from pipeline.agents.walk import collect
from pipeline.records import Answer, Assignment


def answer_batch(assignments: Sequence[Assignment], team: Mapping[str, Agent]) -> list[Answer]:
    """Lets a team answer a batch of questions together.

    Args:
        assignments: The batch.
        team: The agents by role, in working order; one of them answers.

    Returns:
        One answer a question, in the same order.
    """
    started = time.time()
    work: dict[str, list[TurnResult]] = {}
    for name, agent in team.items():
        # Each agent gets, question by question, what the agents that it reads have left behind.
        requests = [
            collect(assignment, agent, [work[read][row] for read in agent.role.reads])
            for row, assignment in enumerate(assignments)
        ]
        work[name] = agent.take_turns(requests)
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
