"""Throughput of many replicas against ideal, with timed stand-ins for models under the real driver, router and scoring.

Every case runs at a fixed turn time, or at the times of a model at the paper's settings (stages.py). The steady part of
a case is what lies between its first wave of answers and its last submission; the whole is from the first submission to
the last answer. Driver time is CPU time: of the driver's thread alone, and of its whole process with Ray's own threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TextIO

from jobs.benches.cases import Scale, cases
from jobs.benches.command import machine, print_table, say, settings_of

GOAL_EFFICIENCY = 95.0
"""Percent of ideal, in the steady part, with the most replicas."""
GOAL_DRIVER_MS = 2.0
"""CPU milliseconds of the driver's thread a turn."""
COLUMNS = {
    "case": "case",
    "efficiency_pct": "steady % of ideal",
    "whole_pct": "whole %",
    "turns_per_second": "turns/s",
    "driver_ms_per_turn": "driver ms/turn",
    "process_ms_per_turn": "its process",
    "store_mb_per_second": "store MB/s",
    "mb_per_question": "MB/question",
    "peak_under_way_pct": "peak % of budget",
}
"""Of the table, by field of a measurement."""


def main(argv: Sequence[str], result: TextIO) -> int:
    """Runs all cases; returns the exit code."""
    scale = settings_of(Scale, argv, prog="bench.py scale", description=__doc__)
    # Ray is slow to import and comes after the command line has proved right.
    from pipeline.runtime.cluster import connected

    most = max(scale.replica_counts)
    with connected(scale.address, pretended_gpus=most):
        from jobs.benches.stand import Stand

        began = time.perf_counter()
        with Stand.started(most, say) as stand:
            startup = time.perf_counter() - began
            say(f"{most} stand-ins started in {startup:.0f} s")
            measured = []
            for case in cases(scale):
                measured.append(stand.measure(case, scale))
                say(line(measured[-1]))
    print_table(COLUMNS, measured)
    told = {"command": "scale", **machine(), "settings": asdict(scale), "startup_seconds": round(startup, 1)}
    result.write(json.dumps({**told, **verdict(measured), "cases": measured}) + "\n")
    return 0


def verdict(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The worse of the cases with the most replicas and a fixed turn time, against the goal."""
    fixed = [one for one in measured if one["model"] == "fixed"] or list(measured)
    most = max(one["replicas"] for one in fixed)
    largest = [one for one in fixed if one["replicas"] == most]
    efficiency = min(one["efficiency_pct"] for one in largest)
    driver = max(one["driver_ms_per_turn"] for one in largest)
    return {
        "worst": {"replicas": most, "efficiency_pct": efficiency, "driver_ms_per_turn": driver},
        "goal": {"efficiency_pct": GOAL_EFFICIENCY, "driver_ms_per_turn": GOAL_DRIVER_MS},
        "met": efficiency >= GOAL_EFFICIENCY and driver < GOAL_DRIVER_MS,
    }


def line(one: dict[str, Any]) -> str:
    """A measurement in one line."""
    return (
        f"{one['case']}: {one['efficiency_pct']:.1f} % of ideal, {one['turns_per_second']:.1f} turns/s, "
        f"driver {one['driver_ms_per_turn']:.2f} ms a turn"
    )
