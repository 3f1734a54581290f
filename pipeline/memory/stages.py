"""The cache of one stage of a model; a model on one device is one stage, and each other device is one more.

Shapes: L layers of the stage, B rows, N key/value heads, C columns (capacity), R chosen rows, H head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.memory.segment import KVShape, Stage


class StageCache:
    """Preallocated keys and values of the layers of one stage, on the device where these layers compute.

    Attributes:
        stage: Which layers, and where.
        keys_LBNCH: Keys after the rotary embedding, [L, B, N, C, H].
        values_LBNCH: Values, [L, B, N, C, H].
    """

    def __init__(self, shape: KVShape, stage: Stage, *, rows: int, capacity: int) -> None:
        # Zeros, not uninitialised memory: a masked column gets weight 0, and 0 * NaN would still be NaN.
        sizes = (stage.end - stage.first, rows, shape.heads, capacity)
        self.stage = stage
        self.keys_LBNCH = torch.zeros(*sizes, shape.key_size, dtype=shape.dtype, device=stage.device)
        self.values_LBNCH = torch.zeros(*sizes, shape.value_size, dtype=shape.dtype, device=stage.device)

    def grow(self, capacity: int, *, used: int) -> None:
        """Moves the `used` first columns to new storage with `capacity` columns, the keys before the values."""
        self.keys_LBNCH = _grown(self.keys_LBNCH, capacity, used)
        self.values_LBNCH = _grown(self.values_LBNCH, capacity, used)

    def copy_rows(self, other: StageCache, index_R: Tensor, columns: slice) -> None:
        """Fills the first columns with some rows and columns of another cache of the same stage."""
        index_R = index_R.to(self.stage.device)
        used = columns.stop - columns.start
        self.keys_LBNCH[:, :, :, :used] = other.keys_LBNCH[:, index_R, :, columns]
        self.values_LBNCH[:, :, :, :used] = other.values_LBNCH[:, index_R, :, columns]

    def write(self, row: int, columns: slice, keys_LNTH: Tensor, values_LNTH: Tensor) -> None:
        """Copies the stage's part of keys and values [layers of the model, N, T, H] into columns of a row."""
        self.keys_LBNCH[:, row, :, columns] = keys_LNTH[self.stage.layers]
        self.values_LBNCH[:, row, :, columns] = values_LNTH[self.stage.layers]


def joined(parts: list[Tensor], device: torch.device) -> Tensor:
    """Tensors of all stages as one of all layers: a single stage's own, of several a copy on `device`."""
    return parts[0] if len(parts) == 1 else torch.cat([part.to(device) for part in parts])


def _grown(old_LBNCH: Tensor, capacity: int, used: int) -> Tensor:
    sizes = (*old_LBNCH.shape[:3], capacity, old_LBNCH.shape[4])
    new_LBNCH = torch.zeros(sizes, dtype=old_LBNCH.dtype, device=old_LBNCH.device)
    new_LBNCH[:, :, :, :used] = old_LBNCH[:, :, :, :used]
    return new_LBNCH
