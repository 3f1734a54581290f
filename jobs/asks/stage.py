"""The stage: one model, on which one method after another answers the question, and the show in front of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from jobs.asks.events import AgentLeftOut, Event, MethodBegins, ModelLoaded, Outcome
from jobs.asks.show import Show
from jobs.asks.watching import Watcher
from pipeline.agents.lengths import lengths_of
from pipeline.agents.rehearsal import rehearse
from pipeline.agents.team import Alignments, build_team
from pipeline.agents.walk import answer_batch
from pipeline.config import ModelConfig
from pipeline.engine import LanguageModel, load_model
from pipeline.records import Question, Score
from pipeline.runtime.planned import PlannedRun
from pipeline.scoring import final_part, grade, last_code_block, last_python_block


class Stage:
    """Where one question is answered for people to see.

    Attributes:
        out: What they look at.
    """

    def __init__(self, out: Console) -> None:
        """Nothing is loaded yet."""
        self.out = out
        self._show = Show(live=out.is_terminal)

    def tell(self, event: Event) -> None:
        """Shows an event at once."""
        for line in self._show.lines(event):
            self.out.print(line, end=line.end, soft_wrap=True)

    def perform(self, runs: Sequence[PlannedRun], *, graded: bool) -> list[Outcome]:
        """Lets every method answer, one after another.

        Args:
            runs: One question's runs, of the same model.
            graded: Whether the question's gold is known.

        Raises:
            ValueError: The model can't be loaded or can't be used so, or the question is too long for it.
        """
        lm = self._loaded(runs[0].config.model)
        for run in runs:  # before anybody works in vain
            check_room(run, lm)
        alignments = Alignments(lm)
        return [self._answered(run, lm, alignments, graded=graded) for run in runs]

    def _loaded(self, model: ModelConfig) -> LanguageModel:
        began = time.perf_counter()
        disable_progress_bar()  # it would get into the way of what is shown here
        waiting = f"loading {model.model} ..."
        if not self.out.is_terminal:
            self.out.print(waiting, highlight=False, markup=False)
        with self.out.status(waiting) if self.out.is_terminal else nullcontext():
            lm = load_model(model)
        self.tell(
            ModelLoaded(
                model=model.model,
                parameters=sum(weight.numel() for weight in lm.causal_lm.parameters()),
                dtype=str(lm.shape.dtype).removeprefix("torch."),
                device=str(lm.device),
                seconds=time.perf_counter() - began,
            )
        )
        return lm

    def _answered(self, run: PlannedRun, lm: LanguageModel, alignments: Alignments, *, graded: bool) -> Outcome:
        method = run.config.collaboration.method
        self.tell(MethodBegins(method=method, graph=run.plan.graph.name, roles=run.roles))
        watcher = Watcher(lm, run.plan, self.tell)
        team = build_team(lm, run.config, run.plan, alignments=alignments, observer=watcher)
        watcher.start()
        (answer,) = answer_batch(run.assignments, team)
        for turn in answer.turns:
            if turn.finish == "context" and not turn.usage.prefill_tokens:
                self.tell(AgentLeftOut(role=turn.role))
        question = run.assignments[0].question
        outcome = Outcome(
            method=method,
            kind=question.kind,
            answer=answer,
            score=scored(question, answer.text, truncated=answer.truncated),
            graded=graded,
            seconds=sum(turn.seconds for turn in answer.turns) - watcher.seconds,
        )
        self.tell(outcome)
        return outcome


def scored(question: Question, text: str, *, truncated: bool) -> Score:
    """What is read of a text; programs are read and not run."""
    if question.kind != "code":
        return grade(question, text, truncated=truncated)
    program = last_python_block(final_part(text))
    guess = program or last_code_block(text) or ""
    reason = "not_run" if guess else "truncated" if truncated else "no_answer"
    return Score(
        correct=False, correct_lenient=False, prediction=program or "", prediction_lenient=guess, reason=reason
    )


def check_room(run: PlannedRun, lm: LanguageModel) -> None:
    """Refuses a question for which the model's context has no room, even if nothing is written.

    Raises:
        ValueError: The message says who needs how much.
    """
    lengths = lengths_of(
        rehearse(run.assignments, run.plan, lm.tokenizer, run.config.model.chat_options),
        handover=run.config.collaboration.handover,
        caps=dict.fromkeys(run.plan.writers, 0),
        context=lm.context,
    )
    for role in run.roles:
        needed = lengths.needed[role] + run.plan.thinkers.get(role, 0)
        if needed > lm.context:
            team = run.config.collaboration
            raise ValueError(
                f"the question is too long: with {team.method} the {role} needs {needed} positions, and the context of "
                f"--model {run.config.model.model!r} has {lm.context}{lm.context_note}; shorten it, or leave this "
                "method out with --methods"
            )
