"""Segments and memories: immutable working memory, one segment per agent and question.

A segment is what one agent added for one question; a memory is an ordered list of segments. Agents never copy earlier
segments, and no padding is ever stored.

Shapes: L layers, N key/value heads, T positions, H head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.memory.packing import KVBatch


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
    """Where they are."""

    @property
    def bytes_per_position(self) -> int:
        """Bytes that one position of one question takes over all layers."""
        return self.layers * self.heads * (self.key_size + self.value_size) * self.dtype.itemsize


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
    home: tuple[KVBatch, int] | None = field(default=None, repr=False)
    """The live batch and row whose cache these tensors are views of, if they never left it."""

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


@dataclass(frozen=True, eq=False)
class Memory:
    """An ordered list of segments: what an agent inherits. Memories add up (`a + b`); `len` counts positions."""

    segments: tuple[Segment, ...] = ()
    """Placed one after another, the first at position 0."""

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Memory:
        """Collects segments in the order given."""
        return cls(tuple(segments))

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.segments + other.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __len__(self) -> int:
        return sum(len(segment) for segment in self.segments)

    def __bool__(self) -> bool:
        return bool(self.segments)

    @property
    def nbytes(self) -> int:
        """Size of all keys and values in bytes."""
        return sum(segment.nbytes for segment in self.segments)

    def check(self, *, fingerprint: str, question_id: str | None = None) -> None:
        """Refuses memory of another model or, where `question_id` is given, of another question.

        Raises:
            ValueError: A segment does not fit; the message names both sides.
        """
        for segment in self.segments:
            if segment.fingerprint != fingerprint:
                raise ValueError(
                    f"working memory of {segment.role!r} was made by model {segment.fingerprint}, "
                    f"but the model that reads it is {fingerprint}"
                )
            if question_id is not None and segment.question_id != question_id:
                raise ValueError(
                    f"working memory of {segment.role!r} belongs to question {segment.question_id!r}, "
                    f"but it was given for question {question_id!r}"
                )
