"""The stand: stand-ins that are started once and measured case by case."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray

from jobs.benches.cases import Case, Scale, the_plan
from jobs.benches.timing import Finished, steady
from pipeline.agents.actor import Briefing
from pipeline.config import RunConfig
from pipeline.records import Assignment, Prediction, Question
from pipeline.runtime.crew import Crew, Say, started_crew
from pipeline.runtime.dataset import batches_of
from pipeline.runtime.placement import Seat
from pipeline.runtime.sharding import Run, StreamedBatch
from pipeline.runtime.sizes import Sizes
from pipeline.runtime.standin import StandIn

CHARACTERS = 240
"""Of a question: the mean of GSM8K."""
MEGABYTE = 1e6


class Stand:
    """Stand-ins on a cluster."""

    def __init__(self, crew: Crew, say: Say) -> None:
        self._crew, self._say = crew, say

    @classmethod
    @contextmanager
    def started(cls, count: int, say: Say) -> Iterator[Stand]:
        """Starts stand-ins and ends them with the block.

        Raises:
            ValueError: The cluster can't hold so many.
        """
        roles = tuple(role.name for role in the_plan().graph.roles)
        seats = [Seat(name=f"r{index}", roles=roles, model="stand-in") for index in range(count)]
        with started_crew(seats, RunConfig.from_flat({"replicas": count}), say, StandIn) as loaded:
            yield cls(loaded(), say)

    def measure(self, case: Case, scale: Scale) -> dict[str, Any]:
        """Runs a case; returns what is known of it, in plain numbers."""
        crew = self._cast(case)
        actors = [member.actor for member in crew.members.values()]
        ray.get([actor.rehearse.remote(dict(case.stages)) for actor in actors])
        before = sum(ray.get([actor.sent.remote() for actor in actors]))
        done, rows, claimed = self._run(crew, case)
        sent = sum(ray.get([actor.sent.remote() for actor in actors])) - before
        return {**_described(case), **_measured(case, done, rows, sent, scale), **_claims(claimed, crew)}

    def _cast(self, case: Case) -> Crew:
        """As many of the stand-ins as a case has, in its roles."""
        chosen = zip(self._crew.members.items(), case.plays, strict=False)
        members = {name: replace(m, seat=replace(m.seat, roles=roles)) for (name, m), roles in chosen}
        return replace(self._crew, members=members)

    def _run(self, crew: Crew, case: Case) -> tuple[list[Finished], list[Prediction], int]:
        """Has all batches of a case answered.

        Returns:
            The batches, their rows, and the largest claim to the store that was seen when a batch had finished.
        """
        flat = {"placement": case.placement, "replicas": len(case.plays), "batch_size": case.batch_size}
        briefing = Briefing(config=RunConfig.from_flat(flat), plan=the_plan())
        run = Run(crew, briefing, attempt=1, say=lambda _: None)
        done, rows, claimed = list[Finished](), list[Prediction](), 0
        with run.started(batches_of(questions(case.batches * case.batch_size), case.batch_size), rows.extend) as stream:
            for event in stream:
                for notice in event.notices:
                    self._say(notice)
                if event.predictions:
                    done.append(_finished(event))
                    rows += event.predictions
                    claimed = max(claimed, event.bytes_under_way)
        return done, rows, claimed


def questions(count: int) -> list[Assignment]:
    """Questions of the usual length, each on its own memory."""
    asked = [Question(id=f"q{i}", text="word " * (CHARACTERS // 5), kind="number", gold="1") for i in range(count)]
    return [Assignment(question=question, source=question) for question in asked]


def _finished(event: StreamedBatch) -> Finished:
    row = event.predictions[0]
    return Finished(
        started=row.started,
        finished=row.finished,
        driver_seconds=event.driver_seconds,
        process_seconds=time.process_time(),
    )


def _claims(claimed: int, crew: Crew) -> dict[str, Any]:
    budget = Sizes(crew.store_bytes(), senders=1, travels=True).budget
    return {"peak_bytes": claimed, "budget_bytes": budget, "peak_under_way_pct": 100 * claimed / budget}


def _described(case: Case) -> dict[str, Any]:
    return {
        "case": case.name,
        "model": case.model,
        "placement": case.placement,
        "replicas": len(case.plays),
        "replicas_by_role": {role: sum(role in roles for roles in case.plays) for role in case.stages},
        "batch_size": case.batch_size,
        "turn_seconds": {role: round(seconds, 4) for role, seconds in case.seconds.items()},
        "ideal_turns_per_second": case.ideal * len(case.stages),
    }


def _measured(
    case: Case, done: Sequence[Finished], rows: Sequence[Prediction], sent: int, scale: Scale
) -> dict[str, Any]:
    """The figures of a case; those of bytes are of the sizes that were really moved, but for `true_...`."""
    part, roles, asked = steady(done, case.wave), len(case.stages), len(rows)
    whole = max(one.finished for one in done) - min(one.started for one in done)
    turns, read = part.batches * roles, sum(row.handover_bytes for row in rows)
    return {
        "questions": asked,
        "answered_once": len({row.question_id for row in rows}),
        "unscored": sum(row.correct is None for row in rows),
        "steady_seconds": part.seconds,
        "turns_per_second": part.rate * roles,
        "efficiency_pct": 100 * part.rate / case.ideal,
        "whole_pct": 100 * len(done) / whole / case.ideal,
        "driver_ms_per_turn": 1e3 * part.driver_seconds / turns,
        "process_ms_per_turn": 1e3 * part.process_seconds / turns,
        "store_mb_per_second": sent / whole / MEGABYTE,
        "store_mb_read_per_second": read / whole / MEGABYTE,
        "mb_per_question": sent / asked / MEGABYTE,
        "true_mb_per_question": sent / asked / MEGABYTE / scale.byte_scale,
    }
