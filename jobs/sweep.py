"""Runs the same evaluation with different settings, one run after another, and sets the results side by side.

`--config` names a YAML file of settings that all runs share, and what differs: `cells`, a list of settings (each with a
`name`, if wanted), and `grid`, for some settings a list of values; every cell is run at every point of the grid. Flags
win over the settings that all share. Finished runs are not asked again with --resume. Exit codes as of eval.py.
"""

from __future__ import annotations

import os.path
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import datetime
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from jobs.checks import located
from jobs.cli import STOPPED, as_interrupt, complain, config_of, config_parser, parse
from jobs.eval import checked_questions
from jobs.plans import Cell, Origin, Series, by_task, open_series
from jobs.series import Metrics, run_series
from pipeline.config import RunConfig

PROG = "sweep.py"
FILE = "sweep.yaml"
"""A sweep's settings in its folder; `--config` reads it again."""
BARE = ("method", "graph", "experts", "task", "model", "alignment", "memory", "handover", "placement", "transport")
"""Settings whose values speak for themselves in a run's name."""
SHORT = {"latent_steps": "m", "max_new_tokens": "t", "temperature": "temp", "batch_size": "b"}
"""What other settings are called there, if not by their name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sweep; returns the exit code."""
    signal.signal(signal.SIGTERM, as_interrupt)
    result = sys.stdout
    try:
        series = prepare(list(sys.argv[1:] if argv is None else argv))
        with redirect_stdout(sys.stderr):  # Ray has things to say on stdout, which is for the result alone
            return run_series(series, prog=PROG, word="cell", line=line_of_cells, result=result)
    except ValueError as error:
        return complain(PROG, error)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED


def prepare(argv: Sequence[str]) -> Series:
    """Turns a command line into checked runs and their folders.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    parser = sweep_parser()
    values = parse(parser, argv)
    given, resume = values["given"], values["resume"]
    if resume is not None:
        values = parse(parser, ["--config", str(config_of_sweep(Path(resume), given)), *argv])
    base = config_of(values)
    cells = expanded(values["cells"], values["grid"])
    base = RunConfig.from_flat(located(base.flat()))
    cells = [replace(cell, settings=located(cell.settings)) for cell in cells]
    # What is slow to import comes after the command line has proved right.
    from pipeline.runtime.cluster import base_dir

    origin = Origin(
        base=base,
        settings=(Path(resume) if resume is not None else base_dir() / (values["out"] or default_out(argv))) / FILE,
        text=as_yaml(base.flat(), cells),
        resume=resume is not None,
        flags={name: value for name, value in base.flat().items() if name in given},
        questions=checked_questions,
    )
    from pipeline.runtime.sweeps import mark_sweep

    series = open_series(by_task(cells, base), origin)
    mark_sweep(list(series.requests.values()))
    return series


def sweep_parser() -> ArgumentParser:
    """Flags of eval.py, and what differs between runs."""
    parser = config_parser(PROG, __doc__.split("\n", 1)[0])
    cells, grid = "runs as a list of settings, each with a name if wanted", "settings with a list of values for each"
    parser.add_argument("--cells", type=list[dict[str, Any]], default=[], help=cells)
    parser.add_argument("--grid", type=dict[str, list[Any]], default={}, help=grid)
    parser.add_argument("--out", type=str | None, default=None, help="folder; by default runs/CONFIG-TIME")
    parser.add_argument("--resume", type=str | None, default=None, help="folder of a sweep to go on with")
    return parser


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


def expanded(cells: Sequence[Mapping[str, Any]], grid: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """Every cell at every point of the grid, each with a name.

    Raises:
        ValueError: There is nothing to sweep over, or a name can't be a folder's.
    """
    if not cells and not grid:
        raise ValueError(
            f"{PROG} needs what differs between runs: --cells or --grid, or either in the file of --config"
        )
    empty = [name for name, values in grid.items() if not values]
    if empty:
        raise ValueError(f"--grid has no values for {empty[0]!r}; give one at least")
    return [cell for one in cells or [{}] for cell in _crossed(one, grid)]


def _crossed(cell: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]) -> Iterator[Cell]:
    """One cell at every point of the grid."""
    own = {name: value for name, value in cell.items() if name != "name"}
    both = sorted(own.keys() & grid.keys())
    if both:
        raise ValueError(f"--grid and a cell of --cells both set {both[0]!r}; one of them has to leave it out")
    for point in product(*grid.values()):
        at = dict(zip(grid, point, strict=True))
        named = [str(cell.get("name", name_of(own))), name_of(at)]
        name = "-".join(filter(None, named)) or "base"
        if not re.fullmatch(r"\w[\w.+=-]*", name) or name == FILE:
            raise ValueError(f"--cells: {name!r} can't name a run's folder; allowed: letters, digits and . _ - + =")
        yield Cell(name=name, settings={**own, **at})


def name_of(settings: Mapping[str, Any]) -> str:
    """A name made of settings: {method: latent_mas, latent_steps: 20} is latent_mas-m20."""
    return "-".join(_called(name, value) for name, value in settings.items())


def _called(name: str, value: object) -> str:
    text = str(value).rstrip("/").rsplit("/", 1)[-1].removesuffix(".yaml")
    word = text if name in BARE else f"{SHORT.get(name, name)}{text}"
    return re.sub(r"[^\w.+=-]+", "_", word).strip("_")


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
