"""A Ray head of its own for the tests, ended by the id of its process group."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")
READY_SECONDS = 90


@dataclass(frozen=True)
class RayHead:
    address: str
    """For drivers: host:port."""
    dashboard: str
    """For `ray job submit`: a URL."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def running_head(num_cpus: int) -> Iterator[RayHead]:
    port, dashboard, agent, agent_grpc, metrics, client = free_ports(6)
    temp = tempfile.mkdtemp(prefix="lm-", dir="/tmp")  # short: Ray's socket paths have a limit
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [str(RAY), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--num-cpus={num_cpus}"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--dashboard-agent-grpc-port={agent_grpc}", f"--metrics-export-port={metrics}", f"--temp-dir={temp}"]
    command += [f"--ray-client-server-port={client}", "--object-store-memory=500000000"]
    log = Path(temp) / "head.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        for each in (port, dashboard):
            _wait_for(each, process, log)
        yield RayHead(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(temp, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"port {port} did not open: {log.read_text()}")
