"""Sweeps as the tracker shows them: a parent run over the cells, one in each experiment, as its UI needs it for a tree.

The cells' own folders say which sweep they are part of, so that a sweep that is resumed or sent later finds its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pipeline.config import RunConfig
from pipeline.runtime.facts import note, read_facts
from pipeline.runtime.results import RunFolder
from pipeline.runtime.telling import experiment_of, status_of, sweep_record
from pipeline.runtime.tracked import remedy, say
from pipeline.tracking import NoLedger, RunRecord, Status, Store, Table, choose_store, open_parent, send_record
from pipeline.tracking.courier import Courier

if TYPE_CHECKING:
    from pipeline.runtime.evaluate import RunRequest

CELLS = "tables/cells.json"
SHOWN = ("accuracy", "accuracy_low", "accuracy_high", "accuracy_lenient", "output_tokens", "seconds")
"""Metrics of each cell that the parent's table has."""


def mark_sweep(requests: Sequence[RunRequest]) -> None:
    """Notes in the runs' folders that they are cells of one sweep; one that was begun before keeps its id."""
    known = [read_facts(request.folder).get("sweep", {}) for request in requests]
    own = next((mark["id"] for mark in known if mark), uuid4().hex)
    for experiment in {experiment_of(request.config) for request in requests}:
        cells = [request for request in requests if experiment_of(request.config) == experiment]
        flats = [request.config.flat() for request in cells]
        shared = [name for name, value in flats[0].items() if all(flat[name] == value for flat in flats)]
        name = cells[0].folder.path.parent.name
        for request in cells:
            note(request.folder, sweep={"id": own, "name": name, "cells": len(cells), "shared": shared})


def parents_of(folders: Iterable[tuple[RunFolder, RunConfig]], *, running: bool = False) -> list[RunRecord]:
    """The sweeps that some runs are cells of, with what has become of these.

    Args:
        folders: Folders and settings of all cells.
        running: Whether the sweep goes on.
    """
    groups: dict[tuple[str, str], list[tuple[RunFolder, RunConfig]]] = {}
    for folder, config in folders:
        if mark := read_facts(folder).get("sweep"):
            groups.setdefault((mark["id"], experiment_of(config)), []).append((folder, config))
    return [_parent(cells, running=running) for cells in groups.values()]


def end_sweeps(requests: Sequence[RunRequest], seconds: float) -> None:
    """Tells the tracker how sweeps have ended, if some of the runs are cells of any.

    Args:
        requests: All runs.
        seconds: How long that may take. What is not told can be sent later, which is said.
    """
    marked = [request for request in requests if request.folder.path.is_dir() and read_facts(request.folder)]
    stores = {choose_store(one.config.tracking.tracking_uri, one.store): one for one in marked}
    for store in stores:
        own = [(one.folder, one.config) for one in marked if choose_store(one.config.tracking.tracking_uri, one.store) == store]
        pass
