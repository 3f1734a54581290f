"""Watching the two processes of one answer, and what the kernel doesn't count for them. Runs in the warden."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.scoring.sandbox.rules import Rules

GRACE = 0.1
"""Seconds that an answer's process has to end by itself, so that it can be told how it ended."""
MOST_FILES = 256
"""Files in the scratch folder."""
LONGEST_PAUSE = 0.02
"""Seconds between two looks at the processes, and so what may be used above the limits that the kernel doesn't keep."""


@dataclass(kw_only=True)
class Ended:
    """How the two processes of one answer ended."""

    fault: str = ""
    """Why they could not be started; that is our fault, and no verdict."""
    stopped: str = ""
    """Why the warden stopped them: wall (time), threads, scratch (files), or owner (gone); empty if it did not."""
    signal: int = 0
    """The signal that ended the answer's process, if one did before it was stopped."""
    cpu_seconds: float = 0.0
    """Processor time of the answer's process."""
    referee_signal: int = 0
    """The signal that ended the process of the tests."""


@dataclass(kw_only=True)
class Pair:
    """The two processes while they run."""

    candidate: int
    referee: int
    folder: Path
    living: set[int] = field(default_factory=set)
    ended: Ended = field(default_factory=Ended)

    def reap(self) -> None:
        """Takes note of those that have ended."""
        for pid in list(self.living):
            found, status, used = os.wait4(pid, os.WNOHANG)
            if found == pid:
                self.living.discard(pid)
                number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                if pid == self.candidate:
                    self.ended.signal, self.ended.cpu_seconds = number, used.ru_utime + used.ru_stime
                else:
                    self.ended.referee_signal = number

    def kill(self) -> None:
        """Ends those that live, and waits for their end."""
        for pid in list(self.living):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self.living:
            self.reap()
            time.sleep(0.0005)


def watch(pair: Pair, rules: Rules, owner_is_gone: Callable[[], bool]) -> Ended:
    """Waits for the verdict, and stops what goes beyond its limits, or whose verdict nobody waits for any more."""
    end, pause = time.monotonic() + rules.wall_seconds, 0.0005
    while pair.referee in pair.living:
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        pair.reap()
        late = "wall" if time.monotonic() > end else "owner" if owner_is_gone() else ""
        stopped = late or _beyond(pair, rules)
        if stopped:
            pair.ended.stopped = stopped
            break
    grace = time.monotonic() + (0 if pair.ended.stopped else GRACE)
    while pair.living and time.monotonic() < grace:  # with the tests gone an answer's process ends by itself
        pair.reap()
        time.sleep(0.0005)
    own = replace(pair.ended)
    pair.kill()
    return replace(pair.ended, signal=own.signal, referee_signal=own.referee_signal)  # ours tell nothing


def _beyond(pair: Pair, rules: Rules) -> str:
    """Which limit that the kernel doesn't keep is broken."""
    for pid in pair.living:
        with contextlib.suppress(OSError):  # no /proc, or ended meanwhile
            if len(os.listdir(f"/proc/{pid}/task")) > rules.threads:
                return "threads"
    count, size = _contents(pair.folder.parent)
    return "scratch" if count > MOST_FILES or size > rules.scratch_bytes else ""


def _contents(scratch: Path) -> tuple[int, int]:
    """Files under the scratch folder, and their size; it can make no folders, but without Landlock move its own."""
    count = size = 0
    with contextlib.suppress(OSError):  # moved or removed meanwhile
        for place in scratch.iterdir():
            for file in place.iterdir() if place.is_dir() else [place]:
                count, size = count + 1, size + file.lstat().st_size
                if count > MOST_FILES:
                    break
    return count, size
