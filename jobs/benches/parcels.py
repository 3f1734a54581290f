"""The way of one parcel: packed in one actor, through the object store, unpacked and placed in another.

Shapes: L layers, B rows, N key/value heads, C columns, T positions, H head size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pickle import dumps
from statistics import median
from typing import Any

import numpy as np
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.config import CARRIERS
from pipeline.memory import KVCache, KVShape, Parcel, Segment, Staging, pack, unpack_segments

CPU = torch.device("cpu")
LAYER = KVShape(layers=1, heads=8, key_size=128, value_size=128, dtype=torch.bfloat16, device=CPU)
"""Of Qwen3's 4B, 8B and 14B; as many layers are taken as make the size."""
ROWS = (0.8, 1.2, 0.9, 1.1, 1.0, 0.7, 1.3, 1.0)
"""The questions of a batch, by their length as a share of the mean."""
SPARE = 40
"""Columns of the cache before and after a segment, which is thus a view of parts of it."""
WARM = 3
"""Rounds before those that count."""
WARM_PARTS = 8
"""Objects that warm the store."""
STORE = CARRIERS["object_store"]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one role leaves behind for a batch."""

    layers: int
    """Layers, L."""
    lengths: tuple[int, ...]
    """Positions of each row."""

    @classmethod
    def of(cls, megabytes: float, positions: int) -> Load:
        """As many layers as come next to a size.

        Args:
            megabytes: The size.
            positions: Of a row, on average.
        """
        lengths = tuple(max(1, round(positions * share)) for share in ROWS)
        return cls(layers=max(1, round(megabytes * 1e6 / cls(layers=1, lengths=lengths).nbytes)), lengths=lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return self.layers * sum(self.lengths) * LAYER.bytes_per_position

    @property
    def columns(self) -> int:
        """Columns of a cache for it, C."""
        return max(self.lengths) + 2 * SPARE

    def cache(self) -> list[torch.Tensor]:
        """The keys and the values of a replica's cache, [L, B, N, C, H], with other bytes at every place."""
        shape = replace(LAYER, layers=self.layers)
        made = KVCache(shape, rows=len(self.lengths), columns=self.columns, most=self.columns).caches[0]
        parts = [made.keys_LRNCH, made.values_LRNCH]
        count = parts[0].nbytes // torch.int32.itemsize
        for first, part in zip((0, count), parts, strict=True):
            part.copy_(torch.arange(first, first + count, dtype=torch.int32).view(shape.dtype).view(part.shape))
        return parts

    def rows(self, cache: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The keys and values of each row as views of a cache, [L, N, T, H] each: right-aligned, as agents cut them."""
        end = self.columns - SPARE
        for row, length in enumerate(self.lengths):
            yield cache[0][:, row, :, end - length : end], cache[1][:, row, :, end - length : end]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a parcel is made of."""

    nbytes: int
    """Bytes of its payload."""
    padding: int
    """Those of them that are neither keys nor values."""
    pieces: int
    """Buffers that the object store gets."""
    header: int
    """Bytes that travel beside the payload: labels, and where each piece is."""


class Sender:
    """Packs, as a replica does."""

    def warm(self, nbytes: int) -> None:
        """Writes to a part of the store: the first write to a page costs more than all later ones."""
        part = np.ones(nbytes // WARM_PARTS, np.uint8)
        ray.get([ray.put(part) for _ in range(WARM_PARTS)])

    def fill(self, load: Load) -> Facts:
        """Makes memory to send, and bytes of the same size to compare it with."""
        cache, self._staging = load.cache(), Staging()
        self._segments = [(f"q{row}", _segment(*pair)) for row, pair in enumerate(load.rows(cache))]
        parcel = self.send()
        self._plain, self._copy = (np.ones(parcel.nbytes, np.uint8) for _ in range(2))
        header = len(dumps(parcel, protocol=5, buffer_callback=lambda _: None))
        pieces = len(parcel.payload) if isinstance(parcel.payload, tuple) else 1
        padding = parcel.nbytes - sum(segment.nbytes for _, segment in self._segments)
        return Facts(nbytes=parcel.nbytes, padding=padding, pieces=pieces, header=header)

    def send(self) -> Parcel:
        """Packs all segments."""
        return pack(STORE, self._segments, self._staging)

    def send_plain(self) -> Any:
        """As many bytes in one array."""
        return self._plain

    def copy_seconds(self) -> float:
        """How long one core takes to copy as many bytes."""
        return _seconds(lambda: np.copyto(self._copy, self._plain))


class Reader:
    """Unpacks, as a replica does."""

    def prepare(self, load: Load) -> None:
        """Makes a cache to place what comes in."""
        self._rows = list(load.rows(load.cache()))

    def read(self, refs: Sequence[Any]) -> tuple[float, float, float]:
        """Fetches a parcel and unpacks it: seconds of packing, of fetching and of unpacking."""
        began = time.perf_counter()
        parcel: Parcel = ray.get(refs[0])
        fetched = time.perf_counter()
        unpack_segments(STORE, parcel, CPU, 0.0)
        return parcel.seconds, fetched - began, time.perf_counter() - fetched

    def read_plain(self, refs: Sequence[Any]) -> tuple[float, float, float]:
        """Fetches an array."""
        return 0.0, _seconds(lambda: ray.get(refs[0])), 0.0

    def verify(self, refs: Sequence[Any]) -> None:
        """Compares what came with what was sent.

        Raises:
            ValueError: It is not the same.
        """
        for segment in unpack_segments(STORE, ray.get(refs[0]), CPU, 0.0).values():
            segment.verify()

    def place(self, refs: Sequence[Any]) -> float:
        """Copies what a parcel holds into the rows of a cache; how long that took."""
        came = unpack_segments(STORE, ray.get(refs[0]), CPU, 0.0).values()

        def copy() -> None:
            for (keys, values), segment in zip(self._rows, came, strict=True):
                keys.copy_(segment.keys_LNTH)
                values.copy_(segment.values_LNTH)

        return _seconds(copy)


class Way:
    """A sender and a reader, on one node or on two."""

    def __init__(self, homes: tuple[str, str], warm_bytes: int) -> None:
        """Starts both.

        Args:
            homes: Ids of the nodes of sender and reader.
            warm_bytes: Of the sender's store, what is written to before anything is measured.
        """
        self._across = homes[0] != homes[1]
        self._sender, self._reader = (_actor(*pair) for pair in zip((Sender, Reader), homes, strict=True))
        ray.get(self._sender.warm.remote(warm_bytes))

    def end(self) -> None:
        """Ends both."""
        for actor in (self._sender, self._reader):
            ray.kill(actor)

    def measure(self, megabytes: float, positions: int, repeats: int) -> dict[str, Any]:
        """Sends parcels and plain arrays of one size in turn; medians of what they took."""
        load, sender, reader = Load.of(megabytes, positions), self._sender, self._reader
        facts: Facts = ray.get([sender.fill.remote(load), reader.prepare.remote(load)])[0]
        ray.get(reader.verify.remote([sender.send.remote()]))
        taken: dict[str, list[float]] = {}
        for turn in range(WARM + repeats):
            ref, plain = _trip(sender.send_plain, reader.read_plain)
            del ref  # the store has room for one at a time to be warm
            ref, parcel = _trip(sender.send, reader.read)
            times = {**parcel, "plain": plain["way"], "place": ray.get(reader.place.remote([ref]))}
            times["copy"] = ray.get(sender.copy_seconds.remote())
            del ref
            for name, seconds in times.items() if turn >= WARM else ():
                taken.setdefault(name, []).append(seconds)
        middle = {name: median(seconds) for name, seconds in taken.items()}
        rates = {f"{name}_gbps": facts.nbytes / middle[name] / 1e9 for name in ("way", "plain", "place", "copy")}
        return {
            "case": f"{'two nodes' if self._across else 'one node'}, rows of {positions}",
            "megabytes": facts.nbytes / 1e6,
            **rates,
            "best_gbps": facts.nbytes / min(taken["way"]) / 1e9,
            "of_plain": median(b / a for a, b in zip(taken["way"], taken["plain"], strict=True)),
            **{f"{name}_ms": 1e3 * middle[name] for name in ("pack", "store", "fetch", "unpack")},
            "pieces": facts.pieces,
            "padding_pct": 100 * facts.padding / facts.nbytes,
            "header_pct": 100 * facts.header / facts.nbytes,
        }


def _trip(send: Any, read: Any) -> tuple[Any, dict[str, float]]:
    """Sends something and has it read: its reference, and the seconds of the whole way and its stages."""
    began = time.perf_counter()
    ref = send.remote()
    ray.wait([ref], fetch_local=False)
    stored = time.perf_counter()
    pack_seconds, fetch, unpack = ray.get(read.remote([ref]))
    way = time.perf_counter() - began
    return ref, {
        "way": way,
        "pack": pack_seconds,
        "store": stored - began - pack_seconds,
        "fetch": fetch,
        "unpack": unpack,
    }


def _actor(kind: type, node: str) -> Any:
    made: Any = ray.remote(num_cpus=0)(kind)
    return made.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()


def _segment(keys: torch.Tensor, values: torch.Tensor) -> Segment:
    return Segment(
        keys_LNTH=keys,
        values_LNTH=values,
        positions_T=torch.arange(keys.shape[2]),
        role="planner",
        question_id="q",
        fingerprint="f",
    ).signed()


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
