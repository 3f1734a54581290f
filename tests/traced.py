"""Rows of questions that were traced, from teams of tiny models: real turns without Ray."""

from __future__ import annotations

from typing import Any

from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.config import RunConfig
from pipeline.engine import LanguageModel
from pipeline.graphs import plan_for
from pipeline.records import Prediction, Question, Score
from pipeline.runtime.assigning import assign

QUESTIONS = [
    Question(
        id=f"gsm8k/{i}",
        text=f"Anna has {i + 3} apples & eats <two>.\nHow many are left?",
        kind="number",
        gold=str(i + 1),
    )
    for i in range(3)
]


def traced_rows(lm: LanguageModel, *, trace: int = 2, **settings: Any) -> tuple[RunConfig, list[Prediction]]:
    """A run's settings and its rows; the first answer is right, the others are wrong."""
    chosen = {"task": "gsm8k", "max_new_tokens": 6, "latent_steps": 3, "trace": trace, **settings}
    config = RunConfig.from_flat(chosen)
    work = assign(QUESTIONS, memory=config.collaboration.memory, seed=0, trace=trace)
    answers = answer_batch(work, build_team(lm, config, plan_for(config.collaboration)))
    rows = [
        Prediction.of(one, answer, _score(place == 0), seconds=0.01, attempt=1)
        for place, (one, answer) in enumerate(zip(work, answers, strict=True))
    ]
    return config, rows


def _score(correct: bool) -> Score:
    return Score(
        correct=correct,
        correct_lenient=correct,
        prediction="1",
        prediction_lenient="1",
        reason="correct" if correct else "wrong",
    )
