"""The cache of one stage of a model; a model on one device is one stage, and each other device is one more.

Shapes: L layers of the stage, R rows, N key/value heads, C columns (capacity), H head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.memory.segment import KVShape, Stage


class StageCache:
    """Preallocated keys and values of the layers of one stage, on the device where these layers compute.

    Attributes:
        stage: Which layers, and where.
        keys_LRNCH: Keys after the rotary embedding, [L, R, N, C, H].
        values_LRNCH: Values, [L, R, N, C, H].
    """

    def __init__(self, shape: KVShape, stage: Stage, *, rows: int, columns: int) -> None:
        sizes = (stage.end - stage.first, rows, shape.heads, columns)
        self.stage = stage
        self.keys_LRNCH = _zeros(*sizes, shape.key_size, dtype=shape.dtype, device=stage.device)
        self.values_LRNCH = _zeros(*sizes, shape.value_size, dtype=shape.dtype, device=stage.device)

    def grow(self, rows: int, columns: int) -> None:
        """Moves everything to new storage with so many rows and columns, the keys before the values."""
        self.keys_LRNCH = _grown(self.keys_LRNCH, rows, columns)
        self.values_LRNCH = _grown(self.values_LRNCH, rows, columns)

    def clear(self, row: int, columns: int) -> None:
        """Forgets the first columns of a row."""
        self.keys_LRNCH[:, row, :, :columns] = 0
        self.values_LRNCH[:, row, :, :columns] = 0

    def write(self, row: int, columns: slice, keys_LNTH: Tensor, values_LNTH: Tensor) -> None:
        """Copies the stage's part of keys and values [layers of the model, N, T, H] into columns of a row."""
        self.keys_LRNCH[:, row, :, columns] = keys_LNTH[self.stage.layers]
        self.values_LRNCH[:, row, :, columns] = values_LNTH[self.stage.layers]


def joined(parts: list[Tensor], device: torch.device) -> Tensor:
    """Tensors of all stages as one of all layers: a single stage's own, of several a copy on `device`."""
    return parts[0] if len(parts) == 1 else torch.cat([part.to(device) for part in parts])


def _grown(old_LRNCH: Tensor, rows: int, columns: int) -> Tensor:
    layers, used_rows, heads, used_columns, size = old_LRNCH.shape
    new_LRNCH = _zeros(layers, rows, heads, columns, size, dtype=old_LRNCH.dtype, device=old_LRNCH.device)
    new_LRNCH[:, :used_rows, :, :used_columns] = old_LRNCH
    return new_LRNCH


def _zeros(*sizes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Empty storage: zeros, because a masked column gets weight 0, and 0 * NaN would still be NaN.

    A cache may grow within a step and be written to outside of one. A tensor made in inference mode could not be.
    """
    with torch.inference_mode(False):
        return torch.zeros(*sizes, dtype=dtype, device=device)
