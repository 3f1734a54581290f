"""Shows finished runs side by side, as the paper's tables do, and pairs them question by question.

Runs come from their folders (a folder that holds several stands for all of them) or from MLflow. Runs of the same task
and model must have been asked the same questions with the same budgets. What is printed goes to stdout; FILE may be -
for stdout too, which then has nothing else. `--upload` sends run folders to MLflow instead.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import uploads
from jobs.cli import BAD_INPUT, complain, reader_gone
from jobs.gallery import read_gallery
from jobs.sources import Sources, gather
from pipeline.validation import require

if TYPE_CHECKING:
    from pipeline.reports import Comparison, Literature, Report

PROG = "compare.py"
NARROWEST = 120
"""Characters in a line that the tables need to show all figures."""
UNBOUNDED = 1000
"""Characters in a line where there is no edge to keep to: wider than any table."""
CAPTION_WIDTH = 120
"""Characters in a line of a caption there."""
STDOUT = "-"
"""A file's name that means stdout."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a page has besides the report."""

    command: str
    """The command that made it."""
    figures: Path | None
    """Folder of figures to show; without it those that the runs alone can give."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way to write a report to a file."""

    help: str
    """What is in it."""
    write: Callable[[Report, Origin], str]
    """Its text."""


FORMATS: Mapping[str, Format] = {
    "markdown": Format(help="write the tables as Markdown", write=lambda report, _: report.markdown()),
    "latex": Format(help="write the paper's table as LaTeX (booktabs)", write=lambda report, _: report.latex()),
    "csv": Format(help="write its numbers as CSV, a row each", write=lambda report, _: report.csv()),
    "json": Format(help="write metrics, pairs, seeds, numbers, notes as JSON", write=lambda report, _: report.json()),
    "html": Format(help="write a page of tables, figures, notes and what was run", write=lambda *of: _page(*of)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Compares runs; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if "--upload" in given:
        return uploads.main(given, PROG)
    options = command_line().parse_args(given)
    files = {name: getattr(options, name) for name in FORMATS if getattr(options, name) is not None}
    from pipeline.reports import DifferingRunsError, report_on
    from pipeline.tracking import without_secrets

    try:
        _check_files(files)
        require(options.figures is None or options.html, "figures", str(options.figures), "none, without --html FILE")
        report = report_on(compared(sources_of(options), options.differing), literature(), lenient=options.lenient)
        command = without_secrets(shlex.join(["python", f"jobs/{PROG}", *given]))  # pages are handed around
        origin = Origin(command=command, figures=options.figures)
        for name, file in files.items():
            _write(f"--{name}", file, FORMATS[name].write(report, origin))
    except DifferingRunsError as error:
        complain(PROG, error)
        sys.stderr.writelines(f"  {line}\n" for line in error.differences)
        return BAD_INPUT
    except ValueError as error:
        return complain(PROG, error)
    except BrokenPipeError:
        return reader_gone()
    if STDOUT not in files.values():
        show(report, details=options.details)
    return 0


def command_line() -> argparse.ArgumentParser:
    """The parser of all flags."""
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument("run_dirs", nargs="*", type=Path, metavar="RUN_DIR", help="run folder of jobs/eval.py")
    add = parser.add_argument
    add("--experiment", action="append", default=[], metavar="NAME", help="MLflow experiment: all its finished runs")
    add("--run-id", action="append", default=[], metavar="ID[,ID]", help="MLflow runs; a sweep's stands for its cells")
    uri = "MLflow server or store; by default $MLFLOW_TRACKING_URI, else mlflow.db in this folder"
    add("--tracking-uri", metavar="URI", help=uri)
    baseline = "run that those of its task are paired with; by default each model's first one of a single agent"
    add("--baseline", type=Path, metavar="RUN_DIR", help=baseline)
    add("--differing", action="store_true", help="compare runs also where their questions or budgets differ")
    add("--lenient", action="store_true", help="also show lenient accuracy in the paper's table")
    add("--details", action="store_true", help="also show every run, and the spread over seeds")
    for name, kind in FORMATS.items():
        add(f"--{name}", metavar="FILE", help=kind.help)
    figures = "folder of analyze.py whose figures the page is to show; without it those that need no model"
    add("--figures", type=Path, metavar="DIR", help=figures)
    add("--upload", nargs="+", metavar="RUN_DIR", help="send runs to MLflow instead (--upload --help)")
    return parser


def sources_of(options: argparse.Namespace) -> Sources:
    """Where the command line says that runs are."""
    return Sources(
        run_dirs=options.run_dirs,
        baseline=options.baseline,
        experiments=options.experiment,
        run_ids=[part.strip() for given in options.run_id for part in given.split(",") if part.strip()],
        tracking_uri=options.tracking_uri,
    )


def compared(sources: Sources, differing: bool) -> Comparison:
    """Compares runs.

    Args:
        sources: Where they are.
        differing: Whether they may differ in questions and budgets.

    Raises:
        ValueError: They can't be found or read.
        DifferingRunsError: They differ, and may not.
    """
    from pipeline.reports import DifferingRunsError, compare_runs, differences

    found = gather(sources)
    named = {run.name for run in found.baselines}
    apart = differences([*found.baselines, *(run for run in found.runs if run.name not in named)])
    if apart and not differing:
        raise DifferingRunsError(apart)
    comparison = compare_runs(found.runs, found.baselines)
    notes = dict.fromkeys((*found.notes, *apart, *comparison.notes))
    return replace(comparison, notes=tuple(notes))


def literature() -> Literature:
    """The paper's numbers."""
    from pipeline.presets.paper import published_results
    from pipeline.reports import Literature, Published

    return Literature.of(
        Published(
            task=result.cell.task,
            model=result.cell.model,
            graph=result.cell.graph,
            method=result.method,
            accuracy=result.accuracy,
            output_tokens_per_question=result.output_tokens_per_question,
            seconds=result.seconds,
        )
        for result in published_results()
    )


def show(report: Report, *, details: bool) -> None:
    """Prints the paper's tables, pairs, if wanted every run, and notes below them."""
    from rich.console import Console

    from pipeline.reports.grid import told_once
    from pipeline.reports.terminal import terminal_table

    console = Console()
    # In a file or a pipe there is no edge to keep to; figures that a narrow terminal would cut had better go over its.
    console.width = max(console.width, NARROWEST) if console.is_terminal else UNBOUNDED
    for grid in (*told_once(report.paper), *report.pairs, *(report.details if details else ())):
        console.print(terminal_table(grid, caption=False))
        console.print(grid.caption, style="dim", highlight=False, markup=False, width=CAPTION_WIDTH)
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def _page(report: Report, origin: Origin) -> str:
    from pipeline.reports.figures import run_figures
    from pipeline.reports.page import as_page

    drawings = read_gallery(origin.figures) if origin.figures else run_figures(report.comparison.runs)
    return as_page(report, drawings, command=origin.command)


def _check_files(files: Mapping[str, str]) -> None:
    """Refuses files that would overwrite each other.

    Raises:
        ValueError: Two formats go to one place.
    """
    for name, file in files.items():
        first = next(other for other in files if files[other] == file)
        if first != name:
            raise ValueError(f"--{first} and --{name} both write to {file!r}; give each a file of its own")


def _write(flag: str, file: str, text: str) -> None:
    if file == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{flag} {file!r} can't be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
