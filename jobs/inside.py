"""Figures 5 and 6: a team thinks again about questions of its run, and what goes on inside is drawn.

Of each model and task one run of LatentMAS is looked at, beside one of TextMAS on the same questions. Nobody decodes
an answer. No Ray is needed: the model is loaded into this process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from pipeline.config import AlignmentName, RunConfig
from pipeline.graphs import CollaborationPlan, parse_graph, plan_for, plan_on
from pipeline.reports import FinishedRun
from pipeline.reports.figures.selecting import is_plain, model_name, task_name, usual_first

if TYPE_CHECKING:
    from pipeline.agents.capturing import Thoughts, Vectors
    from pipeline.agents.team import Alignments
    from pipeline.engine import LanguageModel
    from pipeline.records import Question
    from pipeline.reports.figures.clouds import Clouds
    from pipeline.reports.figures.drifting import Trail, Trails

NEEDS = "a run of latent_mas with memory real, handover full, alignment ridge, m above 0 and one model for all"
LACKS_TEXT = "it needs a run of text_mas with the same model on the same questions"
LACKS_POINTS = "the texts and thoughts are too few to tell a coverage; give it more --questions"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is looked at of one model and task."""

    latent: FinishedRun
    """The run whose team thinks again."""
    text: FinishedRun | None
    """The run whose texts its thoughts are held against; none if there is none on the same questions."""

    @property
    def model(self) -> str:
        """The model, as the run names it."""
        return self.latent.metrics.model

    @property
    def task(self) -> str:
        """The task, as the run names it."""
        return self.latent.metrics.task

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{task_name(self.task)} with {model_name(self.model)}"


@dataclass(frozen=True, kw_only=True)
class Insight:
    """What was found inside of one team."""

    clouds: Clouds | None
    """For figure 5, if there is enough for it."""
    lack: str
    """What there is not enough of, if so."""
    trails: Trails
    """For figure 6."""


def subjects(runs: Sequence[FinishedRun]) -> list[Subject]:
    """Chooses what to look at: of each model and task the plain LatentMAS run with the usual number of latent steps."""
    found: dict[tuple[str, str], FinishedRun] = {}
    for run in sorted(filter(_thinks, runs), key=usual_first):
        found.setdefault((run.metrics.model, run.metrics.task), run)
    return [Subject(latent=run, text=_partner(run, runs)) for run in found.values()]


def _thinks(run: FinishedRun) -> bool:
    # A graph may have steps of its own for each role.
    return run.metrics.method == "latent_mas" and is_plain(run) and any(team_of(run)[1].thinkers.values())


def _partner(latent: FinishedRun, runs: Sequence[FinishedRun]) -> FinishedRun | None:
    """A TextMAS run on the same questions, over the same graph where there is one."""
    there = [
        run
        for run in runs
        if run.metrics.method == "text_mas"
        and run.metrics.model == latent.metrics.model
        and run.metrics.task == latent.metrics.task
        and run.questions == latent.questions
        and run.settings["memory"] == "real"
        and not run.settings["roles"]
    ]
    return next(iter(sorted(there, key=lambda run: run.graph != latent.graph)), None)


def look_inside(found: Sequence[Subject], lm: LanguageModel, *, questions: int) -> Iterator[Insight]:
    """Lets teams think again, one after another.

    Args:
        found: Whose teams, all of the model's.
        lm: The model.
        questions: How many questions of each run, the first ones.
    """
    from pipeline.agents.team import Alignments

    alignments = Alignments(lm)
    for subject in found:
        yield _insight(subject, lm, alignments, questions)


def _insight(subject: Subject, lm: LanguageModel, alignments: Alignments, questions: int) -> Insight:
    from pipeline.agents.capturing import nearest_cosines, token_vectors
    from pipeline.reports.figures.clouds import enough
    from pipeline.reports.figures.drift_panels import SIDES
    from pipeline.reports.figures.drifting import Trails

    asked = first_questions(subject.latent, questions)
    thoughts = {side: _think(subject, lm, alignments, asked, cast("AlignmentName", side)) for side in SIDES}
    tokens_MD = token_vectors(lm, thoughts["ridge"].prompt_ids)
    latent = subject.latent.metrics
    trails = Trails(
        model=subject.model,
        task=subject.task,
        graph=latent.graph,
        latent_steps=latent.latent_steps_per_agent,
        questions=len(asked),
        tied=lm.tied,
        tokens_MD=tokens_MD,
        tokens_cosine=float(nearest_cosines(lm, tokens_MD, but_itself=True).mean()),
        sides={side: _trail(lm, one) for side, one in thoughts.items()},
    )
    if subject.text is None:
        return Insight(clouds=None, lack=LACKS_TEXT, trails=trails)
    clouds = _clouds(subject, subject.text, lm, asked, thoughts["ridge"].fed_ND)
    return Insight(clouds=clouds if enough(clouds) else None, lack=LACKS_POINTS, trails=trails)


def _think(
    subject: Subject, lm: LanguageModel, alignments: Alignments, asked: Sequence[Question], side: AlignmentName
) -> Thoughts:
    from pipeline.agents.capturing import think_aloud

    def progress(done: int) -> None:
        sys.stderr.write(f"figures 5 and 6, {subject.name}, {side}: {done}/{len(asked)} questions\n")

    config, plan = team_of(subject.latent)
    config = replace(config, collaboration=replace(config.collaboration, alignment=side))
    return think_aloud(lm, config, plan, asked, alignments=alignments, progress=progress)


def team_of(run: FinishedRun) -> tuple[RunConfig, CollaborationPlan]:
    """The settings of a run, and its team, from the graph as it was then."""
    size = {name: run.execution[name] for name in ("batch_size",) if name in run.execution}
    config = RunConfig.from_flat({**run.settings, **size})
    if not run.graph:
        return config, plan_for(config.collaboration)
    return config, plan_on(parse_graph(run.metrics.graph, run.graph), config.collaboration)


def first_questions(run: FinishedRun, count: int) -> list[Question]:
    """The first questions of a run, as far as its agents before the last one read them."""
    from pipeline.records import Question

    rows = run.rows[:count]
    return [Question(id=row.question_id, text=row.question, kind=row.kind, gold=row.gold) for row in rows]


def _trail(lm: LanguageModel, thoughts: Thoughts) -> Trail:
    import numpy as np

    from pipeline.agents.capturing import nearest_cosines
    from pipeline.reports.figures.drifting import Trail

    return Trail(
        first_KD=np.unique(thoughts.before_ND[np.equal(thoughts.steps, 0)], axis=0),
        before_ND=thoughts.before_ND,
        hidden_ND=thoughts.hidden_ND,
        fed_ND=thoughts.fed_ND,
        hidden_cosine=float(nearest_cosines(lm, thoughts.hidden_ND).mean()),
        fed_cosine=float(nearest_cosines(lm, thoughts.fed_ND).mean()),
    )


def _clouds(
    subject: Subject, written: FinishedRun, lm: LanguageModel, asked: Sequence[Question], thoughts_ND: Vectors
) -> Clouds:
    """What figure 5 shows: thoughts, and the tokens of all texts on the same questions."""
    from pipeline.agents.capturing import distinct_tokens, token_vectors
    from pipeline.reports.figures.clouds import Clouds

    ids = {question.id for question in asked}
    texts = [turn.text for row in written.rows if row.question_id in ids for turn in row.turns]
    latent = subject.latent.metrics
    return Clouds(
        model=subject.model,
        task=subject.task,
        graph=latent.graph,
        latent_steps=latent.latent_steps_per_agent,
        questions=len(asked),
        thoughts_ND=thoughts_ND,
        tokens_MD=token_vectors(lm, distinct_tokens(lm, texts)),
    )
