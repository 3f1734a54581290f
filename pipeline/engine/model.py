"""A language model as the engine sees it: embed, forward on a batch of working memory, logits where needed.

Any Hugging Face decoder that keeps keys and values per position will do. What differs between families (scaled
embeddings, scaled or capped logits, sliding windows) is read off the loaded model and then *checked*: on loading, one
short prompt runs through this class and through the model's own forward, and a model that disagrees is refused.

Shapes: B rows, T positions, C columns, D hidden size, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from pipeline.engine.cache import batch_cache, kv_shape
from pipeline.memory import KVBatch, KVShape, Memory, Move, open_batch

UNLIMITED = 1 << 30
"""Context length of a model that states none."""


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

    def __post_init__(self) -> None:
        self.decoder = self.causal_lm.get_decoder()
        self.head: nn.Linear = self.causal_lm.get_output_embeddings()
        config = self.causal_lm.config
        self._logit_scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
        self._logit_cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._additive_mask = config._attn_implementation == "eager"

    @property
    def notice(self) -> str:
        """What users should know about runs with this model; empty for most."""
        if self.head.weight.data_ptr() != self.causal_lm.get_input_embeddings().weight.data_ptr():
            return ""
        return "the model ties input and output embeddings, so the ridge alignment W_a is the identity up to lambda"

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.shape.device

    def open(self, memories: Sequence[Memory], *, columns: int, spare: int = 0) -> KVBatch:
        """Brings memories into a batch with room for `columns` more positions, in place where they never left it.

        A new batch gets `spare` columns on top, so that those who go on in place need not copy it to grow.

        Raises:
            ValueError: A memory belongs to another model, or must be moved and can't be.
        """
        for memory in memories:
            memory.check(shape=self.shape, fingerprint=self.fingerprint)
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
        return hidden_BTD

    @torch.inference_mode()
    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Logits [B, V] of last hidden states."""
        logits_BV: Tensor = self.head(hidden_BD)
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
        return self.head.weight.detach()

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
        return masks if hasattr(self.causal_lm.config, "layer_types") else next(iter(masks.values()))


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


def attention_windows(config: Any) -> dict[str, int | None]:
    """For each kind of attention layer in a model's config, how many positions back it sees.

    Raises:
        ValueError: The model has layers that keep no keys and values per position.
    """
    window: int | None = getattr(config, "sliding_window", None)
    kinds = dict.fromkeys(getattr(config, "layer_types", None) or ())
    if not kinds:
        return {"attention": window}
    allowed = {"full_attention": None, "sliding_attention": window}
    for kind in kinds:
        if kind not in allowed:
            raise ValueError(
                f"it has {kind!r} layers; only {' and '.join(allowed)} keep a memory that can be handed on"
            )
    return {kind: allowed[kind] for kind in kinds}


def model_fingerprint(causal_lm: Any) -> str:
    """A short digest of config, number format and a sample of every weight: what working memory is valid for."""
    digest = hashlib.blake2b(digest_size=8)
    ignored = {"_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype"}
    config = {k: v for k, v in causal_lm.config.to_dict().items() if k not in ignored}
    digest.update(json.dumps([config, str(causal_lm.dtype)], sort_keys=True, default=str).encode())
    for name, weight in causal_lm.named_parameters():
        stride = max(1, weight.numel() // 16)
        digest.update(name.encode() + weight.detach().flatten()[::stride][:16].float().cpu().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def probe(causal_lm: Any) -> tuple[KVShape, float]:
    """Runs one token through a model and reads off the shape of its memory and its scaling of inputs.

    Raises:
        ValueError: The model keeps no keys and values per position.
    """
    attention_windows(causal_lm.config)
    decoder = causal_lm.get_decoder()
    width = causal_lm.get_input_embeddings().weight.shape[1]
    ones = torch.ones(1, 1, width, dtype=causal_lm.dtype, device=causal_lm.device)
    entered: list[Tensor] = []
    hook = first_layer(decoder).register_forward_pre_hook(
        lambda _, args, kwargs: entered.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    try:
        for embeds in (ones, 2 * ones):
            cache = decoder(inputs_embeds=embeds, past_key_values=DynamicCache(), use_cache=True).past_key_values
    finally:
        hook.remove()
    # The difference of two inputs, so that what a model adds (learned positions) does not count as scaling.
    return kv_shape(cache), float((entered[1] - entered[0]).float().mean())


def first_layer(decoder: nn.Module) -> nn.Module:
    """A decoder's first layer, whatever the list of layers is called.

    Raises:
        ValueError: The decoder has no list of layers.
    """
    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child)]
    if not lists:
        raise ValueError("its decoder has no list of layers")
    return max(lists, key=len)[0]


@torch.inference_mode()
def check_against_own_forward(lm: LanguageModel) -> None:
    """Refuses a model whose own forward gives other logits than ours for a short prompt.

    Raises:
        ValueError: The two disagree beyond the precision of the number format.
    """
    ids_BT = torch.arange(5, 9, device=lm.device).unsqueeze(0)
    reference_BV = lm.causal_lm(input_ids=ids_BT).logits[:, -1].float()
    batch = lm.open([Memory()], columns=4)
    ours_BV = lm.logits(lm.forward(batch, lm.embed(ids_BT), torch.arange(4, device=lm.device)[None])[:, -1]).float()
    tolerance = 1e-3 if lm.shape.dtype == torch.float32 else 5e-2
    difference = float((ours_BV - reference_BV).abs().max() / reference_BV.abs().max().clamp_min(1))
    if not difference <= tolerance:
        raise ValueError(f"its own forward gives other logits than the engine (relative difference {difference:.2g})")
