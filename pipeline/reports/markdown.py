"""Tables as Markdown (GitHub's)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.reports.grid import Cell, Grid, told_once


def as_markdown(grids: Sequence[Grid], notes: Sequence[str] = ()) -> str:
    """Tables one below the other, each with its title; a caption that several share stands below the last of them."""
    parts = []
    for grid in told_once(grids):
        parts.append(f"### {escaped(grid.title)}\n\n{_table(grid)}")
        if grid.caption:
            parts.append(escaped(grid.caption))
    if notes:
        parts.append("\n".join(f"- note: {escaped(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text in which nothing is markup, a line break included; what can't be taken for markup stays as it is."""
    plain = re.sub(r"[\\`*<>|&~$]", r"\\\g<0>", " ".join(text.split()))
    plain = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", plain)  # within a word it is a letter
    return re.sub(r"\](?=[(\[:])", r"\\]", plain)  # what makes a link of brackets


def _table(grid: Grid) -> str:
    heads = [escaped(column.title) for column in grid.columns]
    rules = ["---:" if column.figures else "---" for column in grid.columns]
    rows = [[_cell(cell) for cell in row.cells] for row in grid.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rules, *rows))


def _cell(cell: Cell) -> str:
    text = escaped(cell.shown)
    return "<br>".join([f"**{text}**" if cell.bold and text else text, *map(escaped, cell.below)])
