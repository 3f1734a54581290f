"""Trackers for tests: stores in files, servers that are dead or silent, and runs whose answers are made up."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow

from finished import PLAIN
from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Answer, Assignment, Prediction, Question, Score, Turn, Usage
from pipeline.runtime import evaluate
from pipeline.runtime.evaluate import RunRequest
from pipeline.runtime.results import RunFolder
from pipeline.runtime.sharding import StreamedBatch

DEAD = "http://127.0.0.1:9"
"""Where nobody listens: a connection is refused at once."""


def client_of(uri: str) -> Any:
    return mlflow.MlflowClient(tracking_uri=uri)


def runs_of(uri: str, experiment: str) -> list[Any]:
    """All runs of an experiment."""
    client = client_of(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def asked(count: int) -> list[Assignment]:
    questions = [Question(id=f"q{number}", text=f"{number}+1?", kind="number", gold="1") for number in range(count)]
    return [Assignment(question=question, source=question) for question in questions]


def row(one: Assignment, *, attempt: int = 1, prompt: str = "") -> Prediction:
    """An answer that is right."""
    turn = Turn(
        role="solver",
        text="one",
        finish="stop",
        usage=Usage(output_tokens=4),
        seconds=0.5,
        started=100.0,
        finished=100.5,
        prompt=prompt,
    )
    answer = Answer(question_id=one.question.id, turns=(turn,), started=100.0, finished=102.0)
    score = Score(correct=True, correct_lenient=True, prediction="1", prediction_lenient="1", reason="correct")
    return Prediction.of(one, answer, score, seconds=0, attempt=attempt)


def request_of(path: Path, count: int = 3, **settings: Any) -> RunRequest:
    """A run on made-up questions; in its folder where there is one."""
    config = RunConfig.from_flat({**PLAIN, **settings})
    plan = plan_for(config.collaboration)
    folder = RunFolder.open(path) if path.exists() else RunFolder.create(path, config, plan)
    return RunRequest(config=config, plan=plan, assignments=asked(count), folder=folder, store=path.parent)


def answer_by(monkeypatch: Any, between: Callable[[int], object] = lambda _: None, prompt: str = "") -> None:
    """Has evaluations answered by nobody, a question a batch.

    Args:
        monkeypatch: Pytest's.
        between: Called after each batch with the number of those that are through.
        prompt: What the turns say that they were told.
    """

    def stream(
        todo: Sequence[Assignment], *_: Any, attempt: int, meanwhile: Callable[[], None], **__: Any
    ) -> Iterator[StreamedBatch]:
        meanwhile()
        for number, one in enumerate(todo, start=1):
            yield StreamedBatch(predictions=[row(one, attempt=attempt, prompt=prompt)], notices=(f"note {number}",))
            between(number)

    monkeypatch.setattr(evaluate, "stream_predictions", stream)
    monkeypatch.setattr("pipeline.runtime.history.EVERY", 0.0)


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real server on a store in a folder, which answers."""
    argv = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    argv += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "kept"),
    ]
    environment = {"PATH": str(Path(sys.executable).parent), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "HOME": str(folder)}
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen([sys.executable, *argv], stdout=log, stderr=log, env=environment)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server)
        yield server
    finally:
        end(server)


def end(server: subprocess.Popen[bytes]) -> None:
    """Ends a server with the process that it starts."""
    import psutil

    if server.poll() is None:
        for process in [*psutil.Process(server.pid).children(recursive=True), server]:
            process.kill()
        server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    last = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < last
            time.sleep(0.2)
