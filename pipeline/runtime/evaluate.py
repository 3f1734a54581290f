"""One evaluation from questions to metrics: the function behind `jobs/eval.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.records import Prediction, Question
from pipeline.reports import RunMetrics, summarize
from pipeline.runtime.cluster import connected
from pipeline.runtime.progress import progress
from pipeline.runtime.results import RunFolder
from pipeline.runtime.sharding import stream_predictions
from pipeline.tracking import TrackedRun, open_run


def evaluate(config: RunConfig, questions: Sequence[Question], folder: RunFolder, *, store: Path) -> RunMetrics:
    """Asks the questions that the run folder does not hold yet, and reports on all of them.

    Rows are on disk as soon as their batch has finished; whatever ends the run, they stay there.

    Args:
        config: The run's settings.
        questions: All questions of the run.
        folder: Where its rows go.
        store: Folder of the default MLflow store.

    Raises:
        ValueError: The tracker or the cluster can't be used.
    """
    done = [row for row in folder.read() if not row.error]
    finished = {row.question_id for row in done}
    todo = [question for question in questions if question.id not in finished]
    attempt = 1 + max((row.attempt for row in folder.read()), default=0)
    order = [question.id for question in questions]
    with open_run(config, store=store, run_id=folder.read_json("run.json").get("run_id")) as run:
        folder.write_json("run.json", {"run_id": run.run_id})
        try:
            if todo:
                with connected(config.execution.address):
                    _ask(todo, done, config, folder, run, attempt)
        finally:
            rows = folder.consolidate(order)
        metrics = summarize(rows, config, run_id=run.run_id, run_dir=str(folder.path))
        folder.write_json("metrics.json", metrics.to_dict())
        run.log_result(metrics.to_dict(), folder.path)
    return metrics


def _ask(
    todo: Sequence[Question],
    done: Sequence[Prediction],
    config: RunConfig,
    folder: RunFolder,
    run: TrackedRun,
    attempt: int,
) -> None:
    """Streams answers into the run folder and tells how it goes."""
    rows = list(done)
    title = f"{config.collaboration.method} on {config.data.task}"
    with progress(title, len(rows) + len(todo)) as report:
        for finished in stream_predictions(todo, config, attempt=attempt):
            folder.append(finished)
            rows += finished
            scored = [row for row in rows if row.correct is not None]
            accuracy = sum(bool(row.correct) for row in scored) / max(len(scored), 1)
            run.log_progress({"accuracy_so_far": accuracy}, step=len(rows))
            report(len(rows), f"accuracy so far {100 * accuracy:.1f} %")
