"""The numbers of tables as CSV, one row a number."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields

from pipeline.reports.grid import Grid, Number


def as_csv(grids: Sequence[Grid]) -> str:
    """All numbers behind some tables, in full; the columns are the fields of `Number`, empty where there is none."""
    out = io.StringIO()
    names = [field.name for field in fields(Number)]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for number in (number for grid in grids for number in grid.numbers):
        writer.writerow({name: _written(value) for name, value in asdict(number).items()})
    return out.getvalue()


def _written(value: object) -> object:
    return f"{value:.10g}" if isinstance(value, float) else value
