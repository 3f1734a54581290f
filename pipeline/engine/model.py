"""A language model as the engine sees it: embed, forward on slots of working memory, logits where needed.

Any Hugging Face decoder that keeps keys and values per position will do; `inspection.py` finds out what it needs.

Shapes: B questions, S new positions of all of them, T of one, C columns, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.engine.attention import on_lanes
from pipeline.engine.cache import lanes_cache, slot_cache
from pipeline.engine.lanes import Lanes
from pipeline.memory import KVCache, KVShape, Memory, Move, Slot

if TYPE_CHECKING:
    from pipeline.engine.captured import StepGraphs


@dataclass(kw_only=True, eq=False, repr=False)
class LanguageModel:
    """One loaded model with what the engine needs to know about it; make it with `pipeline.engine.load_model`."""

    causal_lm: Any
    """The Hugging Face model."""
    tokenizer: Any
    """Its tokenizer."""
    shape: KVShape
    """Its keys and values."""
    fingerprint: str
    """What its working memory is valid for."""
    input_scale: float
    """Factor by which it scales `inputs_embeds` inside its forward."""
    windows: dict[str, int | None]
    """For each kind of attention layer, how many positions back it sees; none is all of them."""
    stop_ids: frozenset[int]
    """Token ids that end a text."""
    context: int
    """Positions it can use."""
    context_note: str = ""
    """Why they are fewer than it was made for, if so."""
    move: Move
    """Moves its keys to other positions."""
    packs: bool = True
    """Whether many questions go through one forward; else each goes through one of its own."""
    accepts: frozenset[str] = frozenset()
    """Fingerprints of the models whose working memory it reads: by default its own alone."""
    graphs: StepGraphs | None = None
    """Its captured steps, where it is one whose steps can be captured."""

    def __post_init__(self) -> None:
        self.decoder = self.causal_lm.get_decoder()
        self.head: nn.Linear = self.causal_lm.get_output_embeddings()
        self.config = self.causal_lm.config.get_text_config()
        config = self.config
        self._logit_scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
        self._logit_cap: float | None = getattr(config, "final_logit_softcapping", None)
        self.accepts = self.accepts or frozenset({self.fingerprint})
        self._additive_mask = config._attn_implementation == "eager"
        kinds = getattr(config, "layer_types", None)
        self._by_kind = hasattr(config, "layer_types")
        # Four dimensions tell transformers that a mask is ready; lanes know what is read, so it is never looked at.
        ready = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device)
        self._no_mask = dict.fromkeys(self.windows, ready) if self._by_kind else ready
        window = next(iter(self.windows.values()))
        self._layer_windows = [self.windows[kind] for kind in kinds] if kinds else [window] * self.shape.layers

    @property
    def tied(self) -> bool:
        """Whether one matrix serves as input embedding and head."""
        return bool(self.head.weight.data_ptr() == self.causal_lm.get_input_embeddings().weight.data_ptr())

    @property
    def memory_form(self) -> tuple[tuple[str, str], ...]:
        """What two models must have in common to read each other's working memory, by name.

        That is the shape of keys and values and how positions are put into keys; what the weights make of them is left
        to whoever lets two checkpoints of one architecture work together.
        """
        rope = getattr(self.config, "rope_parameters", None) or {}
        form = {
            "architecture": self.config.model_type,
            "layers": self.shape.layers,
            "key/value heads": self.shape.heads,
            "key and value size": (self.shape.key_size, self.shape.value_size),
            "number format": self.shape.dtype,
            "rotary embedding": sorted(rope.items(), key=str),
            "attention windows": sorted(self.windows.items()),
        }
        return tuple((name, str(value)) for name, value in form.items())

    @property
    def device(self) -> torch.device:
        """The main device: where inputs enter, and hidden states and logits come out."""
        return self.shape.device

    @property
    def devices(self) -> list[torch.device]:
        """All devices that working memory is on, the main one first."""
        return list(dict.fromkeys([self.device, *(stage.device for stage in self.shape.stages)]))

    def synchronize(self) -> None:
        """Waits until what was asked of a GPU has been done, so that a clock tells the truth; nothing on a CPU."""
        for device in self.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    def cache(self, *, rows: int = 0, columns: int = 0) -> KVCache:
        """A new cache for this model's keys and values: of so many rows and columns, or by default one that grows."""
        most = 0 if rows else self.context
        return KVCache(self.shape, rows=rows, columns=columns, most=most, captured=self.graphs is not None)

    @torch.inference_mode()
    def open(self, memories: Sequence[Memory], *, columns: int) -> list[Slot]:
        """Brings memories into slots with room for more positions, in place where they never left theirs.

        Args:
            memories: One a question; an empty memory is an empty slot.
            columns: Positions about to be added to each.

        Raises:
            ValueError: A memory belongs to another model, or must be moved and can't be.
        """
        for memory in memories:
            memory.check(shape=self.shape, fingerprints=self.accepts)
        held = [memory.segments[-1].home for memory in memories if memory.segments]
        homes = [home for home in held if isinstance(home, Slot) and home.cache.shape == self.shape]
        longest = max(map(len, memories)) + columns
        cache = homes[0].cache if homes else self.cache(rows=len(memories), columns=longest)
        return [cache.open(memory, columns=columns, move=self.move) for memory in memories]

    def embed(self, ids_BT: Tensor) -> Tensor:
        """Input embeddings [B, T, D] of token ids, as `forward` takes them."""
        embeds: Tensor = self.causal_lm.get_input_embeddings()(ids_BT)
        return embeds

    @torch.inference_mode()
    def forward(self, lanes: Lanes, embeds_SD: Tensor) -> Tensor:
        """Runs the decoder, without the head, on the lanes' new positions; their slots grow by them.

        Args:
            lanes: Which slots get how many positions; each has room for them.
            embeds_SD: The inputs, lane after lane.

        Returns:
            Last hidden states after the final norm, [S, D].
        """
        hidden_SD = self._together(lanes, embeds_SD) if self.packs else self._one_by_one(lanes, embeds_SD)
        lanes.advance()
        return hidden_SD.to(self.device)

    def _together(self, lanes: Lanes, embeds_SD: Tensor) -> Tensor:
        with on_lanes(lanes):
            hidden_SD: Tensor = self._decode(
                embeds_SD, lanes.positions_S, self._no_mask, lanes_cache(lanes, self._layer_windows)
            )
        return hidden_SD

    def _one_by_one(self, lanes: Lanes, embeds_SD: Tensor) -> Tensor:
        """For a model whose attention can't be replaced: a forward of its own for every lane."""
        parts = []
        for (slot, count), begin in zip(lanes.spans, lanes.offsets, strict=False):
            span = slice(begin, begin + count)
            masks = {
                kind: slot_mask(slot.length, count, window=window, device=self.device)
                for kind, window in self.windows.items()
            }
            if self._additive_mask:
                lowest = torch.finfo(self.shape.dtype).min
                masks = {
                    kind: torch.zeros_like(mask, dtype=self.shape.dtype).masked_fill_(~mask, lowest)
                    for kind, mask in masks.items()
                }
            mask = masks if self._by_kind else next(iter(masks.values()))
            parts.append(self._decode(embeds_SD[span], lanes.positions_S[span], mask, slot_cache(slot)))
        return torch.cat(parts)

    def _decode(self, embeds_SD: Tensor, positions_S: Tensor, mask: object, cache: Any) -> Tensor:
        hidden_SD: Tensor = self.decoder(
            inputs_embeds=embeds_SD[None],
            attention_mask=mask,
            position_ids=positions_S[None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[0]
        return hidden_SD

    @torch.inference_mode()
    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Logits [B, V] of last hidden states."""
        logits_BV: Tensor = self.head(hidden_BD).to(self.device)
        if self._logit_scale != 1:
            logits_BV = logits_BV * self._logit_scale
        if self._logit_cap is not None:
            logits_BV = torch.tanh(logits_BV / self._logit_cap) * self._logit_cap
        return logits_BV

    @torch.inference_mode()
    def input_vectors(self) -> Tensor:
        """W_in [V, D]: every token's embedding as it enters the first layer."""
        count = self.head.weight.shape[0]
        vectors_VD: Tensor = self.embed(torch.arange(count, device=self.device))
        return vectors_VD if self.input_scale == 1 else vectors_VD * self.input_scale

    def output_vectors(self) -> Tensor:
        """W_out [V, D]: the rows of the language-model head."""
        return self.head.weight.detach().to(self.device)


def slot_mask(start: int, count: int, *, window: int | None, device: torch.device) -> Tensor:
    """Which columns each of `count` new positions of one slot may read, bool [1, 1, T, C], C = start + T."""
    column_C = torch.arange(start + count, device=device)
    own_T1 = column_C[start:, None]
    readable_TC = column_C <= own_T1
    if window is not None:
        readable_TC &= column_C > own_T1 - window
    return readable_TC[None, None]
