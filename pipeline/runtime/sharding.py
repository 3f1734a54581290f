"""Questions to replicas and answers to scores, as one stream of Ray Data.

    questions -> blocks of one batch -> actor pool of model replicas -> scoring tasks on CPUs -> the driver

Blocks stream with back-pressure: a replica has one batch in work and one waiting. Records travel as JSON strings. A
replica that dies is replaced and its batch computed again; the answers are the same, because nothing in them depends
on where or when they were computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import ray
import ray.data

from pipeline.config import RunConfig
from pipeline.graphs import CollaborationPlan
from pipeline.records import Assignment, Prediction
from pipeline.runtime.grading import score_batch
from pipeline.runtime.replica import ReplicaWorker


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
            ValueError: There are fewer GPUs, or where there are none fewer CPUs, than replicas.
        """
        total = ray.cluster_resources()
        gpus, cpus = total.get("GPU", 0), max(total.get("CPU", 1), 1)
        have, what = (gpus, "GPUs") if gpus else (cpus, "CPUs")
        if have < replicas:
            raise ValueError(
                f"--replicas is {replicas}; allowed: at most {have:g}, the number of {what} in the cluster"
            )
        return cls(gpus=1 if gpus else 0, cpus=min(1.0, cpus / (2 * replicas)), threads=max(1, int(cpus // replicas)))


@dataclass(frozen=True, kw_only=True)
class StreamedBatch:
    """What comes out of the stream at once."""

    predictions: list[Prediction]
    """Finished rows."""
    notices: tuple[str, ...]
    """What users should know about the model that answered."""


def stream_predictions(
    assignments: Sequence[Assignment], config: RunConfig, plan: CollaborationPlan, *, attempt: int
) -> Iterator[StreamedBatch]:
    """Asks all questions and yields their rows as batches finish, in no particular order.

    Args:
        assignments: What to ask; at least one.
        config: The run's settings.
        plan: Who works together.
        attempt: Recorded with every row.

    Raises:
        ValueError: The cluster can't hold the replicas, or the model can't be loaded.
    """
    share = ReplicaResources.share(config.execution.replicas)
    batch_size = config.execution.batch_size
    # Blocks of at most one batch, cut here: a repartition task would need a CPU that replicas may have taken.
    items = [{"assignment": assignment.to_json()} for assignment in assignments]
    dataset = (
        ray.data.from_items(items, override_num_blocks=math.ceil(len(items) / batch_size))
        .map_batches(
            ReplicaWorker,
            fn_constructor_args=(config.flat(), plan, share.threads),
            batch_size=batch_size,
            compute=ray.data.ActorPoolStrategy(size=config.execution.replicas, max_tasks_in_flight_per_actor=2),
            num_gpus=share.gpus,
            num_cpus=share.cpus,
        )
        .map_batches(score_batch, fn_kwargs={"attempt": attempt}, batch_size=None, num_cpus=share.cpus / 2)
    )
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        failures = [failure for failure in batch["failure"] if failure]
        if failures:
            raise ValueError(failures[0])
        yield StreamedBatch(
            predictions=[Prediction.from_json(line) for line in batch["prediction"]],
            notices=tuple(dict.fromkeys(notice for notice in batch["notice"] if notice)),
        )
