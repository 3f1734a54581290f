"""The warden: one small process that forks the two processes of each answer, watches them and leaves nobody behind.

It has loaded what they need once, so that starting them costs milliseconds. It is forked from before any program is
read: programs and tests go past it, from the grader to the processes themselves.

    grader --(socket: descriptors)--> warden --fork--> candidate (answer's program)  <==link==>  referee (tests)
      ^------------------------------ judgement, straight from the referee -------------------------|
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from pipeline.scoring.sandbox.candidate import serve
from pipeline.scoring.sandbox.confine import confine, hide, keep_only, outlive_nobody
from pipeline.scoring.sandbox.referee import Judgement, judge
from pipeline.scoring.sandbox.rules import Bounds, Rules
from pipeline.scoring.sandbox.watch import Ended, Pair, watch

PRELOADED = ("collections", "itertools", "math", "re", "typing", "heapq", "numpy")
"""What nearly all answers and tests import."""
REFEREE_CPU = 4
"""The tests may compute this many times as long as the answer."""
CONFINED = b"confined"
ORDER_BYTES = 4
"""An order is the limit of processor time, in seconds; what belongs to it are its descriptors."""


def main() -> None:
    """Serves one grader until it ends; standard input is a socket."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an owner that ignores it has handed that on
    hide()
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    control = socket.socket(fileno=os.dup(0))
    rules = Rules.from_json(_line(control))
    control.sendall(b"ready\n")
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, ORDER_BYTES, 5)
        if not order:
            return
        _clear(Path(rules.scratch))
        folder = Path(tempfile.mkdtemp(dir=rules.scratch))
        gone = functools.partial(_is_readable, control)  # its owner says nothing more now, so that is its end
        ended = _attend(rules.within(int.from_bytes(order, "big")), folder, descriptors, gone)
        _clear(Path(rules.scratch))
        control.sendall(json.dumps(asdict(ended)).encode() + b"\n")


def _clear(scratch: Path) -> None:
    """Removes whatever an answer has left; it can make no folders, so that there is one level of them."""
    for folder in scratch.iterdir():
        shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()


def _is_readable(control: socket.socket) -> bool:
    return bool(select.select([control], [], [], 0)[0])


def _line(control: socket.socket) -> str:
    line = b""
    while not line.endswith(b"\n"):
        part = control.recv(1)
        if not part:
            sys.exit(0)
        line += part
    return line.decode()


def _attend(rules: Rules, folder: Path, descriptors: list[int], owner_is_gone: Callable[[], bool]) -> Ended:
    """Starts both processes, each with its own descriptors and no other, and sees them to their end."""
    program, link, tests, other_link, verdict = descriptors
    own = [str(folder), os.devnull]
    inside = replace(rules.bounds, writable=tuple(own))
    outside = replace(rules.bounds, cpu_seconds=REFEREE_CPU * rules.bounds.cpu_seconds, writable=())
    candidate, first = _child(inside, folder, [program, link], _candidate)
    referee, second = _child(outside, folder, [tests, other_link, verdict], _referee)
    for descriptor in descriptors:
        os.close(descriptor)
    pair = Pair(candidate=candidate, referee=referee, folder=folder, living={candidate, referee})
    faults = [_report(ready) for ready in (first, second)]
    if any(faults):
        pair.kill()
        return Ended(fault=next(filter(None, faults)))
    return watch(pair, rules, owner_is_gone)


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
    judgement = Judgement(outcome="test_failed", detail="its tests did not come to their end")
    try:
        judgement = judge(order["tests"], order["entry_point"], socket.socket(fileno=link))
    finally:
        os.write(verdict, json.dumps(judgement.to_dict()).encode())
