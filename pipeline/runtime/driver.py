"""How a batch of questions becomes answers: the walk over the role graph. Read this first.

The walk knows roles and what they leave behind - a memory segment or a text - and nothing of models, devices or Ray.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pipeline.agents import Agent, TurnRequest, TurnResult
from pipeline.memory import Memory
from pipeline.prompts import Note
from pipeline.records import Answer, Question


def answer_batch(questions: Sequence[Question], team: Mapping[str, Agent]) -> list[Answer]:
    """Lets a team answer a batch of questions together.

    Args:
        questions: The batch.
        team: The agents by role, in working order; the last one answers.

    Returns:
        One answer a question, in the same order.
    """
    started = time.time()
    work: dict[str, list[TurnResult]] = {}
    for name, agent in team.items():
        # Each agent gets, question by question, what the agents that it reads have left behind.
        requests = [
            collect(question, [work[read][row] for read in agent.role.reads]) for row, question in enumerate(questions)
        ]
        work[name] = agent.take_turns(requests)
    finished = time.time()
    return [
        Answer(
            question_id=question.id,
            turns=tuple(results[row].turn for results in work.values()),
            started=started,
            finished=finished,
        )
        for row, question in enumerate(questions)
    ]


def collect(question: Question, earlier: Sequence[TurnResult]) -> TurnRequest:
    """One agent's request: the segments and the texts of the agents that it reads, in order."""
    return TurnRequest(
        question=question,
        memory=Memory.of(result.segment for result in earlier if result.segment is not None),
        notes=tuple(Note(role=r.turn.role, text=r.turn.text) for r in earlier if r.segment is None),
    )
