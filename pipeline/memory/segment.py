"""Segments: immutable working memory, one segment per agent and question; no padding is ever stored.

Shapes: L layers, N key/value heads, T positions, H head size, P prompt tokens, M latent steps, D hidden size.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from pipeline.records import Transfer

Part = Literal["full", "thoughts", "prompt"]
"""What of a segment is meant: all of it, its latent positions, or those of its prompt."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A run of layers whose keys and values lie on one device."""

    first: int
    """Its first layer."""
    end: int
    """The layer after its last one."""
    device: torch.device
    """Where they are."""

    @property
    def layers(self) -> slice:
        """Its layers among all."""
        return slice(self.first, self.end)


@dataclass(frozen=True, kw_only=True)
class KVShape:
    """What the keys and values of a model look like, for one position of one question."""

    layers: int
    """Decoder layers, L."""
    heads: int
    """Key/value heads, N."""
    key_size: int
    """Size of one key, H."""
    value_size: int
    """Size of one value; equal to `key_size` in most models."""
    dtype: torch.dtype
    """Number format of keys and values."""
    device: torch.device
    """The main device: where inputs enter and segments are cut to; where one device has all layers, that one."""
    spread: tuple[Stage, ...] = ()
    """The stages of a model over several devices, in order; none where `device` has all layers."""

    def __post_init__(self) -> None:
        starts, ends = [stage.first for stage in self.stages], [stage.end for stage in self.stages]
        assert starts == [0, *ends[:-1]], "a stage begins where the one before it ends"
        assert ends == sorted({*ends}), "a stage has layers"
        assert ends[-1] == self.layers, "every layer is in a stage"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, of which a model on one device has one."""
        return self.spread or (Stage(first=0, end=self.layers, device=self.device),)

    @property
    def bytes_per_position(self) -> int:
        """Bytes that one position of one question takes over all layers."""
        return self.layers * self.heads * (self.key_size + self.value_size) * self.dtype.itemsize

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Layers, heads, key size, value size."""
        return self.layers, self.heads, self.key_size, self.value_size


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a model was fed in one turn; by it the turn's keys and values can be computed again. `len` counts positions.

    It is valid for the model that read it, on top of the memory that the turn began with.
    """

    token_ids: Tensor
    """The prompt's tokens, int64 [P], on the CPU."""
    latents_MD: Tensor
    """The latent inputs that followed the prompt, as the model's forward takes them; M may be 0."""

    def __post_init__(self) -> None:
        assert self.token_ids.dim() == 1, "prompt tokens are [P]"
        assert self.latents_MD.dim() == 2, "latent inputs are [M, D]"

    def __len__(self) -> int:
        return len(self.token_ids) + len(self.latents_MD)

    @property
    def nbytes(self) -> int:
        """Size of tokens and latent inputs in bytes."""
        return self.token_ids.nbytes + self.latents_MD.nbytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """What one agent added to the working memory of one question."""

    keys_LNTH: Tensor
    """Keys after the rotary embedding."""
    values_LNTH: Tensor
    """Values."""
    positions_T: Tensor
    """The position that each key was rotated to, int64, on the CPU."""
    role: str
    """Who made it."""
    question_id: str
    """For which question."""
    fingerprint: str
    """The model that it is valid for."""
    latent_steps: int = 0
    """How many of the last positions are latent thoughts; those before them are the prompt."""
    digest: str = ""
    """What `content_digest` was when the segment was made, if it was signed."""
    inputs: Inputs | None = None
    """What the model was fed in the whole turn that this is, or is a part of, where that was kept."""
    arrival: Transfer | None = None
    """How it came from another replica, until its first reader has brought it into place."""
    home: object | None = field(default=None, repr=False)
    """The slot of a live cache that this is a view of, if it never left it; while it is held, nobody else gets it."""

    def __post_init__(self) -> None:
        assert self.keys_LNTH.shape[:3] == self.values_LNTH.shape[:3], "keys and values disagree in shape"
        assert len(self) == len(self.positions_T), "one position per key"
        assert 0 <= self.latent_steps <= len(self), "more latent steps than positions"

    def __len__(self) -> int:
        return self.keys_LNTH.shape[2]

    @property
    def nbytes(self) -> int:
        """Size of keys and values in bytes."""
        return self.keys_LNTH.nbytes + self.values_LNTH.nbytes

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Layers, heads, key size, value size."""
        return *self.keys_LNTH.shape[:2], self.keys_LNTH.shape[3], self.values_LNTH.shape[3]

    def __getstate__(self) -> dict[str, Any]:
        """What travels to other processes: the content, not the slot that it is a view of."""
        return {**vars(self), "home": None, "arrival": None}

    def part(self, part: Part) -> Segment:
        """The segment, or the positions of its thoughts or its prompt alone: views, no copy."""
        if part == "full":
            return self
        split = len(self) - self.latent_steps
        wanted = slice(split, None) if part == "thoughts" else slice(0, split)
        return replace(
            self,
            keys_LNTH=self.keys_LNTH[:, :, wanted],
            values_LNTH=self.values_LNTH[:, :, wanted],
            positions_T=self.positions_T[wanted],
            latent_steps=self.latent_steps if part == "thoughts" else 0,
            digest="",  # the slot is kept: these are views of it
        )

    def content_digest(self) -> str:
        """A digest of keys, values and positions as they are now; reads every byte."""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in (self.positions_T, self.keys_LNTH, self.values_LNTH):
            digest.update(tensor.detach().contiguous().cpu().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def signed(self) -> Self:
        """The same segment, which can be verified from now on."""
        return replace(self, digest=self.content_digest())

    def verify(self) -> None:
        """Checks the content of a signed segment.

        Raises:
            ValueError: It is not what it was when it was signed.
        """
        if self.digest and self.digest != self.content_digest():
            raise ValueError(
                f"working memory of {self.role!r} for question {self.question_id!r} was changed on its way: "
                f"its digest was {self.digest} and is now {self.content_digest()}"
            )
