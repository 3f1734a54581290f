"""A model replica as Ray Data's pool sees it. Importing this is cheap: torch is loaded where the model is."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.config import RunConfig
from pipeline.records import Answer, Question

log = logging.getLogger(__name__)


class ReplicaWorker:
    """One model replica in an actor of Ray Data's pool; plays all roles, so memory never leaves its device."""

    def __init__(self, settings: dict[str, Any], threads: int) -> None:
        import ray
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
        from pipeline.runtime.driver import answer_batch

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
