"""What latent steps look like: the model's own head on hidden states (logit lens) and the embeddings nearest to inputs.

Shapes: B rows, W watched rows, D hidden size, V vocabulary, K tokens shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from pipeline.engine.alignment import SMALLEST_NORM
from pipeline.engine.model import LanguageModel
from pipeline.records import Thought

SHOWN = 5
"""Tokens shown of each step."""


class Lens:
    """Watches latent steps of some rows of a batch; give it to `think` as `watch`.

    Attributes:
        thoughts: For each watched row its steps so far.
    """

    def __init__(self, lm: LanguageModel, rows: Sequence[int]) -> None:
        self._lm, self._rows = lm, list(rows)
        self.thoughts: dict[int, list[Thought]] = {row: [] for row in self._rows}

    def __call__(self, step: int, hidden_BD: Tensor, embeds_BD: Tensor) -> None:
        """Records one step."""
        if not self._rows:
            return
        hidden_WD, embeds_WD = hidden_BD[self._rows], embeds_BD[self._rows]
        shares_WK, ids_WK = self._lm.logits(hidden_WD).float().softmax(-1).topk(SHOWN, dim=-1)
        cosines_W, nearest_W = self._cosines(embeds_WD).max(dim=-1)
        for index, row in enumerate(self._rows):
            self.thoughts[row].append(
                Thought(
                    step=step,
                    tokens=tuple(self._lm.tokenizer.decode([i]) for i in ids_WK[index].tolist()),
                    probabilities=tuple(shares_WK[index].tolist()),
                    norm=float(hidden_WD[index].float().norm()),
                    nearest=self._lm.tokenizer.decode([int(nearest_W[index])]),
                    cosine=float(cosines_W[index]),
                )
            )

    def _cosines(self, embeds_WD: Tensor) -> Tensor:
        directions_WD = embeds_WD.float() / embeds_WD.float().norm(dim=-1, keepdim=True).clamp_min(SMALLEST_NORM)
        cosines_WV: Tensor = directions_WD @ self._directions_DV
        return cosines_WV

    @cached_property
    def _directions_DV(self) -> Tensor:
        vectors_VD = self._lm.input_vectors().float()
        return torch.nn.functional.normalize(vectors_VD, dim=-1).T
