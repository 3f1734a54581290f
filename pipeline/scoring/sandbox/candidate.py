"""The process of an answer: runs its program, then calls its functions for the process of the tests.

It sees neither the tests nor what they expect, and what it says is taken as values and nothing more: whatever the
program does to this process, it can only change what its own functions return. Runs inside the sandbox.
"""

from __future__ import annotations

import builtins
import sys
from socket import socket
from types import ModuleType
from typing import Any

from pipeline.scoring.sandbox.codec import packed, receive, send, transmit

NAME = "answer"
"""The module that the program runs as; not __main__, so that what it does when run as a script is left out."""
MOST_TEXT = 300
"""Characters of what is told of an exception."""


def serve(program: str, link: socket) -> None:
    """Runs a program and answers calls until the other side ends.

    Args:
        program: The answer's Python source.
        link: Connected to the process of the tests.
    """
    sys.set_int_max_str_digits(0)
    module = ModuleType(NAME)
    sys.modules[NAME] = module
    sys.argv = [NAME]
    try:
        exec(compile(program, f"<{NAME}>", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:  # the program's, whatever it is, SystemExit too
        send(link, {"failed": fault(error), "syntax": isinstance(error, SyntaxError)})
        return
    send(link, {"functions": [name for name, value in vars(module).items() if callable(value)]})
    while True:
        call = receive(link)
        try:
            reply = packed({"value": vars(module)[call["name"]](*call["args"], **call["kwargs"])})
        except BaseException as error:  # the answer's own, or that of a value which can't even be looked at
            reply = packed({"error": kind_of(error), "text": fault(error)})
        transmit(link, reply)


def kind_of(error: BaseException) -> str:
    """The name of the built-in exception that comes nearest."""
    names: list[str] = [kind.__name__ for kind in type(error).__mro__]
    return next(name for name in names if isinstance(getattr(builtins, name, None), type))


def fault(error: BaseException) -> str:
    """An exception in one short line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # the answer's own exceptions may have any __str__
        text = ""
    name = type(error).__name__
    return f"{name}: {text}"[:MOST_TEXT] if text else name[:MOST_TEXT]


def error_of(kind: str, text: str) -> BaseException:
    """The exception that the tests see where the answer raised one."""
    found: Any = getattr(builtins, kind, None)
    ends_loops = found in (StopIteration, StopAsyncIteration)  # of the tests, without a word
    if ends_loops or not (isinstance(found, type) and issubclass(found, Exception)):
        return RuntimeError(text)
    try:
        return found(text)
    except TypeError:  # UnicodeDecodeError wants five arguments
        return RuntimeError(text)
