"""A leg on one replica: unpack what came, let the roles take their turns, pack what is needed elsewhere. No Ray."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import TurnResult
from pipeline.agents.crowd import Crowd
from pipeline.agents.recall import recall_work
from pipeline.agents.walk import Walk, Work
from pipeline.config import Carrier
from pipeline.engine import RunningBatch
from pipeline.memory import Inputs, Parcel, Segment, Staging, pack, unpack_inputs, unpack_segments
from pipeline.records import Assignment, LegOrder, LegReport, RoleTurns, Transfer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Luggage:
    """The parcels that came with an order."""

    carrier: Carrier
    """How they came."""
    parcels: Mapping[str, Parcel]
    """By role."""
    seconds: float
    """How long each of them took to come."""

    def work(self, team: Mapping[str, Agent], order: LegOrder, assignments: Sequence[Assignment], crowd: Crowd) -> Work:
        """What the roles before this leg have left behind for some questions of the batch."""
        rows = [order.assignments.index(assignment) for assignment in assignments]
        ids = [assignment.question.id for assignment in assignments]
        segments = self._recalled(team, assignments, crowd) if self.carrier.inputs else self._unpacked(team)
        return {
            role.role: [
                TurnResult(turn=role.turns[row], segment=segments.get(role.role, {}).get(question_id))
                for row, question_id in zip(rows, ids, strict=True)
            ]
            for role in order.earlier
        }

    def _unpacked(self, team: Mapping[str, Agent]) -> dict[str, dict[str, Segment]]:
        device = next(iter(team.values())).lm.device
        return {
            role: unpack_segments(self.carrier, parcel, device, self.seconds) for role, parcel in self.parcels.items()
        }

    def _recalled(
        self, team: Mapping[str, Agent], assignments: Sequence[Assignment], crowd: Crowd
    ) -> dict[str, dict[str, Segment]]:
        """Segments computed again from what the model was fed for them."""
        if not self.parcels:
            return {}
        device = next(iter(team.values())).lm.device
        ids = [assignment.question.id for assignment in assignments]
        fed = {role: unpack_inputs(parcel, device) for role, parcel in self.parcels.items()}
        with crowd.exclusive() as batch:
            rebuilt = recall_work(
                assignments, team, {role: [rows[i] for i in ids] for role, rows in fed.items()}, batch
            )
        coming = {
            role: (self.seconds + parcel.seconds) / max(len(parcel.labels), 1) for role, parcel in self.parcels.items()
        }
        return {
            role: {i: self._arrived(fed[role][i], result, coming[role]) for i, result in zip(ids, results, strict=True)}
            for role, results in rebuilt.items()
        }

    def _arrived(self, inputs: Inputs, result: TurnResult, coming: float) -> Segment:
        assert result.segment is not None, "what is recalled is a segment"
        seconds = coming + result.turn.seconds
        return replace(
            result.segment, arrival=Transfer(transport=self.carrier.name, bytes=inputs.nbytes, seconds=seconds)
        )


def play_leg(
    team: Mapping[str, Agent],
    replica: str,
    carrier: Carrier,
    order: LegOrder,
    arrived: Sequence[Parcel],
    *,
    fetching: float,
    crowd: Crowd | None = None,
    staging: Staging | None = None,
) -> tuple[LegReport, list[Parcel | None]]:
    """Plays a stretch of roles for a batch.

    A fault of ours costs its own question and no other: a batch that fails is tried again one question at a time.

    Args:
        team: All agents on this replica.
        replica: What the replica is called.
        carrier: How parcels travel.
        order: What to do.
        arrived: The parcels of `order.parcels`.
        fetching: Seconds that it took to fetch them.
        crowd: The replica's questions, other legs' among them; by default this leg's alone.
        staging: Where parcels are copied to before they are sent; without it, new memory.

    Returns:
        The report, and a parcel for each role of `order.send`; none for one that is larger than the limit.
    """
    agent = next(iter(team.values()))
    agent.lm.accepts = frozenset({agent.lm.fingerprint, *order.accepts})
    crowd = crowd or Crowd(RunningBatch(agent.lm))
    share = fetching / max(len(arrived), 1)
    luggage = Luggage(carrier=carrier, parcels=dict(zip(order.parcels, arrived, strict=True)), seconds=share)
    done, work, failed = _play(team, order, luggage, crowd)
    parcels = [pack(carrier, _sent(done, work[role]), staging) for role in order.send]
    report = LegReport(
        turns=tuple(
            RoleTurns(role=role, turns=tuple(replace(result.turn, replica=replica) for result in work[role]))
            for role in order.roles
        ),
        failed=tuple(failed.items()),
        parcel_bytes=tuple(parcel.nbytes for parcel in parcels),
        notices=crowd.news(),
    )
    return report, [parcel if parcel.nbytes <= order.limit else None for parcel in parcels]


def _play(
    team: Mapping[str, Agent], order: LegOrder, luggage: Luggage, crowd: Crowd
) -> tuple[list[Assignment], Work, dict[str, str]]:
    """Plays a batch, or what of it can be played: what fails beside others is tried once more alone.

    Returns:
        The questions that did not fail, what each role left behind for them, and why the others failed.
    """
    walks = _walks(team, order, luggage, crowd)
    crowd.answer(walks)
    failed = dict[str, str]()
    for place, one in enumerate(walks):
        if one.error is None:
            continue
        if len(order.assignments) > 1:
            walks[place] = one = _walks(team, order, luggage, crowd, [one.assignment])[0]
            crowd.answer_alone(one)
        if one.error is not None:
            question_id = one.assignment.question.id
            log.error("question %s stays unscored", question_id, exc_info=one.error)
            failed[question_id] = f"{type(one.error).__name__}: {one.error}"
    living = [one for one in walks if one.error is None]
    work = {role: [one.results[role] for one in living] for role in order.roles}
    return [one.assignment for one in living], work, failed


def _walks(
    team: Mapping[str, Agent],
    order: LegOrder,
    luggage: Luggage,
    crowd: Crowd,
    assignments: Sequence[Assignment] | None = None,
) -> list[Walk]:
    """The walks of some of an order's questions, by default all; a question whose luggage is broken has failed."""
    chosen = order.assignments if assignments is None else assignments

    def walk(assignment: Assignment, earlier: Mapping[str, TurnResult]) -> Walk:
        return Walk(assignment, team, order.roles, earlier, keep=order.send)

    try:
        earlier = luggage.work(team, order, chosen, crowd)
    except Exception as error:  # ours, whatever it is: it may cost its own question and no other
        if len(chosen) > 1:
            return [_walks(team, order, luggage, crowd, [assignment])[0] for assignment in chosen]
        broken = walk(chosen[0], {})
        broken.fail(error)
        return [broken]
    return [
        walk(assignment, {role: results[row] for role, results in earlier.items()})
        for row, assignment in enumerate(chosen)
    ]


def _sent(assignments: Sequence[Assignment], results: Sequence[TurnResult]) -> list[tuple[str, Segment]]:
    """One role's segments by the question that is asked."""
    return [
        (assignment.question.id, result.segment)
        for assignment, result in zip(assignments, results, strict=True)
        if result.segment is not None
    ]
