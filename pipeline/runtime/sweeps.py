"""Sweeps as the tracker shows them: a parent run over the cells, one in each experiment, as its UI needs it for a tree.

The cells' own folders say which sweep they are part of, so that a sweep that is resumed or sent later finds its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pipeline.config import RunConfig
from pipeline.runtime.facts import note, read_facts
from pipeline.runtime.results import RunFolder
from pipeline.runtime.telling import experiment_of, status_of, sweep_record
from pipeline.runtime.tracked import remedy, say
from pipeline.tracking import NoLedger, RunRecord, Status, Store, Table, attempt, choose_store, open_parent, send_record

if TYPE_CHECKING:
    from pipeline.runtime.evaluate import RunRequest

ENOUGH = 15.0
"""Seconds that a store gets at the end of a sweep; it takes a dozen requests."""
TABLE = "tables/cells.json"
METRICS = ("accuracy", "accuracy_low", "accuracy_high", "accuracy_lenient", "output_tokens", "seconds")
"""What the parent's table has of each cell."""


@dataclass(frozen=True)
class SweepCell:
    """One run of a sweep."""

    folder: RunFolder
    """Its folder."""
    config: RunConfig
    """Its settings."""
    store: Store
    """Where it is told."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is noted of it."""
        return read_facts(self.folder)

    @property
    def run_id(self) -> str:
        """Its id in its store; empty if it is not there."""
        return str(self.facts.get("run_ids", {}).get(self.store.shown, ""))


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


def end_sweeps(requests: Sequence[RunRequest], seconds: float) -> None:
    """Tells the tracker how sweeps have ended, if the runs are cells of any.

    Args:
        requests: The runs.
        seconds: How long each sweep may take. What is not told by then can be sent later, which is said.
    """
    cells = [
        SweepCell(one.folder, one.config, choose_store(one.config.tracking.tracking_uri, one.store)) for one in requests
    ]
    for group in grouped(cells):
        if not any(cell.run_id for cell in group):
            continue  # nobody is there to be a parent of, and the store has had its chances
        fault = attempt(partial(send_parent, group), seconds)
        if fault:
            folder = group[0].folder.path.parent
            say(f"{group[0].store.shown} has not been told how the sweep ended: {fault}\n{remedy(folder)}")
            return


def grouped(cells: Iterable[SweepCell]) -> list[list[SweepCell]]:
    """The cells of each sweep in each store and experiment; runs that are no cells are left out."""
    groups: dict[tuple[Store, str, str], list[SweepCell]] = {}
    for cell in cells:
        if mark := cell.facts.get("sweep"):
            groups.setdefault((cell.store, mark["id"], experiment_of(cell.config)), []).append(cell)
    return list(groups.values())


def send_parent(cells: Sequence[SweepCell]) -> str:
    """Sends what has become of a sweep; waits for the store and raises what its client raises.

    Args:
        cells: Those in one experiment.

    Returns:
        The parent's run id.
    """
    store, record = cells[0].store, parent_record(cells)
    opened = open_parent(store, record)
    send_record(store, opened, record, NoLedger())
    return opened.run_id


def parent_record(cells: Sequence[SweepCell]) -> RunRecord:
    """A sweep that nobody works on, with what has become of its cells."""
    facts = [cell.facts for cell in cells]
    metrics = [cell.folder.read_json("metrics.json") for cell in cells]
    states = [_state(*pair) for pair in zip(facts, metrics, strict=True)]
    mark = facts[0]["sweep"]
    first = sweep_record(mark, cells[0].config)
    finished, failed = states.count("FINISHED"), states.count("FAILED")
    status: Status = "FAILED" if failed else "FINISHED" if finished == mark["cells"] else "KILLED"
    rows = [
        [cell.folder.path.name, state, *(told.get(name) for name in METRICS), cell.run_id]
        for cell, state, told in zip(cells, states, metrics, strict=True)
    ]
    return replace(
        first,
        text=f"A sweep: {mark['cells']} cells, {finished} finished, {failed} failed.",
        started=min((known["started"] for known in facts if known.get("started")), default=0.0),
        ended=max(known.get("ended", 0.0) for known in facts),
        status=status,
        metrics={"cells": mark["cells"], "cells_finished": finished, "cells_failed": failed},
        tables={TABLE: Table(columns=("cell", "status", *METRICS, "run_id"), rows=rows)},
    )


def _state(facts: dict[str, Any], metrics: dict[str, Any]) -> str:
    """How a cell is; one whose turn never came is neither killed nor failed."""
    return status_of(facts, metrics) if facts.get("status") or metrics else "NOT RUN"
