"""Answers one question with several methods, and shows how the agents work on it while they do.

The show goes to stderr: every agent with what it reads, its text as it is written or its latent steps with their
nearest tokens, and its memory. The answers go to stdout, a line a method (`latent_mas<TAB>42`; programs whole, after a
line `# latent_mas`), or with --json all that is known of them as one JSON object. Prompts, seeds and budgets are those
of eval.py, but for a default of 256 tokens. No Ray, one process. Exit codes: 0 answered, whether right or wrong, 2 bad
input, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO

from jobs.asks.asking import KINDS, METHODS, methods_of, question_of
from jobs.checks import checked
from jobs.cli import (
    STOPPED,
    add_setting,
    add_switch,
    as_interrupt,
    complain,
    parse,
    plain_parser,
    reader_gone,
    result_stream,
)
from jobs.series import console
from pipeline.config import RunConfig, settings
from pipeline.runtime.planned import PlannedRun

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pipeline.records import Question

PROG = "ask.py"
ASKED = (
    *("model", "dtype", "chat_options", "trust_remote_code"),
    *("graph", "experts", "latent_steps", "alignment", "handover"),
    *("max_new_tokens", "temperature", "top_p", "seed"),
)
"""Settings of a run that make sense for one question."""
MAX_NEW_TOKENS = 256
"""Most tokens of an agent's text, if nobody says otherwise: one waits for them."""

NARROWEST = 80
"""Characters in a line that the last table needs to show all columns."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A question that can be asked, as far as is known without a model."""

    question: Question
    """What is asked."""
    graded: bool
    """Whether its gold is known."""
    runs: Sequence[PlannedRun]
    """One a method, in order; they share a model."""
    json: bool
    """Whether stdout is for JSON."""


def main(argv: Sequence[str] | None = None) -> int:
    """Asks one question; returns the exit code."""
    signal.signal(signal.SIGTERM, as_interrupt)
    result = result_stream()
    try:
        request = prepare(list(sys.argv[1:] if argv is None else argv))
        with redirect_stdout(sys.stderr):  # libraries may have things to say
            run(request, result)
        return 0
    except ValueError as error:
        return complain(PROG, error)
    except BrokenPipeError:
        return reader_gone()
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED


def prepare(argv: Sequence[str]) -> Request:
    """Turns a command line into a checked question.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    values = parse(ask_parser(), argv)
    methods = methods_of(values["methods"])
    question = question_of(
        values["question"],
        kind=values["kind"],
        choices=choices_of(values),
        gold=values["gold"],
        id=values["question_id"],
    )
    shared = {name: values[name] for name in ASKED}
    configs = [RunConfig.from_flat({**shared, "method": method, "batch_size": 1}) for method in methods]
    runs = [checked(config, [question]) for config in configs]
    return Request(question=question, graded=values["gold"] is not None, runs=runs, json=values["json"])


def ask_parser() -> ArgumentParser:
    """Flags of eval.py that make sense for one question, and those that the question itself has."""
    parser = plain_parser(PROG, __doc__.split("\n", 1)[0])
    asked = "what is asked, in quotes; - reads it from stdin, and one that begins with a dash comes last, after --"
    parser.add_argument("question", type=str, help=asked)
    parser.add_argument(
        "--methods", type=str, default=",".join(METHODS), help="which methods, with commas between them"
    )
    kinds = f"{', '.join(KINDS)}; by default choice if there are choices, else number"
    parser.add_argument("--kind", type=str | None, default=None, help=kinds)
    parser.add_argument("--choices", type=str | None, default=None, help="options, with commas between them")
    parser.add_argument("--choice", type=str, action="append", help="one option, which may have commas; give several")
    parser.add_argument("--gold", type=str | None, default=None, help="the right answer: says who is right")
    parser.add_argument("--question-id", type=str, default="ask", help="sampling noise is keyed by it, as in eval.py")
    add_switch(parser, "--json", "Write one JSON object to stdout instead of the answers.")
    own = {"max_new_tokens": MAX_NEW_TOKENS}
    for setting in settings():
        if setting.name in ASKED:
            add_setting(parser, replace(setting, default=own.get(setting.name, setting.default)), setting.type)
    return parser


def choices_of(values: Mapping[str, Any]) -> list[str]:
    """The options of `--choices` or `--choice`.

    Raises:
        ValueError: There are both.
    """
    listed, single = values["choices"], values["choice"] or []
    if listed is not None and single:
        raise ValueError("--choices and --choice are two ways of giving the options; give one of them")
    return [option.strip() for option in listed.split(",")] if listed is not None else list(single)


def run(request: Request, result: TextIO) -> None:
    """Shows how a question is answered.

    Args:
        request: The question.
        result: Where the answers go.

    Raises:
        ValueError: The model can't be loaded, or the question is too long for it.
    """
    # What is slow to import comes after the command line has proved right.
    from jobs.asks.outcomes import answers, as_json, table
    from jobs.asks.stage import Stage

    out = console()
    outcomes = Stage(out).perform(request.runs, graded=request.graded)
    out.width = max(out.width, NARROWEST)  # what a narrow terminal would cut had better go over its edge
    out.print(table(outcomes))
    model = request.runs[0].config.model.model
    result.write(as_json(request.question, model, outcomes) + "\n" if request.json else answers(outcomes))
    result.flush()  # whether anybody reads it is known now


if __name__ == "__main__":
    sys.exit(main())
