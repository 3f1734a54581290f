"""The walk over the role graph on one replica: who gets whose work.

Every question walks by itself: what it waits for are its own earlier agents, never another question's.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from pipeline.agents.agent import Agent, UnderWay
from pipeline.agents.conduct import TurnRequest, TurnResult
from pipeline.agents.crowd import Crowd
from pipeline.engine import Row, RunningBatch
from pipeline.graphs import Role
from pipeline.memory import Memory
from pipeline.prompts import Note
from pipeline.records import Answer, Assignment

Work = dict[str, list[TurnResult]]
"""What each role has left behind, question by question, in the order of the questions."""


class Player(Protocol):
    """Whoever plays a role."""

    @property
    def role(self) -> Role:
        """The role."""


class Walk:
    """One question's way over the graph: its agents take their turns one after another.

    Attributes:
        assignment: What is asked.
        results: What each role has left behind, earlier ones on other replicas included.
        error: What went wrong, if anything did.
    """

    def __init__(
        self,
        assignment: Assignment,
        team: Mapping[str, Agent],
        roles: Sequence[str],
        earlier: Mapping[str, TurnResult] | None = None,
        keep: Collection[str] = (),
    ) -> None:
        """Begins before the first turn.

        Args:
            assignment: The question.
            team: The agents by role.
            roles: Whose turns, in working order.
            earlier: What roles before them have left behind.
            keep: Roles whose memory is wanted when the walk is done; that of others is let go of once it has been read.
        """
        self._keep = frozenset(keep)
        self.assignment, self._team, self._roles = assignment, team, tuple(roles)
        self._earlier = dict(earlier or {})
        self.error: Exception | None = None
        self.restart()

    def restart(self) -> None:
        """Goes back to before the first turn."""
        self.results = dict(self._earlier)
        self._left = list(self._roles)
        self._turn: UnderWay | None = None
        self.error = None

    @property
    def done(self) -> bool:
        """Whether all turns have been taken, or none can be any more."""
        return self.error is not None or (not self._left and self._turn is None)

    @property
    def row(self) -> Row | None:
        """The question in the running batch, while a turn is under way."""
        return self._turn.row if self._turn else None

    def go_on(self, batch: RunningBatch) -> None:
        """Ends a turn that is done, and begins the next one; does nothing while one is under way.

        Raises:
            Exception: A turn can't be begun or ended.
        """
        if self._turn and self._turn.row.done:
            self._book(self._ended(self._turn))
        while self._turn is None and self._left:
            agent = self._team[self._left[0]]
            request = collect(self.assignment, agent, [self.results[read] for read in agent.role.reads])
            begun = agent.begin(request, batch)
            if isinstance(begun, UnderWay):
                self._turn = begun
            else:
                self._left.pop(0)
                self._book(begun, agent)

    def _ended(self, turn: UnderWay) -> TurnResult:
        """What came of a turn; its slot is free from here on, if no memory is in it."""
        self._turn = None
        return self._team[self._left.pop(0)].end(turn)

    def fail(self, error: Exception) -> None:
        """Ends the walk, whatever it is at."""
        self.error, self._turn = error, None
        self.results = dict(self._earlier)

    def _book(self, result: TurnResult, agent: Agent | None = None) -> None:
        agent = agent or self._team[result.turn.role]
        self.results[agent.role.name] = result
        for read in agent.role.reads:
            self.results[read] = _settled(self.results[read])
        left = self._left if self.assignment.source else ()  # without a source nobody gets anything
        wanted = self._keep.union(*(self._team[role].role.reads for role in left))
        for role in self.results.keys() - wanted:
            self.results[role] = replace(self.results[role], segment=None)


def answer_batch(
    assignments: Sequence[Assignment], team: Mapping[str, Agent], crowd: Crowd | None = None
) -> list[Answer]:
    """Lets a team answer questions, all on one replica.

    Args:
        assignments: The questions.
        team: The agents by role, in working order; one of them answers.
        crowd: Where they work; by default on all questions at once.

    Returns:
        One answer a question, in the same order.

    Raises:
        Exception: What went wrong with the first question that can't be answered.
    """
    started = time.time()
    work = walk(assignments, team, list(team), crowd=crowd)
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
    assignments: Sequence[Assignment],
    team: Mapping[str, Agent],
    roles: Sequence[str],
    earlier: Work | None = None,
    *,
    keep: Collection[str] = (),
    crowd: Crowd | None = None,
) -> Work:
    """Lets some of a team's roles take their turns.

    Args:
        assignments: The questions.
        team: The agents by role.
        roles: Whose turn it is, in working order.
        earlier: What roles before them have left behind, on this replica or on others.
        keep: Roles whose memory is wanted when the walk is done; that of others is let go of once it has been read.
        crowd: Where they work; by default on all questions at once.

    Returns:
        What each of `roles` leaves behind.

    Raises:
        Exception: What went wrong with the first question that can't be answered.
    """
    walks = [
        Walk(assignment, team, roles, {role: results[row] for role, results in (earlier or {}).items()}, keep)
        for row, assignment in enumerate(assignments)
    ]
    (crowd or Crowd(RunningBatch(team[roles[0]].lm))).answer(walks)
    for one in walks:
        if one.error is not None:
            raise one.error
    return {role: [one.results[role] for one in walks] for role in roles}


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
