"""What a run reports, what several runs say together, and tables of both."""

from pipeline.reports.comparing import Comparison, FinishedRun, PairedRuns, SeededRuns, compare_runs
from pipeline.reports.fairness import EXECUTION, DifferingRunsError, differences
from pipeline.reports.published import Literature, Published
from pipeline.reports.report import Report, report_on
from pipeline.reports.summary import RunMetrics, summarize
from pipeline.reports.tables import comparison_table, pairs_table, run_table, seeds_table
from pipeline.reports.variants import newest_of_each

__all__ = [
    "EXECUTION",
    "Comparison",
    "DifferingRunsError",
    "FinishedRun",
    "Literature",
    "PairedRuns",
    "Published",
    "Report",
    "RunMetrics",
    "SeededRuns",
    "compare_runs",
    "comparison_table",
    "differences",
    "newest_of_each",
    "pairs_table",
    "report_on",
    "run_table",
    "seeds_table",
    "summarize",
]
