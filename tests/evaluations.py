"""Evaluations in processes of their own, as users run them, and what they leave behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
LONGEST = 240
"""Seconds that a run may take at most before its test fails."""


def command(job: str = "eval.py") -> list[str]:
    """How a job is started."""
    return [sys.executable, str(ROOT / "jobs" / job)]


def evaluate(*argv: str, job: str = "eval.py") -> tuple[int, dict[str, Any], str]:
    """Runs jobs/eval.py, or another job, to its end; returns exit code, metrics and stderr."""
    done = subprocess.run([*command(job), *argv], capture_output=True, text=True, timeout=LONGEST, check=False)
    return done.returncode, _metrics(done.returncode, done.stdout, done.stderr), done.stderr


def rows(run_dir: Path | str) -> list[dict[str, Any]]:
    """The rows of a run."""
    table: list[dict[str, Any]] = pq.read_table(Path(run_dir) / "predictions.parquet").to_pylist()
    return table


def texts(run_dir: Path | str) -> dict[str, str]:
    """What was answered to each question of a run, which has every question once."""
    table = rows(run_dir)
    found = {row["question_id"]: row["output_text"] for row in table}
    assert len(found) == len(table)
    return found


def own_questions(folder: Path, asked: Sequence[str]) -> list[str]:
    """The settings that have some questions of one's own asked."""
    table = pa.Table.from_pylist([{"question": question, "answer": "#### 1"} for question in asked])
    pq.write_table(table, folder / "gsm8k.parquet")
    return ["--task", "gsm8k", "--data-dir", str(folder)]


def notice(uri: str, run_id: str) -> str:
    """What the MLflow run tells its readers."""
    return mlflow.MlflowClient(tracking_uri=uri).get_run(run_id).data.tags.get("notice", "")


@dataclass(frozen=True)
class StartedRun:
    """An evaluation under way."""

    process: subprocess.Popen[str]
    folder: Path
    log: Path

    def wait_until(self, holds: Callable[[], object]) -> None:
        """Waits until something is so; fails if the run ends before."""
        end = time.monotonic() + LONGEST
        while not holds():
            assert self.process.poll() is None, f"ended before: {self.log.read_text()}"
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def part(self, name: str) -> StartedRun:
        """One of several runs under way."""
        return replace(self, folder=self.folder / name)

    def wait_for_rows(self) -> None:
        """Waits until the first rows are on disk."""
        self.wait_until(lambda: list((self.folder / "parts").glob("*.parquet")))

    def replicas(self) -> dict[str, dict[str, Any]]:
        """The replicas by name, as the run folder tells of them."""
        told = json.loads((self.folder / "run.json").read_text())["replicas"]
        return {replica["name"]: replica for replica in told}

    def replica(self, name: str) -> psutil.Process:
        """A replica's process."""
        return psutil.Process(self.replicas()[name]["pid"])

    def end(self) -> tuple[int, dict[str, Any], str]:
        """Waits for the end; returns exit code, metrics and stderr."""
        out, _ = self.process.communicate(timeout=LONGEST)
        err = self.log.read_text()
        return self.process.returncode, _metrics(self.process.returncode, out, err), err


@contextmanager
def started(folder: Path, *argv: str, job: str = "eval.py") -> Iterator[StartedRun]:
    """Starts a job with a run folder (`--out`, or `--resume` if there is one), and leaves nothing running."""
    log = folder.with_suffix(".log")
    place = ["--resume" if folder.exists() else "--out", str(folder)]
    with log.open("w") as err:
        process = subprocess.Popen(
            [*command(job), *place, *argv],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            # Ctrl-C works in it also where the tests themselves run in the background, which ignores it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield StartedRun(process, folder, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _metrics(code: int, out: str, err: str) -> dict[str, Any]:
    lines = out.splitlines()
    told = json.loads(lines[0]) if lines else {}
    # A job that failed has a line only where it is of several runs, and tells of those that did not.
    assert len(lines) == (1 if code in (0, 3) or told.get("failed") else 0), out + err
    return told
