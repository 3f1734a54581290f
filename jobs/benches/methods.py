"""Whole methods: our engine beside plain Hugging Face, on the same questions, prompts, steps and lengths.

Both sides decode greedily, so their answers agree but for rounding: a near tie between two tokens may fall either way,
and the texts differ from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jobs.benches.command import numbers, say
from jobs.benches.engine_settings import Engine
from jobs.benches.plain import Computed, answer_static, library_model
from jobs.benches.rounds import Timed, in_turn, rounded
from pipeline.agents.agent import Agent
from pipeline.agents.crowd import Crowd
from pipeline.agents.team import Alignments, build_team
from pipeline.agents.walk import answer_batch, collect
from pipeline.config import Method, RunConfig
from pipeline.engine import LanguageModel, RunningBatch
from pipeline.engine.running import Tally
from pipeline.engine.served import ServedBatch, Server
from pipeline.graphs import plan_for
from pipeline.records import Answer, Assignment, Question, Usage

OURS, VLLM = "ours", "vllm"
UNAIDED = "ours, no lookup"
CONTINUOUS = "generate_batch"
WARM_QUESTIONS, WARM_TOKENS = 2, 4
BEHIND = 1.5
"""A way that takes so many times as long as the fastest of the others is not run again after the first round."""
COLUMNS = {
    "method": "method",
    "way": "way",
    "seconds": "seconds",
    "questions_per_second": "questions/s",
    "output_tokens_per_second": "tokens/s",
    "output_tokens": "tokens",
    "latent_steps": "latent steps",
    "prefill_tokens": "prefill",
    "padding_pct": "padding %",
    "idle_rows_pct": "idle rows %",
    "times_ours": "x ours",
    "same_answers_pct": "same answers %",
}
"""Of the table, by field of a way's measurement."""

Team = Mapping[str, Agent]
Way = Callable[[Sequence[Assignment], Team], list[Answer]]
"""Lets a team answer questions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sides:
    """What the two sides work with: the same weights, and one alignment, whose making is not measured."""

    lm: LanguageModel
    """Our engine's model."""
    library: Any
    """The library's."""
    alignments: Alignments
    """From hidden states to latent inputs."""
    server: Server | None = None
    """Another engine that writes beside ours, if one is to be measured."""

    @classmethod
    def of(cls, lm: LanguageModel, server: Server | None = None) -> Sides:
        """Both sides of a model, and another engine if one is to be measured."""
        return cls(lm=lm, library=library_model(lm), alignments=Alignments(lm), server=server)


@dataclass(kw_only=True, eq=False)
class Ways:
    """The ways to run one method, by name."""

    ways: dict[str, Way]
    computed: dict[str, Computed] = field(default_factory=dict)
    """What the static batches of the last run computed."""
    tally: Tally | None = None
    """What our running batch computed in the last run."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Ways that turned out not to run here, and why."""

    def runnable(self) -> dict[str, Way]:
        """Those that have not failed yet."""
        return {name: way for name, way in self.ways.items() if name not in self.left_out}


def ways_of(sides: Sides, settings: Engine, method: Method) -> Ways:
    """What is compared for a method: ours first, also without looking texts up."""
    found = Ways(ways={})
    found.ways[OURS] = partial(_ours, found, settings.batch_size, settings.lookup_tokens)
    found.ways[UNAIDED] = partial(_ours, Ways(ways={}), settings.batch_size, 0)
    if (server := sides.server) is not None:
        for size in numbers(settings.plain_batch_sizes):
            found.ways[f"{OURS} {size}"] = partial(_ours, Ways(ways={}), size, settings.lookup_tokens)
            found.ways[f"{VLLM} {size}"] = partial(_beside, server, size)
    for size in numbers(settings.plain_batch_sizes):
        found.ways[f"plain {size}"] = partial(_static, found, sides.library, size)
    if settings.generate_batch and method != "latent_mas":
        found.ways[CONTINUOUS] = partial(_continuous, found, sides.library)
    return found


def measure_method(sides: Sides, method: Method, questions: Sequence[Question], settings: Engine) -> dict[str, Any]:
    """Measures a method; returns what is known of it, in plain numbers.

    Args:
        sides: What both sides work with.
        method: Which method.
        questions: What is asked.
        settings: How.
    """
    # 1. Everything is run once on a little, so that nobody pays for what happens once a process.
    assignments = [Assignment(question=question, source=question) for question in questions]
    found = ways_of(sides, settings, method)
    small = _team(sides, method, settings, min(WARM_TOKENS, settings.max_new_tokens))
    for way in found.ways.values():
        way(assignments[:WARM_QUESTIONS], small)
    # 2. The ways are run in turn.
    team = _team(sides, method, settings, settings.max_new_tokens)
    timed = in_turn(
        {name: partial(way, assignments, team) for name, way in found.runnable().items()},
        rounds=settings.repeats,
        wait=sides.lm.synchronize,
        goes_on=_in_the_running,
        told=lambda name, number, seconds: say(
            f"{method}, round {number} of {settings.repeats}: {name} {seconds:.1f} s"
        ),
    )
    # 3. What they did is compared.
    rows = [_row(method, name, timed, found.computed.get(name)) for name in found.runnable()]
    beside = {row["way"]: row["times_ours"] for row in rows if row["way"].startswith(VLLM)}
    told = {"method": method, "questions": len(questions), "left_out": found.left_out, "ways": rows}
    return {**told, **lookup(found.tally), **headline(rows), "vllm_times_ours": beside}


def lookup(tally: Tally | None) -> dict[str, float]:
    """What looking texts up came to: tokens of a text for each step that it was in, and percent of guesses right."""
    if tally is None or not tally.decoded:
        return {}
    right_pct = 100 * tally.right / max(tally.guessed, 1)
    return {"tokens_per_step": (tally.decoded + tally.right) / tally.decoded, "guesses_right_pct": right_pct}


def prompts_of(sides: Sides, questions: Sequence[Question], settings: Engine) -> list[list[int]]:
    """Token ids of every question's prompt, as the method `single` asks it."""
    (agent,) = _team(sides, "single", settings, settings.max_new_tokens).values()
    return [agent.prompt(collect(Assignment(question=question, source=question), agent, [])) for question in questions]


def _in_the_running(name: str, timed: Mapping[str, Timed[list[Answer]]]) -> bool:
    others = [one.median for other, one in timed.items() if is_plain(other)]
    return not is_plain(name) or timed[name].median <= BEHIND * min(others)


def is_plain(name: str) -> bool:
    """Whether a way is the library's."""
    return not name.startswith((OURS, VLLM))


def headline(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many times as long the library's fastest way took as ours; nothing if there is none."""
    others = [row for row in rows if is_plain(row["way"])]
    if not others:
        return {}
    fastest = min(others, key=lambda row: row["seconds"])
    return {
        "fastest": fastest["way"],
        "times_ours": fastest["times_ours"],
        "same_answers_pct": fastest["same_answers_pct"],
    }


def agreement(some: Sequence[Answer], others: Sequence[Answer]) -> float:
    """Percent of questions on which every text of two runs is the same, with the same number of tokens."""
    return 100 * sum(_written(a) == _written(b) for a, b in zip(some, others, strict=True)) / len(some)


def _written(answer: Answer) -> list[tuple[str, int]]:
    return [(turn.text, turn.usage.output_tokens) for turn in answer.turns]


def _row(
    method: Method, name: str, timed: Mapping[str, Timed[list[Answer]]], computed: Computed | None
) -> dict[str, Any]:
    own, ours = timed[name], timed[name.replace(VLLM, OURS)] if name.startswith(VLLM) else timed[OURS]
    assert own.outcome is not None, "it has been run"
    assert ours.outcome is not None, "it has been run"
    usage = sum((answer.usage for answer in own.outcome), Usage())
    row = {
        "method": method,
        "way": name,
        "seconds": own.median,
        "all_seconds": rounded(own.seconds),
        "questions_per_second": len(own.outcome) / own.median,
        "output_tokens_per_second": usage.output_tokens / own.median,
        "output_tokens": usage.output_tokens,
        "latent_steps": usage.latent_steps,
        "prefill_tokens": usage.prefill_tokens,
    }
    if computed is not None:
        texts = sum(turn.wrote for answer in own.outcome for turn in answer.turns)
        row["padding_pct"] = 100 * (1 - usage.prefill_tokens / computed.prefill_positions)
        row["idle_rows_pct"] = 100 * (1 - (usage.output_tokens - texts) / max(computed.row_steps, 1))
    if name != OURS:
        row["times_ours"] = own.over(ours)
        row["same_answers_pct"] = agreement(own.outcome, ours.outcome)
    return row


def _team(sides: Sides, method: Method, settings: Engine, tokens: int) -> dict[str, Agent]:
    flat = {
        "method": method,
        "latent_steps": settings.latent_steps,
        "max_new_tokens": tokens,
        "temperature": 0.0,
        "model": settings.model,
    }
    config = RunConfig.from_flat(flat)
    plan = plan_for(config.collaboration)
    return build_team(sides.lm, config, plan, keep_inputs=sides.server is not None, alignments=sides.alignments)


def _ours(
    found: Ways, batch_size: int | None, guesses: int | None, assignments: Sequence[Assignment], team: Team
) -> list[Answer]:
    batch = RunningBatch(next(iter(team.values())).lm, guesses=guesses)
    found.tally = batch.tally
    return answer_batch(assignments, team, Crowd(batch, at_once=batch_size))


def _beside(server: Server, batch_size: int, assignments: Sequence[Assignment], team: Team) -> list[Answer]:
    """With the other engine, which finds nothing of what it computed in an earlier round."""
    server.forget()
    return answer_batch(assignments, team, Crowd(ServedBatch(next(iter(team.values())).lm, server), at_once=batch_size))


def _static(found: Ways, library: Any, size: int, assignments: Sequence[Assignment], team: Team) -> list[Answer]:
    computed = found.computed[f"plain {size}"] = Computed()
    return answer_static(assignments, team, library, size, computed)


def _continuous(found: Ways, library: Any, assignments: Sequence[Assignment], team: Team) -> list[Answer]:
    try:
        from jobs.benches.plain_continuous import answer_continuous  # older versions have none of it

        return answer_continuous(assignments, team, library)
    except Exception as error:  # the library's: it supports some devices and models, and says so in many ways
        found.left_out[CONTINUOUS] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        say(f"{CONTINUOUS} does not run here: {found.left_out[CONTINUOUS]}")
        return []
