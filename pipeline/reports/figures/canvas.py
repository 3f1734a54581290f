"""What all figures look like, and how one becomes pictures: the same numbers give the same bytes.

Figures are made to be read at the width of a README, printed in black and white too: marks differ in hatch, line or
shape, not in colour alone, and colours (Okabe and Ito's) differ in lightness. Nothing touches pyplot's global state.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.reports.figures.drawing import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.0
"""Inches; a README shows them on some 830 pixels, so 9 points are 13 pixels there."""
DPI = 200
CROWD = 4
"""Groups of bars up to which two panels fit beside each other."""
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is there everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "0.85",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How one kind of thing is drawn."""

    colour: str
    """Its colour; those that stand side by side differ in lightness too."""
    hatch: str = ""
    """On bars and areas."""
    line: Any = "-"
    """Of a line, in any of matplotlib's forms."""
    point: str = "o"
    """On a line and in a scatter."""


METHOD_MARKS = {
    "single": Mark(colour="#dddddd"),
    "text_mas": Mark(colour="#e69f00", hatch="///"),
    "latent_mas": Mark(colour="#0072b2"),
}
"""Methods as bars."""
SERIES_MARKS = tuple(
    Mark(colour=colour, point=point, line=line, hatch=hatch)
    for colour, point, line, hatch in (
        ("#0072b2", "o", "-", ""),
        ("#e69f00", "s", "--", "///"),
        ("#000000", "^", "-.", "..."),
        ("#d55e00", "D", ":", "xxx"),
        ("#00402d", "v", (0, (5, 1, 1, 1, 1, 1)), "\\\\\\"),
        ("#56b4e9", "P", (0, (8, 2)), "++"),
        ("#999999", "X", (0, (3, 1)), "oo"),
        ("#7a1f5c", "*", (0, (1, 1)), "--"),
        ("#b8b800", "<", (0, (8, 2, 2, 2)), "||"),
    )
)
"""Things in a row, such as tasks: as many as there are benchmarks."""


def series_mark(place: int) -> Mark:
    """The mark of the n-th of several things; they repeat after the last one."""
    return SERIES_MARKS[place % len(SERIES_MARKS)]


@contextmanager
def styled(name: str) -> Iterator[None]:
    """While it lasts, figures are made in the common style; whatever a user has set up for matplotlib is left out.

    Args:
        name: The figure's; ids inside its SVG are made of it, so that several can stand in one HTML page.
    """
    import matplotlib.style  # slow to import

    with matplotlib.style.context(("default", {**STYLE, "svg.hashsalt": name})):
        yield


def panels(rows: int, columns: int, *, height: float) -> tuple[Figure, list[list[Axes]]]:
    """An empty figure of the common width.

    Args:
        rows: Of panels.
        columns: Of panels.
        height: Inches of a row of panels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.35 + height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in grid]


def mosaic(layout: Sequence[Sequence[str]], *, heights: Sequence[float]) -> tuple[Figure, dict[str, Axes]]:
    """An empty figure of the common width with panels by name.

    Args:
        layout: Rows of names; one that stands in several places is a panel over all of them.
        heights: Inches of each row.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.35 + sum(heights)), layout="constrained")
    axes: dict[str, Axes] = figure.subplot_mosaic([list(row) for row in layout], height_ratios=list(heights))
    return figure, axes


def as_text(name: str) -> str:
    """A name as matplotlib takes it: dollars make no formula, and an underscore in front does not hide it."""
    shown = "".join(c if c.isprintable() else " " for c in name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def name_groups(axes: Axes, names: Sequence[str]) -> None:
    """Writes below groups of bars, 1 apart, what they are; names lean where there are many."""
    axes.set_xticks(range(len(names)), [as_text(name) for name in names])
    if len(names) > CROWD:
        for label in axes.get_xticklabels():
            label.set(rotation=20, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="y")


def finished(
    figure: Figure,
    *,
    name: str,
    title: str,
    caption: str,
    table: Sequence[Mapping[str, object]],
    numbers: Mapping[str, float] | None = None,
) -> Drawing:
    """Makes pictures of a figure; call it within `styled`.

    Args:
        figure: What is drawn.
        name: Its file's name without ending.
        title: What it shows.
        caption: What readers need to read it.
        table: The numbers that are drawn, a mapping a line, all with the same keys.
        numbers: What is read off it.
    """
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    figure.savefig(
        svg,
        format="svg",
        dpi=DPI,
        metadata={"Date": None, "Creator": None, "Title": as_text(title).replace(r"\$", "$")},
    )
    text = svg.getvalue().decode()
    return Drawing(
        name=name,
        title=title,
        caption=caption,
        png=png.getvalue(),
        svg=text[text.index("<svg") :],  # what stands before it has no place inside a page
        csv=as_csv(table),
        numbers=dict(numbers or {}),
    )


def as_csv(table: Sequence[Mapping[str, object]]) -> str:
    """Lines of numbers as text; seven digits of each are more than any of them is worth."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if table:
        writer.writerow(table[0])
        writer.writerows([_cell(value) for value in line.values()] for line in table)
    return out.getvalue()


def _cell(value: object) -> object:
    return f"{value:.7g}" if isinstance(value, float) else value
