"""MLflow: one experiment per benchmark, one run per method and setting, so that its compare view lines them up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.records import Prediction
from pipeline.tracking.traces import log_traces

log = logging.getLogger(__name__)

TAGS = ("method", "graph", "model", "task", "handover", "memory", "alignment", "placement", "transport")
CONTROLS = ("experts", "handover", "memory", "alignment", "budget")
"""Settings that a run's name tells where they are not the default."""
NOTICE = 4000
"""Characters that a tag may have."""
FILES = ("predictions.parquet", "config.yaml", "graph.yaml", "metrics.json")
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
        with self._forgiving():
            for name, value in values.items():
                self.client.log_metric(self.run_id, name, value, step=step)

    def log_notice(self, text: str) -> None:
        """Records something that readers of the run should know, below what was recorded before."""
        with self._forgiving():
            before = self.client.get_run(self.run_id).data.tags.get("notice", "")
            self.client.set_tag(self.run_id, "notice", f"{before}\n{text}".strip()[-NOTICE:])

    def log_result(self, metrics: Mapping[str, Any], folder: Path) -> None:
        """Records a run's totals, and those files of its folder that are worth keeping."""
        with self._forgiving():
            for name, value in _numbers(metrics):
                self.client.log_metric(self.run_id, name, value)
            for name in FILES:
                if (folder / name).is_file():
                    self.client.log_artifact(self.run_id, str(folder / name))

    def log_traces(self, rows: Sequence[Prediction], task: str) -> None:
        """Records the questions that were traced."""
        with self._forgiving():
            info = self.client.get_run(self.run_id).info
            uri, experiment_id = self.client.tracking_uri, info.experiment_id
            log_traces(tracking_uri=uri, experiment_id=experiment_id, run_id=self.run_id, rows=rows, task=task)

    def close(self, status: str) -> None:
        """Ends the run as FINISHED, FAILED or KILLED."""
        with self._forgiving():
            self.client.set_terminated(self.run_id, status=status)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """A tracker that stops working in mid-run costs no results: they are in the run folder."""
        try:
            yield
        except Exception as error:  # whatever the store's client raises, from HTTP errors to a locked database
            log.warning(
                "the MLflow run is incomplete: %s", (str(error).splitlines() or [type(error).__name__])[0][:200]
            )


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

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for the result
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    named = config.tracking.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    uri = named or f"sqlite:///{store / 'mlflow.db'}"
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        run = _start(client, config, None if named else store / "mlartifacts", run_id)
    except Exception as error:  # whatever the store's client raises: MLflow's, SQLAlchemy's, sqlite3's, HTTP's
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"--tracking-uri {uri!r} can't be used: {reason}") from error
    try:
        yield run
    except KeyboardInterrupt:
        run.close("KILLED")
        raise
    except BaseException:
        run.close("FAILED")
        raise
    run.close("FINISHED")


def run_name(config: RunConfig) -> str:
    """A name that tells runs of one experiment apart: method, graph, model and m."""
    parts: list[str] = [config.collaboration.method]
    if config.collaboration.method != "single":
        parts.append(Path(config.collaboration.graph).stem)
    parts.append(config.model.model.rstrip("/").rsplit("/", 1)[-1])
    if config.collaboration.method == "latent_mas":
        parts.append(f"m{config.collaboration.latent_steps}")
    defaults = RunConfig().flat()
    parts += [str(value) for name, value in config.flat().items() if name in CONTROLS and value != defaults[name]]
    return "-".join(parts)


def _start(client: Any, config: RunConfig, artifacts: Path | None, run_id: str | None) -> TrackedRun:
    if run_id is not None and _knows(client, run_id):
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


def _knows(client: Any, run_id: str) -> bool:
    """Whether a store has a run; one that was deleted or lies in another store is begun anew."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    return True


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    """Yields every number, those of nested mappings as `name/key`."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield prefix + name, float(value)
