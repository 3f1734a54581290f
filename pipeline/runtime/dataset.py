"""Questions as a Ray Data set, which is imported when it is needed: that takes a second, and pandas comes with it."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Generator, Sequence

from pipeline.records import Assignment

Batches = Generator[tuple[Assignment, ...], None, None]
"""Questions to answer together, as they are pulled."""


def import_ahead() -> None:
    """Imports Ray Data, at a time when nobody waits for it."""
    importlib.import_module("ray.data")


def batches_of(assignments: Sequence[Assignment], size: int) -> Batches:
    """Cuts questions into batches, as they are pulled."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False  # the terminal has our own progress
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # which importing it has set to tell of everything
    dataset = ray.data.from_items([{"assignment": assignment.to_json()} for assignment in assignments])
    for batch in dataset.iter_batches(batch_size=size, prefetch_batches=1):
        yield tuple(Assignment.from_json(line) for line in batch["assignment"])
