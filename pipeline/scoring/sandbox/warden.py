"""The warden: one small process that forks the two processes of each answer, watches them and leaves nobody behind.

It has loaded what they need once, so that starting them costs milliseconds. It is forked from before any program is
read: programs and tests go past it, from the grader to the processes themselves.

    grader --(socket: descriptors)--> warden --fork--> candidate (answer's program)  <==link==>  referee (tests)
      ^------------------------------ judgement, straight from the referee -------------------------|
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from pipeline.scoring.sandbox.candidate import serve
from pipeline.scoring.sandbox.confine import Bounds, confine, keep_only, outlive_nobody
from pipeline.scoring.sandbox.referee import Judgement, judge

PRELOADED = ("collections", "itertools", "math", "re", "typing", "heapq", "numpy")
"""What nearly all answers and tests import."""
REFEREE_CPU = 4
"""The tests may compute this many times as long as the answer."""
LONGEST_PAUSE = 0.02
"""Seconds between two looks at the processes, and so what may be used above the limits that the kernel doesn't keep."""
MOST_FILES = 256
"""Files in the scratch folder."""
GRACE = 0.1
"""Seconds that an answer's process has to end by itself, so that it can be told how it ended."""
CONFINED = b"confined"
ORDER_BYTES = 4
"""An order is the limit of processor time, in seconds; what belongs to it are its descriptors."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What holds for all answers of a sandbox."""

    threads: int
    """Threads of a process."""
    scratch_bytes: int
    """Size of all files in the scratch folder."""
    scratch: str
    """Folder in which each answer gets one of its own."""
    bounds: Bounds
    """What a process may use and reach."""

    @classmethod
    def from_json(cls, line: str) -> Rules:
        """Reads what `to_json` wrote."""
        values = json.loads(line)
        bounds = values.pop("bounds")
        lists = {name: tuple(bounds.pop(name)) for name in ("readable", "writable")}
        return cls(**values, bounds=Bounds(**{**bounds, **lists, "seccomp": b64decode(bounds["seccomp"])}))

    def within(self, cpu_seconds: int) -> Rules:
        """The same with another limit of processor time."""
        return replace(self, bounds=replace(self.bounds, cpu_seconds=cpu_seconds))

    @property
    def wall_seconds(self) -> float:
        """Longest time for one answer and its tests; generous, because machines are shared."""
        return 6.0 * self.bounds.cpu_seconds + 10

    def to_json(self) -> str:
        """The rules as one line."""
        values = asdict(self)
        values["bounds"]["seccomp"] = b64encode(self.bounds.seccomp).decode()
        return json.dumps(values)


@dataclass(kw_only=True)
class Ended:
    """How the two processes of one answer ended."""

    fault: str = ""
    """Why they could not be started; that is our fault, and no verdict."""
    stopped: str = ""
    """The limit for which the warden stopped them: wall, threads or scratch; empty if none."""
    signal: int = 0
    """The signal that ended the answer's process, if one did before it was stopped."""
    cpu_seconds: float = 0.0
    """Processor time of the answer's process."""
    referee_signal: int = 0
    """The signal that ended the process of the tests."""


@dataclass(kw_only=True)
class _Pair:
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


def main() -> None:
    """Serves one grader until it ends; standard input is a socket."""
    outlive_nobody()
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    control = socket.socket(fileno=os.dup(0))
    rules = Rules.from_json(_line(control))
    control.sendall(b"ready\n")
    number = 0
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, ORDER_BYTES, 5)
        if not order:
            return
        number += 1
        folder = Path(rules.scratch) / str(number)
        folder.mkdir()
        ended = _attend(rules.within(int.from_bytes(order, "big")), folder, descriptors)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        control.sendall(json.dumps(asdict(ended)).encode() + b"\n")


def _line(control: socket.socket) -> str:
    line = b""
    while not line.endswith(b"\n"):
        part = control.recv(1)
        if not part:
            sys.exit(0)
        line += part
    return line.decode()


def _attend(rules: Rules, folder: Path, descriptors: list[int]) -> Ended:
    """Starts both processes, each with its own descriptors and no other, and sees them to their end."""
    program, link, tests, other_link, verdict = descriptors
    own = [str(folder), os.devnull]
    inside = replace(rules.bounds, writable=tuple(own))
    outside = replace(rules.bounds, cpu_seconds=REFEREE_CPU * rules.bounds.cpu_seconds, writable=())
    candidate, first = _child(inside, folder, [program, link], _candidate)
    referee, second = _child(outside, folder, [tests, other_link, verdict], _referee)
    for descriptor in descriptors:
        os.close(descriptor)
    pair = _Pair(candidate=candidate, referee=referee, folder=folder, living={candidate, referee})
    faults = [_report(ready) for ready in (first, second)]
    if any(faults):
        pair.kill()
        return Ended(fault=next(filter(None, faults)))
    return _watch(pair, rules)


def _child(bounds: Bounds, folder: Path, descriptors: list[int], work: Callable[..., None]) -> tuple[int, int]:
    """Forks a process; returns its number, and where it reports that it is confined."""
    ready, report = os.pipe()
    pid = os.fork()
    if not pid:
        _live(bounds, folder, [report, *descriptors], work)
    os.close(report)
    return pid, ready


def _live(bounds: Bounds, folder: Path, descriptors: list[int], work: Callable[..., None]) -> NoReturn:
    """A child's whole life."""
    try:
        os.setsid()
        os.chdir(folder)
        outlive_nobody({"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "PATH": ""})
        report, *mine = keep_only(descriptors)
        try:
            confine(bounds)
        except OSError as error:
            os.write(report, str(error).encode())
        else:
            os.write(report, CONFINED)
            os.close(report)
            work(*mine)
    finally:
        os._exit(0)


def _report(ready: int) -> str:
    """Why a process could not be confined; empty if it was. Nothing of an answer has been read by then."""
    with open(ready, "rb") as file:
        said = file.read()
    return "" if said == CONFINED else said.decode() or "a process of the sandbox ended before it was confined"


def _candidate(program: int, link: int) -> None:
    with open(program, encoding="utf-8", errors="surrogatepass") as file:
        text = file.read()
    with contextlib.suppress(EOFError, OSError):
        serve(text, socket.socket(fileno=link))


def _referee(tests: int, link: int, verdict: int) -> None:
    with open(tests, encoding="utf-8", errors="surrogatepass") as file:
        order: dict[str, Any] = json.load(file)
    judgement = Judgement(outcome="broken_tests", detail="they did not come to their end")
    try:
        judgement = judge(order["tests"], order["entry_point"], socket.socket(fileno=link))
    finally:
        os.write(verdict, json.dumps(judgement.to_dict()).encode())


def _watch(pair: _Pair, rules: Rules) -> Ended:
    """Waits for the verdict, and stops what goes beyond its limits."""
    end, pause = time.monotonic() + rules.wall_seconds, 0.0005
    while pair.referee in pair.living:
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        pair.reap()
        stopped = "wall" if time.monotonic() > end else _beyond(pair, rules)
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


def _beyond(pair: _Pair, rules: Rules) -> str:
    """Which limit that the kernel doesn't keep is broken."""
    for pid in pair.living:
        with contextlib.suppress(OSError):  # no /proc, or ended meanwhile
            if len(os.listdir(f"/proc/{pid}/task")) > rules.threads:
                return "threads"
    files = list(pair.folder.iterdir())
    sizes = 0
    for file in files[:MOST_FILES]:
        with contextlib.suppress(OSError):
            sizes += file.lstat().st_size
    return "scratch" if len(files) > MOST_FILES or sizes > rules.scratch_bytes else ""
