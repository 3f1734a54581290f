"""What this machine has to lock code in with, tried out and not assumed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.scoring.sandbox import filters

HERE = str(Path(__file__).parent)
"""The folder of this package."""
SCRATCH = "/scratch"
"""The scratch folder inside namespaces."""
_TRIAL_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """What locks the code in."""

    namespaces: bool
    """bubblewrap: a file system, process table and network of its own, made of nothing but the interpreter."""
    landlock: bool
    """The kernel refuses all files but the interpreter's and the scratch folder."""
    seccomp: bool
    """The kernel refuses networks, processes, signals, programs and whatever else is not needed to compute."""

    @property
    def complete(self) -> bool:
        """Whether code can reach neither files, nor processes, nor a network."""
        return self.seccomp and (self.landlock or self.namespaces)

    @property
    def name(self) -> str:
        """What there is, in one word: `namespaces+landlock+seccomp`, or `limits` where there is nothing but limits."""
        return "+".join(part for part in ("namespaces", "landlock", "seccomp") if getattr(self, part)) or "limits"


@cache
def isolation() -> Isolation:
    """What works on this machine, for this user."""
    return Isolation(namespaces=_namespaces_work(), landlock=_landlock_works(), seccomp=bool(filters.program()))


def readable() -> tuple[str, ...]:
    """What code may read: the interpreter, its packages and the system's libraries."""
    packages = [sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib")]
    system = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share/zoneinfo"]
    files = ["/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]
    paths = dict.fromkeys((sys.prefix, sys.base_prefix, *packages, *system, *files))
    return tuple(path for path in paths if Path(path).exists())


def inside_namespaces(command: Sequence[str], *, scratch_bytes: int) -> list[str]:
    """The command that runs another one in namespaces of its own.

    Args:
        command: What to run; it finds the interpreter and this package where they are outside.
        scratch_bytes: Size of the scratch folder, which lies in memory.
    """
    folders = [path for path in (*readable(), HERE) if not path.startswith("/dev/")]
    binds = [part for path in folders for part in ("--ro-bind-try", path, path)]
    shut = ["--unshare-all", "--new-session", "--cap-drop", "ALL"]
    own = ["--proc", "/proc", "--dev", "/dev", "--size", str(scratch_bytes), "--tmpfs", SCRATCH, "--chdir", "/"]
    closed = [part for path in ("/proc", "/dev", "/") for part in ("--remount-ro", path)]
    return [shutil.which("bwrap") or "bwrap", *shut, *binds, *own, *closed, "--", *command]


def _namespaces_work() -> bool:
    if not shutil.which("bwrap"):
        return False
    trial = inside_namespaces([sys.executable, "-I", "-S", "-c", "pass"], scratch_bytes=1 << 20)
    try:
        done = subprocess.run(trial, capture_output=True, timeout=_TRIAL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _landlock_works() -> bool:
    if sys.platform != "linux":
        return False
    from pipeline.scoring.sandbox import landlock

    return landlock.version() > 0
