"""How a program did: what its tests say, and how its process ended."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.scoring.sandbox.referee import Judgement
from pipeline.scoring.sandbox.watch import Ended

CodeReason = Literal[
    "correct",
    "test_failed",
    "runtime_error",
    "syntax_error",
    "no_function",
    "exited",
    "timeout",
    "crashed",
    "over_limit",
]
"""How a program did on its tests."""


class SandboxError(Exception):
    """The sandbox or the tests failed, not the answer: there is no verdict."""


class BrokenTestsError(SandboxError):
    """The tests end in a way that looks like a fault of theirs; whether it is shows with a program that is right."""


@dataclass(frozen=True, kw_only=True)
class CodeRun:
    """How a program did on its tests."""

    reason: CodeReason
    """`correct` if all tests passed, else why not."""
    detail: str = ""
    """Why not, in one line."""
    cpu_seconds: float = 0.0
    """Processor time of the program."""
    waited: bool = False
    """Whether it ran out of wall time and not of processor time; the machine may have been too busy for it."""


def _judgement(verdict: bytes) -> Judgement | None:
    """What the tests say; none where their process could not say it to the end."""
    try:
        return Judgement(**json.loads(verdict))
    except ValueError:
        return None


def verdict_on(said: bytes, ended: Ended, limit: int) -> CodeRun:
    """Puts together what the tests and the warden say.

    Args:
        said: What the process of the tests said; cut short if it did not come to its end.
        ended: How the processes ended.
        limit: Processor time that the answer had, in seconds.

    Raises:
        BrokenTestsError: It looks as if the tests were at fault.
    """
    judgement = _judgement(said)
    used = ended.cpu_seconds
    if judgement and judgement.outcome == "passed":
        return CodeRun(reason="correct", cpu_seconds=used)
    if judgement and judgement.outcome == "broken_tests":
        raise BrokenTestsError(f"its tests are at fault: {judgement.detail}")
    if ended.stopped in ("threads", "scratch"):
        return CodeRun(reason="over_limit", detail=f"it used more {ended.stopped} than allowed", cpu_seconds=used)
    if ended.stopped or used > 0.9 * limit or ended.referee_signal in (signal.SIGKILL, signal.SIGXCPU):
        waited = ended.stopped == "wall" and used < limit / 2
        what = "it computed little and took too long" if waited else f"more than {limit} s of processor time"
        return CodeRun(reason="timeout", detail=what, cpu_seconds=used, waited=waited)
    if ended.signal or judgement is None:
        name = signal.Signals(ended.signal or ended.referee_signal or signal.SIGKILL).name
        return CodeRun(reason="crashed", detail=f"its process was ended by {name}", cpu_seconds=used)
    reason: Any = "exited" if judgement.outcome == "ended" else judgement.outcome
    return CodeRun(reason=reason, detail=judgement.detail, cpu_seconds=used)
