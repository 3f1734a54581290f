"""MLflow: one experiment per benchmark, one run per method and setting, so that its compare view lines them up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig

TAGS = ("method", "graph", "model", "task")
FILES = ("predictions.parquet", "config.yaml", "metrics.json")
"""What of a run folder is kept as artifacts."""


@dataclass(frozen=True)
class TrackedRun:
    """One MLflow run that is being written."""

    client: Any
    """The MLflow client."""
    run_id: str
    """The run's id."""

    def log_progress(self, values: Mapping[str, float], *, step: int) -> None:
        """Records running values; `step` is the number of finished questions."""
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, value, step=step)

    def log_result(self, metrics: Mapping[str, Any], folder: Path) -> None:
        """Records a run's totals, and those files of its folder that are worth keeping."""
        for name, value in _numbers(metrics):
            self.client.log_metric(self.run_id, name, value)
        for name in FILES:
            if (folder / name).is_file():
                self.client.log_artifact(self.run_id, str(folder / name))


@contextmanager
def open_run(config: RunConfig, *, store: Path, run_id: str | None = None) -> Iterator[TrackedRun]:
    """Opens a run in the tracker and closes it as finished, failed, or (on Ctrl-C) killed.

    Args:
        config: The run's settings; logged as parameters.
        store: Folder of the default store, `mlflow.db` and its artifacts.
        run_id: An earlier run to go on with.

    Raises:
        ValueError: The tracking URI can't be used.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    uri = config.tracking.tracking_uri or f"sqlite:///{store / 'mlflow.db'}"
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        run = _start(client, config, None if config.tracking.tracking_uri else store / "mlartifacts", run_id)
    except (MlflowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"--tracking-uri {uri!r} can't be used: {reason}") from error
    try:
        yield run
    except KeyboardInterrupt:
        client.set_terminated(run.run_id, status="KILLED")
        raise
    except BaseException:
        client.set_terminated(run.run_id, status="FAILED")
        raise
    client.set_terminated(run.run_id, status="FINISHED")


def run_name(config: RunConfig) -> str:
    """A name that tells runs of one experiment apart: method, graph, model and m."""
    parts: list[str] = [config.collaboration.method]
    if config.collaboration.method != "single":
        parts.append(config.collaboration.graph)
    parts.append(config.model.model.rstrip("/").rsplit("/", 1)[-1])
    if config.collaboration.method == "latent_mas":
        parts.append(f"m{config.collaboration.latent_steps}")
    return "-".join(parts)


def _start(client: Any, config: RunConfig, artifacts: Path | None, run_id: str | None) -> TrackedRun:
    if run_id is not None:
        client.update_run(run_id, status="RUNNING")
        return TrackedRun(client, run_id)
    name = config.tracking.experiment or f"latentmas/{config.data.task}"
    experiment = client.get_experiment_by_name(name)
    location = artifacts.resolve().as_uri() if artifacts else None
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name, location)
    settings = config.flat()
    tags = {tag: str(settings[tag]) for tag in TAGS}
    run = client.create_run(experiment_id, run_name=run_name(config), tags=tags)
    for key, value in settings.items():
        client.log_param(run.info.run_id, key, value)
    return TrackedRun(client, run.info.run_id)


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    """Yields every number, those of nested mappings as `name/key`."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield prefix + name, float(value)
