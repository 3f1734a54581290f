"""A run that is told of while it goes on. Its rows and numbers are in the run folder, so a store can fail or be slow.

What is told goes to the store from a thread of its own, in order. After the first failure nothing more is sent, users
are told once, and at the run's end everything is tried once more. Nobody waits for the store longer than is said here.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.tracking.courier import Courier
from pipeline.tracking.machine import MachineWatch
from pipeline.tracking.opening import Opened, open_record
from pipeline.tracking.record import Ledger, Point, RunRecord, Status
from pipeline.tracking.sending import send_points, send_record
from pipeline.tracking.store import Store, reason_of

GRACE = 5.0
"""Seconds that a store gets to answer at the end of a run where it has not answered before."""
LONGEST = 120.0
"""Seconds that sending everything may take, once the store answers."""
BRIEF = 3.0
"""Seconds that it gets where the user wants the run to end now."""
NOTICE = "notice"
"""The tag for what readers of a run should know."""

Say = Callable[[str], None]
"""Tells users a line."""


class TrackedRun:
    """One run that is being written in a store."""

    def __init__(self, store: Store, record: RunRecord, ledger: Ledger, say: Say, remedy: str) -> None:
        """Begins nothing yet.

        Args:
            store: Where it is written.
            record: What is known of it.
            ledger: What its folder remembers of it.
            say: Told once that the store has failed, and if it then answers again.
            remedy: What users can do about what was not sent.
        """
        self._store, self._record, self._ledger, self._say, self._remedy = store, record, ledger, say, remedy
        self._opened: Opened | None = None
        self._watch = MachineWatch()
        self._courier = Courier(lambda error: self._complain(reason_of(error)))
        self._complained = self._closed = False

    @property
    def run_id(self) -> str:
        """The run's id in the store; empty while it has none."""
        return self._opened.run_id if self._opened else ""

    def open(self) -> None:
        """Finds or begins the run, and waits for that.

        Raises:
            Exception: Whatever the store's client raises.
        """
        self._opened = open_record(self._store, self._record, self._ledger, running=True)
        if not self._closed:  # a store may have taken longer than anybody waits
            self._watch.start(self._store, self.run_id)

    def open_later(self) -> None:
        """Has that done while the run goes on."""
        self._courier.put(self.open)

    def log_point(self, point: Point) -> None:
        """Tells how the run goes."""
        self._courier.put(lambda: send_points(self._run, [point]))

    def log_notice(self, text: str) -> None:
        """Tells all that readers of the run should know by now."""
        self._courier.put(lambda: self._run.client.set_tag(self.run_id, NOTICE, text))

    def settle(self) -> str:
        """The run's id, for which a store that has not answered yet gets another moment; empty if it does not."""
        if not (self._opened or self._courier.attempt(self._open_if_needed, GRACE) or self._opened):
            self._complain(f"no answer in {GRACE:.0f} s")
        return self.run_id

    def send(self, record: RunRecord) -> bool:
        """Sends all that there is of a run that has ended.

        Returns:
            Whether all of it is in the store.
        """
        if not self._opened:
            return False
        # A store that has failed before has to show first that it answers; one that has not may take its time.
        sent = not self._courier.stopped or self._courier.attempt(self._look, GRACE)
        sent = sent and self._courier.attempt(lambda: self._send(record), LONGEST)
        if not sent:
            self._complain(f"no answer in {LONGEST:.0f} s")
        elif self._complained:
            self._say("the tracker answers again, and has the whole run")
        return sent

    def stop(self, status: Status) -> None:
        """Tells that the run has broken off, if the store answers at once."""
        self._courier.forget()
        if self._opened and not self._courier.stopped:
            self._courier.attempt(lambda: self._run.client.set_terminated(self.run_id, status=status), BRIEF)

    def close(self) -> None:
        """Leaves the store alone from now on."""
        self._closed = True
        self._courier.forget()
        self._courier.close()

    @property
    def _run(self) -> Opened:
        assert self._opened is not None, "a run is opened before anything else is sent, or nothing else is sent"
        return self._opened

    def _open_if_needed(self) -> None:
        if not self._opened:
            self.open()

    def _look(self) -> None:
        self._run.client.get_run(self.run_id)

    def _send(self, record: RunRecord) -> None:
        self._watch.finish()
        send_record(self._store, self._run, record, self._ledger)

    def _complain(self, reason: str) -> None:
        if not (self._complained or self._closed):
            self._complained = True
            self._say(f"tracking has stopped, the run has not: {self._store.shown}: {reason}\n{self._remedy}")
