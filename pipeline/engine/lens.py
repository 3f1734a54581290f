"""What latent steps look like: the model's own head on hidden states (logit lens) and the embeddings nearest to inputs.

Shapes: W watched vectors, D hidden size, V vocabulary, K tokens shown.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pipeline.engine.alignment import SMALLEST_NORM
from pipeline.engine.model import LanguageModel
from pipeline.records import Thought

SHOWN = 5
"""Tokens shown of each step."""


class Lens:
    """Watches the latent steps of one question; give it to `Thinking` as `watch`.

    Attributes:
        thoughts: The steps so far.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self.thoughts: list[Thought] = []

    def __call__(self, step: int, hidden_D: Tensor, embeds_D: Tensor) -> None:
        """Records one step."""
        shares_1V = self._lm.logits(hidden_D[None]).float().softmax(-1)
        shares_K, ids_K = (found_1K[0] for found_1K in shares_1V.topk(SHOWN, dim=-1))
        cosine, nearest = self._cosines(embeds_D[None])[0].max(dim=-1)
        self.thoughts.append(
            Thought(
                step=step,
                tokens=tuple(self._lm.tokenizer.decode([i]) for i in ids_K.tolist()),
                probabilities=tuple(shares_K.tolist()),
                norm=float(hidden_D.float().norm()),
                nearest=self._lm.tokenizer.decode([int(nearest)]),
                cosine=float(cosine),
            )
        )

    def _cosines(self, embeds_WD: Tensor) -> Tensor:
        directions_WD = embeds_WD.float() / embeds_WD.float().norm(dim=-1, keepdim=True).clamp_min(SMALLEST_NORM)
        cosines_WV: Tensor = directions_WD @ _directions(self._lm)
        return cosines_WV


_kept: WeakKeyDictionary[LanguageModel, Tensor] = WeakKeyDictionary()


def _directions(lm: LanguageModel) -> Tensor:
    """Input embeddings at length 1, [D, V]; kept with the model, because every lens needs them."""
    if lm not in _kept:
        _kept[lm] = torch.nn.functional.normalize(lm.input_vectors().float(), dim=-1).T
    return _kept[lm]
