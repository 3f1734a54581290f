"""run.json: what can't be found out about a run later, and what its folder remembers of trackers."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.benchmarks import BENCHMARKS, short_name
from pipeline.config import BACKENDS, Backend, DataConfig
from pipeline.records import Assignment
from pipeline.runtime.results import RunFolder
from pipeline.tracking import QuestionSet, without_secrets

FILE = "run.json"
BACKEND: Backend = "hf"
"""What computed runs that did not note it: our own loop over Hugging Face models."""
PACKAGES = ("torch", "transformers", "ray", "latentmas-ray")
"""Packages whose versions are kept."""
CODE = Path(__file__).parents[1]
"""The package that the run is made by."""
SAME_START = 10.0
"""Seconds by which two readings of when a process began may differ, as clocks are set."""
GIT_SECONDS = 10
"""How long git may take."""

_WRITING = threading.RLock()
"""The tracker's thread writes down ids while the run writes down where its replicas are."""


def read_facts(folder: RunFolder) -> dict[str, Any]:
    """All that is noted."""
    return folder.read_json(FILE)


def note(folder: RunFolder, **facts: Any) -> None:
    """Notes facts beside those that are there; may be called from any thread."""
    with _WRITING:
        folder.write_json(FILE, {**folder.read_json(FILE), **facts})


def note_begin(
    folder: RunFolder,
    data: DataConfig,
    assignments: Sequence[Assignment],
    *,
    backend: Backend = BACKEND,
    first: bool = True,
) -> None:
    """Notes that a run begins, or goes on: by what, where and on which questions.

    Args:
        folder: Its folder.
        data: Where its questions come from.
        assignments: All of them.
        backend: What writes its texts.
        first: Whether it is the first run of this process, so that users have waited for it since that began.
    """
    began = began_at(folder) or time.time()
    questions, now = question_set(data, assignments), facts_of_now(backend)
    note(
        folder,
        status="RUNNING",
        fault="",
        started=began,
        ended=0.0,
        tracked=False,
        questions=vars(questions),
        awaited_since=now["pid_since"] if first else time.time(),
        **now,
    )


def began_at(folder: RunFolder) -> float:
    """When a run began, seconds since the epoch; of those that did not note it only the rows know. 0 if there are none.

    Args:
        folder: Its folder.
    """
    noted: float = read_facts(folder).get("started", 0.0)
    return noted or min((row.started for row in folder.read(texts=False) if row.started), default=0.0)


def worker_of(facts: Mapping[str, Any]) -> int:
    """The id of another process of this machine that a run goes on in; 0 if there is none that can be seen from here.

    Args:
        facts: What is noted of the run. One that was killed goes on as far as they know.
    """
    import psutil

    pid = facts.get("pid", os.getpid())
    if facts.get("status") != "RUNNING" or facts.get("host") != socket.gethostname() or pid == os.getpid():
        return 0
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - facts["pid_since"]) < SAME_START  # else its id was given out again
        return pid if same and process.status() != psutil.STATUS_ZOMBIE else 0
    except psutil.Error:
        return 0


def facts_of_now(backend: Backend) -> dict[str, Any]:
    """What this process can tell of itself.

    Args:
        backend: What is to write texts.
    """
    import psutil

    commit, dirty = git_commit(CODE)
    return {
        "backend": backend,
        "git_commit": commit,
        "git_dirty": dirty,
        "command": without_secrets(shlex.join(["python", *sys.argv])),
        "user": _user(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_since": psutil.Process().create_time(),
        "versions": {name: _version(name) for name in PACKAGES} | BACKENDS[backend].version,
    }


def question_set(data: DataConfig, assignments: Sequence[Assignment]) -> QuestionSet:
    """The questions of a run as a data set that other runs may share."""
    digest = hashlib.sha256()
    for one in (assignment.question for assignment in assignments):
        digest.update(json.dumps([one.id, one.text, one.kind, one.gold]).encode())
    source, place = _origin(data)
    return QuestionSet(
        name=short_name(data.task), digest=digest.hexdigest()[:32], count=len(assignments), place=place, source=source
    )


def git_commit(code: Path) -> tuple[str, bool]:
    """The commit of some code, and whether it has changed since; empty where it is in no repository of its own.

    A package that was installed into somebody's project lies in their repository and is no part of it.
    """
    if _git(code, "ls-files", "--error-unmatch", "__init__.py") is None:
        return "", False
    return _git(code, "rev-parse", "HEAD") or "", bool(_git(code, "status", "--porcelain", "--", ".", "../jobs"))


@dataclass(frozen=True)
class FolderLedger:
    """What a run folder remembers of trackers."""

    folder: RunFolder
    """The folder."""

    def run_ids(self, uri: str) -> Sequence[str]:
        """The run's id in a store, and those it has elsewhere: a store may be moved, and reached under several URIs."""
        facts = read_facts(self.folder)
        ids: dict[str, str] = facts.get("run_ids", {})
        likely = [ids.get(without_secrets(uri), ""), facts.get("run_id", ""), *ids.values()]
        return list(dict.fromkeys(filter(None, likely)))

    def run_key(self) -> str:
        """What marks the run in every store, from the first attempt to begin it in one."""
        return str(read_facts(self.folder).get("run_key", ""))

    def new_key(self) -> str:
        """Notes one before a store hears of it: what the store makes of it may be heard of never, or later."""
        key = uuid4().hex
        note(self.folder, run_key=key)
        return key

    def opened(self, uri: str, run_id: str) -> None:
        """Notes that id."""
        place = without_secrets(uri)
        with _WRITING:
            ids = {**read_facts(self.folder).get("run_ids", {}), place: run_id}
            note(self.folder, run_id=run_id, tracking_uri=place, run_ids=ids)

    def traced(self, run_id: str) -> frozenset[str]:
        """Ids of the questions whose traces a run has."""
        return frozenset(read_facts(self.folder).get("traced", {}).get(run_id, []))

    def add_traced(self, run_id: str, question_ids: Sequence[str]) -> None:
        """Notes some more; this writes all of the file, so that one by one thousands would take long."""
        with _WRITING:
            traced = read_facts(self.folder).get("traced", {})
            note(self.folder, traced={**traced, run_id: [*traced.get(run_id, []), *question_ids]})


def _origin(data: DataConfig) -> tuple[str, Mapping[str, str]]:
    """The kind of source that a task's questions come from, and where that is."""
    benchmark = BENCHMARKS.get(data.task)
    if benchmark is None:
        return "local", {"uri": data.task}
    if benchmark.embedded:
        return "code", {"uri": f"{benchmark.name}, which comes with latentmas-ray"}
    if data.data_dir is not None or not benchmark.hub_id:
        return "local", {"uri": str(Path(data.data_dir or "") / benchmark.file)}
    place = {"path": benchmark.hub_id, "config_name": benchmark.config or "", "split": benchmark.split}
    return "hugging_face", place


def _git(code: Path, *words: str) -> str | None:
    """What git says of a folder; none where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(code), *words], capture_output=True, text=True, timeout=GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's process may belong to nobody that it knows
        return ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
