"""One step of rows that think or write, at fixed addresses: what a captured graph computes again and again.

Every row has one new position. Inputs come from buffers and outputs go to buffers, the next step's inputs among them,
so that steps follow each other without the host. A place that nobody uses computes something that nobody reads.

Shapes: B places, N key/value heads, G query heads that share one, Q = N G query heads, C columns, D hidden size, H head
size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.engine.alignment import Alignment
from pipeline.engine.attention import Kernel
from pipeline.engine.blocks import grouped
from pipeline.engine.kernels import Split
from pipeline.engine.lanes import Lanes
from pipeline.engine.sampling import draw
from pipeline.memory import KVCache

if TYPE_CHECKING:
    from pipeline.engine.model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a step computes; a graph for each."""

    places: int
    """Rows computed, B: rows 0 to B - 1 of the cache."""
    columns: int
    """Columns read, C."""
    alignment: Alignment | None
    """How rows that think go on, if there are any."""
    sampling: tuple[float, float] | None
    """Temperature and nucleus of rows that write, if there are any."""


class Buffers:
    """A step's inputs and outputs.

    Attributes:
        state: Integers of each place, int64 [5, B]: token, position of the new key, column that it goes to, whether
            the place is in use, whether its row thinks.
        latent_BD: Latent inputs.
        uniform_B: Sampling noise, float64.
        hidden_BD: Last hidden states, out.
        told_B: Drawn tokens, out; -1 - token where the whole vocabulary has to be looked at.
        logits_BV: What they were drawn from, out; at temperature 0 nobody needs them.
    """

    def __init__(self, lm: LanguageModel, places: int) -> None:
        weight = lm.causal_lm.get_input_embeddings().weight
        like: dict[str, Any] = {"dtype": weight.dtype, "device": lm.device}
        self.state = torch.zeros(5, places, dtype=torch.int64, device=lm.device)
        self.latent_BD = torch.zeros(places, weight.shape[1], **like)
        self.hidden_BD = torch.zeros(places, weight.shape[1], **like)
        self.uniform_B = torch.zeros(places, dtype=torch.float64, device=lm.device)
        self.told_B = torch.zeros(places, dtype=torch.int64, device=lm.device)
        self.logits_BV = torch.zeros(places, lm.head.weight.shape[0], **like)


class StaticLanes(Lanes):
    """Lanes of one new position each whose slots and lengths only the device knows: place b is row b of the cache."""

    def __init__(self, cache: KVCache, buffers: Buffers, form: Form, split: Split | None) -> None:
        self.cache, self.window, self._split = cache, None, split
        self.starts = [form.columns - 1]
        _, self.positions_S, self._columns_B, self._live_B, _ = buffers.state
        self._places, self._read = form.places, form.columns
        self._row_B = torch.arange(form.places, device=buffers.state.device)
        self._biases: dict[int | None, Tensor] = {}

    def advance(self) -> None:
        """The rows in use go on to the next position."""
        self.positions_S += self._live_B
        self._columns_B += self._live_B

    def write(self, cache_RNCH: Tensor, new_1NSH: Tensor) -> None:
        """Puts a layer's new keys or values into the places' columns."""
        cache_RNCH[self._row_B, :, self._columns_B] = new_1NSH[0].transpose(0, 1)

    def attend(self, query_1QSH: Tensor, keys_RNCH: Tensor, values_RNCH: Tensor, kernel: Kernel) -> Tensor:
        """Attention of all places, [1, B, Q, H]."""
        if self._split is not None:
            query_BQH = query_1QSH[0].transpose(0, 1)
            own, window = self.positions_S, self.window
            return self._split(query_BQH, keys_RNCH, values_RNCH, own, scale=kernel.scale, window=window)[None]
        found_BNGH = kernel(
            grouped(query_1QSH[0].transpose(0, 1)[:, :, None], keys_RNCH.shape[1]),
            keys_RNCH[: self._places, :, : self._read],
            values_RNCH[: self._places, :, : self._read],
            self._bias(query_1QSH.dtype),
        )
        return found_BNGH.flatten(1, 2)[None]

    def _bias(self, dtype: torch.dtype) -> Tensor:
        """0 for the columns that a place reads and -inf for the others, [B, 1, 1, C]; made once a step and window."""
        if self.window not in self._biases:
            column_C = torch.arange(self._read, device=self.positions_S.device)
            own_B1 = self.positions_S[:, None]
            readable_BC = column_C <= own_B1
            if self.window is not None:
                readable_BC &= column_C > own_B1 - self.window
            bias_BC = torch.zeros(readable_BC.shape, dtype=dtype, device=readable_BC.device)
            self._biases[self.window] = bias_BC.masked_fill_(~readable_BC, float("-inf"))[:, None, None]
        return self._biases[self.window]


def static_step(lm: LanguageModel, cache: KVCache, buffers: Buffers, form: Form, split: Split | None) -> None:
    """Computes one step: reads the buffers' inputs, and leaves outputs and the next inputs there.

    Nothing in it waits for the device, and all shapes follow from the form, so that it can be captured.

    Args:
        lm: The model.
        cache: Where its rows' memory is.
        buffers: Inputs and outputs.
        form: What to compute.
        split: Attention that reads of each row what it has; without it, torch's with a mask.
    """
    ids_B, _, _, _, thinks_B = buffers.state
    lanes = StaticLanes(cache, buffers, form, split)
    embeds_BD = lm.embed(ids_B)
    if form.alignment is not None:
        embeds_BD = torch.where(thinks_B[:, None].bool(), buffers.latent_BD, embeds_BD)
    hidden_BD = lm.forward(lanes, embeds_BD)
    buffers.hidden_BD.copy_(hidden_BD)
    if form.alignment is not None:
        buffers.latent_BD.copy_(form.alignment(hidden_BD))
    if form.sampling is not None:
        temperature, top_p = form.sampling
        logits_BV = lm.logits(hidden_BD)
        drawn_B, right_B = draw(logits_BV, buffers.uniform_B, temperature=temperature, top_p=top_p)
        ids_B.copy_(drawn_B)
        buffers.told_B.copy_(drawn_B if temperature == 0 else torch.where(right_B, drawn_B, -1 - drawn_B))
        if temperature:
            buffers.logits_BV.copy_(logits_BV)
