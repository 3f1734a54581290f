"""Nodes for a benchmark: those of a cluster that is there, or two that this machine pretends to be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.runtime.cluster import connected, joined_cluster

CPUS = 4
"""That each pretended node claims to have."""


@contextmanager
def nodes(address: str | None, store_bytes: int) -> Iterator[list[str]]:
    """Joins a cluster for the time of the block; yields the ids of its nodes.

    Args:
        address: The cluster; without it $RAY_ADDRESS, else two new nodes on this machine.
        store_bytes: The object store of each of these two.

    Raises:
        ValueError: The cluster does not answer.
    """
    if joined_cluster(address):
        with connected(address):
            yield _alive()
        return
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else every node prints lines of Ray's own worries
    settings = {"num_cpus": CPUS, "object_store_memory": store_bytes}
    cluster = Cluster(initialize_head=True, head_node_args={**settings, "include_dashboard": False})
    try:
        cluster.add_node(**settings)
        with connected(cluster.address):
            yield _alive()
    finally:
        cluster.shutdown()


def _alive() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]
