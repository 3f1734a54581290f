"""Runs sent to a tracker after they have ended: those that it missed, or that are to be in another one as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.runtime.facts import FILE, FolderLedger, note, worker_of
from pipeline.runtime.finished import read_runs, run_folders
from pipeline.runtime.results import RunFolder
from pipeline.runtime.sweeps import SweepCell, grouped, send_parent
from pipeline.runtime.telling import run_record, status_of
from pipeline.tracking import RunRecord, choose_store, open_record, send_record


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """A run, or a sweep, that is in a store."""

    name: str
    """What it is called there."""
    uri: str
    """The store, as it may be shown."""
    run_id: str
    """Its id there."""


def upload_all(paths: Sequence[Path], *, tracking_uri: str | None, store: Path) -> Iterator[Uploaded]:
    """Sends runs, and the parents of those that are cells of sweeps, and yields each when it is there.

    Args:
        paths: Run folders, or folders of such.
        tracking_uri: Where to; by default where each run was to be told.
        store: Folder of the default store.

    Raises:
        ValueError: A path holds no run; the store can't be used, which ends it at once; or runs are damaged or
            go on, which is told when all others are there.
    """
    folders = [RunFolder(path) for path in dict.fromkeys(path for given in paths for path in run_folders(given))]
    faults: list[ValueError] = []
    around: dict[Path, None] = {}
    for folder in folders:
        try:
            cell, record = _read(folder, tracking_uri, store)
        except ValueError as error:
            faults.append(error)
            continue
        yield _send(cell, record)
        if cell.facts.get("sweep"):
            around[folder.path.parent] = None
    yield from _send_parents(list(_siblings(around, tracking_uri, store)))
    if faults:
        more = f"; {len(faults) - 1} more can't be sent either" if faults[1:] else ""
        raise ValueError(f"{faults[0]}{more}") from faults[0]


def _read(folder: RunFolder, tracking_uri: str | None, store: Path) -> tuple[SweepCell, RunRecord]:
    """All that is sent of a run that has ended, in whatever way.

    Raises:
        ValueError: The run is damaged, or goes on.
    """
    cell = _cell(folder, tracking_uri, store)
    if pid := worker_of(cell.facts):
        raise ValueError(f"{str(folder.path)!r} is still going on, in process {pid}; send it when it has ended")
    if status_of(cell.facts, folder.read_json("metrics.json")) == "FINISHED":
        read_runs([folder.path])  # which complains of what is damaged
    return cell, run_record(folder, cell.config)


def _send(cell: SweepCell, record: RunRecord) -> Uploaded:
    """Sends it. What is there already is not doubled.

    Raises:
        ValueError: The store can't be used.
    """
    cell.store.check()
    ledger = FolderLedger(cell.folder)
    try:
        opened = open_record(cell.store, record, ledger, running=False)
        send_record(cell.store, opened, record, ledger)
    except Exception as error:  # whatever the store's client raises
        raise cell.store.unusable(error) from error
    note(cell.folder, tracked=True)
    return Uploaded(name=record.name, uri=cell.store.shown, run_id=opened.run_id)


def _siblings(places: Iterable[Path], tracking_uri: str | None, store: Path) -> Iterator[SweepCell]:
    """The runs in some folders; those that can't be read are missing in what is told of their sweep."""
    for path in (path for place in places for path in run_folders(place)):
        try:
            cell = _cell(RunFolder(path), tracking_uri, store)
            for file in (FILE, "metrics.json"):
                cell.folder.read_json(file)
        except ValueError:  # told of where it is among the runs that are to be sent
            continue
        yield cell


def _send_parents(cells: Sequence[SweepCell]) -> Iterator[Uploaded]:
    """Sends the sweeps of some cells, as far as the store has any of their cells; those that go on do it."""
    for group in grouped(cells):
        if not any(cell.run_id for cell in group) or any(worker_of(cell.facts) for cell in group):
            continue
        first = group[0]
        try:
            run_id = send_parent(group)
        except Exception as error:  # whatever the store's client raises
            raise first.store.unusable(error) from error
        yield Uploaded(name=f"sweep {first.facts['sweep']['name']}", uri=first.store.shown, run_id=run_id)


def _cell(folder: RunFolder, tracking_uri: str | None, store: Path) -> SweepCell:
    config = folder.config
    return SweepCell(folder, config, choose_store(tracking_uri or config.tracking.tracking_uri, store))
