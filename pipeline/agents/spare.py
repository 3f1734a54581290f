"""How much memory is free where a replica computes: of a GPU, or of the machine and of the container that it is in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
"""Where the kernel tells of limits: below proc and sys."""
LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""The files of a group of processes, version 2 and 1: what it may have, and what it has."""
CACHED = re.compile(r"^(?:total_)?(?:in)?active_file (\d+)$", re.MULTILINE)
"""Copies of files, which the kernel drops when memory gets short."""


@dataclass(frozen=True, kw_only=True)
class Spare:
    """Memory of a machine, a container or a GPU."""

    free_bytes: int
    """What can be had."""
    total_bytes: int
    """What there is."""

    @property
    def share(self) -> float:
        """How much of it is free."""
        return self.free_bytes / self.total_bytes


def spare_memory(root: Path = ROOT) -> Spare:
    """Memory of this machine, or of the group of processes that this one is in, whichever has less to give."""
    import psutil

    memory = psutil.virtual_memory()
    whole = Spare(free_bytes=memory.available, total_bytes=memory.total)
    return min([whole, *_groups(root)], key=lambda spare: spare.free_bytes)


def spare_gpu_memory() -> Spare:
    """Memory of the GPU that this process computes on."""
    import torch

    free, total = torch.cuda.mem_get_info()
    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return Spare(free_bytes=free + unused, total_bytes=total)


def _groups(root: Path) -> Iterator[Spare]:
    """The groups of processes, each inside the next one, that have a limit of their own."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, place = line.split(":", 2)
            if kinds in ("", "memory"):
                top = root / "sys/fs/cgroup" / kinds
                for folder in (top / place.strip("/"), *(top / place.strip("/")).parents):
                    yield from _group(folder)
                    if folder == top:
                        break


def _group(folder: Path) -> Iterator[Spare]:
    for limit, usage in LIMITS:
        with suppress(OSError, ValueError):  # the file is not there, or says "max"
            total, used = (int((folder / name).read_text()) for name in (limit, usage))
            cached = sum(map(int, CACHED.findall((folder / "memory.stat").read_text())))
            if total < 1 << 60:  # version 1 has no word for "no limit"
                yield Spare(free_bytes=max(total - max(used - cached, 0), 0), total_bytes=total)
