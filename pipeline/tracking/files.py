"""Files that come of several runs, such as figures: an MLflow run of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.tracking.courier import attempt
from pipeline.tracking.opening import open_record
from pipeline.tracking.record import NoLedger, RunRecord
from pipeline.tracking.sending import send_record
from pipeline.tracking.store import Store

SECONDS = 60.0
"""How long a store may take."""


def log_files(
    store: Store,
    files: Sequence[Path],
    *,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """Keeps files in a new run.

    Args:
        store: Where.
        files: What.
        experiment: The run's experiment.
        name: What the run is called.
        tags: What it is found by.
        metrics: Numbers that go with the files, and mappings of them.

    Returns:
        Why it could not be done, on one line; empty if it was. The files themselves stay where they are.
    """
    record = RunRecord(
        name=name,
        experiment=experiment,
        tags=tags,
        params={},
        status="FINISHED",
        metrics=metrics or {},
        files=files,
    )

    def send() -> None:
        store.check()
        send_record(store, open_record(store, record, NoLedger(), running=False), record, NoLedger())

    return attempt(send, SECONDS)
