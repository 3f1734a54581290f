"""Runs an answer's program against its tests, locked in; the verdict can't be forged and nothing outlives it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Self

from pipeline.scoring.sandbox import filters
from pipeline.scoring.sandbox.isolation import HERE, SCRATCH, Isolation, inside_namespaces, isolation, readable
from pipeline.scoring.sandbox.rules import Bounds, Rules
from pipeline.scoring.sandbox.verdicts import CodeRun, SandboxError, verdict_on
from pipeline.scoring.sandbox.warden import ORDER_BYTES
from pipeline.scoring.sandbox.watch import Ended

START_SECONDS = 60
"""How long the warden may take to load what all answers need."""
REPORT_SECONDS = 60
"""How long it may take to clear up after an answer."""
END_SECONDS = 10
"""How long it may take to end."""
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # an answer that hangs on the order of a set gets the same verdict every time
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",  # threads don't take address space by the 64 MB
    "LANG": "C.UTF-8",
}
"""What the warden finds in its environment; an answer finds less."""
BEGIN = f"""
import sys, types
for name, path in (("pipeline", ""), ("pipeline.scoring", ""), ("pipeline.scoring.sandbox", {HERE!r})):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from pipeline.scoring.sandbox.warden import main
main()
"""
"""Loads the warden and what it needs, and nothing else of this package."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one answer may use."""

    cpu_seconds: int = 10
    """Processor time for all its tests; what else the machine does is not counted against it."""
    memory_bytes: int = 4 << 30
    """Address space of its process."""
    file_bytes: int = 4 << 20
    """Size of any one file; of files that are open but have no name any more, 64 may exist until it ends."""
    scratch_bytes: int = 64 << 20
    """Size of all its files that have names."""
    threads: int = 32
    """Threads; it may start no process."""


class Sandbox:
    """A place where programs run; started when first needed, ended with its block."""

    def __init__(self, limits: Limits | None = None, *, strict: bool = False, use: Isolation | None = None) -> None:
        """Finds out what this machine can lock code in with.

        Args:
            limits: What one answer may use.
            strict: Whether to refuse a machine that can't isolate.
            use: What to lock in with; by default all that works here.

        Raises:
            SandboxError: It is strict, and the machine can't isolate.
        """
        self.isolation = use or isolation()
        """What locks the code in."""
        if strict and not self.isolation.complete:
            raise SandboxError(f"this machine can't isolate code (it has {self.isolation.name}); {HELP}")
        self._limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._scratch = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, program: str, tests: str, entry_point: str, *, cpu_seconds: int | None = None) -> CodeRun:
        """Runs a program against tests.

        Args:
            program: The answer's Python source.
            tests: A program that calls the answer's functions by name and raises where one is wrong. It runs in another
                process: arguments and results are plain data (numbers, texts, lists, tuples, sets, dicts, arrays, ...).
            entry_point: The function that the program has to define.
            cpu_seconds: Processor time for it; by default that of the limits.

        Raises:
            BrokenTestsError: The tests are at fault, as it seems from the outside.
            SandboxError: The sandbox broke.
        """
        if self._process is None:
            self._start()
        limit = cpu_seconds or self._limits.cpu_seconds
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        try:
            said, ended = self._attend(limit, program, json.dumps({"tests": tests, "entry_point": entry_point}))
        except (OSError, ValueError) as error:
            self.close()
            raise SandboxError(f"the sandbox broke: {error}") from error
        if ended.fault:
            raise SandboxError(f"code can't be locked in: {ended.fault}")
        return verdict_on(said, ended, limit)

    def close(self) -> None:
        """Ends the warden, and with it whatever might still run."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)  # it ends by itself with the connection, and whatever it watches
            self._process.kill()
            self._process.communicate()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._process, self._control, self._scratch = None, None, ""

    def _start(self) -> None:
        limits, shut = self._limits, self.isolation
        self._scratch = "" if shut.namespaces else os.path.realpath(tempfile.mkdtemp(prefix="latentmas-code-"))
        command = [sys.executable, "-s", "-P", "-B", "-c", BEGIN]
        if shut.namespaces:
            command = inside_namespaces(command, scratch_bytes=2 * limits.scratch_bytes)
        bounds = Bounds(
            cpu_seconds=limits.cpu_seconds,
            memory_bytes=limits.memory_bytes,
            file_bytes=limits.file_bytes,
            readable=readable(),
            landlock=shut.landlock,
            seccomp=filters.program() if shut.seccomp else b"",
        )
        rules = Rules(
            threads=limits.threads,
            scratch_bytes=limits.scratch_bytes,
            scratch=self._scratch or SCRATCH,
            bounds=bounds,
        )
        try:
            self._launch(command)
            assert self._control is not None, "launched"
            self._control.settimeout(START_SECONDS)
            self._control.sendall(rules.to_json().encode() + b"\n")
            self._line()
        except (OSError, ValueError) as error:
            said = self._last_words()
            self.close()
            raise SandboxError(f"the sandbox can't be started: {said or error}") from error

    def _launch(self, command: list[str]) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=ENVIRONMENT,
            )

    def _attend(self, limit: int, program: str, order: str) -> tuple[bytes, Ended]:
        """Hands both processes what they need, and waits for the verdict and the warden's report."""
        assert self._control is not None, "started"
        with contextlib.ExitStack() as ours:
            (program_out, program_in), (order_out, order_in), (said_out, said_in) = os.pipe(), os.pipe(), os.pipe()
            files = [ours.enter_context(open(descriptor, "wb")) for descriptor in (program_in, order_in)]
            said = ours.enter_context(open(said_out, "rb"))
            link, other_link = socket.socketpair()
            theirs = [program_out, link.detach(), order_out, other_link.detach(), said_in]
            try:
                socket.send_fds(self._control, [limit.to_bytes(ORDER_BYTES, "big")], theirs)
            finally:
                for descriptor in theirs:
                    os.close(descriptor)
            for file, text in zip(files, (program, order), strict=True):
                with contextlib.suppress(BrokenPipeError), file:
                    file.write(text.encode("utf-8", "surrogatepass"))
            verdict = said.read()
            self._control.settimeout(REPORT_SECONDS)
            return verdict, Ended(**json.loads(self._line()))

    def _line(self) -> bytes:
        """The warden's next line.

        Raises:
            EOFError: It has ended.
        """
        assert self._control is not None, "started"
        line = b""
        while not line.endswith(b"\n"):
            part = self._control.recv(1 << 12)
            if not part:
                raise OSError("its warden has ended")
            line += part
        return line

    def _last_words(self) -> str:
        """The last line of what a warden that could not start has said."""
        assert self._process is not None, "started"
        assert self._process.stderr is not None, "piped"
        self._process.kill()
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""


HELP = (
    "install bubblewrap (apt-get install bubblewrap), or use Linux 5.13 or newer with Landlock and libseccomp; "
    "--sandbox auto runs with what there is"
)
"""What to do where code can't be isolated."""
