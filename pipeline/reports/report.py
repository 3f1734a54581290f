"""Everything that is said of several runs, ready to be written in any format."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pipeline.reports.comparing import Comparison
from pipeline.reports.grid import Grid
from pipeline.reports.latex import as_latex
from pipeline.reports.longform import as_csv
from pipeline.reports.markdown import as_markdown
from pipeline.reports.papertable import paper_tables
from pipeline.reports.published import Literature
from pipeline.reports.setups import commands, setups_grid
from pipeline.reports.tables import pairs_grid, runs_grid, seeds_grid


@dataclass(frozen=True, kw_only=True)
class Report:
    """A comparison in tables."""

    comparison: Comparison
    """What is compared."""
    paper: tuple[Grid, ...]
    """The paper's table for each model and graph."""
    pairs: tuple[Grid, ...]
    """Runs against baselines, if there are any: one table or none."""
    details: tuple[Grid, ...]
    """All runs, and those that differ in their seed."""
    setups: Grid
    """What was run."""
    commands: tuple[str, ...]
    """How to run it again."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What readers have to know, a line each."""
        return self.comparison.notes

    def markdown(self) -> str:
        """The paper's tables, pairs and notes."""
        return as_markdown((*self.paper, *self.pairs), self.notes)

    def latex(self) -> str:
        """The paper's tables; notes as comments."""
        return as_latex(self.paper, self.notes)

    def csv(self) -> str:
        """The numbers of the paper's tables, a row each."""
        return as_csv(self.paper)

    def json(self) -> str:
        """Metrics, pairs, seeds, notes, and the numbers of the paper's tables."""
        told = json.loads(self.comparison.to_json())
        numbers = [asdict(number) for grid in self.paper for number in grid.numbers]
        return json.dumps({**told, "numbers": numbers}, indent=2, ensure_ascii=False) + "\n"


def report_on(comparison: Comparison, paper: Literature, *, lenient: bool = False) -> Report:
    """Puts a comparison into tables.

    Args:
        comparison: What is compared.
        paper: The paper's own numbers.
        lenient: Whether the paper's table has a row of lenient accuracies.
    """
    runs, pairs, seeds = comparison.runs, comparison.pairs, comparison.seeds
    everything = runs_grid([run.metrics.to_dict() for run in runs], [run.name for run in runs])
    return Report(
        comparison=comparison,
        paper=paper_tables(runs, paper, lenient=lenient),
        pairs=(pairs_grid(pairs),) if pairs else (),
        details=(everything, *((seeds_grid(seeds),) if seeds else ())),
        setups=setups_grid(runs),
        commands=commands(runs),
    )
