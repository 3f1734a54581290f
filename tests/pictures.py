"""What tests look for in drawings: words of an SVG, lines of a CSV."""

from __future__ import annotations

import csv
import io
import re
from xml.etree import ElementTree

from pipeline.reports.figures import Drawing


def words(drawing: Drawing) -> list[str]:
    """All texts of a picture, in the order in which they are drawn."""
    svg = ElementTree.fromstring(drawing.svg)
    return ["".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text")]


def lines(drawing: Drawing) -> list[dict[str, str]]:
    """The table of a drawing."""
    return list(csv.DictReader(io.StringIO(drawing.csv)))


def ids(drawing: Drawing) -> set[str]:
    """What can clash with another picture on the same page: ids that its parts refer to."""
    return set(re.findall(r"url\(#([^)]+)\)", drawing.svg))
