"""Ray clusters of their own for the tests, every node ended by the id of its process group."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")
NODE_IP = "127.0.0.1"
STORE_BYTES = 500_000_000
READY_SECONDS = 90
STARTED = "Ray runtime started"


@dataclass(frozen=True)
class RayHead:
    address: str
    """For drivers: host:port."""
    dashboard: str
    """For `ray job submit`: a URL."""


@dataclass(frozen=True)
class RayNode:
    """One node: `ray start --block` and everything it started, in a process group of their own."""

    process: subprocess.Popen[bytes]
    node_ip: str
    port: int
    """The raylet's: `NodeManagerPort` in `ray.nodes()`, which tells nodes of one machine apart."""

    def kill(self) -> None:
        """Takes the node away at once, as a power cut does."""
        self._signal(signal.SIGKILL)
        self.process.wait(10)

    def end(self) -> None:
        """Ends the node in order, if it still runs."""
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


@dataclass(frozen=True)
class RayCluster:
    head: RayHead
    nodes: tuple[RayNode, ...]
    """The head node first."""
    environment: dict[str, str]
    """For processes that talk to it: the token, or none."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind((NODE_IP, 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def running_head(num_cpus: int) -> Iterator[RayHead]:
    """A cluster of one node, without authentication."""
    with running_cluster([num_cpus]) as cluster:
        yield cluster.head


@contextmanager
def running_cluster(
    cpus_per_node: Sequence[int],
    *,
    num_gpus: Sequence[int] = (),
    object_store_memory: Sequence[int] = (),
    token: str | None = None,
) -> Iterator[RayCluster]:
    """A head and further nodes, all on this machine.

    Args:
        cpus_per_node: One node each; the first is the head.
        num_gpus: GPUs that the nodes claim to have; nodes without an entry have none.
        object_store_memory: Bytes of the nodes' object stores; nodes without an entry have STORE_BYTES.
        token: Switches token authentication on.
    """
    temp = Path(tempfile.mkdtemp(prefix="lm-", dir="/tmp"))  # short: Ray's socket paths have a limit
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **authentication(token)}
    port, dashboard, client = free_ports(3)
    head = RayHead(f"{NODE_IP}:{port}", f"http://{NODE_IP}:{dashboard}")
    as_head = ["--head", f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, temp, ignore_errors=True)
        nodes = []
        for index, num_cpus in enumerate(cpus_per_node):
            gpus, store = _at(num_gpus, index, 0), _at(object_store_memory, index, STORE_BYTES)
            size = [f"--num-cpus={num_cpus}", f"--num-gpus={gpus}", f"--object-store-memory={store}"]
            part = as_head if index == 0 else [f"--address={head.address}"]
            folder = f"--temp-dir={temp}/{index}"  # nodes that share one unpack a job's files over each other's
            node = _start([*part, *size, folder], environment, temp / f"node{index}.log")
            stack.callback(node.end)
            _wait_until_started(node, temp / f"node{index}.log", [node.port] if index else [port, dashboard])
            nodes.append(node)
        yield RayCluster(head, tuple(nodes), environment)


def authentication(token: str | None) -> dict[str, str]:
    """The environment that both sides need."""
    if token is None:
        return {"RAY_AUTH_MODE": "disabled"}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}


def _start(arguments: list[str], environment: dict[str, str], log: Path) -> RayNode:
    manager, objects, agent, agent_grpc, runtime_env, metrics = free_ports(6)
    command = [str(RAY), "start", "--block", f"--node-ip-address={NODE_IP}", *arguments]
    command += [f"--node-manager-port={manager}", f"--object-manager-port={objects}"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"]
    command += [f"--runtime-env-agent-port={runtime_env}", f"--metrics-export-port={metrics}"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    return RayNode(process, NODE_IP, manager)


def _wait_until_started(node: RayNode, log: Path, ports: Sequence[int]) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        assert node.process.poll() is None, log.read_text()
        if STARTED in log.read_text() and all(_open(port) for port in ports):
            return
        time.sleep(0.2)
    raise AssertionError(f"not started, or one of the ports {ports} did not open: {log.read_text()}")


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((NODE_IP, port)) == 0


def _at(values: Sequence[int], index: int, default: int) -> int:
    return values[index] if index < len(values) else default
