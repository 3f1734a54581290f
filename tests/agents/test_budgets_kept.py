"""Budgets as agents keep them: what is left of a system's total goes on, and no placement or batch changes that."""

import random
from functools import cache

import pytest

from pipeline.agents.team import build_team
from pipeline.config import RunConfig
from pipeline.graphs import CollaborationPlan, Role, make_graph, plan_for
from pipeline.records import Question
from relay import APART, MIXED, Relay, told
from tiny import tiny_model

TOTAL = 40
QUESTIONS = [Question(id=f"q{i}", text="How many? " * (1 + i % 3), kind="number", gold="1") for i in range(7)]
GRAPHS = {
    "sequential": {},
    "parallel": {"graph": "hierarchical"},
    "chained": {"graph": "hierarchical", "experts": "chained"},
}


@cache
def talkative(number):
    """Models that end some of their texts early and others never: every tenth token is a stop token."""
    lm = tiny_model("llama")
    lm.stop_ids = frozenset(range(0, len(lm.tokenizer), 10))
    return lm


def relay(**settings):
    chosen = {"method": "text_mas", "budget": "system", "max_new_tokens": TOTAL, "temperature": 1.5, **settings}
    return Relay(models=talkative, **chosen)


def written(answers):
    return [[turn.usage.output_tokens for turn in answer.turns] for answer in answers]


@pytest.mark.parametrize("memory", ["real", "shuffled", "none"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_systems_texts_stay_within_its_total_and_are_cut_at_their_part(graph, memory):
    team = relay(memory=memory, **GRAPHS[graph])
    answers = team.at_home(team.work(QUESTIONS))
    for counts, answer in zip(written(answers), answers, strict=True):
        assert sum(counts) <= TOTAL
        parallel = graph == "parallel"
        for place, (count, turn) in enumerate(zip(counts, answer.turns, strict=True)):
            before = 0 if parallel and place < 3 else sum(counts[:place])
            part = (TOTAL - before) // (4 if parallel and place < 3 else 4 - place)
            assert count == part if turn.finish == "length" else count <= part
    finishes = {turn.finish for answer in answers for turn in answer.turns}
    assert finishes == {"stop", "length"}  # some leave tokens to those after them, and some are cut
    assert len({tuple(counts) for counts in written(answers)}) > 1  # so the rows of a batch have budgets of their own


@pytest.mark.parametrize("graph", GRAPHS)
def test_answers_within_a_total_do_not_depend_on_batch_order_or_neighbours(graph):
    team = relay(**GRAPHS[graph])
    work = team.work(QUESTIONS)
    together = told(team.at_home(work))
    mixed = random.Random(0).sample(work, len(work))
    for size in (1, 3):
        parts = [team.at_home(mixed[i : i + size]) for i in range(0, len(mixed), size)]
        assert told(answer for part in parts for answer in part) == together


@pytest.mark.parametrize("places", [APART, MIXED])
@pytest.mark.parametrize("memory", ["real", "none"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_replicas_that_hand_texts_on_keep_to_one_total(graph, memory, places):
    team = relay(memory=memory, **GRAPHS[graph])
    work = team.work(QUESTIONS)
    assert told(team.answers(places, work)) == told(team.at_home(work))


@pytest.mark.parametrize("method", ["single", "latent_mas"])
def test_the_only_agent_that_writes_gets_all_of_either_budget(method):
    both = [relay(method=method, budget=budget) for budget in ("agent", "system")]
    own, total = (team.at_home(team.work(QUESTIONS)) for team in both)
    assert told(own) == told(total)
    assert max(counts[-1] for counts in written(own)) > TOTAL // 4  # more than it would have as one of four


def test_the_total_of_a_system_is_less_than_the_budgets_of_its_agents():
    team = relay(budget="agent")
    own = team.at_home(team.work(QUESTIONS))
    assert max(sum(counts) for counts in written(own)) > TOTAL


def test_a_team_whose_total_can_not_be_divided_is_not_built(llama):
    roles = [Role(name="planner"), Role(name="critic", reads=("planner",))]
    graph = make_graph("mine", [*roles, Role(name="solver", reads=("critic",), answers=True)])
    config = RunConfig.from_flat({"method": "text_mas", "budget": "system"})
    with pytest.raises(ValueError, match="'solver' does not read 'planner'"):
        build_team(llama, config, CollaborationPlan(graph=graph, thinkers={}))
    assert build_team(llama, config, plan_for(config.collaboration))
