"""MLflow's server on loopback, over a store of a test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusters import free_ports

READY_SECONDS = 90
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
"""Keeps MLflow, its server and its pages from calling anyone outside."""


@contextmanager
def served(database: Path) -> Iterator[str]:
    """Serves a SQLite store as `make ui` does; gives the address."""
    [port] = free_ports(1)
    log = database.with_suffix(".log")
    program = Path(sys.executable).with_name("mlflow")
    where = ["--backend-store-uri", f"sqlite:///{database}", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [str(program), "server", *where, "--workers", "1"],
            stdout=out,
            stderr=out,
            cwd=database.parent,
            env={**os.environ, **QUIET},
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address, process, log)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it takes its time over an orderly end, and has nothing to lose
        process.wait(10)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
