"""Shows finished runs side by side, and pairs those on the same questions with a baseline.

A folder that holds several run folders stands for all of them. What is printed goes to stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import uploads
from jobs.cli import complain

if TYPE_CHECKING:
    from pipeline.reports import Comparison

PROG = "compare.py"
NARROWEST = 120
"""Characters in a line that the tables need to show all figures."""
UNBOUNDED = 1000
"""Characters in a line where there is no edge to keep to: wider than any table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints tables of the runs; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if "--upload" in given:
        return uploads.main(given, PROG)
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="run folder of jobs/eval.py")
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="RUN_DIR",
        help="run that those of its task are paired with; by default the first one of a single agent",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that is shown as JSON")
    parser.add_argument("--upload", nargs="+", metavar="RUN_DIR", help="send runs to MLflow instead (--upload --help)")
    options = parser.parse_args(given)
    try:
        comparison = compared(options.run_dirs, options.baseline)
        if options.json:
            _write(options.json, comparison.to_json())
    except ValueError as error:
        return complain(PROG, error)
    show(comparison)
    return 0


def compared(run_dirs: Sequence[Path], baseline: Path | None) -> Comparison:
    """Compares the runs of some folders.

    Args:
        run_dirs: Run folders, or folders of such.
        baseline: The one that the others are paired with; one for each task if it holds several.

    Raises:
        ValueError: A folder holds no finished run, or the baseline answers what no other run does.
    """
    from pipeline.reports import compare_runs
    from pipeline.runtime.finished import finished_folders, read_runs

    found = [finished_folders(path) for path in run_dirs]
    given = [folder for finished, _ in found for folder in finished]
    chosen = finished_folders(baseline)[0] if baseline else []
    runs = read_runs([*given, *chosen])
    others = {runs[folder].metrics.task for folder in given if folder not in chosen}
    if others and chosen and not any(runs[folder].metrics.task in others for folder in chosen):
        tasks = ", ".join(dict.fromkeys(runs[folder].metrics.task for folder in chosen))
        raise ValueError(f"--baseline {str(baseline)!r} answers {tasks}; allowed: a run of {', '.join(sorted(others))}")
    comparison = compare_runs([runs[folder] for folder in dict.fromkeys(given)], [runs[folder] for folder in chosen])
    unfinished = [f"{folder}: not finished, so left out" for _, left in found for folder in left]
    return replace(comparison, notes=(*unfinished, *comparison.notes))


def show(comparison: Comparison) -> None:
    """Prints what there is to see: all runs, pairs, seeds, and notes below them."""
    from rich.console import Console

    from pipeline.reports import comparison_table, pairs_table, seeds_table

    console = Console()
    # In a file or a pipe there is no edge to keep to; figures that a narrow terminal would cut had better go over its.
    console.width = max(console.width, NARROWEST) if console.is_terminal else UNBOUNDED
    runs = comparison.runs
    console.print(comparison_table([run.metrics.to_dict() for run in runs], [run.name for run in runs]))
    if comparison.pairs:
        console.print(pairs_table(comparison.pairs))
    if comparison.seeds:
        console.print(seeds_table(comparison.seeds))
    for note in comparison.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--json {str(path)!r} can't be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
