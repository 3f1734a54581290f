"""A leg on one replica: unpack what came, let the roles take their turns, pack what is needed elsewhere. No Ray."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import TurnResult
from pipeline.agents.recall import recall_work
from pipeline.agents.walk import Work, walk
from pipeline.config import Carrier
from pipeline.memory import Inputs, Parcel, Segment, pack, unpack_inputs, unpack_segments
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

    def work(self, team: Mapping[str, Agent], order: LegOrder, assignments: Sequence[Assignment]) -> Work:
        """What the roles before this leg have left behind for some questions of the batch."""
        rows = [order.assignments.index(assignment) for assignment in assignments]
        ids = [assignment.question.id for assignment in assignments]
        segments = self._recalled(team, assignments) if self.carrier.inputs else self._unpacked(team)
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

    def _recalled(self, team: Mapping[str, Agent], assignments: Sequence[Assignment]) -> dict[str, dict[str, Segment]]:
        """Segments computed again from what the model was fed for them."""
        if not self.parcels:
            return {}
        device = next(iter(team.values())).lm.device
        ids = [assignment.question.id for assignment in assignments]
        fed = {role: unpack_inputs(parcel, device) for role, parcel in self.parcels.items()}
        rebuilt = recall_work(assignments, team, {role: [rows[i] for i in ids] for role, rows in fed.items()})
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

    Returns:
        The report, and a parcel for each role of `order.send`; none for one that is larger than the limit.
    """
    agent = next(iter(team.values()))
    agent.lm.accepts = frozenset({agent.lm.fingerprint, *order.accepts})
    share = fetching / max(len(arrived), 1)
    luggage = Luggage(carrier=carrier, parcels=dict(zip(order.parcels, arrived, strict=True)), seconds=share)
    done, work, failed = _play(team, order, luggage, order.assignments)
    parcels = [pack(carrier, _sent(done, work[role])) for role in order.send]
    report = LegReport(
        turns=tuple(
            RoleTurns(role=role, turns=tuple(replace(result.turn, replica=replica) for result in work[role]))
            for role in order.roles
        ),
        failed=tuple(failed.items()),
        parcel_bytes=tuple(parcel.nbytes for parcel in parcels),
    )
    return report, [parcel if parcel.nbytes <= order.limit else None for parcel in parcels]


def _play(
    team: Mapping[str, Agent], order: LegOrder, luggage: Luggage, assignments: Sequence[Assignment]
) -> tuple[list[Assignment], Work, dict[str, str]]:
    """Plays a batch, or what of it can be played.

    Returns:
        The questions that did not fail, what each role left behind for them, and why the others failed.
    """
    try:
        return list(assignments), walk(assignments, team, order.roles, luggage.work(team, order, assignments)), {}
    except Exception as error:  # ours, whatever it is: it may cost its own question and no other
        if len(assignments) == 1:
            question_id = assignments[0].question.id
            log.exception("question %s stays unscored", question_id)
            return [], {role: [] for role in order.roles}, {question_id: f"{type(error).__name__}: {error}"}
    done, work, failed = list[Assignment](), {role: list[TurnResult]() for role in order.roles}, dict[str, str]()
    for assignment in assignments:
        one_done, one_work, one_failed = _play(team, order, luggage, [assignment])
        done += one_done
        failed |= one_failed
        for role in order.roles:
            work[role] += one_work[role]
    return done, work, failed


def _sent(assignments: Sequence[Assignment], results: Sequence[TurnResult]) -> list[tuple[str, Segment]]:
    """One role's segments by the question that is asked."""
    return [
        (assignment.question.id, result.segment)
        for assignment, result in zip(assignments, results, strict=True)
        if result.segment is not None
    ]
