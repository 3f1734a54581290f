"""Parcels: one role's segments of a batch, packed once for travel between replicas, without padding.

A parcel is a list of labels and one flat run of bytes. What its bytes are depends on the carrier: keys and values, or
what the model was fed to make them. What is unpacked are views of the bytes; whoever reads them copies them into a
cache of its own and never writes to them, because the object store shares them between processes.

Shapes: L layers, N key/value heads, T positions, H head size.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.config import Carrier
from pipeline.memory.payloads import ALIGNED, Bytes, Staging, as_they_lie, joined
from pipeline.memory.pinned import copies, to_device
from pipeline.memory.segment import Inputs, Segment
from pipeline.records import Transfer

MAKER = ("role", "question_id", "fingerprint", "latent_steps", "digest")
"""Fields of a segment that travel as they are."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """What is to be known of one packed segment besides its bytes."""

    row: str
    """The question that is asked; with shuffled memory not the one that the segment was made for."""
    made: dict[str, Any]
    """Who made the segment, of what."""
    start: int
    """Position of its first key."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of its two tensors."""
    dtypes: tuple[torch.dtype, ...]
    """Their number formats."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parcel:
    """One role's segments of a batch on their way."""

    labels: tuple[Label, ...]
    """One a segment, in the order of the bytes."""
    payload: Any
    """All bytes: for the object store an array, uint8 [bytes], or pieces of one; for direct transports a tensor."""
    nbytes: int
    """How many."""
    seconds: float
    """How long packing took; what the object store copies itself, it copies later."""
    held: tuple[Any, ...] = ()
    """The slots that the payload is views of, if it is: kept until it has been sent, and left behind."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "held": ()}


def pack(carrier: Carrier, segments: Sequence[tuple[str, Segment]], staging: Staging | None = None) -> Parcel:
    """Packs segments, each with the id of the question that is asked.

    Args:
        carrier: Decides what is packed.
        segments: Those of one role; strided views of a cache are copied once, into the parcel or by the object store:
            until it has been sent, the parcel keeps the slots that they are views of.
        staging: Where to copy what the object store can't take as it lies; without it, new memory.
    """
    began = time.perf_counter()
    pairs = [_travelling(carrier, segment) for _, segment in segments]
    labels = [_label(row, segment, pair) for (row, segment), pair in zip(segments, pairs, strict=True)]
    tensors = [tensor for pair in pairs for tensor in pair]
    size = sum(_aligned(tensor.nbytes) for tensor in tensors)
    payload: Any
    if carrier.direct:
        device = tensors[0].device if tensors else torch.device("cpu")
        payload = _filled(torch.empty(size, dtype=torch.uint8, device=device), labels, tensors)
    else:
        payload = as_they_lie(tensors) or _staged(staging or Staging(), size, labels, tensors)
    return Parcel(
        labels=tuple(labels),
        payload=payload,
        nbytes=size,
        seconds=time.perf_counter() - began,
        held=tuple(segment.home for _, segment in segments) if isinstance(payload, tuple) else (),
    )


def unpack_segments(carrier: Carrier, parcel: Parcel, device: torch.device, seconds: float) -> dict[str, Segment]:
    """The segments of a parcel by the question that is asked.

    Args:
        carrier: How it came.
        parcel: What came.
        device: Where the tensors are to be; views of the parcel where that is where its bytes are.
        seconds: How long it took to come.
    """
    share = (seconds + parcel.seconds) / max(len(parcel.labels), 1)
    return {
        label.row: Segment(
            keys_LNTH=keys.transpose(1, 2),
            values_LNTH=values.transpose(1, 2),
            positions_T=torch.arange(label.start, label.start + keys.shape[1]),
            arrival=Transfer(transport=carrier.name, bytes=keys.nbytes + values.nbytes, seconds=share),
            **label.made,
        )
        for label, keys, values in _unpacked(parcel, device)
    }


def unpack_inputs(parcel: Parcel, device: torch.device) -> dict[str, Inputs]:
    """What the makers of a parcel's segments were fed, by the question that is asked."""
    return {
        label.row: Inputs(token_ids=ids.cpu(), latents_MD=latents) for label, ids, latents in _unpacked(parcel, device)
    }


def _travelling(carrier: Carrier, segment: Segment) -> tuple[Tensor, Tensor]:
    if not carrier.inputs:
        return segment.keys_LNTH.transpose(1, 2), segment.values_LNTH.transpose(1, 2)  # as they lie in a cache
    assert segment.inputs is not None, "an agent whose segments travel as inputs keeps them"
    return segment.inputs.token_ids, segment.inputs.latents_MD


def _staged(staging: Staging, size: int, labels: Sequence[Label], tensors: Sequence[Tensor]) -> Bytes:
    """Tensors of any device in one run of bytes on the CPU."""
    devices = {tensor.device for tensor in tensors if tensor.is_cuda}
    flat = staging.take(size, pinned=bool(devices))
    with ExitStack() as under_way:
        for device in devices:  # beside what it computes meanwhile for others
            under_way.enter_context(copies(device))
        _filled(torch.from_numpy(flat), labels, tensors)
    return flat


def _filled(flat: Tensor, labels: Sequence[Label], tensors: Sequence[Tensor]) -> Tensor:
    for target, tensor in zip(_views(flat, labels), tensors, strict=True):
        target.copy_(tensor, non_blocking=True)
    return flat


def _label(row: str, segment: Segment, pair: tuple[Tensor, Tensor]) -> Label:
    return Label(
        row=row,
        made={name: getattr(segment, name) for name in MAKER},
        start=int(segment.positions_T[0]) if len(segment) else 0,
        shapes=tuple(tuple(tensor.shape) for tensor in pair),
        dtypes=tuple(tensor.dtype for tensor in pair),
    )


def _unpacked(parcel: Parcel, device: torch.device) -> Iterator[tuple[Label, Tensor, Tensor]]:
    flat = parcel.payload
    if not isinstance(flat, Tensor):
        with warnings.catch_warnings():  # shared memory is read-only, and nobody here writes to it
            warnings.simplefilter("ignore", UserWarning)
            flat = torch.from_numpy(joined(flat, parcel.nbytes))
    views = _views(to_device(flat, device), parcel.labels)
    for label in parcel.labels:
        yield label, next(views), next(views)


def _views(flat: Tensor, labels: Sequence[Label]) -> Iterator[Tensor]:
    """The tensors of a parcel as views of its bytes, in order."""
    begin = 0
    for label in labels:
        for shape, dtype in zip(label.shapes, label.dtypes, strict=True):
            size = math.prod(shape) * dtype.itemsize
            if not size:
                yield torch.empty(shape, dtype=dtype, device=flat.device)
                continue
            yield flat[begin : begin + size].view(dtype).view(shape)
            begin += _aligned(size)


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
