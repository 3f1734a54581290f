"""Answers a benchmark's questions with one method and reports accuracy, tokens and speed.

Progress and tables go to stderr; the last line on stdout is one JSON object with the run's metrics. Exit codes: 0 all
scored, 1 broken off, 2 bad input, 3 some questions unscored, 130 stopped by Ctrl-C. Finished rows are kept (--resume).
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from jobs.cli import add_switch, complain, config_of, config_parser, parse
from pipeline.config import RunConfig

if TYPE_CHECKING:
    from pipeline.records import Question
    from pipeline.runtime.evaluate import RunRequest
    from pipeline.runtime.planned import PlannedRun

PROG = "eval.py"
BROKEN = 1
UNSCORED = 3
STOPPED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one evaluation; returns the exit code."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    result = sys.stdout
    try:
        values, planned = check(list(sys.argv[1:] if argv is None else argv))
        with redirect_stdout(sys.stderr):  # Ray has things to say on stdout, which is for the result alone
            if values["dry_run"]:
                return dry_run([planned], result)
            return run(prepare(values, planned), result)
    except ValueError as error:
        return complain(PROG, error)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED


def check(argv: Sequence[str]) -> tuple[dict[str, Any], PlannedRun]:
    """Turns a command line into its values and a checked plan; nothing is written.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    parser = config_parser(PROG, __doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=str | None, default=None, help="run folder; by default runs/TASK-METHOD-TIME")
    parser.add_argument("--resume", type=str | None, default=None, help="run folder to go on with")
    add_switch(parser, "--dry-run", "Show the plan and what it would take; start, load and write nothing.")
    values = parse(parser, argv)
    config = config_of(values)
    if values["resume"]:
        config = resumed(Path(values["resume"]), config, values["given"])
    # Everything that is slow to import or slow to find out comes after the command line has proved right.
    from pipeline.checkpoints import check_model
    from pipeline.graphs import check_budget, plan_for
    from pipeline.prompts import known_roles
    from pipeline.runtime.assigning import assign
    from pipeline.runtime.placement import check_seats
    from pipeline.runtime.planned import PlannedRun
    from pipeline.runtime.results import RunFolder

    team = config.collaboration
    plan = plan_for(team)
    plan.graph.check_prompts(known_roles())
    check_budget(plan, config.decoding)
    assignments = assign(checked_questions(config), memory=team.memory, seed=config.decoding.seed, trace=team.trace)
    check_seats(tuple(role.name for role in plan.graph.roles), config.execution, config.model)
    roles = {role: {"model": check_model(values["model"])} for role, values in config.model.roles.items()}
    config = RunConfig.from_flat({**config.flat(), "model": check_model(config.model.model), "roles": roles})
    if values["resume"]:
        RunFolder.open(Path(values["resume"])).check_same(config, plan)
    elif values["out"]:
        RunFolder.check_free(out_path(values, config))
    return values, PlannedRun(config=config, plan=plan, assignments=assignments)


def prepare(values: dict[str, Any], planned: PlannedRun) -> RunRequest:
    """Opens the run folder of a checked plan.

    Raises:
        ValueError: It can't be written.
    """
    from pipeline.runtime.cluster import base_dir
    from pipeline.runtime.evaluate import RunRequest
    from pipeline.runtime.results import RunFolder

    config, plan, base = planned.config, planned.plan, base_dir()
    base.mkdir(parents=True, exist_ok=True)
    if values["resume"]:
        folder = RunFolder.open(Path(values["resume"]))
    else:
        folder = RunFolder.create(out_path(values, config), config, plan)
    return RunRequest(config=config, plan=plan, assignments=planned.assignments, folder=folder, store=base)


def dry_run(runs: Sequence[PlannedRun], result: TextIO) -> int:
    """Shows what runs would do and take, instead of doing it.

    Args:
        runs: The runs, which differ in their task alone.
        result: Where the line of numbers goes.

    Returns:
        The exit code.

    Raises:
        ValueError: A model can't be loaded, or there is no place for so many replicas.
    """
    from pipeline.runtime.estimate import this_machine
    from pipeline.runtime.outline import outline

    shown = outline(runs, this_machine())
    sys.stderr.write("\n".join(shown.lines) + "\n")
    result.write(json.dumps(shown.numbers) + "\n")
    return 0


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
    from rich.console import Console

    from pipeline.reports import run_table
    from pipeline.runtime.evaluate import BrokenRunError, evaluate

    folder, total = request.folder, len(request.assignments)
    try:
        metrics = evaluate(request)
    except ValueError:
        folder.discard_if_empty()
        raise
    except (KeyboardInterrupt, BrokenRunError) as error:
        reason = str(error) or "stopped"
        sys.stderr.write(f"\n{reason}; {len(folder.read())} of {total} questions are in {folder.path}\n")
        sys.stderr.write(f"go on with: python jobs/eval.py --resume {folder.path}\n")
        return BROKEN if isinstance(error, BrokenRunError) else STOPPED
    console = Console(stderr=True)
    console.print(run_table(metrics.to_dict()))
    for fault, count in Counter(row.error for row in folder.read() if row.error).most_common(3):
        console.print(f"unscored ({count}): {fault}", highlight=False, markup=False, soft_wrap=True)
    result.write(json.dumps(metrics.to_dict()) + "\n")
    return UNSCORED if metrics.num_unscored else 0


def checked_questions(config: RunConfig) -> list[Question]:
    """The task's questions; where programs are to be run, what they will be locked in with is said on stderr.

    Raises:
        ValueError: The task can't be read, or its programs can't be run as asked for.
    """
    from pipeline.benchmarks import load_questions
    from pipeline.scoring import require_isolation

    data = config.data
    questions = load_questions(data.task, data_dir=data.data_dir, limit=data.limit)
    if any(question.kind == "code" for question in questions):
        found = require_isolation(config.scoring)
        risk = (
            "" if found.complete else "; that is NO isolation: what a model writes can reach your files and processes"
        )
        sys.stderr.write(f"programs are locked in with {found.name} here{risk}\n")
    return questions


def out_path(values: dict[str, Any], config: RunConfig) -> Path:
    """Where the run folder is to be."""
    from pipeline.runtime.cluster import base_dir

    path: Path = base_dir() / (values["out"] or default_out(config))
    return path


def default_out(config: RunConfig) -> str:
    """A run folder's name that tells what is in it and clashes with no other."""
    return f"runs/{config.data.task}-{config.collaboration.method}-{datetime.now():%Y%m%d-%H%M%S-%f}"


def resumed(path: Path, config: RunConfig, given: set[str]) -> RunConfig:
    """The settings of an earlier run, with those that this command line gives.

    Raises:
        ValueError: The folder is no run, or an option does not go with --resume.
    """
    from pipeline.runtime.results import RunFolder

    for option in ("out", "config"):
        if option in given:
            raise ValueError(f"--resume goes on with a run as it was; leave --{option} out")
    now = config.flat()
    return RunConfig.from_flat({**RunFolder.open(path).config.flat(), **{n: now[n] for n in now if n in given}})


def _as_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
