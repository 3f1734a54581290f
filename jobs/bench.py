"""Measures parts of the pipeline by themselves.

Tables and progress go to stderr; the last line on stdout is one JSON object. Exit codes: 0 measured, 2 bad input, 130
stopped by Ctrl-C.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from jobs.cli import STOPPED, complain, result_stream

PROG = "bench.py"
COMMANDS = {
    "engine": "our engine beside plain Hugging Face transformers, and its parts beside what bounds them; without Ray",
    "handover": "how fast memory goes from one replica to another, and whether it comes while its reader works",
    "gpu": "steps, prefill and LatentMAS on a GPU beside what it can do, with random weights; without Ray",
    "scale": "throughput of 1 to 64 timed stand-ins for models, and what the driver and the store do for them",
}
"""Subcommands: each is a module of jobs.benches with `main(argv, result)`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand; returns the exit code."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    result = result_stream()
    try:
        if name not in COMMANDS:
            raise ValueError(f"{name!r} is no command; there are: {', '.join(COMMANDS)}")
        module = importlib.import_module(f"jobs.benches.{name}")
        if {"-h", "--help"} & set(rest):  # help is a result, and goes where results go
            return int(module.main(rest, result))
        with redirect_stdout(sys.stderr):  # Ray has things to say on stdout, which is for the result alone
            return int(module.main(rest, result))
    except ValueError as error:
        return complain(PROG, error)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED


def usage() -> str:
    """What there is to measure."""
    lines = [f"  {name:<8} {what}" for name, what in COMMANDS.items()]
    return "\n".join([f"usage: {PROG} COMMAND [--help] ...", "", *(__doc__ or "").splitlines(), "", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
