"""The run folder: every finished question is on disk as soon as it has been graded.

config.yaml          the settings; `--config` reads it again
graph.yaml           the role graph, as it was when the run began
run.json             by whom, when, with which code and on which questions it was made (`facts.py`), its ids in
                     trackers, and where its replicas are: name, roles, node, process
progress.jsonl       how it went: questions finished by some moment, and what there was to tell then (`history.py`)
parts/*.parquet      rows as they finish, one file a batch (only while the run goes on)
predictions.parquet  all rows, in the order of the questions; the columns are the fields of `records.Prediction`
metrics.json         what the run reports (`reports.summary.RunMetrics`)
"""

from __future__ import annotations

import json
import os
import os.path
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.graphs import CollaborationPlan
from pipeline.records import Assignment, Prediction
from pipeline.validation import flag

_USAGE = pa.struct([("output_tokens", pa.int64()), ("latent_steps", pa.int64()), ("prefill_tokens", pa.int64())])
_THOUGHT = pa.struct(
    [
        ("step", pa.int64()),
        ("tokens", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float64())),
        ("norm", pa.float64()),
        ("nearest", pa.string()),
        ("cosine", pa.float64()),
    ]
)
_TRANSFER = pa.struct([("transport", pa.string()), ("bytes", pa.int64()), ("seconds", pa.float64())])
_TURN = pa.struct(
    [
        ("role", pa.string()),
        ("text", pa.string()),
        ("finish", pa.string()),
        ("usage", _USAGE),
        ("seconds", pa.float64()),
        ("replica", pa.string()),
        ("transfers", pa.list_(_TRANSFER)),
        ("verify_seconds", pa.float64()),
        ("thoughts", pa.list_(_THOUGHT)),
        ("prompt", pa.string()),
        ("started", pa.float64()),
        ("finished", pa.float64()),
        ("left_bytes", pa.int64()),
    ]
)
_TYPES: dict[str, pa.DataType] = {
    "str": pa.string(),
    "Kind": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "bool | None": pa.bool_(),
    "tuple[Turn, ...]": pa.list_(_TURN),
}
SCHEMA = pa.schema([(f.name, _TYPES[str(f.type)]) for f in fields(Prediction)])
"""Columns of `predictions.parquet`, derived from the record; each field's documentation stands there."""

_UNREAD: dict[str, Any] = {"output_text": "", "turns": []}
_BRIEF = [name for name in SCHEMA.names if name not in _UNREAD]

FREE_TO_CHANGE = {f.name for f in fields(ExecutionConfig)} | frozenset(
    ["tracking_uri", "experiment", "data_dir", "sandbox", "gpu_memory_utilization", "tensor_parallel_size"]
)
"""Settings that a resumed run may change, because they change no answer."""


@dataclass(frozen=True)
class RunFolder:
    """One run's files."""

    path: Path
    """The folder, absolute."""

    @classmethod
    def create(cls, path: Path, config: RunConfig, plan: CollaborationPlan) -> Self:
        """Makes a new run folder.

        Raises:
            ValueError: There is something at that path already, or it can't be made.
        """
        new_folder(path, {"config.yaml": config.to_yaml(), "graph.yaml": plan.graph.to_yaml()})
        return cls(path.resolve())

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens a run folder that exists.

        Raises:
            ValueError: It is no run folder.
        """
        if not os.path.isfile(path / "config.yaml"):  # unlike Path.is_file(), it takes no exception to a long name
            raise ValueError(f"--resume {str(path)!r} is no run folder (it has no config.yaml)")
        return cls(path.resolve())

    @property
    def config(self) -> RunConfig:
        """The settings that the run was started with."""
        return RunConfig.from_yaml(self.path / "config.yaml")

    def check_same(self, config: RunConfig, plan: CollaborationPlan) -> None:
        """Refuses to go on with settings that would give other answers.

        Raises:
            ValueError: A setting differs; the message names the first one.
        """
        file = self.path / "graph.yaml"
        if file.is_file() and file.read_text("utf-8") != plan.graph.to_yaml():
            raise ValueError(
                f"--graph {config.collaboration.graph!r} is not what it was when the run began; see {file}"
            )
        before, now = self.config.flat(), config.flat()
        for name in before:
            if name not in FREE_TO_CHANGE and before[name] != now[name]:
                raise ValueError(
                    f"{flag(name)} was {before[name]!r} and is now {now[name]!r}; a resumed run keeps its settings "
                    f"(leave the flag out, or start a new run)"
                )

    def check_questions(self, assignments: Sequence[Assignment], task: str) -> None:
        """Refuses to go on with other questions than those that rows on disk answer.

        Raises:
            ValueError: One of those is gone or has changed; the message names the first one.
        """
        asked = {one.question.id: one for one in assignments}
        for row in self.read():
            now = asked.get(row.question_id)
            changed = "is gone" if now is None else row.differs_from(now)
            if changed:
                raise ValueError(
                    f"--task {task!r}: question {row.question_id!r} of the run in {self.path} {changed}; a resumed run "
                    f"keeps its questions (--task and --data-dir must hold what they held, or start a new run)"
                )

    def discard_if_empty(self) -> None:
        """Removes a folder that holds no rows, so that the next try finds its place free."""
        if not self.read():
            shutil.rmtree(self.path)

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Puts finished rows on disk."""
        parts = self.path / "parts"
        parts.mkdir(exist_ok=True)
        name = f"{predictions[0].attempt:03}-{len(list(parts.glob('*.parquet'))):06}.parquet"
        _write(parts / name, predictions)

    def read(self, *, texts: bool = True) -> list[Prediction]:
        """All rows on disk, each question once (those without a fault win); texts and turns only if `texts`."""
        files = [self.path / "predictions.parquet", *sorted((self.path / "parts").glob("*.parquet"))]
        rows: dict[str, Prediction] = {}
        for file in files:
            if file.is_file():
                for values in pq.read_table(file, columns=None if texts else _BRIEF).to_pylist():
                    row = _prediction(file, values if texts else values | _UNREAD)
                    if row.question_id not in rows or not row.error:
                        rows[row.question_id] = row
        return list(rows.values())

    def consolidate(self, order: Mapping[str, int]) -> list[Prediction]:
        """Gathers the parts into `predictions.parquet`.

        Args:
            order: The place of each of the run's questions by its id.

        Returns:
            The rows, in that order.

        Raises:
            ValueError: A row answers none of the run's questions; the files stay as they are.
        """
        rows = self.read()
        astray = [row.question_id for row in rows if row.question_id not in order]
        if astray:
            raise ValueError(f"{self.path} answers {astray[0]!r}, which --task does not ask; start a new run")
        rows.sort(key=lambda row: order[row.question_id])
        _write(self.path / "predictions.parquet", rows)
        shutil.rmtree(self.path / "parts", ignore_errors=True)  # with what a killed driver left half written
        return rows

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Writes a small file whole or not at all."""
        _replace(self.path / name, (json.dumps(values, indent=2) + "\n").encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads what `write_json` wrote; empty if it never did, and a ValueError if it is damaged."""
        file = self.path / name
        try:
            return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file} is damaged ({error}); copy it again, or start a new run") from error


def check_free(path: Path) -> None:
    """Refuses a path that can't become a folder for what is new.

    Raises:
        ValueError: There is something at that path already, or it can't be looked at.
    """
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise ValueError(f"--out {str(path)!r} can't be written: {error.strerror}") from error
    if taken:
        raise ValueError(f"--out {str(path)!r} exists; choose another folder, or go on with it: --resume {path}")


def new_folder(path: Path, files: Mapping[str, str]) -> None:
    """Makes a folder for what is new, with its first files: a text by each name.

    Raises:
        ValueError: There is something at that path already, or it can't be made.
    """
    check_free(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (path / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--out {str(path)!r} can't be written: {error.strerror}") from error


def _prediction(file: Path, values: dict[str, Any]) -> Prediction:
    try:
        return Prediction.from_dict(values)
    except TypeError as error:
        raise ValueError(f"{file} was written by another version of this program ({error}); start a new run") from error


def _write(path: Path, rows: Sequence[Prediction]) -> None:
    table = pa.Table.from_pylist([json.loads(row.to_json()) for row in rows], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    _replace(path, sink.getvalue().to_pybytes())


def _replace(path: Path, content: bytes) -> None:
    """Writes beside the target and renames, so that nobody ever reads half a file."""
    work = path.with_name(f".{path.name}.{os.getpid()}")
    work.write_bytes(content)
    work.replace(path)
