r"""Tables as LaTeX: fragments for \input that need booktabs alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from pipeline.reports.grid import Cell, Grid, Row

HEAD = "% Made by jobs/compare.py. The preamble needs \\usepackage{booktabs}."
WORDS = "p{6.5em}"
"""The first column, in which long names go on in the next line."""
_WRITTEN = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # else it may be taken for an option of the line break before it
    "]": "{]}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "`": r"\textasciigrave{}",
    '"': "''",
    "†": r"$^{\dagger}$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "≥": r"$\geq$",
    "–": r"\textendash{}",
}
"""Characters that stand for something else in LaTeX, or for nothing without further packages."""
_LETTERS = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
"""Letters that are not ASCII and that LaTeX knows as they are."""


def as_latex(grids: Sequence[Grid], notes: Sequence[str] = ()) -> str:
    """A table environment for each table, with its caption; notes are comments at the end."""
    told = [f"% note: {' '.join(note.split())}" for note in notes]
    return "\n\n".join([HEAD, *map(_table, grids), *(["\n".join(told)] if told else [])]) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is; characters of other scripts are named by their number."""
    written = "".join(map(_character, " ".join(text.split())))
    written = re.sub(r"-(?=-)", "-{}", written)  # two of them would become one dash
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", written)


def _character(character: str) -> str:
    if character in _WRITTEN:
        return _WRITTEN[character]
    known = " " <= character <= "~" or character in _LETTERS
    return character if known else f"{{[}}U+{ord(character):04X}{{]}}"


def _table(grid: Grid) -> str:
    first, *others = ("r" if column.figures else "l" for column in grid.columns)
    kinds = f"{WORDS if first == 'l' else first}{''.join(others)}"
    label = re.sub(r"[^a-z0-9]+", "-", grid.title.lower()).strip("-")
    heads = " & ".join(escaped(column.title) for column in grid.columns)
    body = [line for place, row in enumerate(grid.rows) for line in _row(row, first=place == 0)]
    return "\n".join(
        [
            r"\begin{table}[tp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{escaped('. '.join(filter(None, (grid.title, grid.caption))))}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            rf"{heads} \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _row(row: Row, *, first: bool) -> Iterator[str]:
    """A row's lines: its texts, then what stands below them, in smaller type."""
    if row.begins and not first:
        yield r"\addlinespace"
    yield r"\raggedright " + _line(_cell(cell) for cell in row.cells)
    for below in zip_longest(*(cell.below for cell in row.cells), fillvalue=""):
        yield _line(rf"{{\scriptsize {escaped(told)}}}" if told else "" for told in below)


def _line(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    return (rf"\textbf{{{text}}}" if cell.bold else text) + escaped(cell.mark)
