"""What holds for the processes of a sandbox, and how the warden is told."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one process may use and reach."""

    cpu_seconds: int
    """Processor time; then the kernel kills it."""
    memory_bytes: int
    """Address space."""
    file_bytes: int
    """Size of any one file."""
    open_files: int = 64
    """File descriptors."""
    readable: tuple[str, ...] = ()
    """Folders and files that it may read: those of the interpreter."""
    writable: tuple[str, ...] = ()
    """Folders that it may write to."""
    landlock: bool = False
    """Whether access to files is bounded by the kernel."""
    seccomp: bytes = b""
    """The filter of system calls; empty for none."""


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
