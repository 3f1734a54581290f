"""Tracking of runs; the only package that imports MLflow."""

from pipeline.tracking.tracker import TrackedRun, open_run

__all__ = ["TrackedRun", "open_run"]
