"""A record in the store: begun or found again, and all of it sent, as often as anybody likes with the same outcome.

Everything here waits for the store and raises what its client raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from pipeline.tracking.record import Ledger, Point, QuestionSet, RunRecord, Table, numbers
from pipeline.tracking.store import Store
from pipeline.tracking.traces import log_traces

PARAMS_AT_ONCE = 100
METRICS_AT_ONCE = 1000
"""What MLflow takes in one request."""
TABLES = "mlflow.loggedArtifacts"
"""MLflow's tag that names the tables of a run."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A run in a store."""

    client: Any
    """The MLflow client."""
    run_id: str
    """Its id."""
    experiment_id: str
    """Its experiment's."""


def open_record(store: Store, record: RunRecord, ledger: Ledger, *, running: bool) -> Opened:
    """Finds a record's run, or begins it; sets parameters and tags.

    Args:
        store: Where.
        record: The run; its parent is found or begun as well.
        ledger: Knows the run's id, if it has one; is told a new one.
        running: Whether the run goes on, and so does its parent; else both stay as they are.
    """
    client = store.client()
    known = next(filter(None, (_known(client, run_id) for run_id in ledger.run_ids(store.uri))), None)
    experiment_id = known.info.experiment_id if known else _experiment(client, store, record.experiment)
    parent = _parent(client, record.parent, experiment_id, running=running)
    if known is None:
        known = _create(client, experiment_id, record)
    elif running and known.info.status != "RUNNING":
        client.update_run(known.info.run_id, status="RUNNING")
    run_id: str = known.info.run_id
    ledger.opened(store.uri, run_id)
    _set(client, known, record, {"mlflow.parentRunId": parent} if parent else {})
    return Opened(client=client, run_id=run_id, experiment_id=experiment_id)


def send_record(store: Store, opened: Opened, record: RunRecord, ledger: Ledger) -> None:
    """Sends all that a record holds; what is there already is not sent again."""
    client, run_id = opened.client, opened.run_id
    run = client.get_run(run_id)
    _set(client, run, record)
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


def find_by_tags(client: Any, experiment_id: str, tags: Mapping[str, str]) -> Any:
    """The run of an experiment that has all of some tags; none if there is none."""
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = client.search_runs([experiment_id], filter_string=wanted, max_results=1)
    return found[0] if found else None


def metric_name(name: str) -> str:
    """A name that MLflow takes: roles of users' own graphs may be called anything."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]


def _known(client: Any, run_id: str) -> Any:
    """The run of an id; none where it was deleted or lies in another store."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    unknown = [ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)]
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in unknown:
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def _experiment(client: Any, store: Store, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = store.artifacts.resolve().as_uri() if store.artifacts else None
        try:
            return str(client.create_experiment(name, location))
        except MlflowException:  # another run that began at this moment may have made it
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ValueError(
            f"experiment {name!r} was deleted in it; restore it there, or choose another with --experiment"
        )
    return str(found.experiment_id)


def _create(client: Any, experiment_id: str, record: RunRecord) -> Any:
    started = int(1000 * record.started) or None
    return client.create_run(experiment_id, start_time=started, run_name=record.name, tags=dict(record.tags))


def _parent(client: Any, parent: RunRecord | None, experiment_id: str, *, running: bool) -> str:
    """The id of a parent, which is begun if it is not there: a tree in the UI needs it in its children's experiment."""
    if parent is None:
        return ""
    found = find_by_tags(client, experiment_id, parent.tags)
    if found is None:
        found = _create(client, experiment_id, parent)
    elif running and found.info.status != "RUNNING":
        client.update_run(found.info.run_id, status="RUNNING")
    _set(client, found, parent)
    return str(found.info.run_id)


def open_parent(store: Store, record: RunRecord) -> Opened:
    """Finds or begins a sweep's own run."""
    client = store.client()
    experiment_id = _experiment(client, store, record.experiment)
    run_id = _parent(client, record, experiment_id, running=False)
    return Opened(client=client, run_id=run_id, experiment_id=experiment_id)


def _set(client: Any, run: Any, record: RunRecord, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Sets parameters and tags; those that a resumed run has changed are in a tag, as a parameter can't change."""
    from mlflow.entities import Param, RunTag

    there, wanted = run.data.params, {metric_name(name): value for name, value in record.params.items()}
    changed = [f"{name}={value}" for name, value in wanted.items() if there.get(name, value) != value]
    told = {"mlflow.note.content": record.text, "resumed_with": ", ".join(changed)}
    tags = {**record.tags, **{name: value for name, value in told.items() if value}, **more}
    client.log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    new = iter([Param(name, value) for name, value in wanted.items() if name not in there])
    while batch := list(islice(new, PARAMS_AT_ONCE)):
        client.log_batch(run.info.run_id, params=batch)


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
    """Sends the traces that are not there yet, each remembered as soon as it is."""
    there = ledger.traced(opened.run_id)
    for row in (row for row in record.traced if row.question_id not in there):
        log_traces(
            tracking_uri=store.uri,
            experiment_id=opened.experiment_id,
            run_id=opened.run_id,
            rows=[row],
            task=record.task,
        )
        ledger.add_traced(opened.run_id, row.question_id)
