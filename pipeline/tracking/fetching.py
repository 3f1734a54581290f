"""Brings finished runs back from MLflow: the files of their folders, which the tracker keeps as artifacts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.tracking.store import Store

NEEDED = ("config.yaml", "metrics.json", "predictions.parquet")
"""Files without which a run can't be compared."""
WANTED = (*NEEDED, "graph.yaml", "run.json")
"""Files that are fetched where they are."""
NO_RUNS = ("sweep", "analysis")
"""What the tag `kind` says of runs of the tracker that answer no questions."""
PAGE = 1000
"""Runs that are asked for at once."""
AT_ONCE = 8
"""Runs that are fetched at the same time."""
NAMED = 10
"""Experiments that a message names."""


@dataclass(frozen=True, kw_only=True)
class FetchedRun:
    """One run's files."""

    run_id: str
    folder: Path
    """Where they lie; its last parts are the experiment's and the run's name."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What could be brought back."""

    runs: tuple[FetchedRun, ...]
    """The newest first."""
    notes: tuple[str, ...]
    """What was left out, and why; a line each."""


def fetch_runs(store: Store, *, experiments: Sequence[str], run_ids: Sequence[str], into: Path) -> Fetched:
    """Downloads runs with their rows.

    Args:
        store: Where they are recorded.
        experiments: Names of experiments, all of whose finished runs are wanted.
        run_ids: Runs by their ids; that of a sweep stands for its children.
        into: An empty folder that they are put in.

    Raises:
        ValueError: The store can't be used, or has no such experiment or run; one line.
    """
    _check_there(store)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        client = store.client()
        found = [run for name in experiments for run in _of_experiment(client, name)]
        found += [run for run_id in run_ids for run in _of_id(client, run_id, store)]
        wanted = sorted({run.info.run_id: run for run in found}.values(), key=lambda run: -run.info.start_time)
        finished = [run for run in wanted if run.info.status == "FINISHED"]
        places = _places(client, finished, into)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            missing = list(pool.map(lambda run: _download(client, run, places[run.info.run_id]), finished))
    except ValueError:
        raise
    except Exception as error:  # whatever the store's client raises: MLflow's, SQLAlchemy's, sqlite3's, HTTP's
        raise store.unusable(error) from error
    notes = [f"{_name(run)}: not finished, so left out" for run in wanted if run not in finished]
    notes += [
        f"{_name(run)}: has no {', '.join(names)} in the tracker, so left out"
        for run, names in zip(finished, missing, strict=True)
        if names
    ]
    whole = [run for run, names in zip(finished, missing, strict=True) if not names]
    runs = tuple(FetchedRun(run_id=run.info.run_id, folder=places[run.info.run_id]) for run in whole)
    if not runs:
        asked = ", ".join((*experiments, *run_ids))
        raise ValueError(f"{asked!r} in {store.shown!r} has no finished run with its files{_first(notes)}")
    return Fetched(runs=runs, notes=tuple(notes))


def _check_there(store: Store) -> None:
    """Refuses a database file that is not there, which would only be made by asking it.

    Raises:
        ValueError: There is none, or no such kind of store.
    """
    parts = urlsplit(store.uri)
    file = Path(parts.path.removeprefix("/") if parts.scheme == "sqlite" else "")
    if parts.scheme == "sqlite" and not file.is_file():
        raise ValueError(f"--tracking-uri {store.shown!r}: there is no such file; name the store that has the runs")
    store.check()


def _of_experiment(client: Any, name: str) -> list[Any]:
    """The evaluations of an experiment.

    Raises:
        ValueError: There is no such experiment.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        names = [one.name for one in client.search_experiments(max_results=NAMED + 1)]
        told = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        raise ValueError(f"--experiment {name!r} is not in the store; allowed: {told}")
    return [run for run in _search(client, experiment.experiment_id, "") if run.data.tags.get("kind") not in NO_RUNS]


def _of_id(client: Any, run_id: str, store: Store) -> list[Any]:
    """A run, or the children of a sweep.

    Raises:
        ValueError: There is no such run.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise ValueError(
            f"--run-id {run_id!r} is not in {store.shown!r}; MLflow shows the id on a run's page"
        ) from error
    if run.data.tags.get("kind") != "sweep":
        return [run]
    return _search(client, run.info.experiment_id, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")


def _search(client: Any, experiment_id: str, filter_string: str) -> list[Any]:
    """All runs of an experiment, page by page."""
    page = client.search_runs([experiment_id], filter_string, max_results=PAGE)
    found = list(page)
    while page.token:
        page = client.search_runs([experiment_id], filter_string, max_results=PAGE, page_token=page.token)
        found += page
    return found


def _places(client: Any, runs: Sequence[Any], into: Path) -> dict[str, Path]:
    """A folder for each run, named after its experiment and itself; ids tell runs of one name apart."""
    experiments = {i: client.get_experiment(i).name for i in {run.info.experiment_id for run in runs}}
    folders = [into / _safe(experiments[run.info.experiment_id].rsplit("/", 1)[-1]) / _safe(_name(run)) for run in runs]
    return {
        run.info.run_id: folder.with_name(f"{folder.name}-{run.info.run_id[:8]}")
        if folders.count(folder) > 1
        else folder
        for run, folder in zip(runs, folders, strict=True)
    }


def _download(client: Any, run: Any, folder: Path) -> list[str]:
    """Fetches a run's files; returns the names of those needed that are not there."""
    there = {file.path for file in client.list_artifacts(run.info.run_id)}
    missing = [name for name in NEEDED if name not in there]
    if not missing:
        folder.mkdir(parents=True)
        for name in (name for name in WANTED if name in there):
            client.download_artifacts(run.info.run_id, name, str(folder))
    return missing


def _name(run: Any) -> str:
    return run.info.run_name or str(run.info.run_id)


def _safe(name: str) -> str:
    """A name that is a folder's on every system."""
    return re.sub(r"[^\w.+=-]+", "_", name).strip("._") or "run"


def _first(notes: Sequence[str]) -> str:
    return f" ({notes[0]}{', ...' if len(notes) > 1 else ''})" if notes else ""
