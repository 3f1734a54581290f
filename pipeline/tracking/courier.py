"""Work that may take long or fail, done in order in a thread of its own, so that nobody has to wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from pipeline.tracking.store import reason_of


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work."""

    work: Callable[[], object]
    """What to do."""
    again: bool
    """Whether it is done although something before it has failed."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when it has been done, has failed or has been passed over."""


class Courier:
    """Does jobs one after another; after the first one that fails only those that are to be tried again."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        """Starts the thread, which ends with the process at the latest.

        Args:
            failed: Told of every failure, in that thread.
        """
        self.stopped = False
        self._failed = failed
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        threading.Thread(target=self._work, name="tracker", daemon=True).start()

    def put(self, work: Callable[[], object]) -> threading.Event:
        """Has something done when its turn comes; returns at once, with what tells that its turn is over."""
        job = Job(work=work, again=False)
        self._jobs.put(job)
        return job.over

    def attempt(self, work: Callable[[], object], seconds: float) -> bool:
        """Has something done after all that waits, also if that has failed, and waits for it.

        Args:
            work: What to do.
            seconds: How long to wait. What is not done by then goes on or is still done, and nobody hears of it.

        Returns:
            Whether it was done in time.
        """
        job = Job(work=work, again=True)
        self._jobs.put(job)
        return job.over.wait(seconds) and not self.stopped

    def forget(self) -> None:
        """Drops what has not been begun."""
        try:
            while job := self._jobs.get_nowait():
                job.over.set()
        except Empty:
            return

    def close(self) -> None:
        """Lets the thread end when it has done what waits."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.again or not self.stopped:
                try:
                    job.work()
                    self.stopped = False
                except Exception as error:  # whatever the store's client raises, from HTTP errors to a locked database
                    self.stopped = True
                    self._failed(error)
            job.over.set()


def attempt(work: Callable[[], object], seconds: float) -> str:
    """Does something that may take long or fail.

    Args:
        work: What to do.
        seconds: How long to wait for it; then it goes on, and nobody hears of it.

    Returns:
        What has gone wrong; empty if nothing has.
    """
    faults: list[str] = []
    courier = Courier(lambda error: faults.append(reason_of(error)))
    done = courier.attempt(work, seconds)
    courier.close()
    return "" if done else (faults or [f"no answer in {seconds:.0f} s"])[0]
