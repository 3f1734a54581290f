"""What `--task` may be: a benchmark's name, several of them, all of the paper's, or a file of one's own."""

from __future__ import annotations

import os.path
import re
from difflib import get_close_matches
from pathlib import Path

from pipeline.benchmarks.base import DEFAULT_MAX_NEW_TOKENS
from pipeline.benchmarks.table import BENCHMARKS, PAPER

ALL = "all"
"""Stands for the benchmarks of the paper."""

OWN_SUFFIXES = (".jsonl", ".parquet")
"""How the file of a user's own questions may end."""

_MAX_NAME_CHARS = 60


def task_names(text: str) -> tuple[str, ...]:
    """The tasks that `--task` asks for.

    Args:
        text: Names of benchmarks and files of one's own, with commas between them; `all` stands for the nine of the
            paper. A text that is an existing file is that one file, even if there are commas in its name.

    Returns:
        The tasks, in the order given; each is a key of `BENCHMARKS` or a file's path.

    Raises:
        ValueError: If a name is unknown, a file doesn't exist, or two tasks are the same or would share a name.
    """
    if _is_own(text.strip()):
        return (text.strip(),)
    names: list[str] = []
    for part in text.split(","):
        names += [benchmark.name for benchmark in PAPER] if part.strip() == ALL else [checked(part.strip())]
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(short_name(name), name)
        if names.count(name) > 1:
            raise ValueError(f"--task {text!r} asks for {name} twice; give each task once")
        if other != name:
            raise ValueError(f"--task {text!r}: {other} and {name} would share a run's name; rename one of the files")
    return tuple(names)


def located(text: str) -> str:
    """What `--task` asks for, with absolute paths of files of one's own: it means the same in any folder.

    Args:
        text: As `task_names` takes it. It stays as it is where an absolute path would have a comma in a list.
    """
    whole = text.strip()
    if _is_own(whole):
        return _absolute(whole)
    parts = [_absolute(part) if _is_own(part) else part for part in map(str.strip, text.split(","))]
    return text if any("," in part for part in parts) else ",".join(parts)


def checked(task: str) -> str:
    """One task's name, if there is such a task.

    Raises:
        ValueError: If there is none; the line names what is allowed and a near match.
    """
    if task in BENCHMARKS or _is_own(task):
        return task
    if task.endswith(OWN_SUFFIXES):
        raise ValueError(f"--task {task!r} is no file; give the path of your questions, relative to {Path.cwd()}")
    near = get_close_matches(task, [*BENCHMARKS, ALL], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(
        f"--task {task!r} is unknown{hint}; allowed: {', '.join(BENCHMARKS)}, several with commas, all, "
        f"or a file of your own that ends in {' or '.join(OWN_SUFFIXES)}"
    )


def short_name(task: str) -> str:
    """A name for a task's folders and experiments: that of a benchmark, or a file's without folder and suffix."""
    if task in BENCHMARKS:
        return task
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(task).stem).strip("._-")[:_MAX_NAME_CHARS] or "own"
    return f"own_{name}" if name in (*BENCHMARKS, ALL) else name


def token_cap(task: str) -> int:
    """Most tokens that an agent writes for one question of a task: the paper's cap, or 2048 where it gives none."""
    return BENCHMARKS[task].max_new_tokens if task in BENCHMARKS else DEFAULT_MAX_NEW_TOKENS


def _absolute(file: str) -> str:
    """A file's absolute path; if the file is a link, it keeps its name, which its questions' ids begin with."""
    return str(Path(file).parent.resolve() / Path(file).name)


def _is_own(task: str) -> bool:
    # Not Path.is_file(), which raises where a list of many tasks is too long to be a file's name.
    return task not in BENCHMARKS and task.endswith(OWN_SUFFIXES) and os.path.isfile(task)
