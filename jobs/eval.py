"""Answers the questions of one or several benchmarks with one method and reports accuracy, tokens and speed.

Progress and tables go to stderr; the last line on stdout is one JSON object with the metrics of the run, or with those
of all tasks that came to their end and what the others failed of. Exit codes: 0 all scored, 1 broken off, 2 bad input,
3 some questions unscored, 130 stopped by Ctrl-C. Finished rows are kept (--resume).
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TextIO

from jobs.checks import checked, located, say_isolation
from jobs.cli import (
    BROKEN,
    STOPPED,
    UNSCORED,
    add_switch,
    as_interrupt,
    complain,
    config_of,
    config_parser,
    parse,
    result_stream,
)
from jobs.dry import DryRun
from jobs.plans import Cell, Origin, Series, by_task, check_series, open_series
from jobs.series import Metrics, console, run_series, say_unscored
from pipeline.config import RunConfig

if TYPE_CHECKING:
    from pipeline.records import Question
    from pipeline.runtime.evaluate import RunRequest

PROG = "eval.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs an evaluation of one or several tasks; returns the exit code."""
    signal.signal(signal.SIGTERM, as_interrupt)
    result = result_stream()
    try:
        work = prepare(list(sys.argv[1:] if argv is None else argv))
        with redirect_stdout(sys.stderr):  # Ray has things to say on stdout, which is for the result alone
            if isinstance(work, DryRun):
                return work.show(result)
            if isinstance(work, Series):
                return run_series(work, prog=PROG, word="task", line=line_of_tasks, result=result)
            return run(work, result)
    except ValueError as error:
        return complain(PROG, error)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED


def prepare(argv: Sequence[str]) -> RunRequest | Series | DryRun:
    """Turns a command line into a checked run and its folder, or into several; with --dry-run without any folder.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    parser = config_parser(PROG, __doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=str | None, default=None, help="run folder; by default runs/TASK-METHOD-TIME")
    parser.add_argument("--resume", type=str | None, default=None, help="run folder to go on with")
    add_switch(parser, "--dry-run", "Show the plan and what it would take; start, load and write nothing.")
    values = parse(parser, argv)
    config = config_of(values)
    flags = {name: value for name, value in config.flat().items() if name in values["given"]}
    resume = values["resume"] is not None
    if resume:
        config = resumed(Path(values["resume"]), flags, values["given"])
    # Everything that is slow to import or slow to find out comes after the command line has proved right.
    from pipeline.benchmarks import task_names
    from pipeline.runtime.cluster import base_dir

    config = RunConfig.from_flat(located(config.flat()))
    cells = by_task([Cell()], config)
    place = Path(values["resume"]) if resume else base_dir() / (values["out"] or default_out(config))
    if len(cells) > 1:
        origin = Origin(
            base=config,
            settings=place / "config.yaml",
            text=config.to_yaml(),
            resume=resume,
            flags={name: value for name, value in flags.items() if name != "task"},  # all tasks; a run has one of them
            questions=checked_questions,
        )
        if values["dry_run"]:
            return DryRun(runs=[run for run, _ in check_series(cells, origin).values()])
        return open_series(cells, origin)
    config = replace(config, data=replace(config.data, task=task_names(config.data.task)[0]))
    return _prepare_one(config, place, resume=resume, dry_run=values["dry_run"])


def _prepare_one(config: RunConfig, place: Path, *, resume: bool, dry_run: bool) -> RunRequest | DryRun:
    """A run of one task, checked, and its folder unless the run is dry."""
    from pipeline.runtime.cluster import base_dir
    from pipeline.runtime.results import RunFolder, check_free

    one = checked(config, checked_questions(config))
    found = RunFolder.open(place) if resume else None
    if found:
        found.check_same(one.config, one.plan)
        found.check_questions(one.assignments, one.config.data.task)
    else:
        check_free(place)
    if dry_run:
        return DryRun(runs=[one])
    base = base_dir()
    base.mkdir(parents=True, exist_ok=True)
    request = one.request(found or RunFolder.create(place, one.config, one.plan), base)
    say_isolation([one])  # only now that nothing is left to complain of
    return request


def run(request: RunRequest, result: TextIO) -> int:
    """Runs a checked request.

    Args:
        request: What to run.
        result: Where the line of metrics goes.

    Returns:
        The exit code.

    Raises:
        ValueError: The tracker, the cluster or the model can't be used.
    """
    from pipeline.reports import run_table
    from pipeline.runtime.crews import Crews
    from pipeline.runtime.evaluate import BrokenRunError, evaluate

    folder, total = request.folder, len(request.assignments)
    try:
        with Crews() as crews:
            metrics = evaluate(request, crews)
    except ValueError:
        folder.discard_if_empty()
        raise
    except (KeyboardInterrupt, BrokenRunError) as error:
        reason = str(error) or "stopped"
        sys.stderr.write(f"\n{reason}; {len(folder.read())} of {total} questions are in {folder.path}\n")
        sys.stderr.write(f"go on with: python jobs/eval.py --resume {folder.path}\n")
        return BROKEN if isinstance(error, BrokenRunError) else STOPPED
    out = console()
    out.print(run_table(metrics.to_dict()))
    say_unscored(out, folder)
    result.write(json.dumps(metrics.to_dict()) + "\n")
    return UNSCORED if metrics.num_unscored else 0


def line_of_tasks(runs: Mapping[str, Metrics]) -> dict[str, Any]:
    """What the last line says of several tasks: each one's metrics, and the mean of their accuracies.

    A task in which nothing could be scored has no accuracy: the mean is without it, and it is named as left out. With
    none left the mean is null.
    """
    first = next(iter(runs.values()))
    scored = [name for name, run in runs.items() if run["num_questions"] > run["num_unscored"]]
    return {
        "method": first["method"],
        "model": first["model"],
        "accuracy": fmean(runs[name]["accuracy"] for name in scored) if scored else None,
        "left_out": [name for name in runs if name not in scored],
        "tasks": dict(runs),
    }


def checked_questions(config: RunConfig) -> list[Question]:
    """The task's questions.

    Raises:
        ValueError: The task can't be read, or its programs can't be run as asked for.
    """
    from pipeline.benchmarks import load_questions
    from pipeline.scoring import require_isolation

    data = config.data
    questions = load_questions(data.task, data_dir=data.data_dir, limit=data.limit)
    if any(question.kind == "code" for question in questions):
        require_isolation(config.scoring)
    return questions


def default_out(config: RunConfig) -> str:
    """A run folder's name that tells what is in it and clashes with no other."""
    from pipeline.benchmarks import short_name, task_names

    tasks = "+".join(map(short_name, task_names(config.data.task)))
    return f"runs/{tasks}-{config.collaboration.method}-{datetime.now():%Y%m%d-%H%M%S-%f}"


def resumed(path: Path, flags: Mapping[str, Any], given: set[str]) -> RunConfig:
    """The settings of an earlier run, with those that this command line gives.

    Raises:
        ValueError: The folder is no run, or an option does not go with --resume.
    """
    from pipeline.runtime.results import RunFolder

    for option in ("out", "config"):
        if option in given:
            raise ValueError(f"--resume goes on with a run as it was; leave --{option} out")
    before = RunFolder.open(path).config
    if located(flags).get("task", before.data.task) != before.data.task:
        raise ValueError(f"--task was {before.data.task!r} and is now {flags['task']!r}; a resumed run keeps its task")
    return RunConfig.from_flat({**before.flat(), **flags})


if __name__ == "__main__":
    sys.exit(main())
