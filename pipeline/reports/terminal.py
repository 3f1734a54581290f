"""Tables for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.reports.grid import Cell, Grid


def terminal_table(grid: Grid, *, caption: bool = True) -> Table:
    """A table as rich prints it. Where a terminal is narrow, words go on in the next line and figures stay whole.

    Args:
        grid: The table.
        caption: Whether its caption stands below it.
    """
    below = Text(grid.caption) if caption and grid.caption else None
    table = Table(title=Text(grid.title), caption=below, box=SIMPLE_HEAD, collapse_padding=True)
    for column in grid.columns:
        if column.figures:
            table.add_column(Text(column.title), justify="right", no_wrap=True)
        else:
            table.add_column(Text(column.title), overflow="fold")
    for row in grid.rows:
        if row.begins and table.row_count:
            table.add_section()
        table.add_row(*map(_shown, row.cells))
    return table


def _shown(cell: Cell) -> Text:
    """A cell as text, never as markup: a task or a run may be called `[bold]`."""
    text = Text(cell.shown, style="bold" if cell.bold else "")
    for line in cell.below:
        text.append(f"\n{line}", style="not bold dim")
    return text
