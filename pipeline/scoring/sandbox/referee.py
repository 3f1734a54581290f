"""The process of the tests: runs them on functions that live in the process of the answer, and gives the verdict.

The answer's code never runs here. Its functions are stand-ins that send their arguments over a link and get plain
values back, so the tests, `assert`, the comparison and the verdict are out of its reach. Runs inside the sandbox.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from socket import socket
from types import CodeType
from typing import Any, Literal

from pipeline.scoring.sandbox.candidate import MOST_TEXT, error_of, fault
from pipeline.scoring.sandbox.codec import receive, send

Outcome = Literal["passed", "test_failed", "runtime_error", "syntax_error", "no_function", "ended", "broken_tests"]
"""How the tests ended: `ended` if the answer's process did first, `broken_tests` if the fault is theirs."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the tests say."""

    outcome: Outcome
    """How they ended."""
    detail: str = ""
    """Why, in one line."""

    def to_dict(self) -> dict[str, str]:
        """Both fields."""
        return asdict(self)


class AnswerEnded(BaseException):
    """The answer's process has ended or talks nonsense; no `except Exception` of a test may swallow that."""


class AnswerRaised(Exception):
    """Marks what an answer's function raised; the tests see a built-in exception that is caused by it."""


def judge(tests: str, entry_point: str, link: socket) -> Judgement:
    """Runs the tests.

    Args:
        tests: Their Python source; they fail by raising.
        entry_point: The function that has to be there.
        link: Connected to the process of the answer.
    """
    sys.set_int_max_str_digits(0)
    try:
        code = compile(tests, "<tests>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return Judgement(outcome="broken_tests", detail=fault(error))
    try:
        hello = _receive(link)
        if "failed" in hello:
            outcome: Outcome = "syntax_error" if hello.get("syntax") else "runtime_error"
            return Judgement(outcome=outcome, detail=str(hello["failed"])[:MOST_TEXT])
        functions = set(map(str, hello.get("functions", ())))
        if entry_point not in functions:
            return Judgement(outcome="no_function", detail=f"it defines no {entry_point}")
        wanted = {entry_point} | (functions & _names(code)) - vars(builtins).keys()
        namespace: dict[str, Any] = {"__name__": "tests", **{name: _stand_in(link, name) for name in wanted}}
        exec(code, namespace)
    except AnswerEnded as error:
        return Judgement(outcome="ended", detail=str(error))
    except BaseException as error:  # whatever a test raises is its verdict
        return _verdict_on(error)
    return Judgement(outcome="passed")


def _verdict_on(error: BaseException) -> Judgement:
    raised = isinstance(error.__cause__, AnswerRaised)
    if raised:
        return Judgement(outcome="runtime_error", detail=str(error.__cause__))
    if isinstance(error, ImportError | NameError | SystemExit):
        return Judgement(outcome="broken_tests", detail=fault(error))
    return Judgement(outcome="test_failed", detail=fault(error))


def _stand_in(link: socket, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            send(link, {"name": name, "args": args, "kwargs": kwargs})
        except OSError:
            raise AnswerEnded(f"it ended before {name} was called") from None
        reply = _receive(link)
        if "value" in reply:
            return reply["value"]
        text = str(reply.get("text", ""))[:MOST_TEXT]
        raise error_of(str(reply.get("error", "")), text) from AnswerRaised(text)

    call.__name__ = name
    return call


def _receive(link: socket) -> dict[str, Any]:
    try:
        return receive(link)
    except (EOFError, OSError):
        raise AnswerEnded("it ended before its tests did") from None
    except Exception as error:  # hostile bytes: anything can be the matter with them
        raise AnswerEnded(f"what it sent is no value: {fault(error)}") from None


def _names(code: CodeType) -> set[str]:
    """All global names that a program uses, those of its functions included."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))
