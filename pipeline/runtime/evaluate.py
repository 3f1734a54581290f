"""Evaluations from questions to metrics: the functions behind `jobs/eval.py` and `jobs/sweep.py`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ray.exceptions import RayError

from pipeline.agents.actor import Briefing
from pipeline.config import RunConfig
from pipeline.graphs import CollaborationPlan
from pipeline.records import Answer, Assignment, Prediction, Whereabouts
from pipeline.reports import RunMetrics, summarize
from pipeline.runtime.crews import Crews
from pipeline.runtime.facts import note, read_facts
from pipeline.runtime.history import Tally
from pipeline.runtime.posts import BrokenCrewError
from pipeline.runtime.progress import Report, Share, progress, progress_of_all
from pipeline.runtime.results import RunFolder
from pipeline.runtime.samples import sampled
from pipeline.runtime.sharding import stream_predictions
from pipeline.runtime.sweeps import ENOUGH, end_sweeps
from pipeline.runtime.tracked import ToldRun, is_told, told
from pipeline.tracking import BRIEF


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A run that has been checked as far as that goes without Ray or a model."""

    config: RunConfig
    """Its settings."""
    plan: CollaborationPlan
    """Who works together."""
    assignments: Sequence[Assignment]
    """All its questions, and whose memory each of them gets."""
    folder: RunFolder
    """Where its rows go."""
    store: Path
    """Folder of the default MLflow store."""

    @property
    def order(self) -> dict[str, int]:
        """The place of each question by its id."""
        return {assignment.question.id: place for place, assignment in enumerate(self.assignments)}


class BrokenRunError(Exception):
    """The cluster failed in a way that a retry did not mend; finished rows are on disk."""


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How one of several runs has ended."""

    request: RunRequest
    """The run."""
    metrics: RunMetrics | None = None
    """What it reports, if it came to its end."""
    fault: str = ""
    """What it failed of, if it did not; finished rows are on disk. (No error: it would hold on to parcels.)"""
    broken: bool = False
    """Whether it failed of the cluster, and not of what was asked."""


def evaluate_all(requests: Sequence[RunRequest], word: str) -> list[RunEnd]:
    """Runs one request after another, on one crew as far as it fits; what one of them fails of costs no other.

    Args:
        requests: What to run.
        word: What a run is called in the progress of all.
    """
    ends = list[RunEnd]()
    shares = [
        Share(title=f"{word} {place}/{len(requests)} {one.folder.path.name}", size=len(one.assignments), before=before)
        for place, (one, before) in enumerate(((one, len(answered(one.folder.read()))) for one in requests), 1)
    ]
    try:
        with Crews() as crews, progress_of_all(shares) as whole:
            for place, request in enumerate(requests):
                with whole.part(place) as report:
                    report.say(_beginning(shares[place]))
                    ends.append(_end_of(request, crews, report))
    finally:
        end_sweeps(requests, ENOUGH if len(ends) == len(requests) else BRIEF)
    return ends


def _beginning(share: Share) -> str:
    if share.before == share.size:
        return f"{share.title}: finished before, and skipped"
    known = f", {share.before} of them answered before" if share.before else ""
    return f"{share.title}: {share.size} questions{known}"


def _end_of(request: RunRequest, crews: Crews, report: Report) -> RunEnd:
    """Runs a request of several."""
    try:
        return RunEnd(request=request, metrics=evaluate(request, crews, report))
    except (ValueError, BrokenRunError) as error:
        return RunEnd(request=request, fault=str(error), broken=isinstance(error, BrokenRunError))


def evaluate(request: RunRequest, crews: Crews, report: Report | None = None) -> RunMetrics:
    """Asks the questions that the run folder does not hold yet, and reports on all of them.

    Rows are on disk as soon as their batch has finished; whatever ends the run, they stay there.

    Args:
        request: What to run.
        crews: Where its replicas come from.
        report: Told how far it is; by default that is shown by itself.

    Raises:
        ValueError: The tracker, the cluster or the model can't be used.
        BrokenRunError: The cluster failed for good.
    """
    folder = request.folder
    before = folder.read()
    done = answered(before)
    attempt = 1 + max((row.attempt for row in before), default=0)
    asks = len(done) < len(request.assignments)
    if not asks and is_told(request):
        return _summary(request, before, read_facts(folder)["run_id"])
    with told(request, asks=asks) as run:
        try:
            if asks:
                with nullcontext(report) if report else _own_progress(request, len(done)) as shown:
                    _ask(request, done, run, attempt, crews, shown)
            else:
                run.open()
        except BrokenCrewError as error:
            raise BrokenRunError(str(error)) from error
        except RayError as error:
            raise BrokenRunError(
                f"the cluster broke off the run: {str(error).strip().splitlines()[-1][:300]}"
            ) from error
        finally:
            rows = folder.consolidate(request.order)
        rows += _unanswered(request, rows, attempt)
        metrics = _summary(request, rows, run.settle())
        folder.write_json("metrics.json", metrics.to_dict())
        run.finish()
    return metrics


def answered(rows: Sequence[Prediction]) -> list[Prediction]:
    """The rows whose questions need not be asked again."""
    return [row for row in rows if not row.error]


def _own_progress(request: RunRequest, done: int) -> AbstractContextManager[Report]:
    config = request.config
    return progress(f"{config.collaboration.method} on {config.data.task}", len(request.assignments), done)


def _summary(request: RunRequest, rows: Sequence[Prediction], run_id: str) -> RunMetrics:
    graph, path, facts = request.plan.graph.name, str(request.folder.path), read_facts(request.folder)
    since = facts.get("awaited_since", 0.0)
    metrics = summarize(rows, request.config, graph=graph, run_id=run_id, run_dir=path, awaited_since=since)
    return replace(
        metrics,
        batch_size=facts.get("batch_size") or request.config.execution.batch_size or 0,
        foretold_bytes=max((one.get("foretold_bytes", 0) for one in facts.get("replicas", [])), default=0),
    )


def _ask(
    request: RunRequest, done: Sequence[Prediction], run: ToldRun, attempt: int, crews: Crews, report: Report
) -> None:
    """Streams answers into the run folder and tells how it goes."""
    tally = Tally(done)
    finished = {row.question_id for row in done}
    todo = [assignment for assignment in request.assignments if assignment.question.id not in finished]
    keep = request.folder.append
    briefing = Briefing(config=request.config, plan=request.plan, questions=len(todo), sample=tuple(sampled(todo)))
    stream = stream_predictions(todo, briefing, crews, attempt=attempt, say=report.say, rescue=keep, meanwhile=run.open)
    with closing(stream):
        for batch in stream:
            for notice in dict.fromkeys(batch.notices):
                report.say(f"note: {notice}")
                run.tell_notice(notice)
            if batch.replicas:
                _note_replicas(request.folder, batch.replicas)
            if not batch.predictions:
                continue
            keep(batch.predictions)
            tally.add(batch.predictions)
            if tally.due() or tally.rows == len(request.assignments):
                run.tell_point(tally)
            report(tally.rows, f"accuracy so far {100 * tally.accuracy:.1f} %")


def _note_replicas(folder: RunFolder, replicas: Sequence[Whereabouts]) -> None:
    """Records where replicas are, and refuses a model that is not the one that the run began with.

    Raises:
        ValueError: Its weights or its number format differ.
    """
    models = read_facts(folder).get("fingerprints", {})
    for replica in replicas:
        before = models.setdefault(replica.model, replica.fingerprint)
        if before != replica.fingerprint:
            raise ValueError(
                f"--model {replica.model!r} is not what it was when the run began (fingerprint {before}, now "
                f"{replica.fingerprint}): its weights or its number format differ; set --dtype, or start a new run"
            )
    at_once = {"batch_size": min(one.at_once for one in replicas)} if replicas else {}
    note(folder, replicas=[asdict(one) for one in replicas], fingerprints=models, **at_once)


def _unanswered(request: RunRequest, rows: Sequence[Prediction], attempt: int) -> list[Prediction]:
    """Rows for questions that went into the stream and did not come out: unscored, and put on disk."""
    there = {row.question_id for row in rows}
    lost = [assignment for assignment in request.assignments if assignment.question.id not in there]
    error = "no answer came back from the cluster"
    missing = [
        Prediction.of(one, Answer(question_id=one.question.id, error=error), None, seconds=0, attempt=attempt)
        for one in lost
    ]
    if missing:
        request.folder.append(missing)
        request.folder.consolidate(request.order)
    return missing
