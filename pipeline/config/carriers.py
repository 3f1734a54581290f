"""The carriers: ways in which memory travels between replicas, as data."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.parts import Transport


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """What of a segment travels, and over what."""

    name: Transport
    """The setting that chooses it."""
    direct: bool = False
    """Whether the bytes go from device to device, past the object store (Ray Direct Transport)."""
    inputs: bool = False
    """Whether token ids and latent inputs travel instead of keys and values, which the receiver computes again."""


CARRIERS: dict[Transport, Carrier] = {
    "object_store": Carrier(name="object_store"),
    "reencode": Carrier(name="reencode", inputs=True),
    "gloo": Carrier(name="gloo", direct=True),
    "nccl": Carrier(name="nccl", direct=True),
    "nixl": Carrier(name="nixl", direct=True),
    "cuda_ipc": Carrier(name="cuda_ipc", direct=True),
}
