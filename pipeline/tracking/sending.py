"""A record's content sent to its run in the store, as often as anybody likes with the same outcome.

Everything here waits for the store and raises what its client raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.tracking.opening import Opened, metric_name, set_told
from pipeline.tracking.record import Ledger, Point, QuestionSet, RunRecord, Table, numbers
from pipeline.tracking.store import Store
from pipeline.tracking.traces import log_traces

METRICS_AT_ONCE = 1000
"""What MLflow takes in one request."""
TRACES_AT_ONCE = 100
"""Traces that are remembered together: as many are sent again at most, to the same effect, by who is killed."""
TABLES = "mlflow.loggedArtifacts"
"""MLflow's tag that names the tables of a run."""


def send_record(store: Store, opened: Opened, record: RunRecord, ledger: Ledger) -> None:
    """Sends all that a record holds; what is there already is not sent again."""
    client, run_id = opened.client, opened.run_id
    run = client.get_run(run_id)
    set_told(client, run, record)
    if record.questions:
        client.log_inputs(run_id, [_dataset(record.questions)])
    send_points(opened, _new_points(client, run_id, record.history))
    at = int(1000 * record.ended)
    metrics = {metric_name(name): value for name, value in numbers(record.metrics)}
    new = {name: value for name, value in metrics.items() if run.data.metrics.get(name) != value}
    send_points(opened, [Point(step=0, time=at, values=new)])
    for file in record.files:
        client.log_artifact(run_id, str(file))
    for path, table in record.tables.items():
        client.log_text(run_id, _as_json(table), path)
    if record.tables:
        listed = [{"path": path, "type": "table"} for path in record.tables]
        client.set_tag(run_id, TABLES, json.dumps(listed))
    _log_made(client, run_id, record.made)
    _log_traces(store, opened, record, ledger)
    if record.status != "RUNNING":
        client.set_terminated(run_id, status=record.status, end_time=at or None)


def send_points(opened: Opened, points: Sequence[Point]) -> None:
    """Sends points of a history as steps of metrics."""
    from mlflow.entities import Metric

    metrics = iter([Metric(name, value, p.time, p.step) for p in points for name, value in p.values.items()])
    while batch := list(islice(metrics, METRICS_AT_ONCE)):
        opened.client.log_batch(opened.run_id, metrics=batch)


def _new_points(client: Any, run_id: str, points: Sequence[Point]) -> list[Point]:
    """What of a history the store does not have yet."""
    names = dict.fromkeys(name for point in points for name in point.values)
    there = {(name, m.step, m.timestamp) for name in names for m in client.get_metric_history(run_id, name)}
    rest = [{n: v for n, v in p.values.items() if (n, p.step, p.time) not in there} for p in points]
    return [Point(step=p.step, time=p.time, values=values) for p, values in zip(points, rest, strict=True) if values]


def _dataset(questions: QuestionSet) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"type": "string", "name": name, "required": True} for name in ("id", "text", "kind", "gold")]
    dataset = Dataset(
        name=questions.name,
        digest=questions.digest,
        source_type=questions.source,
        source=json.dumps(dict(questions.place)),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": questions.count}),
    )
    return DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", "eval")])


def _as_json(table: Table) -> str:
    """A table in the form that MLflow's UI shows as one; its own `log_table` would add to a table that is there."""
    return json.dumps({"columns": table.columns, "data": table.rows}, ensure_ascii=False)


def _log_made(client: Any, run_id: str, made: Mapping[str, bytes]) -> None:
    with TemporaryDirectory() as scratch:
        for path, content in made.items():
            folder, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
            file = Path(scratch) / name
            file.write_bytes(content)
            client.log_artifact(run_id, str(file), None if folder == "." else folder)


def _log_traces(store: Store, opened: Opened, record: RunRecord, ledger: Ledger) -> None:
    """Sends the traces that are not there yet, and remembers them, also where the store fails half way."""
    there = ledger.traced(opened.run_id)
    rows = iter([row for row in record.traced if row.question_id not in there])
    while batch := list(islice(rows, TRACES_AT_ONCE)):
        sent: list[str] = []
        try:
            for row in batch:
                log_traces(
                    tracking_uri=store.uri,
                    experiment_id=opened.experiment_id,
                    run_id=opened.run_id,
                    rows=[row],
                    task=record.task,
                )
                sent.append(row.question_id)
        finally:
            ledger.add_traced(opened.run_id, sent)
