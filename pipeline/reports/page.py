"""A report as one HTML page that needs nothing but itself: no script, no request, pictures drawn in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.reports.figures.drawing import Drawing
from pipeline.reports.grid import told_once
from pipeline.reports.report import Report
from pipeline.reports.runs import FinishedRun
from pipeline.reports.setups import period_of

if TYPE_CHECKING:
    from markupsafe import Markup


def as_page(report: Report, drawings: Sequence[Drawing], *, command: str) -> str:
    """Writes the page.

    Args:
        report: The tables.
        drawings: The figures, in their order.
        command: How the page was made.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    runs = report.comparison.runs
    figures = [(drawing, _inline(drawing.svg, f"f{place}-")) for place, drawing in enumerate(drawings)]
    return environment.get_template("page.html.j2").render(
        report=report,
        tables=told_once(report.paper),
        others=(*report.pairs, *report.details),
        figures=figures,
        command=command,
        period=period_of(runs),
        counted=_counted(runs),
    )


def _counted(runs: Sequence[FinishedRun]) -> str:
    """How many runs there are, of how much."""
    kinds = {what: len({getattr(run.metrics, what) for run in runs}) for what in ("method", "task", "model")}
    counts = {"run": len(runs), **kinds}
    number, *others = (f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items())
    return f"{number} ({', '.join(others)})"


def _inline(svg: str, prefix: str) -> Markup:
    """A picture as an element of the page; its ids get a prefix, since pictures share a page's names."""
    from markupsafe import Markup

    element = svg[svg.index("<svg") :]
    element = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', element)
    element = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', element)
    element = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", element)
    return Markup(element)  # our own drawing, in which texts are escaped already
