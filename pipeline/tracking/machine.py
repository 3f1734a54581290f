"""System metrics of the machine that a run is driven from: processor, memory, disk, network and, with pynvml, GPUs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipeline.tracking.store import Store

EVERY = 3.0
"""Seconds between two samples, unless MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says otherwise."""


class MachineWatch:
    """Samples the machine in a thread of MLflow's own while a run goes on; its failure is nobody's concern."""

    def __init__(self) -> None:
        self._monitor: Any = None

    def start(self, store: Store, run_id: str) -> None:
        """Begins, or goes on where an earlier attempt at the run has left off."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        with suppress(Exception):  # psutil's, a driver's, or the store's, which the run itself will notice
            monitor = SystemMetricsMonitor(run_id, sampling_interval=EVERY, resume_logging=True, tracking_uri=store.uri)
            monitor.collect_metrics = _quietly(monitor.collect_metrics)
            monitor.start()
            self._monitor = monitor

    def finish(self) -> None:
        """Sends what is left and ends. The thread also ends by itself when the store fails or the run is over."""
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            with suppress(Exception):  # a run may be over before the first sample is due
                monitor.publish_metrics(monitor.aggregate_metrics())
            with suppress(Exception):  # the store's
                monitor.finish()


def _quietly(collect: Callable[[], object]) -> Callable[[], None]:
    """Reads the machine, and leaves out what can't be read: MLflow's thread would print a traceback and end."""

    def collected() -> None:
        with suppress(Exception):  # psutil's or a driver's
            collect()

    return collected
