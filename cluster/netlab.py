"""Runs evaluations on two Ray nodes with a network link of known speed between them, all on this machine.

Two network namespaces, joined by a link that `tc` holds at --rate, get a raylet with room for one replica each. After
the link itself has been measured, LatentMAS is run in turn with each graph: colocated for reference, then with the
roles spread over both nodes and their memory sent through the object store or built again from ids and vectors.
Answers must be the same.

Needs root, or what `ip netns add` and `tc` ask for. A table goes to stderr, one JSON object to stdout as its last line.
Exit codes: 0 all ran and agreed, 1 something failed or answers differ, 2 bad input or not allowed here, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from cluster.lab.namespaces import SIGNALS, NotAllowedError, gbit_of, linked_nodes, remove_leftovers
from cluster.lab.programs import LabError, LinkSpeed, measured_link, running_ray
from cluster.lab.report import lab_table
from cluster.lab.trials import TRIALS, TrialResult, differing, run_trial

PROG = "netlab.py"
FAILED, REFUSED, STOPPED = 1, 2, 130


@dataclass(frozen=True, kw_only=True)
class LabResult:
    """What the lab found."""

    link: LinkSpeed
    runs: list[TrialResult]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the lab; returns the exit code."""
    for number in SIGNALS:
        signal.signal(number, _as_interrupt)
    options = _parser().parse_args(argv)
    try:
        result = experiment(options)
    except (ValueError, NotAllowedError) as error:
        sys.stderr.write(f"{PROG}: error: {error}\n")
        return REFUSED
    except LabError as error:
        sys.stderr.write(f"{PROG}: error: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED
    return report(options, result)


def experiment(options: argparse.Namespace) -> LabResult:
    """Builds the two nodes, measures the link, runs every trial, and takes all of it down again.

    Raises:
        ValueError: An option can't be right.
        NotAllowedError: Namespaces or traffic control can't be used here.
        LabError: The link or Ray does not work.
    """
    gbit = gbit_of(options.rate)
    if not 0 <= options.delay < float("inf"):
        raise ValueError(f"--delay is {options.delay:g}; allowed: 0 or more milliseconds")
    if options.json and not options.json.resolve().parent.is_dir():
        raise ValueError(f"--json is '{options.json}'; its folder does not exist")
    for name in remove_leftovers():
        _say(f"removed {name}, left behind by a run that was killed")
    with linked_nodes(rate=options.rate, delay_ms=options.delay) as (first, second):
        link = measured_link(first, second, gbit=gbit)
        _say(f"link: {link.gbit_out:.2f} Gbit/s out, {link.gbit_in:.2f} in, round trip {link.round_trip_ms:.2f} ms")
        runs = first.home / "runs"
        runs.mkdir()
        results = []
        with running_ray(first, second) as address:
            for trial in TRIALS:
                result = run_trial(trial, _common(options), node=first, address=address, runs=runs)
                _say(f"{trial.name}: {result.error or f'{result.seconds:.1f} s'}")
                results.append(result)
    return LabResult(link=link, runs=results)


def report(options: argparse.Namespace, result: LabResult) -> int:
    """Prints the table and the line of JSON; returns the exit code."""
    from rich.console import Console

    differences = differing(result.runs)
    Console(stderr=True, width=None if sys.stderr.isatty() else 140).print(lab_table(result.runs, differences))
    line = json.dumps(
        {
            "link": {"asked_gbit": gbit_of(options.rate), "asked_delay_ms": options.delay, **asdict(result.link)},
            **{name: getattr(options, name) for name in ("model", "limit", "max_new_tokens", "batch_size")},
            "runs": [run.to_dict() for run in result.runs],
            "differing_answers": differences,
        }
    )
    if options.json:
        options.json.write_text(line + "\n", "utf-8")
    sys.stdout.write(line + "\n")
    return FAILED if any(differences.values()) or any(run.error for run in result.runs) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rate", default="2gbit", help="speed of the link in each direction (default: %(default)s)")
    parser.add_argument(
        "--delay", type=float, default=0.0, metavar="MS", help="added one-way delay; needs the kernel's netem"
    )
    parser.add_argument("--limit", type=int, default=8, metavar="N", help="questions of a run (default: %(default)s)")
    parser.add_argument("--model", default="embedded", help="model folder, or `embedded` (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=32, metavar="T", help="of a run (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, metavar="B", help="of a run (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the line of JSON there, too")
    return parser


def _common(options: argparse.Namespace) -> dict[str, str]:
    """The settings that all trials share."""
    model = str(Path(options.model).resolve()) if Path(options.model).is_dir() else options.model
    numbers = {name: str(getattr(options, name)) for name in ("limit", "max_new_tokens", "batch_size")}
    return {"task": "demo", "model": model, **numbers}


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _as_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
