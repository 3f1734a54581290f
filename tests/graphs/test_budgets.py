"""How a system's token budget is divided, for every graph of the paper and for random ones."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import CollaborationConfig, DecodingConfig
from pipeline.graphs import CollaborationPlan, Role, allowance, check_budget, make_graph, plan_for, token_shares

SYSTEM = DecodingConfig(budget="system", max_new_tokens=100)


def plan(**settings) -> CollaborationPlan:
    return plan_for(CollaborationConfig(**settings))


def of(*roles: Role) -> CollaborationPlan:
    return CollaborationPlan(graph=make_graph("mine", roles), thinkers={})


def allowances(team: CollaborationPlan, total: int, writes) -> dict[str, tuple[int, int]]:
    """What each role may write and what it writes, if `writes(role, allowance)` says how much it does."""
    shares, done = token_shares(team), {}
    for role in team.graph.roles:
        if role.name in shares:
            spent = sum(done[read][1] for read in role.reads if read in done)
            may = allowance(total, spent=spent, share=shares[role.name])
            done[role.name] = (may, writes(role.name, may))
    return done


def test_a_chain_gives_everybody_an_equal_part_of_what_is_left():
    spendthrift = allowances(plan(method="text_mas"), 100, lambda _, may: may)
    assert [may for may, _ in spendthrift.values()] == [25, 25, 25, 25]
    thrifty = allowances(plan(method="text_mas"), 100, lambda _, may: min(may, 10))
    assert [may for may, _ in thrifty.values()] == [25, 30, 40, 70]


def test_independent_experts_get_equal_parts_and_the_summarizer_what_they_leave():
    found = allowances(
        plan(method="text_mas", graph="hierarchical"), 100, lambda name, may: 5 if name == "math" else may
    )
    assert [may for may, _ in found.values()] == [25, 25, 25, 45]


def test_chained_experts_are_a_chain():
    found = allowances(plan(method="text_mas", graph="hierarchical", experts="chained"), 10, lambda _, may: may)
    assert [may for may, _ in found.values()] == [2, 2, 3, 3]


@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
@pytest.mark.parametrize("method", ["single", "latent_mas"])
def test_an_agent_that_alone_writes_gets_all(method, graph):
    found = allowances(plan(method=method, graph=graph), 100, lambda _, may: may)
    assert list(found.values()) == [(100, 100)]


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(0, 60))
def test_the_parts_never_add_up_to_more_than_the_total_and_none_is_empty(seed, count, more):
    chance = random.Random(seed)
    reads: dict[str, tuple[str, ...]] = {}
    for number in range(count):
        named = [f"r{i}" for i in range(number) if chance.random() < 0.4]
        closed = set(named).union(*(reads[name] for name in named))
        reads[f"r{number}"] = tuple(sorted(closed))
    team = of(
        *(Role(name=name, reads=read) for name, read in reads.items()),
        Role(name="last", reads=tuple(reads), answers=True),
    )
    total = count + 1 + more
    check_budget(team, DecodingConfig(budget="system", max_new_tokens=total))
    found = allowances(team, total, lambda _, may: chance.choice([0, 1, may // 2, may, may]))
    assert all(may >= total // (count + 1) >= 1 for may, _ in found.values())
    assert sum(wrote for _, wrote in found.values()) <= total
    others = sum(wrote for name, (_, wrote) in found.items() if name != "last")
    assert found["last"][0] == total - others


BROKEN = of(
    Role(name="planner"), Role(name="critic", reads=("planner",)), Role(name="solver", reads=("critic",), answers=True)
)


def test_a_graph_whose_parts_could_exceed_the_total_is_refused_in_one_line():
    with pytest.raises(ValueError, match="graph 'mine' 'solver' does not read 'planner'.*--budget agent") as caught:
        check_budget(BROKEN, SYSTEM)
    assert "\n" not in str(caught.value)


def test_what_is_only_thought_costs_no_budget_and_may_be_read_by_anybody():
    check_budget(CollaborationPlan(graph=BROKEN.graph, thinkers={"planner": 3, "critic": 3}), SYSTEM)


def test_fewer_tokens_than_agents_that_write_are_refused():
    scarce = DecodingConfig(budget="system", max_new_tokens=3)
    with pytest.raises(
        ValueError, match="--max-new-tokens is 3; allowed: 4 or more, with --budget system and 4 agents"
    ):
        check_budget(plan(method="text_mas"), scarce)
    check_budget(plan(method="text_mas"), DecodingConfig(budget="system", max_new_tokens=4))
    check_budget(plan(method="latent_mas"), scarce)


def test_a_budget_of_each_agents_own_is_never_refused():
    check_budget(BROKEN, DecodingConfig(max_new_tokens=1))
