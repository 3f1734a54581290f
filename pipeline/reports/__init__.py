"""What a run reports, and tables of it."""

from pipeline.reports.summary import RunMetrics, summarize
from pipeline.reports.tables import comparison_table, run_table

__all__ = ["RunMetrics", "comparison_table", "run_table", "summarize"]
