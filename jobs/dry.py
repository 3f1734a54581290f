"""A dry run: what would be done and what it would take, instead of doing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

from jobs.checks import say_isolation
from pipeline.config import DataConfig, RunConfig, TrackingConfig
from pipeline.runtime.planned import PlannedRun


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Runs that are to be shown and not to be carried out."""

    runs: Sequence[PlannedRun]
    """At least one; they differ in their task alone."""

    def show(self, result: TextIO) -> int:
        """Shows them on stderr.

        Args:
            result: Where the line of numbers goes.

        Returns:
            The exit code.

        Raises:
            ValueError: A model can't be loaded, or there is no place for so many replicas.
        """
        from pipeline.runtime.estimate import this_machine
        from pipeline.runtime.outline import outline

        shown = outline(self.runs, this_machine())
        say_isolation(self.runs)
        sys.stderr.write("\n".join(shown.lines) + "\n")
        result.write(json.dumps(shown.numbers) + "\n")
        return 0


@dataclass(frozen=True, kw_only=True)
class DrySweep:
    """Cells of a sweep that are to be shown and not to be carried out."""

    cells: Mapping[str, PlannedRun]
    """By name, in order; at least one."""

    def show(self, result: TextIO) -> int:
        """Shows all cells on stderr, and of each model, method and graph the first one in full.

        Args:
            result: Where the line of numbers goes.

        Returns:
            The exit code.

        Raises:
            ValueError: A model can't be loaded, or there is no place for so many replicas.
        """
        from pipeline.runtime.estimate import this_machine
        from pipeline.runtime.outline import outline

        machine = this_machine()
        outlines = {names: outline([self.cells[name] for name in names], machine) for names in self.groups()}
        counts = {name: len(run.assignments) for name, run in self.cells.items()}
        say_isolation(self.cells.values())
        lines = [f"{len(counts)} cells, {sum(counts.values())} questions"]
        lines += [f"  {name}: {counts[name]} questions of {run.config.data.task}" for name, run in self.cells.items()]
        for names, shown in outlines.items():
            lines += ["", f"in full: {', '.join(names)}", *shown.lines]
        sys.stderr.write("\n".join(lines) + "\n")
        told = [{"cells": list(names), **shown.numbers} for names, shown in outlines.items()]
        result.write(json.dumps({"dry_run": True, "cells": counts, "outlines": told}) + "\n")
        return 0

    def groups(self) -> list[tuple[str, ...]]:
        """The cells that are shown in full: the first one of each kind, and those that differ from it in the task."""
        first: dict[tuple[object, ...], list[str]] = {}
        for name, run in self.cells.items():
            kind = (run.config.model.model, run.config.collaboration.method, run.plan.graph)
            names = first.setdefault(kind, [name])
            if name not in names and _alike(run, self.cells[names[0]]):
                names.append(name)
        return [tuple(names) for names in first.values()]


def _alike(run: PlannedRun, other: PlannedRun) -> bool:
    """Whether two runs differ in their task, and what it brings, alone."""
    return run.plan == other.plan and _without_task(run.config) == _without_task(other.config)


def _without_task(config: RunConfig) -> RunConfig:
    decoding = replace(config.decoding, max_new_tokens=None)
    return replace(config, data=DataConfig(), decoding=decoding, tracking=TrackingConfig())
