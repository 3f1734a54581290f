"""What a run reports, what several runs say together, and tables of both."""

from pipeline.reports.comparing import Comparison, FinishedRun, PairedRuns, SeededRuns, compare_runs
from pipeline.reports.summary import RunMetrics, summarize
from pipeline.reports.tables import comparison_table, pairs_table, run_table, seeds_table

__all__ = [
    "Comparison",
    "FinishedRun",
    "PairedRuns",
    "RunMetrics",
    "SeededRuns",
    "compare_runs",
    "comparison_table",
    "pairs_table",
    "run_table",
    "seeds_table",
    "summarize",
]
