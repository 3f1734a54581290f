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
from pipeline.agents.recall import Fed
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


class LetGoError(Exception):
    """A question has to begin anew, and memory that came with it has been let go of: it has to come again."""


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
        fed: Mapping[str, Fed] | None = None,
    ) -> None:
        """Begins before the first turn.

        Args:
            assignment: The question.
            team: The agents by role.
            roles: Whose turns, in working order.
            earlier: What roles before them have left behind.
            keep: Roles whose memory is wanted when the walk is done; that of others is let go of once it has been read.
            fed: What those of the roles before them were fed whose memory has to be computed again.
        """
        self._keep, self._fed = frozenset(keep), dict(fed or {})
        self.assignment, self._team = assignment, team
        self._roles = (*(role for role in team if role in self._fed), *roles)
        self._earlier = dict(earlier or {})
        self._let_go = False  # of memory that came with the question
        self.error: Exception | None = None
        self.restart()

    def restart(self) -> None:
        """Goes back to before the first turn; ends with a `LetGoError` if that needs what is there no more."""
        if self._let_go:
            return self.fail(LetGoError())
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
            begun = self._begun(self._team[self._left[0]], batch)
            if isinstance(begun, UnderWay):
                self._turn = begun
            else:
                self._book(begun)
            self._drop_what_came()

    def _begun(self, agent: Agent, batch: RunningBatch) -> UnderWay | TurnResult:
        request = collect(self.assignment, agent, [self.results[read] for read in agent.role.reads])
        fed = self._fed.get(agent.role.name)
        return agent.recall(request, fed.inputs, batch) if fed else agent.begin(request, batch)

    def _ended(self, turn: UnderWay) -> TurnResult:
        """What came of a turn; it is under way until that is known, as the question may have to begin anew."""
        agent, fed = self._team[self._left[0]], self._fed.get(self._left[0])
        return fed.rebuilt(agent, turn, self._earlier[self._left[0]]) if fed else agent.end(turn)

    def fail(self, error: Exception) -> None:
        """Ends the walk, whatever it is at."""
        self.error, self._turn = error, None
        self.results = dict(self._earlier)

    def _book(self, result: TurnResult) -> None:
        """Ends the turn of the role that is next; its slot is free from here on, if no memory is in it."""
        self._turn, agent = None, self._team[self._left.pop(0)]
        self.results[agent.role.name] = result
        for read in () if agent.role.name in self._fed else agent.role.reads:
            self.results[read] = _settled(self.results[read])
        for role in self.results.keys() - self._wanted(self._left):
            self.results[role] = replace(self.results[role], segment=None)

    def _drop_what_came(self) -> None:
        """Lets go of memory from elsewhere that nobody reads after the turn under way, for which it is in place."""
        left = self._left[1:] if self._turn else self._left
        for role in self._earlier.keys() - self._wanted(left):
            if self._earlier[role].segment is not None:
                self._earlier[role] = replace(self._earlier[role], segment=None)
                self.results[role] = replace(self.results[role], segment=None)
                self._let_go = True

    def _wanted(self, left: Sequence[str]) -> frozenset[str]:
        """Roles whose memory is wanted yet, with so many turns left."""
        left = left if self.assignment.source else ()  # without a source nobody gets anything
        return self._keep.union(*(self._team[role].role.reads for role in left))


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
    *,
    keep: Collection[str] = (),
    crowd: Crowd | None = None,
) -> Work:
    """Lets some of a team's roles take their turns.

    Args:
        assignments: The questions.
        team: The agents by role.
        roles: Whose turn it is, in working order.
        keep: Roles whose memory is wanted when the walk is done; that of others is let go of once it has been read.
        crowd: Where they work; by default on all questions at once.

    Returns:
        What each of `roles` leaves behind.

    Raises:
        Exception: What went wrong with the first question that can't be answered.
    """
    walks = [Walk(assignment, team, roles, keep=keep) for assignment in assignments]
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
        notes=tuple(Note(role=r.turn.role, text=r.turn.text) for r in handed if r.turn.wrote and not r.thinks),
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
