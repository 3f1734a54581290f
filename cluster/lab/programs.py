"""Programs inside a node's namespace: Ray, the measurement of the link, and whatever else is run there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.lab.namespaces import Node

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
PORT = 6379
READY_SECONDS = 120
STORE_BYTES = 1_000_000_000
"""Object store of each node."""
MEASURED_SECONDS = 1.5
"""How long the link is to be busy in each direction when it is measured."""

AWAIT_NODES = """
import socket, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
while socket.socket().connect_ex((host, port)):
    time.sleep(0.2)
if count > 1:
    import ray
    ray.init(address=f"{host}:{port}", log_to_driver=False, logging_level="ERROR")
    while sum(node["Alive"] for node in ray.nodes()) < count:
        time.sleep(0.2)
"""
"""Ends when Ray's head takes connections and has so many nodes."""


class LabError(Exception):
    """Something that was started in the lab did not come up."""


@dataclass(frozen=True)
class LinkSpeed:
    """What one TCP connection got out of the link."""

    gbit_out: float
    """From the first node to the second, in Gbit/s."""
    gbit_in: float
    """The other way."""
    round_trip_ms: float


@contextmanager
def started(node: Node, words: list[str], *, log: Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A program in a node's namespace, in a process group of its own; stdout is piped, stderr goes to `log`."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            node.command(*words),
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=cwd or node.home,
            env=_environment(),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.stdout:
            process.stdout.close()


def measured_link(here: Node, there: Node, *, gbit: float) -> LinkSpeed:
    """Sends bytes both ways over the link before anything else uses it.

    Raises:
        LabError: The nodes can't reach each other.
    """
    wire, log = str(Path(__file__).with_name("wire.py")), here.home / "wire.log"
    size = int(gbit * 1e9 / 8 * MEASURED_SECONDS)
    with (
        started(there, [sys.executable, wire, "serve", there.address], log=there.home / "wire.log"),
        started(here, [sys.executable, wire, "measure", there.address, str(size)], log=log) as client,
    ):
        told, _ = client.communicate()
    if client.returncode:
        raise LabError(f"the link could not be measured: {last_line(log)}")
    return LinkSpeed(**json.loads(told))


@contextmanager
def running_ray(head: Node, worker: Node) -> Iterator[str]:
    """A Ray head on the first node and a raylet on the second, room for one replica each; yields the cluster's address.

    Raises:
        LabError: One of them does not come up.
    """
    address = f"{head.address}:{PORT}"
    with ExitStack() as stack:
        first = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        running = [stack.enter_context(_raylet(head, first))]
        _await_nodes(head, running, 1)
        running.append(stack.enter_context(_raylet(worker, [f"--address={address}"])))
        _await_nodes(head, running, 2)
        yield address


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


@contextmanager
def _raylet(node: Node, words: list[str]) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    log = node.home / "ray.log"
    # Of CPUs a replica takes a fraction, so that both would be packed onto one node. A node of one GPU, which Ray need
    # not find, holds one replica; where torch finds none the replica computes on the CPU.
    command = [str(RAY), "start", "--block", "--num-cpus=1", "--num-gpus=1", f"--node-ip-address={node.address}"]
    command += [f"--temp-dir={node.home / 'ray'}", f"--object-store-memory={STORE_BYTES}", *words]
    # Ray tells its story on stdout, which nobody reads: into the log, or the pipe would fill.
    with started(node, ["sh", "-c", 'exec "$@" >&2', "sh", *command], log=log) as process:
        yield process, log


def _await_nodes(head: Node, running: list[tuple[subprocess.Popen[str], Path]], count: int) -> None:
    end = time.monotonic() + READY_SECONDS
    words = [sys.executable, "-c", AWAIT_NODES, head.address, str(PORT), str(count)]
    log = head.home / "await.log"
    with started(head, words, log=log) as probe:
        while probe.poll() is None:
            for process, raylet_log in running:
                if process.poll() is not None:
                    raise LabError(f"Ray did not start: {last_line(raylet_log)}")
            if time.monotonic() > end:
                raise LabError(f"Ray had no {count} nodes after {READY_SECONDS} s")
            time.sleep(0.1)
    if probe.returncode:
        raise LabError(f"Ray does not answer: {last_line(log)}")


def _environment() -> dict[str, str]:
    """This process's, with this copy of the code, and without what would send Ray elsewhere."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**mine, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
