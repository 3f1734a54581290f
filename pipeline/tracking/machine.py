"""System metrics of the machine that a run is driven from: processor, memory, disk, network and, with pynvml, GPUs."""

from __future__ import annotations

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

        class Monitor(SystemMetricsMonitor):
            def collect_metrics(self) -> Any:
                with suppress(Exception):  # psutil's or a driver's: what can't be read is left out
                    return super().collect_metrics()

        with suppress(Exception):  # the same, or the store's; the run itself will notice that
            self._monitor = Monitor(run_id, sampling_interval=EVERY, resume_logging=True, tracking_uri=store.uri)
            self._monitor.start()

    def finish(self) -> None:
        """Sends what is left and ends. The thread also ends by itself when the store fails or the run is over."""
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            with suppress(Exception):  # the store's
                monitor.finish()
