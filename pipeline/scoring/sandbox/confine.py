"""What a process gives up before it runs code that nobody has read. Runs inside the sandbox; there is no way back.

Only the standard library, because every process of the sandbox carries it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence

from pipeline.scoring.sandbox.rules import Bounds

_SET_DEATH_SIGNAL, _SET_DUMPABLE, _SET_SECCOMP, _SET_NO_NEW_PRIVS = 1, 4, 22, 38
_FILTER_MODE = 2
_CAPABILITY_VERSION = 0x20080522


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def outlive_nobody(environment: Mapping[str, str]) -> None:
    """Ties this process's life to its parent's, hides it from its neighbours, and replaces its environment."""
    if sys.platform == "linux":
        _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    hide()
    os.environ.clear()
    os.environ.update(environment)


def hide() -> None:
    """Keeps other processes of the same user from this one's memory."""
    if sys.platform == "linux":
        _prctl(_SET_DUMPABLE, 0)


def confine(bounds: Bounds) -> None:
    """Applies the bounds to this process.

    Raises:
        OSError: The kernel refuses one of them.
    """
    _limit(resource.RLIMIT_CPU, bounds.cpu_seconds)
    _limit(resource.RLIMIT_FSIZE, bounds.file_bytes)
    _limit(resource.RLIMIT_NOFILE, bounds.open_files)
    _limit(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        _limit(resource.RLIMIT_AS, bounds.memory_bytes)
        _prctl(_SET_NO_NEW_PRIVS, 1)
        _drop_capabilities()
    if bounds.landlock:
        from pipeline.scoring.sandbox import landlock

        landlock.restrict(readable=bounds.readable, writable=bounds.writable)
    if bounds.seccomp:
        _filter(bounds.seccomp)


def keep_only(descriptors: Sequence[int]) -> list[int]:
    """Closes all file descriptors but these; standard input and outputs lead nowhere.

    Returns:
        Their new numbers: 3, 4, ... in the order given.
    """
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 16) for descriptor in descriptors]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    kept = [os.dup2(descriptor, 3 + place) for place, descriptor in enumerate(high)]
    os.closerange(3 + len(kept), 1024)
    return kept


def _limit(what: int, amount: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(what, (bound, bound))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset was refused")


def _filter(program: bytes) -> None:
    instructions = ctypes.create_string_buffer(program, len(program))
    described = _Program(length=len(program) // 8, instructions=ctypes.cast(instructions, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), ctypes.byref(described), 0, 0):
        raise OSError(ctypes.get_errno(), "the seccomp filter was refused")
