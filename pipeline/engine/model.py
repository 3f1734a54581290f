"""A language model as the engine sees it: embed, forward on a batch of working memory, logits where needed.

Any Hugging Face decoder that keeps keys and values per position will do; `inspection.py` finds out what it needs.

Shapes: B rows, T positions, C columns, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.engine.cache import batch_cache
from pipeline.memory import KVBatch, KVShape, Memory, Move, open_batch


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
    accepts: frozenset[str] = frozenset()
    """Fingerprints of the models whose working memory it reads: by default its own alone."""

    def __post_init__(self) -> None:
        self.decoder = self.causal_lm.get_decoder()
        self.head: nn.Linear = self.causal_lm.get_output_embeddings()
        self.config = self.causal_lm.config.get_text_config()
        config = self.config
        self._logit_scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
        self._logit_cap: float | None = getattr(config, "final_logit_softcapping", None)
        self.accepts = self.accepts or frozenset({self.fingerprint})
        self._additive_mask = config._attn_implementation == "eager"

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

    def open(self, memories: Sequence[Memory], *, columns: int, spare: int = 0) -> KVBatch:
        """Brings memories into a batch with room for `columns` more positions, in place where they never left it.

        A new batch gets `spare` columns on top, so that those who go on in place need not copy it to grow.

        Raises:
            ValueError: A memory belongs to another model, or must be moved and can't be.
        """
        for memory in memories:
            memory.check(shape=self.shape, fingerprints=self.accepts)
        return open_batch(self.shape, memories, columns=columns, spare=spare, move=self.move)

    def embed(self, ids_BT: Tensor) -> Tensor:
        """Input embeddings [B, T, D] of token ids, as `forward` takes them."""
        embeds: Tensor = self.causal_lm.get_input_embeddings()(ids_BT)
        return embeds

    @torch.inference_mode()
    def forward(self, batch: KVBatch, embeds_BTD: Tensor, positions_BT: Tensor) -> Tensor:
        """Runs the decoder, without the head, on T new columns; the batch's memory grows by them.

        Args:
            batch: Working memory with room for T columns.
            embeds_BTD: Inputs; padding may be anything finite.
            positions_BT: Position of each input, int64; -1 is padding, which nothing ever reads.

        Returns:
            Last hidden states after the final norm, [B, T, D].
        """
        end = batch.cursor + positions_BT.shape[1]
        batch.positions_BC[:, batch.cursor : end] = positions_BT
        hidden_BTD: Tensor = self.decoder(
            inputs_embeds=embeds_BTD,
            attention_mask=self._masks(batch, positions_BT),
            position_ids=positions_BT.clamp_min(0),
            past_key_values=batch_cache(batch),
            use_cache=True,
        ).last_hidden_state
        batch.cursor = end
        return hidden_BTD.to(self.device)

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

    def _masks(self, batch: KVBatch, positions_BT: Tensor) -> Tensor | dict[str, Tensor]:
        masks = {
            kind: attention_mask(batch.positions_BC, positions_BT, start=batch.cursor, window=window)
            for kind, window in self.windows.items()
        }
        if self._additive_mask:
            lowest = torch.finfo(self.shape.dtype).min
            masks = {
                kind: torch.zeros_like(mask, dtype=self.shape.dtype).masked_fill_(~mask, lowest)
                for kind, mask in masks.items()
            }
        return masks if hasattr(self.config, "layer_types") else next(iter(masks.values()))


def attention_mask(positions_BC: Tensor, positions_BT: Tensor, *, start: int, window: int | None) -> Tensor:
    """Which columns each new position may read, bool [B, 1, T, C], C = start + T; True is readable.

    A position reads the columns before it and itself, except padding and what lies outside its window. Padding reads
    only itself, because a position that reads nothing has no defined output.

    Args:
        positions_BC: Position of each column, -1 for padding, the T new ones included.
        positions_BT: Position of each new column.
        start: Column of the first new position.
        window: How many positions back are seen, itself included; none is all.
    """
    new = positions_BT.shape[1]
    column_C = torch.arange(start + new, device=positions_BC.device)
    own_TC = column_C == column_C[start:, None]
    before_TC = column_C <= column_C[start:, None]
    keys_B1C = positions_BC[:, None, : start + new]
    readable = before_TC & (keys_B1C >= 0)
    if window is not None:
        readable &= positions_BT[:, :, None] - keys_B1C < window
    return ((readable & (positions_BT >= 0)[:, :, None]) | own_TC).unsqueeze(1)


def right_aligned(
    lm: LanguageModel, batch: KVBatch, prompts: Sequence[Sequence[int] | Tensor], latents: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """Rows as inputs of `forward`: embeddings [B, T, D] and positions [B, T] after what the batch holds.

    Shorter rows are padded on the left, with position -1.

    Args:
        lm: The model.
        batch: What the rows go on from.
        prompts: Token ids, one prompt a row.
        latents: Latent inputs [M, D] that follow each row's prompt; none at all means prompts alone.
    """
    ends = [len(latents_MD) for latents_MD in latents] or [0] * len(prompts)
    longest = max(len(prompt) + end for prompt, end in zip(prompts, ends, strict=True))
    ids_BT = torch.zeros(len(prompts), longest, dtype=torch.int64)
    offsets_BT = torch.full((len(prompts), longest), -1, dtype=torch.int64)
    for row, (prompt, end) in enumerate(zip(prompts, ends, strict=True)):
        first = longest - end - len(prompt)
        ids_BT[row, first : longest - end] = torch.as_tensor(prompt)
        offsets_BT[row, first:] = torch.arange(longest - first)
    offsets_BT = offsets_BT.to(lm.device)
    positions_BT = torch.where(offsets_BT >= 0, offsets_BT + batch.next_positions()[:, None], -1)
    embeds_BTD = lm.embed(ids_BT.to(lm.device))
    for row, latents_MD in enumerate(latents):
        assert latents_MD.shape[1] == embeds_BTD.shape[2], "latent inputs are as wide as the model's embeddings"
        embeds_BTD[row, longest - len(latents_MD) :] = latents_MD.to(embeds_BTD)
    return embeds_BTD, positions_BT
