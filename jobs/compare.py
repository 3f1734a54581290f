"""Shows finished runs side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.cli import complain, existing_run_dir

PROG = "compare.py"
WIDTH = 140


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table of the runs; returns the exit code."""
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="run folder of jobs/eval.py")
    try:
        folders = [existing_run_dir(path) for path in parser.parse_args(argv).run_dirs]
    except ValueError as error:
        return complain(PROG, error)
    from rich.console import Console

    from pipeline.reports import comparison_table

    runs = [json.loads((folder / "metrics.json").read_text("utf-8")) for folder in folders]
    console = Console()
    if not console.is_terminal:  # in a file or a pipe there is no edge to keep to
        console.width = WIDTH
    console.print(comparison_table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
