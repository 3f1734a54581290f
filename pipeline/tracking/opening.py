"""A record's run in the store: found again or begun, and begun once however often a slow store is asked.

Everything here waits for the store and raises what its client raises.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any

from pipeline.tracking.record import Ledger, RunRecord
from pipeline.tracking.store import Store

PARAMS_AT_ONCE = 100
"""What MLflow takes in one request."""
KEY = "run_key"
"""Our tag by which a run is found that a store began though we had given up on its answer."""


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
    key = ledger.run_key()
    # A key without a run is of an earlier attempt: a slow store may have done since what it was asked for then.
    alike = _tagged(client, experiment_id, {KEY: key}) if key else []
    known = known or next(iter(sorted(alike, key=_is_bare)), None)
    if known is None:
        known, alike = _create(client, experiment_id, record, {KEY: key or ledger.new_key()})
    elif running and known.info.status != "RUNNING":
        client.update_run(known.info.run_id, status="RUNNING")
    run_id: str = known.info.run_id
    ledger.opened(store.uri, run_id)
    set_told(client, known, record, {"mlflow.parentRunId": parent} if parent else {})
    _drop_bare(client, alike, run_id)
    return Opened(client=client, run_id=run_id, experiment_id=experiment_id)


def open_parent(store: Store, record: RunRecord) -> Opened:
    """Finds or begins a sweep's own run."""
    client = store.client()
    experiment_id = _experiment(client, store, record.experiment)
    run_id = _parent(client, record, experiment_id, running=False)
    return Opened(client=client, run_id=run_id, experiment_id=experiment_id)


def set_told(client: Any, run: Any, record: RunRecord, more: Mapping[str, str] = MappingProxyType({})) -> None:
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


def _tagged(client: Any, experiment_id: str, tags: Mapping[str, str]) -> list[Any]:
    """The runs of an experiment that have all of some tags."""
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([experiment_id], filter_string=wanted))


def _create(client: Any, experiment_id: str, record: RunRecord, mark: Mapping[str, str]) -> tuple[Any, list[Any]]:
    """Begins a run.

    Args:
        client: The MLflow client.
        experiment_id: Where.
        record: What is begun.
        mark: Tags that no other run has.

    Returns:
        The run, and all runs that this has made: MLflow's client asks again where an answer takes too long.
    """
    started, asked = int(1000 * record.started) or None, time.monotonic()
    tags = {**record.tags, **mark}
    made = client.create_run(experiment_id, start_time=started, run_name=record.name, tags=tags)
    slow = time.monotonic() - asked >= float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "inf"))
    return made, _tagged(client, experiment_id, mark) if slow else []


def _is_bare(run: Any) -> bool:
    """Whether a run has never got anything since it was begun."""
    return not (run.data.params or run.data.metrics)


def _drop_bare(client: Any, runs: Sequence[Any], kept: str) -> None:
    """Deletes those of one run's doubles that never got anything."""
    for run in runs:
        if run.info.run_id != kept and _is_bare(run):
            client.delete_run(run.info.run_id)


def _parent(client: Any, parent: RunRecord | None, experiment_id: str, *, running: bool) -> str:
    """The id of a parent, which is begun if it is not there: a tree in the UI needs it in its children's experiment."""
    if parent is None:
        return ""
    alike = _tagged(client, experiment_id, parent.tags)
    found = next(iter(sorted(alike, key=_is_bare)), None)
    if found is None:
        found, alike = _create(client, experiment_id, parent, parent.tags)
    elif running and found.info.status != "RUNNING":
        client.update_run(found.info.run_id, status="RUNNING")
    set_told(client, found, parent)
    _drop_bare(client, alike, found.info.run_id)
    return str(found.info.run_id)
