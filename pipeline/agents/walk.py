"""What an agent gets of what the agents before it have left behind."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import TurnRequest, TurnResult
from pipeline.memory import Memory
from pipeline.prompts import Note
from pipeline.records import Assignment


def collect(assignment: Assignment, agent: Agent, earlier: Sequence[TurnResult]) -> TurnRequest:
    """One agent's request: its question, and the segments and texts of the agents that it reads, in order.

    The answering agent works on the question itself, the others on the assignment's source. Without a source nothing is
    handed over, while the prompts still say what they would say.
    """
    source = assignment.source or assignment.question
    handed = earlier if assignment.source else ()
    return TurnRequest(
        question=assignment.question if agent.role.answers else source,
        memory=Memory.of(result.segment for result in handed if result.segment is not None and len(result.segment)),
        notes=tuple(Note(role=r.turn.role, text=r.turn.text) for r in handed if r.segment is None),
        remembered=tuple(result.turn.role for result in earlier if result.segment is not None),
        source_id=source.id,
        traced=assignment.traced,
    )
