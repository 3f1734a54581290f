"""Command lines made from the config's own fields: defaults < `--config` YAML < flags."""

from __future__ import annotations

import argparse
import io
import os
import os.path
import re
import sys
import typing
from collections.abc import Sequence
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TextIO

from jsonargparse import ArgumentParser

from pipeline.config import RunConfig, Setting, settings
from pipeline.validation import flag

BROKEN = 1
"""Exit code of a run that the cluster broke off, or of a command whose output nobody reads."""
BAD_INPUT = 2
"""Of a command that was asked for something impossible."""
UNSCORED = 3
"""Of a run that had to leave questions unscored."""
STOPPED = 130
"""Of a command that Ctrl-C or SIGTERM ended."""
NAMES = ("graph", "model")
"""Settings that are names, several of which a list with commas can hold; a path of that very name wins."""


def plain_parser(prog: str, description: str) -> ArgumentParser:
    """A parser without flags; what is wrong on a command line is raised."""
    return ArgumentParser(prog=prog, description=description, exit_on_error=False, allow_abbrev=False)


def config_parser(prog: str, description: str, *, several: bool = False) -> ArgumentParser:
    """A parser with a flag for every setting, `--config` and `--print_config`.

    Args:
        prog: The job.
        description: What it does.
        several: Whether settings may have several values, which are parsed as a list.
    """
    parser = plain_parser(prog, description)
    parser.add_argument("--config", action="config", help="YAML file with settings; flags after it win")
    for s in settings():
        add_setting(parser, s, Values(s) if several and (s.name == "task" or is_listable(s)) else s.type)
    return parser


def add_setting(parser: ArgumentParser, setting: Setting, kind: Any) -> None:
    """Adds a setting's flag, whose values are of some kind; one that is true or false means true alone."""
    alone: dict[str, Any] = {"nargs": "?", "const": True} if setting.type is bool else {}
    parser.add_argument(flag(setting.name), type=kind, default=setting.default, help=setting.help, **alone)


def is_listable(setting: Setting) -> bool:
    """Whether values with commas between them can be told apart: numbers, words of a list, true or false, and names."""
    union = isinstance(setting.type, UnionType)
    kinds = [kind for kind in (typing.get_args(setting.type) if union else [setting.type]) if kind is not NoneType]
    plain = all(kind in (int, float, bool) or typing.get_origin(kind) is Literal for kind in kinds)
    return plain or setting.name in NAMES


class BadValueError(argparse.ArgumentTypeError, ValueError):
    """A value that its setting can't have: the one on a command line, the other in a file."""


class Values:
    """Parses one value of a setting, or a list of them: `[0, 1]` in a file, `0,1` there and on a command line."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._parser = ArgumentParser(exit_on_error=False)
        add_setting(self._parser, setting, setting.type)

    def __call__(self, value: Any) -> Any:
        """The value, or the list of values, each of which the setting can have alone.

        Raises:
            BadValueError: It can't have one of them.
        """
        if isinstance(value, list):
            return [self._one(one) for one in value]
        # Tasks with commas are a run's own affair; a path is found under its whole name.
        whole = not isinstance(value, str) or "," not in value or self._setting.name == "task"
        if whole or (self._setting.name in NAMES and os.path.exists(value)):
            return self._one(value)
        return [self._one(part.strip()) for part in value.split(",")]

    def __repr__(self) -> str:
        kind = self._setting.type
        return f"{kind.__name__ if isinstance(kind, type) else kind}, or several"

    def _one(self, value: Any) -> Any:
        name = self._setting.name
        try:
            if isinstance(value, str):
                return self._parser.parse_args([f"{flag(name)}={value}"]).as_dict()[name]
            return self._parser.parse_object({name: value}).as_dict()[name]
        except argparse.ArgumentError as error:
            raise BadValueError(str(error).partition(":")[2].strip()) from error


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


def result_stream() -> TextIO:
    """Stdout, which is for a command's result alone; where it was closed (`>&-`) a stream that nobody reads."""
    return sys.stdout or io.StringIO()  # the interpreter has none at all then, whatever its types say


def reader_gone() -> int:
    """Ends a command whose stdout nobody reads any more, such as one before `| head`; returns the exit code."""
    # Else the interpreter would complain when it flushes what is left.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN


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
    text = re.sub(r'Parser key "(\w+)":', lambda match: f"{flag(match[1])}:", text).removeprefix("argument ")
    files = [arg for before, arg in pairwise(argv) if before == "--config"]
    return f"--config {files[-1]}: {text}" if files and "--" not in text else text
