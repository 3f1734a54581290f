"""Runs the same evaluation with different settings, one run after another, and sets the results side by side.

A setting that is a number, a word of a list, true or false, a graph or a model may have several values, with commas as
in `--seed 0,1` or as a list in the YAML file of `--config`: the sweep is every combination of them. What differs can
also be told by `cells`, a list of settings (each with a `name`, if wanted), and `grid`, for some settings a list of
values; every cell is run at every point of the grid. Points that differ in nothing that has an effect on their method
are one run. Flags win over the settings that all share. Finished runs are not asked again with --resume. Exit codes as
of eval.py.
"""

from __future__ import annotations

import os.path
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from jobs.checks import located
from jobs.cli import STOPPED, add_switch, as_interrupt, complain, config_of, config_parser, parse, result_stream
from jobs.dry import DrySweep
from jobs.eval import checked_questions
from jobs.grids import FILE, Expansion, expanded, several_valued, whole_grid
from jobs.plans import Cell, Origin, Series, by_task, check_series, open_series
from jobs.series import Metrics, run_series
from pipeline.config import RunConfig, settings
from pipeline.validation import flag

PROG = "sweep.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sweep; returns the exit code."""
    signal.signal(signal.SIGTERM, as_interrupt)
    result = result_stream()
    try:
        work = prepare(list(sys.argv[1:] if argv is None else argv))
        with redirect_stdout(sys.stderr):  # Ray has things to say on stdout, which is for the result alone
            if isinstance(work, DrySweep):
                return work.show(result)
            return run_series(work, prog=PROG, word="cell", line=line_of_cells, result=result)
    except ValueError as error:
        return complain(PROG, error)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED


def prepare(argv: Sequence[str]) -> Series | DrySweep:
    """Turns a command line into checked runs and their folders; with --dry-run without any folder.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    parser = sweep_parser()
    values = parse(parser, argv)
    given, resume = values["given"], values["resume"]
    if resume is not None:
        _refuse_several(values)
        values = parse(parser, ["--config", str(config_of_sweep(Path(resume), given)), *argv])
    base, expansion = planned(values)
    cells = [replace(cell, settings=located(cell.settings)) for cell in expansion.cells]
    # What is slow to import comes after the command line has proved right.
    from pipeline.runtime.cluster import base_dir
    from pipeline.runtime.sweeps import mark_sweep

    origin = Origin(
        base=base,
        settings=(Path(resume) if resume is not None else base_dir() / (values["out"] or default_out(argv))) / FILE,
        text=as_yaml(base.flat(), cells),
        resume=resume is not None,
        flags={name: value for name, value in base.flat().items() if name in given},
        questions=checked_questions,
    )
    cells = by_task(cells, base)
    if values["dry_run"]:
        work: Series | DrySweep = DrySweep(cells={name: run for name, (run, _) in check_series(cells, origin).items()})
    else:
        work = open_series(cells, origin)
        mark_sweep(list(work.requests.values()))
    if expansion.told:
        sys.stderr.write(f"{expansion.told}\n")
    return work


def planned(values: Mapping[str, Any]) -> tuple[RunConfig, Expansion]:
    """The settings that all runs share, and the cells.

    Args:
        values: Settings, some of them with several values, and what `--cells` and `--grid` say.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    listed = several_valued(values)
    base = config_of({**values, **{s.name: s.default for s in settings() if s.name in listed}})
    grid = whole_grid(listed, values["grid"], values["cells"])
    return RunConfig.from_flat(located(base.flat())), expanded(values["cells"], grid, base.flat())


def sweep_parser() -> ArgumentParser:
    """Flags of eval.py, and what differs between runs."""
    parser = config_parser(PROG, __doc__.split("\n", 1)[0], several=True)
    cells, grid = "runs as a list of settings, each with a name if wanted", "settings with a list of values for each"
    parser.add_argument("--cells", type=list[dict[str, Any]], default=[], help=cells)
    parser.add_argument("--grid", type=dict[str, list[Any]], default={}, help=grid)
    parser.add_argument("--out", type=str | None, default=None, help="folder; by default runs/CONFIG-TIME")
    parser.add_argument("--resume", type=str | None, default=None, help="folder of a sweep to go on with")
    add_switch(parser, "--dry-run", "Show the cells and what they would take; start, load and write nothing.")
    return parser


def _refuse_several(values: Mapping[str, Any]) -> None:
    for name in several_valued(values):
        raise ValueError(f"--resume goes on with a sweep as it was; give {flag(name)} one value, or leave it out")


def config_of_sweep(folder: Path, given: set[str]) -> Path:
    """The settings file of an earlier sweep.

    Raises:
        ValueError: The folder is no sweep's, or an option does not go with --resume.
    """
    for option in ("out", "config", "cells", "grid"):
        if option in given:
            raise ValueError(f"--resume goes on with a sweep as it was; leave --{option} out")
    file = folder / FILE
    if not os.path.isfile(file):  # unlike Path.is_file(), it takes no exception to a long name
        raise ValueError(f"--resume {str(folder)!r} is no sweep's folder (it has no {FILE})")
    return file


def as_yaml(base: Mapping[str, Any], cells: Sequence[Cell]) -> str:
    """A sweep as a file for `--config`."""
    listed = [{"name": cell.name, **cell.settings} for cell in cells]
    return yaml.safe_dump({**base, "cells": listed}, sort_keys=False, allow_unicode=True)


def default_out(argv: Sequence[str]) -> str:
    """A folder's name that tells which sweep is in it and clashes with no other."""
    files = [after for before, after in pairwise(argv) if before == "--config"]
    name = Path(files[-1]).stem if files else "sweep"
    return f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S-%f}"


def line_of_cells(runs: Mapping[str, Metrics]) -> dict[str, Any]:
    """What the last line says of a sweep: each cell's metrics."""
    return {"cells": dict(runs)}


if __name__ == "__main__":
    sys.exit(main())
