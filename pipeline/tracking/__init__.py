"""Tracking of runs; the only package that imports MLflow."""

from pipeline.tracking.traces import log_traces
from pipeline.tracking.tracker import TrackedRun, open_run

__all__ = ["TrackedRun", "log_traces", "open_run"]
