"""The one place that knows the cache classes of Hugging Face transformers.

`BatchCache` presents a `KVBatch` to a model as its `past_key_values`: every attention layer writes its new keys and
values into the preallocated columns at the batch's cursor and reads the columns in use back as views.
"""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from pipeline.memory import KVBatch, KVShape, Stage


class BatchLayer(DynamicLayer):  # type: ignore[misc]
    """One attention layer's window onto a `KVBatch`."""

    def __init__(self, batch: KVBatch, layer: int) -> None:
        super().__init__()
        self.batch, self.layer = batch, layer
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Writes [B, N, T, H] keys and values at the cursor; returns all columns in use, [B, N, C, H]."""
        start, end = self.batch.cursor, self.batch.cursor + key_states.shape[2]
        keys_BNCH, values_BNCH = self.batch.layer(self.layer)
        keys_BNCH[:, :, start:end] = key_states
        values_BNCH[:, :, start:end] = value_states
        return keys_BNCH[:, :, :end], values_BNCH[:, :, :end]

    def get_seq_length(self) -> int:
        """Columns in use before this step."""
        return self.batch.cursor

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the columns that a mask covers."""
        return self.batch.cursor + query_length, 0


def batch_cache(batch: KVBatch) -> Cache:
    """The batch as a model's `past_key_values`."""
    return Cache(layers=[BatchLayer(batch, layer) for layer in range(batch.shape.layers)])


def kv_shape(cache: DynamicCache, device: torch.device) -> KVShape:
    """Reads the shape of a model's keys and values off a cache that the model itself has filled.

    Args:
        cache: The cache; its layers may lie on several devices.
        device: The model's main device.

    Raises:
        ValueError: Some layer keeps something other than keys and values per position, or layers differ in shape.
    """
    layers = cache.layers
    for index, layer in enumerate(layers):
        if type(layer).__name__.startswith("Linear") or getattr(layer, "keys", None) is None or layer.keys.dim() != 4:
            raise ValueError(f"layer {index} keeps a {type(layer).__name__}, not keys and values per position")
    shapes = {(layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3]) for layer in layers}
    if len(shapes) != 1:
        raise ValueError(f"its layers keep keys and values of different shapes: {sorted(shapes)}")
    heads, key_size, value_size = shapes.pop()
    stages = _stages([layer.keys.device for layer in layers])
    return KVShape(
        layers=len(layers),
        heads=heads,
        key_size=key_size,
        value_size=value_size,
        dtype=layers[0].keys.dtype,
        device=device,
        spread=() if [stage.device for stage in stages] == [device] else stages,
    )


def _stages(devices: list[torch.device]) -> tuple[Stage, ...]:
    """Runs of layers on the same device, given every layer's."""
    runs = [(device, list(run)) for device, run in groupby(range(len(devices)), key=devices.__getitem__)]
    return tuple(Stage(first=layers[0], end=layers[-1] + 1, device=device) for device, layers in runs)
