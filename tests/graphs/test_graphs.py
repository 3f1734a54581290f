import pytest

from pipeline.config import CollaborationConfig
from pipeline.graphs import Graph, Role, load_graph, plan_for
from pipeline.prompts import known_roles


def test_the_sequential_graph_is_the_papers():
    graph = load_graph("sequential")
    assert [role.name for role in graph.roles] == ["planner", "critic", "refiner", "solver"]
    assert [role.reads for role in graph.roles] == [
        (),
        ("planner",),
        ("planner", "critic"),
        ("planner", "critic", "refiner"),
    ]


@pytest.mark.parametrize("name", ["single", "sequential"])
def test_every_role_of_a_graph_has_a_prompt(name):
    assert {role.name for role in load_graph(name).roles} <= set(known_roles())


@pytest.mark.parametrize(
    ("method", "roles", "thinkers"),
    [
        ("single", ["solver"], set()),
        ("text_mas", ["planner", "critic", "refiner", "solver"], set()),
        ("latent_mas", ["planner", "critic", "refiner", "solver"], {"planner", "critic", "refiner"}),
    ],
)
def test_methods_differ_in_graph_and_channel_only(method, roles, thinkers):
    plan = plan_for(CollaborationConfig(method=method))
    assert [role.name for role in plan.graph.roles] == roles
    assert plan.thinkers == thinkers


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ([], "no roles"),
        ([Role(name="a"), Role(name="a")], "two roles named 'a'"),
        ([Role(name="a", reads=("b",)), Role(name="b")], "'a' reads 'b'"),
        ([Role(name="a", reads=("a",))], "'a' reads 'a'"),
    ],
)
def test_impossible_graphs_are_refused(roles, message):
    with pytest.raises(ValueError, match=message):
        Graph(name="mine", roles=tuple(roles))
