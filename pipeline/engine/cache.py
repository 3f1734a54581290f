"""The one place that knows the cache classes of Hugging Face transformers.

A model gets a `Cache` whose layers write new keys and values straight into the slots of a `KVCache`, and hand back
views of it: no copy. `lanes_cache` is for many questions at once, `slot_cache` for one.
"""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from pipeline.engine.lanes import Lanes
from pipeline.memory import KVShape, Slot, Stage


class LanesLayer(DynamicLayer):  # type: ignore[misc]
    """One attention layer's window onto the lanes of a forward."""

    def __init__(self, lanes: Lanes, layer: int, window: int | None) -> None:
        super().__init__()
        self.lanes, self.layer, self.window = lanes, layer, window
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Writes [1, N, S, H] keys and values into the slots; returns all rows of the cache, [R, N, C, H]."""
        keys_RNCH, values_RNCH = self.lanes.cache.layer(self.layer)
        self.lanes.write(keys_RNCH, key_states)
        self.lanes.write(values_RNCH, value_states)
        self.lanes.window = self.window  # attention of this layer comes next
        return keys_RNCH, values_RNCH

    def get_seq_length(self) -> int:
        """Positions of the longest slot before this forward."""
        return max(self.lanes.starts)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the columns that a mask would cover."""
        return self.lanes.cache.columns, 0


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One attention layer's window onto one slot."""

    def __init__(self, slot: Slot, layer: int) -> None:
        super().__init__()
        self.slot, self.layer = slot, layer
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Writes [1, N, T, H] keys and values at the slot's end; returns all that it holds, [1, N, C, H]."""
        row, start, end = self.slot.row, self.slot.length, self.slot.length + key_states.shape[2]
        keys_RNCH, values_RNCH = self.slot.cache.layer(self.layer)
        keys_RNCH[row : row + 1, :, start:end] = key_states
        values_RNCH[row : row + 1, :, start:end] = value_states
        return keys_RNCH[row : row + 1, :, :end], values_RNCH[row : row + 1, :, :end]

    def get_seq_length(self) -> int:
        """Positions before this forward."""
        return self.slot.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the columns that a mask covers."""
        return self.slot.length + query_length, 0


def lanes_cache(lanes: Lanes, windows: list[int | None]) -> Cache:
    """The lanes as a model's `past_key_values`.

    Args:
        lanes: Which slots get how many positions.
        windows: For each layer, how many positions back it sees; none is all.
    """
    return Cache(layers=[LanesLayer(lanes, layer, window) for layer, window in enumerate(windows)])


def slot_cache(slot: Slot) -> Cache:
    """One slot as a model's `past_key_values`."""
    return Cache(layers=[SlotLayer(slot, layer) for layer in range(slot.cache.shape.layers)])


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
