"""A run from its first note to its last: what happens to it is written into run.json and told to the tracker."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import RunConfig
from pipeline.runtime.facts import FolderLedger, note, note_begin, read_facts
from pipeline.runtime.history import Tally, add_point
from pipeline.runtime.results import RunFolder
from pipeline.runtime.telling import notices_of, run_record, status_of
from pipeline.tracking import Status, Store, TrackedRun, choose_store, is_busy

if TYPE_CHECKING:
    from pipeline.runtime.evaluate import RunRequest

FAULT = 1000
"""Characters that are kept of what a run failed of."""


@dataclass(frozen=True)
class ToldRun:
    """A run that goes on."""

    folder: RunFolder
    """Its folder."""
    config: RunConfig
    """Its settings."""
    tracked: TrackedRun
    """Its counterpart in the tracker."""
    store: Store
    """Where that is."""
    asks: bool
    """Whether questions are asked, or all that it does is to tell what came of them before."""

    def open(self) -> None:
        """Finds or begins the run in its store, before anything is told. This takes seconds, as MLflow is imported.

        Raises:
            ValueError: The store can't be used. A server that does not answer, or a file that is busy, is none of that.
        """
        self.store.check()
        if self.store.remote:
            self.tracked.open_later()
            return
        try:
            self.tracked.open()
        except Exception as error:  # whatever the store's client raises: MLflow's, SQLAlchemy's, sqlite3's
            if not is_busy(error):
                raise self.store.unusable(error) from error
            self.tracked.open_later()

    def tell_point(self, tally: Tally) -> None:
        """Tells how it goes."""
        point = tally.point()
        add_point(self.folder, point)
        self.tracked.log_point(point)

    def tell_notice(self, text: str) -> None:
        """Tells something that readers of the run should know."""
        note(self.folder, notices=[*read_facts(self.folder).get("notices", []), text])
        self.tracked.log_notice(notices_of(read_facts(self.folder)))

    def settle(self) -> str:
        """The run's id in the tracker, waited for a moment; empty if it has none."""
        return self.tracked.settle()

    def finish(self) -> None:
        """Sends all of the run, whose metrics are on disk: whatever happens now, it has come to its end."""
        ended = {"ended": time.time()} if self.asks else {}  # else it ended when it was stopped after its last answer
        note(self.folder, status="FINISHED", fault="", **ended)
        if self.tracked.run_id:
            note(self.folder, tracked=self.tracked.send(run_record(self.folder, self.config)))


@contextmanager
def told(request: RunRequest, *, asks: bool) -> Iterator[ToldRun]:
    """Notes and tells that a run begins, and how it ends where it does not come to `finish`.

    Args:
        request: The run.
        asks: Whether questions will be asked.

    Raises:
        ValueError: The store can be none.
    """
    folder, config = request.folder, request.config
    store = choose_store(config.tracking.tracking_uri, request.store)
    store.glance()
    if asks:
        note_begin(folder, config.data, request.assignments, backend=config.model.backend)
    record = run_record(folder, config, whole=False)
    other = config.tracking.tracking_uri != folder.config.tracking.tracking_uri
    tracked = TrackedRun(store, record, FolderLedger(folder), say, remedy(folder.path, store if other else None))
    try:
        yield ToldRun(folder, config, tracked, store, asks)
    except BaseException as error:
        tracked.stop(_note_end(folder, error))
        raise
    finally:
        tracked.close()


def is_told(request: RunRequest) -> bool:
    """Whether a run is finished, and the store that it would be told to has all of it."""
    facts, metrics = read_facts(request.folder), request.folder.read_json("metrics.json")
    store = choose_store(request.config.tracking.tracking_uri, request.store)
    there = facts.get("tracked") and facts.get("tracking_uri") == store.shown
    ended = status_of(facts, metrics) == "FINISHED" and metrics.get("num_questions") == len(request.assignments)
    return bool(there) and ended


def say(line: str) -> None:
    """Tells users on stderr."""
    sys.stderr.write(line + "\n")


def remedy(path: Path, store: Store | None = None) -> str:
    """What to do about a run, or a folder of runs, that the tracker does not have whole.

    Args:
        path: Its folder.
        store: Where it is to be, if its folder names another store or none.
    """
    named = f" --tracking-uri {shlex.quote(store.shown)}" if store else ""
    return f"send it later with: python jobs/compare.py --upload {shlex.quote(str(path))}{named}"


def _note_end(folder: RunFolder, error: BaseException) -> Status:
    """Notes how a run has broken off; one that was only being sent, or was over before, stays as it was."""
    before: Status = read_facts(folder).get("status", "FINISHED")
    if before != "RUNNING":
        return before
    status: Status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
    note(folder, status=status, fault=str(error)[:FAULT], ended=time.time())
    return status
