"""Command lines made from the config's own fields: defaults < `--config` YAML < flags."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from pipeline.config import RunConfig, settings
from pipeline.validation import flag

BROKEN = 1
"""Exit code of a run that the cluster broke off."""
BAD_INPUT = 2
"""Of a command that was asked for something impossible."""
UNSCORED = 3
"""Of a run that had to leave questions unscored."""
STOPPED = 130
"""Of a command that Ctrl-C or SIGTERM ended."""


def config_parser(prog: str, description: str) -> ArgumentParser:
    """A parser with a flag for every setting, `--config` and `--print_config`."""
    parser = ArgumentParser(prog=prog, description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with settings; flags after it win")
    for s in settings():
        if s.type is bool:
            add_switch(parser, flag(s.name), s.help, default=s.default)
        else:
            parser.add_argument(flag(s.name), type=s.type, default=s.default, help=s.help)
    return parser


def add_switch(parser: ArgumentParser, name: str, help: str, *, default: bool = False) -> None:
    """Adds a flag that is true or false; alone it means true."""
    parser.add_argument(name, type=bool, nargs="?", const=True, default=default, help=help)


def parse(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """Parses a command line.

    Returns:
        Every setting and option by name; `given` holds the names of those that a flag or a config file sets.

    Raises:
        ValueError: A flag or a value is wrong; one line.
    """
    try:
        given = parser.parse_args(argv, defaults=False).as_dict()
        values: dict[str, Any] = parser.parse_args(argv).as_dict()
    except argparse.ArgumentError as error:
        raise ValueError(_readable(str(error), argv)) from error
    for name in ("out", "resume"):
        if values.get(name) is not None and not values[name].strip():
            raise ValueError(f"{flag(name)} is {values[name]!r}; give a folder, or leave the flag out")
    return {**values, "given": set(given)}


def config_of(values: dict[str, Any]) -> RunConfig:
    """The run's settings among parsed values."""
    names = {s.name for s in settings()}
    return RunConfig.from_flat({name: value for name, value in values.items() if name in names})


def as_interrupt(*_: object) -> NoReturn:
    """Handles a signal as Ctrl-C is handled."""
    raise KeyboardInterrupt


def complain(prog: str, error: Exception) -> int:
    """Says in one line on stderr what is wrong; returns the exit code."""
    sys.stderr.write(f"{prog}: error: {' '.join(str(error).split())}\n")
    return BAD_INPUT


def _readable(message: str, argv: Sequence[str]) -> str:
    """The parser's own words, with flags named as the user writes them; what names no flag is in the config file."""
    text = message.replace("typing.", "").replace("<class '", "").replace("'>", "")
    text = re.sub(r'Parser key "(\w+)":', lambda match: f"{flag(match[1])}:", text)
    files = [arg for before, arg in pairwise(argv) if before == "--config"]
    return f"--config {files[-1]}: {text}" if files and "--" not in text else text
