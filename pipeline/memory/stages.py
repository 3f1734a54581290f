"""The cache of one stage of a model; a model on one device is one stage, and each other device is one more.

Shapes: L layers of the stage, R rows, N key/value heads, C columns (capacity), H head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.memory.backing import Backing, backing
from pipeline.memory.segment import KVShape, Stage


class StageCache:
    """Preallocated keys and values of the layers of one stage, on the device where these layers compute.

    Attributes:
        stage: Which layers, and where.
        keys_LRNCH: Keys after the rotary embedding, [L, R, N, C, H].
        values_LRNCH: Values, [L, R, N, C, H].
    """

    def __init__(
        self, shape: KVShape, stage: Stage, *, rows: int, columns: int, most: tuple[int, int] = (0, 0)
    ) -> None:
        """Takes memory.

        Args:
            shape: What the model's keys and values look like.
            stage: Which layers, and where.
            rows: R.
            columns: C.
            most: R and C that it may come to; room for them is kept where that costs nothing.
        """
        self.stage, self._shape, self._most = stage, shape, most
        self._keys = self._backing(rows, columns, shape.key_size)
        self._values = self._backing(rows, columns, shape.value_size)
        self._show(rows, columns)

    @property
    def lazy(self) -> bool:
        """Whether memory is taken only for what is written."""
        return self._keys.lazy and self._values.lazy

    def grow(self, rows: int, columns: int, used: Sequence[int]) -> None:
        """Makes so many rows and columns of it: where it lies if there is room, else in new memory, keys first.

        Args:
            rows: R.
            columns: C.
            used: Columns in use of each row that there was.
        """
        self._keys = self._grown(self._keys, rows, columns, used)
        self.keys_LRNCH = self._keys.data_LRNCH  # the old ones are freed before the values move
        self._values = self._grown(self._values, rows, columns, used)
        self._show(rows, columns)

    def clear(self, row: int, columns: int) -> None:
        """Makes the first columns of a row zeros again; memory that is taken as it is written to goes back."""
        self._keys.clear(row, columns)
        self._values.clear(row, columns)

    def write(self, row: int, columns: slice, keys_LNTH: Tensor, values_LNTH: Tensor) -> None:
        """Copies the stage's part of keys and values [layers of the model, N, T, H] into columns of a row."""
        self.keys_LRNCH[:, row, :, columns] = keys_LNTH[self.stage.layers]
        self.values_LRNCH[:, row, :, columns] = values_LNTH[self.stage.layers]

    def _show(self, rows: int, columns: int) -> None:
        self.keys_LRNCH = self._keys.data_LRNCH[:, :rows, :, :columns]
        self.values_LRNCH = self._values.data_LRNCH[:, :rows, :, :columns]

    def _backing(self, rows: int, columns: int, size: int) -> Backing:
        layers, heads = self.stage.end - self.stage.first, self._shape.heads
        return backing((layers, rows, heads, columns, size), self._most, self._shape.dtype, self.stage.device)

    def _grown(self, old: Backing, rows: int, columns: int, used: Sequence[int]) -> Backing:
        _, had_rows, _, had_columns, size = old.data_LRNCH.shape
        if rows <= had_rows and columns <= had_columns:
            return old
        new = self._backing(rows, columns, size)
        for row, end in enumerate(used):
            new.data_LRNCH[:, row, :, :end] = old.data_LRNCH[:, row, :, :end]
        return new


def joined(parts: list[Tensor], device: torch.device) -> Tensor:
    """Tensors of all stages as one of all layers: a single stage's own, of several a copy on `device`."""
    return parts[0] if len(parts) == 1 else torch.cat([part.to(device) for part in parts])
