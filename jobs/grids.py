"""Cells of a grid: settings at every point of it, with names, each different run once. Pure; asks for graphs alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from jobs.plans import Cell
from pipeline.config import settings
from pipeline.validation import fits_type, flag

FILE = "sweep.yaml"
"""A sweep's settings in its folder; `--config` reads it again."""
BARE = ("method", "graph", "experts", "task", "model", "alignment", "memory", "handover", "placement", "transport")
"""Settings whose values speak for themselves in a run's name."""
SHORT = {"latent_steps": "m", "max_new_tokens": "t", "temperature": "temp", "batch_size": "b"}
"""What other settings are called there, if not by their name."""
DECIDING = ("method", "graph", "latent_steps")
"""Settings by which others have an effect or none."""

Grid = Mapping[str, Sequence[Any]]
"""For some settings a list of values."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """What a sweep asks for."""

    cells: Sequence[Cell]
    """Its runs, in order, each with a name."""
    points: int
    """How many there would be if every setting had an effect on every method."""

    @property
    def told(self) -> str:
        """What users have to know of it, in a line; empty if it is as they asked."""
        if self.points == len(self.cells):
            return ""
        rest = "the others differ from them in settings without effect on their method"
        return f"{len(self.cells)} of the grid's {self.points} points are runs of their own; {rest}"


def several_valued(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The settings among parsed values that have a list of values."""
    return {s.name: values[s.name] for s in settings() if isinstance(values.get(s.name), list)}


def whole_grid(listed: Grid, grid: Grid, cells: Sequence[Mapping[str, Any]]) -> Grid:
    """One grid, of settings that have several values by themselves and of those of `--grid`.

    Raises:
        ValueError: A setting has no values, or is set in two of these places.
    """
    for name in listed:
        other = "--grid sets" if name in grid else "a cell of --cells sets" if any(name in c for c in cells) else ""
        if other:
            raise ValueError(f"{flag(name)} has several values, and {other} {name!r} too; one has to leave it out")
    both = {**listed, **grid}
    empty = [name for name, values in both.items() if not values]
    if empty:
        where = "--grid" if empty[0] in grid else flag(empty[0])
        raise ValueError(f"{where} has no values for {empty[0]!r}; give one at least")
    return both


def expanded(cells: Sequence[Mapping[str, Any]], grid: Grid, base: Mapping[str, Any]) -> Expansion:
    """Every cell at every point of the grid, each with a name; points that are the same run are one cell.

    Args:
        cells: What differs, run by run, each with a `name` if wanted.
        grid: What is crossed with all of them; a value that is given twice counts once.
        base: The settings that all of them share.

    Raises:
        ValueError: There is nothing to sweep over, a setting is in two places, a graph is unknown, or a name can't be a
            folder's.
    """
    if not cells and not grid:
        raise ValueError(
            "sweep.py needs what differs between runs: several values of a flag (--seed 0,1), --cells or --grid, "
            "or any of them in the file of --config"
        )
    grid = {name: _different(values) for name, values in grid.items()}
    given = cells or [{}]
    points = len(given) * len(list(product(*grid.values())))
    return Expansion(cells=[cell for one in given for cell in _crossed(one, grid, base)], points=points)


def _different(values: Sequence[Any]) -> list[Any]:
    """Values in order, each once; they may be lists or mappings."""
    return [value for place, value in enumerate(values) if value not in values[:place]]


def _crossed(cell: Mapping[str, Any], grid: Grid, base: Mapping[str, Any]) -> Iterator[Cell]:
    """One cell at every point of the grid that is a run of its own."""
    own = {name: value for name, value in cell.items() if name != "name"}
    both = sorted(own.keys() & grid.keys())
    if both:
        raise ValueError(f"--grid and a cell of --cells both set {both[0]!r}; one of them has to leave it out")
    known: list[Mapping[str, Any]] = []
    for point in product(*grid.values()):
        at = dict(zip(grid, point, strict=True))
        idle = _idle({**base, **own, **at}) - own.keys() if grid else frozenset[str]()
        told = {name: value for name, value in at.items() if name not in idle}
        changes = {**own, **told, **(_defaults(idle, base) if grid.keys() & set(DECIDING) else {})}
        if grid and changes in known:
            continue
        known.append(changes)
        named = [str(cell.get("name", name_of(own))), name_of(told)]
        yield Cell(name=_checked("-".join(filter(None, named)) or "base"), settings=changes)


def _idle(flat: Mapping[str, Any]) -> frozenset[str]:
    """Settings without effect in a run; none where what decides on it can't be, which is refused later."""
    from pipeline.graphs import without_effect

    kinds = {s.name: s.type for s in settings() if s.name in DECIDING}
    if not all(fits_type(flat[name], kind) for name, kind in kinds.items()):
        return frozenset()
    return without_effect(*(flat[name] for name in DECIDING))


def _defaults(names: frozenset[str], base: Mapping[str, Any]) -> dict[str, Any]:
    """What takes settings that all cells share back to their defaults, for a cell on which they have no effect."""
    return {s.name: s.default for s in settings() if s.name in names and base[s.name] != s.default}


def _checked(name: str) -> str:
    if not re.fullmatch(r"\w[\w.+=-]*", name) or name == FILE:
        raise ValueError(f"--cells: {name!r} can't name a run's folder; allowed: letters, digits and . _ - + =")
    return name


def name_of(settings: Mapping[str, Any]) -> str:
    """A name made of settings: {method: latent_mas, latent_steps: 20} is latent_mas-m20."""
    return "-".join(_called(name, value) for name, value in settings.items())


def _called(name: str, value: object) -> str:
    text = str(value).rstrip("/").rsplit("/", 1)[-1].removesuffix(".yaml")
    word = text if name in BARE else f"{SHORT.get(name, name)}{text}"
    return re.sub(r"[^\w.+=-]+", "_", word).strip("_")
