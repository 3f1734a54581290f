"""Runs sent to a tracker after they have ended: those that it missed, or that are to be in another one as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.runtime.facts import FolderLedger, note, read_facts
from pipeline.runtime.finished import read_runs, run_folders
from pipeline.runtime.results import RunFolder
from pipeline.runtime.sweeps import SweepCell, grouped, send_parent
from pipeline.runtime.telling import run_record, status_of
from pipeline.tracking import choose_store, open_record, send_record


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
        ValueError: A path holds no run, one of them is damaged, or the store can't be used.
    """
    folders = [RunFolder(path) for path in dict.fromkeys(path for given in paths for path in run_folders(given))]
    for folder in folders:
        yield upload(folder, tracking_uri=tracking_uri, store=store)
    around = dict.fromkeys(folder.path.parent for folder in folders if read_facts(folder).get("sweep"))
    siblings = [_cell(RunFolder(path), tracking_uri, store) for place in around for path in run_folders(place)]
    for group in (group for group in grouped(siblings) if any(cell.run_id for cell in group)):
        first = group[0]
        try:
            run_id = send_parent(group)
        except Exception as error:  # whatever the store's client raises
            raise first.store.unusable(error) from error
        yield Uploaded(name=f"sweep {first.facts['sweep']['name']}", uri=first.store.shown, run_id=run_id)


def upload(folder: RunFolder, *, tracking_uri: str | None, store: Path) -> Uploaded:
    """Sends all of a run that has ended, in whatever way. What is there already is not doubled.

    Args:
        folder: Its folder.
        tracking_uri: Where to; by default where it was to be told.
        store: Folder of the default store.

    Raises:
        ValueError: The run is damaged, or the store can't be used.
    """
    cell = _cell(folder, tracking_uri, store)
    cell.store.check()
    if status_of(cell.facts, folder.read_json("metrics.json")) == "FINISHED":
        read_runs([folder.path])  # which complains of what is damaged
    record = run_record(folder, cell.config)
    ledger = FolderLedger(folder)
    try:
        opened = open_record(cell.store, record, ledger, running=False)
        send_record(cell.store, opened, record, ledger)
    except Exception as error:  # whatever the store's client raises
        raise cell.store.unusable(error) from error
    note(folder, tracked=True)
    return Uploaded(name=record.name, uri=cell.store.shown, run_id=opened.run_id)


def _cell(folder: RunFolder, tracking_uri: str | None, store: Path) -> SweepCell:
    config = folder.config
    return SweepCell(folder, config, choose_store(tracking_uri or config.tracking.tracking_uri, store))
