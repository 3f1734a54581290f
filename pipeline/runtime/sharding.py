"""Questions to replicas and answers to scores, as one stream of Ray Data.

    questions -> blocks of one batch -> actor pool of model replicas -> scoring tasks on CPUs -> the driver

Blocks stream with back-pressure: a replica has one batch in work and one waiting. Records travel as JSON strings. A
replica that dies is replaced and its batch computed again; the answers are the same, because nothing in them depends
on where or when they were computed.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.data

from pipeline.config import RunConfig
from pipeline.records import Answer, Prediction, Question
from pipeline.runtime.driver import answer_batch
from pipeline.scoring import grade

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReplicaResources:
    """What each replica gets of the cluster."""

    gpus: float
    cpus: float
    threads: int
    """Compute threads of a replica without a GPU."""

    @classmethod
    def share(cls, replicas: int) -> ReplicaResources:
        """A GPU each where there are GPUs; otherwise an equal share of the CPUs, with room left for scoring.

        Raises:
            ValueError: There are GPUs, but fewer than replicas.
        """
        total = ray.cluster_resources()
        gpus, cpus = total.get("GPU", 0), max(total.get("CPU", 1), 1)
        if 0 < gpus < replicas:
            raise ValueError(f"--replicas is {replicas}, but the cluster has {gpus:g} GPUs; each replica takes one")
        return cls(gpus=1 if gpus else 0, cpus=min(1.0, cpus / (2 * replicas)), threads=max(1, int(cpus // replicas)))


class ReplicaWorker:
    """One model replica in an actor of Ray Data's pool; plays all roles, so memory never leaves its device."""

    def __init__(self, settings: dict[str, Any], threads: int) -> None:
        import torch

        from pipeline.agents import build_team
        from pipeline.engine import load_model

        began = time.perf_counter()
        torch.set_num_threads(threads)
        config = RunConfig.from_flat(settings)
        self._lm = load_model(config.model)
        self._team = build_team(self._lm, config)
        self._load_seconds = time.perf_counter() - began
        self._name = ray.get_runtime_context().get_actor_id()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answers a batch of question records."""
        answers = self._answer([Question.from_json(line) for line in batch["question"]])
        told = {"replica": self._name, "load_seconds": self._load_seconds, "peak_bytes": self._peak_bytes()}
        return {"question": batch["question"], "answer": [replace(a, **told).to_json() for a in answers]}

    def _answer(self, questions: Sequence[Question]) -> list[Answer]:
        try:
            return answer_batch(questions, self._team)
        except Exception as error:  # ours, whatever it is: it may cost its own question and no other
            if len(questions) == 1:
                log.exception("question %s stays unscored", questions[0].id)
                return [Answer(question_id=questions[0].id, error=f"{type(error).__name__}: {error}")]
            return [answer for question in questions for answer in self._answer([question])]

    def _peak_bytes(self) -> int:
        import torch

        if self._lm.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._lm.device))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def score_batch(batch: dict[str, Any], attempt: int) -> dict[str, Any]:
    """Grades a batch of answers; runs as a CPU task."""
    rows = [
        score_one(Question.from_json(question), Answer.from_json(answer), attempt)
        for question, answer in zip(batch["question"], batch["answer"], strict=True)
    ]
    return {"prediction": [row.to_json() for row in rows]}


def score_one(question: Question, answer: Answer, attempt: int) -> Prediction:
    """Grades one answer; one that a fault of ours prevented stays unscored."""
    began = time.perf_counter()
    score = None if answer.error else grade(question, answer.text, truncated=answer.truncated)
    return Prediction.of(question, answer, score, seconds=time.perf_counter() - began, attempt=attempt)


def stream_predictions(questions: Sequence[Question], config: RunConfig, *, attempt: int) -> Iterator[list[Prediction]]:
    """Asks all questions and yields their rows as batches finish, in no particular order.

    Args:
        questions: What to ask; at least one.
        config: The run's settings.
        attempt: Recorded with every row.

    Raises:
        ValueError: The cluster can't hold the replicas.
    """
    share = ReplicaResources.share(config.execution.replicas)
    batch_size = config.execution.batch_size
    dataset = (
        ray.data.from_items([{"question": question.to_json()} for question in questions])
        .repartition(target_num_rows_per_block=batch_size)
        .map_batches(
            ReplicaWorker,
            fn_constructor_args=(config.flat(), share.threads),
            batch_size=batch_size,
            compute=ray.data.ActorPoolStrategy(size=config.execution.replicas, max_tasks_in_flight_per_actor=2),
            num_gpus=share.gpus,
            num_cpus=share.cpus,
        )
        .map_batches(score_batch, fn_kwargs={"attempt": attempt}, batch_size=None, num_cpus=share.cpus / 2)
    )
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        yield [Prediction.from_json(line) for line in batch["prediction"]]
