"""How fast working memory goes from one replica to another, and whether it comes while its reader works.

A parcel is packed in one actor from views of a cache, goes through the object store, and is unpacked in another; in
turn with a plain array of the same size, which is as fast as Ray gets. Between nodes memory is sent ahead: what is
left of the transfer's time is what a reader that has other work waits for it. Medians; the store is warm.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from jobs.benches.command import machine, numbers, print_table, say, settings_of
from pipeline.validation import require

GOAL_GBPS = 5.0
"""GB/s of the largest parcel on one node, from the call to pack it to its views in the reader."""
GOAL_WAIT = 10.0
"""Percent of a transfer between nodes that its reader, if it has other work, waits for."""
QUICK = {"sizes": "16", "positions": "200", "repeats": 3, "turn_seconds": 0.1, "parcel_mb": 8.0, "batches": 6}
"""What a quick run has of each."""
WARM_SIZES = 4
"""Parcels of the largest size for which a store is warm before anything is measured."""
SHARE = 0.4
"""Of the store, what batches under way may claim."""
UNDER_WAY = 6
"""Batches under way, each with the parcels of three roles, that keep four stand-ins busy."""
WAY = {
    "case": "parcel",
    "megabytes": "MB",
    "way_gbps": "GB/s whole way",
    "best_gbps": "at best",
    "plain_gbps": "plain array",
    "of_plain": "share of it",
    "pack_ms": "pack ms",
    "store_ms": "store ms",
    "fetch_ms": "fetch ms",
    "unpack_ms": "unpack ms",
    "place_gbps": "place GB/s",
    "copy_gbps": "memcpy GB/s",
    "pieces": "pieces",
    "padding_pct": "padding %",
}
OVERLAP = {
    "megabytes": "MB a parcel",
    "turn_seconds": "turn s",
    "nodes": "nodes",
    "transfer_ms": "ms to come",
    "wait_ms": "ms waited",
    "wait_pct": "waited %",
    "control_wait_pct": "without fetching ahead",
    "efficiency_pct": "% of ideal",
    "control_efficiency_pct": "without",
}


@dataclass(frozen=True, kw_only=True)
class Handover:
    """Settings of the handover benchmark."""

    sizes: str = "16,64,256"
    """Sizes of a parcel in MB, one role's memory for a batch of 8."""
    positions: str = "200,40"
    """Positions of a row, on average: prompt and thoughts. The fewer, the smaller the pieces of a cache they lie in."""
    repeats: int = 11
    """How often each is measured."""
    turn_seconds: float = 1.0
    """How long the last role's turn takes in the spread run; the others take less."""
    parcel_mb: float = 64.0
    """MB of each parcel of the spread run."""
    batches: int = 14
    """Batches of the spread run."""
    runs: int = 3
    """Spread runs, each with a control; 0 leaves them out."""
    quick: bool = False
    """One small size instead, and one short spread run."""
    address: str | None = None
    """Ray cluster to use; without it $RAY_ADDRESS, else a new local one of two nodes."""

    def __post_init__(self) -> None:
        for name in ("sizes", "positions"):
            require(min(numbers(getattr(self, name))) > 0, name, getattr(self, name), "numbers of 1 or more: 16,64")
        for name in ("turn_seconds", "parcel_mb"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.repeats >= 1, "repeats", self.repeats, "1 or more")
        require(self.batches >= 6, "batches", self.batches, "6 or more")
        require(self.runs >= 0, "runs", self.runs, "0 or more")

    @property
    def store_bytes(self) -> int:
        """The object store that a node needs."""
        spread = UNDER_WAY * 3 * self.parcel_mb / SHARE
        return int(1e6 * max(spread, 2 * WARM_SIZES * max(numbers(self.sizes)), 500))


def main(argv: Sequence[str], result: TextIO) -> int:
    """Measures parcels and spread runs; returns the exit code."""
    chosen = settings_of(Handover, argv, prog="bench.py handover", description=__doc__)
    if chosen.quick:
        chosen = Handover(**{**asdict(chosen), **QUICK, "runs": min(chosen.runs, 1)})
    # Ray is slow to import and comes after the command line has proved right.
    from jobs.benches.nodes import nodes

    with nodes(chosen.address, chosen.store_bytes) as homes:
        way = list(_ways(chosen, homes))
        overlap = _overlap(chosen) if chosen.runs else None
    print_table(WAY, way, title="from actor to actor")
    if overlap:
        print_table(OVERLAP, [overlap], title="a spread run")
    told = {"command": "handover", **machine(), "settings": asdict(chosen), **verdict(way, overlap)}
    result.write(json.dumps({**told, "way": way, "overlap": overlap}) + "\n")
    return 0


def verdict(way: Sequence[dict[str, Any]], overlap: dict[str, Any] | None) -> dict[str, Any]:
    """The largest parcel of the first kind on one node and the spread run, against the goals.

    Args:
        way: Measured parcels; those on one node come first, and the longest rows come first among them.
        overlap: The spread run, if there was one; on one node alone nothing is to be waited for.
    """
    largest = max((one for one in way if one["case"] == way[0]["case"]), key=lambda one: one["megabytes"])
    wait = overlap["wait_pct"] if overlap and overlap["nodes"] > 1 else None
    return {
        "largest": {name: largest[name] for name in ("megabytes", "way_gbps", "of_plain", "padding_pct")},
        "wait_pct": wait,
        "goal": {"way_gbps": GOAL_GBPS, "wait_pct": GOAL_WAIT},
        "met": largest["way_gbps"] >= GOAL_GBPS and (wait is None or wait < GOAL_WAIT),
    }


def _ways(chosen: Handover, homes: Sequence[str]) -> Sequence[dict[str, Any]]:
    from jobs.benches.parcels import Way

    measured = []
    for reader in homes[:2]:
        way = Way((homes[0], reader), WARM_SIZES * int(1e6) * max(numbers(chosen.sizes)))
        for positions in numbers(chosen.positions):
            for size in numbers(chosen.sizes):
                measured.append(way.measure(size, positions, chosen.repeats))
                say(line(measured[-1]))
        way.end()
    return measured


def _overlap(chosen: Handover) -> dict[str, Any]:
    from jobs.benches.overlap import Apart

    with Apart.started(say) as apart:
        return apart.measure(chosen.parcel_mb, chosen.turn_seconds, chosen.batches, chosen.runs)


def line(one: dict[str, Any]) -> str:
    """A measured parcel in one line."""
    return (
        f"{one['case']}: {one['megabytes']:.0f} MB at {one['way_gbps']:.2f} GB/s, a plain array at "
        f"{one['plain_gbps']:.2f} GB/s"
    )
