"""Answers a benchmark's questions with one method and reports accuracy, tokens and speed.

Progress and tables go to stderr; the last line on stdout is one JSON object with the run's metrics. Exit codes: 0 all
scored, 2 bad input, 3 some questions unscored, 130 stopped by Ctrl-C (finished rows are kept, see --resume).
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from jobs.cli import complain, config_of, config_parser, given_settings, parse
from pipeline.config import RunConfig

if TYPE_CHECKING:
    from pipeline.records import Question
    from pipeline.runtime.results import RunFolder

PROG = "eval.py"
UNSCORED = 3
STOPPED = 130


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command line asks for, checked as far as it can be without Ray or a model."""

    config: RunConfig
    questions: list[Question]
    folder: RunFolder
    store: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one evaluation; returns the exit code."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        request = prepare(list(sys.argv[1:] if argv is None else argv))
        return run(request)
    except ValueError as error:
        return complain(PROG, error)


def prepare(argv: Sequence[str]) -> Request:
    """Turns a command line into a checked request and a run folder.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    parser = config_parser(PROG, __doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=str | None, default=None, help="run folder; by default runs/TASK-METHOD-TIME")
    parser.add_argument("--resume", type=str | None, default=None, help="run folder to go on with")
    values = parse(parser, argv)
    out, resume = values.pop("out"), values.pop("resume")
    config = config_of(values)
    if resume:
        config = _resumed(Path(resume), config, given_settings(argv), out)
    # Everything that is slow to import or slow to find out comes after the command line has proved right.
    from pipeline.checkpoints import check_model
    from pipeline.runtime.cluster import base_dir
    from pipeline.runtime.results import RunFolder

    questions = scorable_questions(config)
    check_model(config.model.model)
    base = base_dir()
    base.mkdir(parents=True, exist_ok=True)
    new = base / (out or default_out(config))
    folder = RunFolder.open(Path(resume)) if resume else RunFolder.create(new, config)
    return Request(config=config, questions=questions, folder=folder, store=base)


def run(request: Request) -> int:
    """Runs a checked request; returns the exit code."""
    from rich.console import Console

    from pipeline.reports import run_table
    from pipeline.runtime.evaluate import evaluate

    try:
        metrics = evaluate(request.config, request.questions, request.folder, store=request.store)
    except KeyboardInterrupt:
        finished, path = len(request.folder.read()), request.folder.path
        sys.stderr.write(f"\nstopped; {finished} of {len(request.questions)} questions are in {path}\n")
        sys.stderr.write(f"go on with: python jobs/eval.py --resume {path}\n")
        return STOPPED
    Console(stderr=True).print(run_table(metrics.to_dict()))
    sys.stdout.write(json.dumps(metrics.to_dict()) + "\n")
    return UNSCORED if metrics.num_unscored else 0


def scorable_questions(config: RunConfig) -> list[Question]:
    """The task's questions, less those of a kind that can't be scored yet, which are named on stderr.

    Raises:
        ValueError: The task can't be read, or none of its questions can be scored.
    """
    from pipeline.benchmarks import load_questions
    from pipeline.scoring import SCORABLE_KINDS

    data = config.data
    questions = load_questions(data.task, data_dir=data.data_dir, limit=data.limit)
    refused = [q for q in questions if q.kind not in SCORABLE_KINDS]
    kinds = ", ".join(sorted({q.kind for q in refused}))
    if len(refused) == len(questions):
        raise ValueError(f"--task {data.task!r} has only {kinds} questions, which this version can't score yet")
    if refused:
        sys.stderr.write(f"{len(refused)} of {len(questions)} questions refused: {kinds} can't be scored yet\n")
    return [q for q in questions if q.kind in SCORABLE_KINDS]


def default_out(config: RunConfig) -> str:
    """A run folder's name that tells what is in it and clashes with no other."""
    return f"runs/{config.data.task}-{config.collaboration.method}-{datetime.now():%Y%m%d-%H%M%S-%f}"


def _resumed(path: Path, config: RunConfig, given: set[str], out: str | None) -> RunConfig:
    """The settings of an earlier run, with those that this command line gives."""
    from pipeline.runtime.results import RunFolder

    if out:
        raise ValueError("--out and --resume name two run folders; leave --out away")
    folder = RunFolder.open(path)
    now = config.flat()
    merged = RunConfig.from_flat({**folder.config.flat(), **{name: now[name] for name in given}})
    folder.check_same(merged)
    return merged


def _as_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
