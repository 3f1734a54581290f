"""The most memory that this process has had resident since it was last made to forget, so that each run tells its own.

Linux keeps the mark (proc(5): VmHWM in `status`; writing 5 to `clear_refs` resets it). Where one of the two is missing,
the mark is that of the process's whole life.
"""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress
from pathlib import Path

SELF = Path("/proc/self")
"""What the kernel tells this process of itself."""


def forget_peak(proc: Path = SELF) -> None:
    """Sets the mark back to what is resident now, where the kernel lets us."""
    with suppress(OSError):
        file = os.open(proc / "clear_refs", os.O_WRONLY)  # which its owner may write and not read
        with open(file, "w") as opened:
            opened.write("5")


def peak_resident_bytes(proc: Path = SELF) -> int:
    """Bytes at the mark."""
    with suppress(OSError):
        mark = re.search(r"^VmHWM:\s*(\d+) kB$", (proc / "status").read_text(), re.MULTILINE)
        if mark:
            return int(mark[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
