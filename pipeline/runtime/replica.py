"""A model replica as Ray Data's pool sees it. Importing this is cheap: torch is loaded where the model is."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.config import RunConfig
from pipeline.graphs import CollaborationPlan
from pipeline.records import Answer, Assignment

log = logging.getLogger(__name__)

TIED = "the model ties its input and output embeddings, so the ridge alignment W_a is the identity up to lambda"
"""What users should know of such a model."""


class ReplicaWorker:
    """One model replica in an actor of Ray Data's pool; plays all roles, so memory never leaves its device."""

    def __init__(self, settings: dict[str, Any], plan: CollaborationPlan, threads: int) -> None:
        import ray
        import torch

        from pipeline.agents import build_team
        from pipeline.engine import load_model

        began = time.perf_counter()
        torch.set_num_threads(threads)
        config = RunConfig.from_flat(settings)
        self._name = ray.get_runtime_context().get_actor_id()
        self._failure = self._notice = ""
        try:
            self._lm = load_model(config.model)
            self._team = build_team(self._lm, config, plan)
            if plan.thinkers and config.collaboration.alignment == "ridge" and self._lm.tied:
                self._notice = TIED
        except ValueError as error:  # told to the driver in a row: as an exception it would drown in Ray's own words
            self._failure = str(error)
        self._load_seconds = time.perf_counter() - began

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answers a batch of assignment records."""
        if self._failure:
            return self._rows(batch, [""] * len(batch["assignment"]))
        answers = self._answer([Assignment.from_json(line) for line in batch["assignment"]])
        told = {"replica": self._name, "load_seconds": self._load_seconds, "peak_bytes": self._peak_bytes()}
        return self._rows(batch, [replace(answer, **told).to_json() for answer in answers])

    def _rows(self, batch: dict[str, Any], answers: list[str]) -> dict[str, Any]:
        failures = [self._failure] * len(answers)
        notices = [self._notice] * len(answers)
        return {"assignment": batch["assignment"], "answer": answers, "failure": failures, "notice": notices}

    def _answer(self, assignments: Sequence[Assignment]) -> list[Answer]:
        from pipeline.runtime.driver import answer_batch

        try:
            return answer_batch(assignments, self._team)
        except Exception as error:  # ours, whatever it is: it may cost its own question and no other
            if len(assignments) == 1:
                question_id = assignments[0].question.id
                log.exception("question %s stays unscored", question_id)
                return [Answer(question_id=question_id, error=f"{type(error).__name__}: {error}")]
            return [answer for one in assignments for answer in self._answer([one])]

    def _peak_bytes(self) -> int:
        import torch

        if self._lm.device.type == "cuda":
            return sum(int(torch.cuda.max_memory_allocated(device)) for device in self._lm.devices)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
