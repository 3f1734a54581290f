import re

import pytest

from pipeline.config import CollaborationConfig
from pipeline.graphs import Role, check_one_prompt, load_graph, make_graph, parse_graph, plan_for
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


@pytest.mark.parametrize("name", ["single", "sequential", "hierarchical"])
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
    assert plan.thinkers.keys() == thinkers


def test_the_hierarchical_experts_work_independently_unless_chained():
    reads = {role.name: role.reads for role in load_graph("hierarchical").roles}
    assert reads == {"math": (), "science": (), "code": (), "summarizer": ("math", "science", "code")}
    chained = {role.name: role.reads for role in load_graph("hierarchical").chained().roles}
    assert chained == {**reads, "science": ("math",), "code": ("math", "science")}


def test_experts_of_a_graph_without_them_cannot_be_chained():
    with pytest.raises(ValueError, match="--experts chained needs .*'sequential' has none"):
        plan_for(CollaborationConfig(experts="chained"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "single"},
        {"method": "text_mas", "graph": "hierarchical"},
        {"graph": "hierarchical", "experts": "chained"},
    ],
)
def test_what_is_made_one_after_another_can_be_one_prompt(settings):
    check_one_prompt(plan_for(CollaborationConfig(**settings)), "vllm")


def test_experts_that_think_independently_can_not_be_one_prompt_and_chaining_them_is_offered():
    with pytest.raises(ValueError, match="memory of 'science'.*use --experts chained, --backend hf") as caught:
        check_one_prompt(plan_for(CollaborationConfig(graph="hierarchical")), "vllm")
    assert "\n" not in str(caught.value)


def test_memory_without_what_it_was_made_on_can_not_be_one_prompt(tmp_path):
    path = tmp_path / "skips.yaml"
    path.write_text(
        "roles: [{name: planner}, {name: critic, reads: [planner]}, {name: solver, reads: [critic], answers: true}]"
    )
    with pytest.raises(ValueError, match="memory of 'critic'.*; use --backend hf, or a graph"):
        check_one_prompt(plan_for(CollaborationConfig(graph=str(path))), "vllm")


MINE = """
roles:
  - {name: solver, reads: [checker, planner], answers: true}
  - {name: planner, latent_steps: 3}
  - {name: checker, reads: [planner], system: You check., duty: Check it.}
"""


def test_a_users_graph_is_put_into_working_order(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    plan = plan_for(CollaborationConfig(graph=str(tmp_path / "mine.yaml"), latent_steps=7))
    assert plan.graph.name == "mine"
    assert [role.name for role in plan.graph.roles] == ["planner", "checker", "solver"]
    assert plan.graph.answering.reads == ("checker", "planner")
    assert plan.thinkers == {"planner": 3, "checker": 7}
    plan.graph.check_prompts(known_roles())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("roles: []", "expected a mapping with `roles`"),
        ("just text", "expected a mapping with `roles`"),
        ("{", "is no YAML"),
        ("roles: [{name: a, answers: true}]\nedges: []", "unknown key ['edges']"),
        ("roles: [{reads: [a]}]", "a role without `name`"),
        ("roles: [{name: a, answers: true, reeds: [b]}]", "'a' has unknown key ['reeds']"),
        ("roles: [{name: a, answers: true, reads: b}]", "`reads` is 'b', expected a list"),
        ("roles: [{name: a, answers: true, reads: [[b]]}]", "`reads` is [['b']], expected a list"),
        ("roles: [{name: a, answers: true, reads: null}]", "`reads` is None, expected a list"),
        ("roles: [{name: '', answers: true}]", "name is [''], expected"),
        ('roles: [{name: "a\\nb", answers: true}]', "expected a list of role names"),
        ("roles: [{name: a, answers: true}]\nexperts: b", "experts is 'b', expected a list"),
        ("roles: [{name: a, answers: true}]\nexperts: 5", "experts is 5, expected a list"),
        ("roles: [{name: a, answers: true}]\nexperts: [a]", "'a' answers and can't be one of the `experts`"),
        ("roles: [{name: a, answers: true, reads: [b]}, {name: b, latent_steps: true}]", "expected a int"),
        ("roles: [{name: a, answers: true, latent_steps: 3}]", "takes no latent steps"),
        ("roles: [{name: a, answers: true}]\nroles: [{name: b, answers: true}]", "'roles' is given twice"),
        ("[" * 5000, "is no YAML"),
        ("roles: 2024-99-99", "is no YAML"),
        ("roles: [{name: a, answers: true}, {name: a}]", "two roles have the same name"),
        ("roles: [{name: a}]", "exactly one role has `answers: true`; here none"),
        ("roles: [{name: a, answers: true}, {name: b, answers: true}]", "here ['a', 'b']"),
        ("roles: [{name: a, answers: true, reads: [b]}]", "'a' reads ['b'], which is no role"),
        ("roles: [{name: a, answers: true, reads: [b, b]}, {name: b}]", "names a role twice"),
        ("roles: [{name: a, answers: true}, {name: b}]", "the work of ['b'] never reaches 'a'"),
        ("roles: [{name: a, reads: [b], answers: true}, {name: b, reads: [c]}, {name: c, reads: [b]}]", "in a circle"),
        ("roles: [{name: a, reads: [a], answers: true}]", "in a circle"),
        ("roles: [{name: a, answers: true, reads: [b]}, {name: b, latent_steps: -1}]", "latent_steps below 0"),
        ("roles: [{name: a, answers: true}]\nexperts: [b]", "`experts` names ['b']"),
    ],
)
def test_impossible_graphs_are_refused_in_one_line(text, words, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        load_graph(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(caught.value)
    assert "'mine'" in str(caught.value)


def test_a_role_without_a_prompt_is_refused_naming_those_that_have_one():
    graph = make_graph("mine", [Role(name="poet", answers=True)])
    with pytest.raises(ValueError, match="no prompt for role 'poet'.*planner"):
        graph.check_prompts(known_roles())


@pytest.mark.parametrize("name", ["nowhere", "nowhere.yaml"])
def test_a_graph_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match=f"--graph '{name}'"):
        load_graph(name)


def test_chained_experts_keep_what_they_read_before_each_other():
    text = """
experts: [math, science]
roles:
  - {name: planner}
  - {name: math, reads: [planner]}
  - {name: science, reads: [planner]}
  - {name: summarizer, reads: [planner, math, science], answers: true}
"""
    reads = {role.name: role.reads for role in parse_graph("mine", text).chained().roles}
    assert reads["science"] == ("planner", "math")


def test_a_role_may_take_no_latent_steps_at_all():
    roles = [Role(name="planner", latent_steps=0), Role(name="solver", reads=("planner",), answers=True)]
    assert parse_graph("mine", make_graph("mine", roles).to_yaml()).roles[0].latent_steps == 0
