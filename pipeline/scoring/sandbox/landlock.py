"""Landlock: the Linux kernel's own way for a process to give up rights to files (Linux 5.13 and newer).

The three system calls have no wrapper in libc; numbers and structures are those of `linux/landlock.h`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = (1 << bit for bit in (1, 2, 3, 5, 8, 14))
_FILE_ONLY = 0b1 | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The version of Landlock that the kernel offers; 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))))


def restrict(*, readable: Sequence[str], writable: Sequence[str]) -> None:
    """Gives up all access to files but these, TCP, and signals to processes outside; there is no way back.

    The process must have set `no_new_privs`.

    Args:
        readable: Folders and files that may be read; those that don't exist are left out.
        writable: Folders in which plain files may be made, written and removed.

    Raises:
        OSError: The kernel refuses.
    """
    abi = version()
    handled = (1 << 13) - 1  # the rights of the first version, then what later ones added
    handled |= (1 << 13 if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (1 << 15 if abi >= 5 else 0)
    attributes = _Ruleset(fs=handled, net=0b11 if abi >= 4 else 0, scoped=0b11 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), 0))
    for paths, allowed in ((readable, _READ), (writable, _WRITE)):
        for path in paths:
            _allow(ruleset, path, allowed & handled)
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, allowed: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = allowed if os.path.isdir(path) else allowed & _FILE_ONLY
    rule = _PathBeneath(allowed=rights, parent=parent)
    _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    os.close(parent)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
