"""Ray Direct Transport (alpha): tensors from device to device, past the object store.

It is opt-in, because it gives up what the store promises: memory dies with the replica that made it, and a transfer
that fails ends both sides. So a run that loses a replica over it ends too, and is gone on with by `--resume`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.config import Carrier

GROUP = "default"
"""Name of the group of all replicas; with any other one Ray can't make it again."""
COLLECTIVE = ("gloo", "nccl")
"""Transports whose two sides have to be in a group."""


def connect(actors: Sequence[Any], carrier: Carrier) -> None:
    """Gets replicas ready to send to each other; they have to be idle.

    Raises:
        ValueError: The transport can't be used here; one line that says why.
    """
    if not carrier.direct:
        return
    seen = ray.get([actor.__ray_call__.remote(_surroundings, carrier.name) for actor in actors])
    lacking = next((lack for lack, _, _ in seen if lack), "")
    if not lacking and carrier.name == "cuda_ipc" and len({(node, gpus) for _, node, gpus in seen}) > 1:
        lacking = "all replicas to be on one GPU of one node (--gpus-per-replica 0.5 or less)"
    if lacking:
        raise ValueError(f"--transport {carrier.name!r} needs {lacking}; allowed here: object_store, reencode")
    if carrier.name in COLLECTIVE:
        from ray.experimental.collective import create_collective_group

        create_collective_group(list(actors), backend=carrier.name, name=GROUP)


def disconnect(carrier: Carrier) -> None:
    """Ends what `connect` made, so that it can be made again in this process."""
    if carrier.name in COLLECTIVE:
        from ray.experimental.collective import destroy_collective_group

        with suppress(ValueError, RayError):  # there is none, or it has fallen apart
            destroy_collective_group(GROUP)


def _surroundings(_: object, name: str) -> tuple[str, str, str]:
    """What a transport lacks where this runs, and the node and the GPUs."""
    import torch

    context = ray.get_runtime_context()
    return _lack(name, torch.cuda.is_available()), context.get_node_id(), str(sorted(ray.get_gpu_ids()))


def _lack(name: str, gpu: bool) -> str:
    from importlib.util import find_spec

    if name in ("nccl", "cuda_ipc") and not gpu:
        return "a GPU for every replica"
    if name == "nccl" and find_spec("cupy") is None:
        return "the package cupy (pip install cupy-cuda12x) on every node"
    if name == "nixl" and find_spec("nixl") is None:
        return "the package nixl (pip install nixl) on every node"
    return ""
