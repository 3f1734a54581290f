"""Tables as records: what every format shows, so that the terminal, Markdown, LaTeX, CSV and HTML can't disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of a table in full, as the long form lists it."""

    metric: str
    """accuracy, accuracy_lenient, output_tokens_per_question or seconds; accuracy_gain, accuracy_lenient_gain,
    tokens_saved or speed_up for what one method has over another."""
    unit: str
    """%, points, tokens, s or times."""
    method: str
    """Whose it is."""
    variant: str
    """What tells it from other ways to run the method; empty for the plain one."""
    against: str = ""
    """What it is compared with, if it is: a method, and its variant if that is not the plain one."""
    task: str
    graph: str
    """The graph of the table; of a single agent too, which has none of its own."""
    model: str
    value: float
    low: float | None = None
    """Lower end of the 95 % interval, if it has one."""
    high: float | None = None
    """Upper end."""
    deviation: float | None = None
    """Standard deviation over seeds, if there are several."""
    p_value: float | None = None
    """How likely chance alone makes a difference so large."""
    paper: float | None = None
    """The paper's number in its place."""
    n: int
    """Questions behind it."""
    seeds: int = 1
    """Seeds behind it."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: what it says, and what is said in smaller type below."""

    text: str = ""
    bold: bool = False
    mark: str = ""
    """A sign behind the text that the caption explains."""
    interval: str = ""
    notes: tuple[str, ...] = ()
    paper: str = ""
    """What the paper has here."""
    numbers: tuple[Number, ...] = ()
    """The numbers behind it."""

    @property
    def shown(self) -> str:
        """The text with its mark."""
        return f"{self.text}{self.mark}"

    @property
    def below(self) -> tuple[str, ...]:
        """What stands below the text, a line each."""
        told = (self.interval, *self.notes, f"paper {self.paper}" if self.paper else "")
        return tuple(line for line in told if line)


MISSING = Cell(text="–")
"""Where there is no number."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column."""

    title: str
    figures: bool = True
    """Whether it holds figures, which stand to the right and stay on one line, or words."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row."""

    cells: tuple[Cell, ...]
    """One a column."""
    begins: bool = False
    """Whether a group of rows begins here."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One table."""

    title: str
    caption: str = ""
    """How to read it."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        assert all(len(row.cells) == len(self.columns) for row in self.rows), self.title

    @property
    def numbers(self) -> tuple[Number, ...]:
        """All numbers behind it, row by row."""
        return tuple(number for row in self.rows for cell in row.cells for number in cell.numbers)


def told_once(grids: Sequence[Grid]) -> tuple[Grid, ...]:
    """Tables that stand one below the other: a caption that several share stays with the last of them alone."""
    later = [{grid.caption for grid in grids[place + 1 :]} for place in range(len(grids))]
    return tuple(
        replace(grid, caption="") if grid.caption in after else grid for grid, after in zip(grids, later, strict=True)
    )


def row_of_texts(texts: tuple[str, ...]) -> Row:
    """A row of cells that say no more than their text."""
    return Row(cells=tuple(Cell(text=text) for text in texts))


def columns_of(words: tuple[str, ...], figures: tuple[str, ...]) -> tuple[Column, ...]:
    """Columns of words, then columns of figures."""
    return (*(Column(title=name, figures=False) for name in words), *(Column(title=name) for name in figures))
