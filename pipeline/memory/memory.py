"""Memories: ordered lists of segments, and their file format.

Agents never copy earlier segments; three latent agents leave s1, s2 and s3 behind, not s1, s1+s2 and s1+s2+s3.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipeline.memory.segment import KVShape, Part, Segment

FORMAT = "latentmas-memory-1"
TENSORS = ("keys_LNTH", "values_LNTH", "positions_T")
FIELDS = {"role": str, "question_id": str, "latent_steps": int, "digest": str}


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

    def save(self, path: str | Path) -> None:
        """Writes the memory to one safetensors file; its header holds the model's fingerprint and who made what.

        Raises:
            ValueError: The memory is empty, its segments belong to different models, or the file can't be written.
        """
        fingerprints = {segment.fingerprint for segment in self}
        if len(fingerprints) != 1:
            raise ValueError(f"a memory file holds the memory of one model; this one has {sorted(fingerprints)}")
        tensors = {
            f"{index}.{name}": getattr(segment, name).detach().cpu().clone(memory_format=torch.contiguous_format)
            for index, segment in enumerate(self)
            for name in TENSORS
        }
        makers = [{name: getattr(segment, name) for name in FIELDS} for segment in self]
        header = {"format": FORMAT, "fingerprint": fingerprints.pop(), "segments": json.dumps(makers)}
        try:
            save_file(tensors, path, metadata=header)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} can't be written: {error}") from error

    @classmethod
    def load(cls, path: str | Path, *, fingerprint: str) -> Memory:
        """Reads what `save` wrote; the tensors are on the CPU, and nothing is ever unpickled.

        Args:
            path: The file.
            fingerprint: The model that will read the memory.

        Raises:
            ValueError: The file is no memory, is damaged, or belongs to another model.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    raise ValueError(f"{path} is no memory file (format {header.get('format')!r}, expected {FORMAT!r})")
                if header["fingerprint"] != fingerprint:
                    raise ValueError(
                        f"{path} was made by model {header['fingerprint']}, but this model is {fingerprint} "
                        "(the same weights in another number format are another model)"
                    )
                made = enumerate(json.loads(header["segments"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                memory = cls.of(_segment(index, maker, tensors, fingerprint) for index, maker in made)
        except (SafetensorError, OSError, KeyError, TypeError, AssertionError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} can't be read as a memory file: {error}") from error
        memory.verify()
        return memory

    def part(self, part: Part) -> Memory:
        """The memory of every segment's thoughts or prompt alone; what is empty then is left out."""
        return Memory.of(piece for piece in (segment.part(part) for segment in self.segments) if len(piece))

    def verify(self) -> None:
        """Checks every signed segment.

        Raises:
            ValueError: One is not what it was when it was signed.
        """
        for segment in self.segments:
            segment.verify()

    def check(self, *, shape: KVShape, fingerprints: Collection[str], question_id: str | None = None) -> None:
        """Refuses memory of another model, another shape or, where `question_id` is given, another question.

        Args:
            shape: Of the memory of the model that reads it.
            fingerprints: The models whose memory that model reads.
            question_id: The question that it has to be about.

        Raises:
            ValueError: A segment does not fit; the message names both sides.
        """
        for segment in self.segments:
            if segment.fingerprint not in fingerprints:
                allowed = " or ".join(sorted(fingerprints))
                _same(segment, "made by model", segment.fingerprint, "the model that reads it is", allowed)
            sizes = "of (layers, heads, key size, value size)"
            _same(segment, sizes, segment.sizes, "the model that reads it keeps", shape.sizes)
            _same(segment, "in", segment.keys_LNTH.dtype, "the model that reads it keeps", shape.dtype)
            if question_id is not None:
                _same(segment, "of question", segment.question_id, "it was given for question", question_id)


def _same(segment: Segment, is_: str, got: object, but: str, wanted: object) -> None:
    if got != wanted:
        raise ValueError(f"working memory of {segment.role!r} is {is_} {got}, but {but} {wanted}")


def _segment(index: int, maker: dict[str, Any], tensors: dict[str, torch.Tensor], fingerprint: str) -> Segment:
    """One segment of a file, whose content is not to be trusted."""
    keys, values, positions = (tensors[f"{index}.{name}"] for name in TENSORS)
    assert keys.dim() == values.dim() == 4, "keys and values are [L, N, T, H]"
    assert keys.dtype == values.dtype, "keys and values have one number format"
    assert keys.is_floating_point(), "keys and values are numbers"
    assert positions.dtype == torch.int64, "positions are whole numbers"
    assert positions.dim() == 1, "one position per key"
    assert torch.equal(positions, positions[:1].clamp_min(0) + torch.arange(len(positions))), (
        "positions follow each other"
    )
    assert all(type(maker[name]) is kind for name, kind in FIELDS.items()), f"a segment's header has {FIELDS}"
    made = {name: maker[name] for name in FIELDS}
    return Segment(keys_LNTH=keys, values_LNTH=values, positions_T=positions, fingerprint=fingerprint, **made)
