"""A leg on one replica: unpack what came, let the roles take their turns, pack what is needed elsewhere. No Ray."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import TurnResult
from pipeline.agents.crowd import Crowd, released
from pipeline.agents.recall import Fed
from pipeline.agents.walk import LetGoError, Walk, Work
from pipeline.config import Carrier
from pipeline.engine import RunningBatch
from pipeline.memory import Parcel, Segment, Staging, pack, unpack_inputs, unpack_segments
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

    def walks(self, team: Mapping[str, Agent], order: LegOrder, assignments: Sequence[Assignment]) -> list[Walk]:
        """The walks of some questions of the batch, with what the roles before this leg have left behind for them.

        Raises:
            Exception: The luggage is broken, or there is no memory for it.
        """
        device = next(iter(team.values())).lm.device
        fed = self._fed(device) if self.carrier.inputs else {}
        segments = {} if self.carrier.inputs else self._segments(device)

        def walk(assignment: Assignment) -> Walk:
            row, question_id = order.assignments.index(assignment), assignment.question.id
            earlier = {
                role.role: TurnResult(
                    turn=role.turns[row],
                    segment=segments.get(role.role, {}).get(question_id),
                    thinks=team[role.role].thinks,
                )
                for role in order.earlier
            }
            own = {role: rows[question_id] for role, rows in fed.items() if question_id in rows}
            return Walk(assignment, team, order.roles, earlier, keep=order.send, fed=own)

        return [walk(assignment) for assignment in assignments]

    def _segments(self, device: torch.device) -> dict[str, dict[str, Segment]]:
        return {
            role: unpack_segments(self.carrier, parcel, device, self.seconds) for role, parcel in self.parcels.items()
        }

    def _fed(self, device: torch.device) -> dict[str, dict[str, Fed]]:
        """What models were fed elsewhere, by role and question."""
        found = dict[str, dict[str, Fed]]()
        for role, parcel in self.parcels.items():
            seconds = (self.seconds + parcel.seconds) / max(len(parcel.labels), 1)
            found[role] = {
                row: Fed(
                    inputs=inputs, arrival=Transfer(transport=self.carrier.name, bytes=inputs.nbytes, seconds=seconds)
                )
                for row, inputs in unpack_inputs(parcel, device).items()
            }
        return found


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
    walks = _answered(team, order, luggage, crowd, order.assignments)
    failed = dict[str, str]()
    for place, one in enumerate(walks):
        if one.error is None:
            continue
        if len(order.assignments) > 1:
            walks[place] = one = _walks(team, order, luggage, [one.assignment])[0]
            crowd.answer_alone(one)
        if one.error is not None:
            question_id = one.assignment.question.id
            log.error("question %s stays unscored", question_id, exc_info=one.error)
            failed[question_id] = f"{type(one.error).__name__}: {one.error}"
    living = [one for one in walks if one.error is None]
    work = {role: [one.results[role] for one in living] for role in order.roles}
    return [one.assignment for one in living], work, failed


def _answered(
    team: Mapping[str, Agent], order: LegOrder, luggage: Luggage, crowd: Crowd, assignments: Sequence[Assignment]
) -> list[Walk]:
    """Walks that have ended; those that had to begin anew without their luggage have got it once more."""
    walks = _walks(team, order, luggage, assignments)
    crowd.answer(walks)
    bare = [place for place, one in enumerate(walks) if isinstance(one.error, LetGoError)]
    if bare:
        again = _answered(team, order, luggage, crowd, [assignments[place] for place in bare])
        for place, one in zip(bare, again, strict=True):
            walks[place] = one
    return walks


def _walks(
    team: Mapping[str, Agent], order: LegOrder, luggage: Luggage, assignments: Sequence[Assignment]
) -> list[Walk]:
    """The walks of some of an order's questions; those whose luggage is broken have failed."""
    try:
        return luggage.walks(team, order, assignments)
    except Exception as error:  # ours, whatever it is: it may cost these questions and no others
        fault = released(error)
    walks = [Walk(assignment, team, order.roles) for assignment in assignments]
    for one in walks:
        one.fail(fault)
    return walks


def _sent(assignments: Sequence[Assignment], results: Sequence[TurnResult]) -> list[tuple[str, Segment]]:
    """One role's segments by the question that is asked."""
    return [
        (assignment.question.id, result.segment)
        for assignment, result in zip(assignments, results, strict=True)
        if result.segment is not None
    ]
