"""Recalling: a replica that gets inputs in place of keys and values goes on as if it had got keys and values."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipeline.agents.conduct import TurnResult
from pipeline.agents.crowd import Crowd
from pipeline.agents.recall import Fed
from pipeline.agents.team import build_team
from pipeline.agents.walk import Walk, collect
from pipeline.config import RunConfig
from pipeline.engine import LanguageModel, RunningBatch
from pipeline.graphs import plan_for
from pipeline.memory import Inputs, Memory
from pipeline.records import Assignment, Question, Transfer, Turn, Usage
from tiny import tiny_model
from turns import take_turns

QUESTIONS = [
    Question(id="short", text="1+1", kind="number", gold="2"),
    Question(
        id="long", text="Anna has twelve apples and gives away a third of them. How many now?", kind="number", gold="8"
    ),
    Question(id="letters", text="Which is even?", kind="choice", gold="B", labels=("A", "B")),
]
WORK = [Assignment(question=question, source=question) for question in QUESTIONS]
SKIPPING = """
roles:
  - {name: planner}
  - {name: critic, reads: [planner], latent_steps: 2}
  - {name: solver, reads: [critic], answers: true}
"""
FAMILIES = ("llama", "qwen3", "gemma2")
GRAPHS = {
    "sequential": {"graph": "sequential"},
    "parallel": {"graph": "hierarchical", "experts": "parallel"},
    "chained": {"graph": "hierarchical", "experts": "chained"},
    "skipping": {"graph": "skipping.yaml"},
}
PARTS = ("full", "thoughts", "prompt")


@dataclass(frozen=True)
class Relay:
    """Agents that thought on one replica, and what another one rebuilt from their inputs."""

    lms: tuple[LanguageModel, LanguageModel]
    settings: dict[str, str]
    originals: dict[str, list[TurnResult]]
    recalled: dict[str, list[TurnResult]]


@pytest.fixture(scope="module", params=FAMILIES)
def replicas(request):
    """Two models of the same weights, which share nothing else."""
    return tiny_model(request.param), tiny_model(request.param)


@pytest.fixture(scope="module", params=PARTS)
def handover(request):
    return request.param


@pytest.fixture(scope="module", params=GRAPHS)
def relay(request, replicas, handover, tmp_path_factory):
    settings = {"handover": handover, **GRAPHS[request.param]}
    if request.param == "skipping":
        settings["graph"] = str(tmp_path_factory.mktemp("graph") / "skipping.yaml")
        Path(settings["graph"]).write_text(SKIPPING)
    here, there = (team_of(lm, **settings) for lm in replicas)
    originals = thought(here)
    return Relay(replicas, settings, originals, recall(WORK, there, inputs_of(originals)))


def team_of(lm, *, keep_inputs=True, **settings):
    chosen = {"method": "latent_mas", "max_new_tokens": 12, "latent_steps": 4, "temperature": 0, **settings}
    config = RunConfig.from_flat(chosen)
    return build_team(lm, config, plan_for(config.collaboration), keep_inputs=keep_inputs)


def thought(team, work=WORK, batch=None):
    """What every thinking agent leaves behind, by role."""
    results, batch = {}, batch or batch_of(team)
    for name, agent in team.items():
        if not agent.role.answers:
            results[name] = take_turns(agent, requests_of(work, agent, results), batch)
    return results


def batch_of(team):
    return RunningBatch(next(iter(team.values())).lm)


def recall(work, team, inputs):
    """As on a replica that computes nothing else."""
    return recall_in(Crowd(batch_of(team)), work, team, inputs)


def recall_in(crowd, work, team, inputs):
    """Walks of which nothing is left but what has to be computed again."""
    arrival = Transfer(transport="reencode", bytes=1, seconds=0.0)
    known = {name: TurnResult(turn=thoughtless(name), thinks=True) for name in inputs}
    walks = [
        Walk(
            one,
            team,
            (),
            known,
            keep=inputs,
            fed={name: Fed(inputs=rows[place], arrival=arrival) for name, rows in inputs.items()},
        )
        for place, one in enumerate(work)
    ]
    crowd.answer(walks)
    assert [walk.error for walk in walks] == [None] * len(walks)
    return {name: [walk.results[name] for walk in walks] for name in inputs}


def thoughtless(role):
    return Turn(role=role, text="", finish="latent", usage=Usage(), seconds=0.0)


def requests_of(work, agent, results):
    return [collect(one, agent, [results[read][row] for read in agent.role.reads]) for row, one in enumerate(work)]


def inputs_of(results):
    """What travels: the inputs alone, through another process and back."""
    return {name: pickle.loads(pickle.dumps([r.segment.inputs for r in rows])) for name, rows in results.items()}


def answers(team, results, work=WORK):
    solver = next(agent for agent in team.values() if agent.role.answers)
    turns = [result.turn for result in take_turns(solver, requests_of(work, solver, results))]
    return [(turn.text, turn.usage, turn.finish) for turn in turns]


def distance(rebuilt, original):
    """How far tensors lie apart, as a share of the original's length."""
    return float((rebuilt - original).norm() / original.norm())


def the_same(rebuilt, original):
    for name in ("role", "question_id", "latent_steps", "fingerprint"):
        assert getattr(rebuilt, name) == getattr(original, name)
    assert torch.equal(rebuilt.positions_T, original.positions_T)
    assert distance(rebuilt.keys_LNTH, original.keys_LNTH) < 1e-4
    assert distance(rebuilt.values_LNTH, original.values_LNTH) < 1e-4


def test_segments_are_rebuilt_elsewhere_from_what_was_fed(relay):
    assert list(relay.recalled) == list(relay.originals)
    for name, rows in relay.originals.items():
        for rebuilt, original in zip(relay.recalled[name], rows, strict=True):
            the_same(rebuilt.segment, original.segment)
            assert rebuilt.turn == thoughtless(name)


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_a_solver_writes_the_same_on_recalled_memory(relay, temperature):
    here, there = (team_of(lm, temperature=temperature, **relay.settings) for lm in relay.lms)
    expected = answers(here, relay.originals)
    assert answers(there, relay.recalled) == expected
    assert any(text for text, _, _ in expected)


def test_without_thoughts_the_prompts_alone_are_recalled(replicas):
    here, there = (team_of(lm, latent_steps=0) for lm in replicas)
    originals = thought(here)
    recalled = recall(WORK, there, inputs_of(originals))
    assert answers(there, recalled) == answers(here, originals)


def test_the_memory_of_another_question_is_recalled_as_such(replicas):
    work = [Assignment(question=q, source=QUESTIONS[(i + 1) % 3]) for i, q in enumerate(QUESTIONS)]
    here, there = (team_of(lm) for lm in replicas)
    originals = thought(here, work)
    recalled = recall(work, there, inputs_of(originals))
    assert [result.segment.question_id for result in recalled["planner"]] == ["long", "letters", "short"]
    assert answers(there, recalled, work) == answers(here, originals, work)


def test_what_was_recalled_can_be_recalled_again(lm):
    team = team_of(lm)
    originals = thought(team)
    again = recall(WORK, team, inputs_of(recall(WORK, team, inputs_of(originals))))
    for name, rows in originals.items():
        for rebuilt, original in zip(again[name], rows, strict=True):
            the_same(rebuilt.segment, original.segment)


def test_a_question_is_recalled_the_same_in_every_batch(lm):
    team = team_of(lm)
    originals = thought(team)
    inputs = inputs_of(originals)
    for row, assignment in enumerate(WORK):
        alone = recall([assignment], team, {name: rows[row : row + 1] for name, rows in inputs.items()})
        for name, results in alone.items():
            the_same(results[0].segment, originals[name][row].segment)


def test_a_chain_of_recalls_and_the_turn_after_it_stay_in_one_storage(lm):
    here = team_of(lm)
    batch = batch_of(here)
    batch.cache.reserve(rows=3, columns=1500)  # or the cache grows on its way, and what was cut stays where it was
    inputs = inputs_of({name: rows for name, rows in thought(here).items() if name != "refiner"})
    recalled = recall_in(Crowd(batch), WORK, here, inputs)
    goes_on = take_turns(here["refiner"], requests_of(WORK, here["refiner"], recalled), batch)
    for row in range(3):
        segments = [results[row].segment for results in (recalled["planner"], recalled["critic"], goes_on)]
        assert len({id(segment.home) for segment in segments}) == 1
        assert len({segment.keys_LNTH.untyped_storage().data_ptr() for segment in segments}) == 1
    assert batch.cache.busy == 3


def test_nothing_is_recalled_for_no_questions(lm):
    assert recall([], team_of(lm), {"planner": []}) == {"planner": []}


def test_an_agent_that_writes_has_nothing_to_recall(lm):
    solver = team_of(lm)["solver"]
    fed = Inputs(token_ids=torch.tensor([5]), latents_MD=torch.zeros(0, 32))
    with pytest.raises(AssertionError, match="solver writes"):
        solver.recall(requests_of(WORK[:1], solver, thought(team_of(lm), WORK[:1]))[0], fed, RunningBatch(lm))


def test_recalling_on_another_questions_memory_is_refused(lm):
    team = team_of(lm)
    originals = thought(team)
    request = requests_of(WORK[::-1], team["critic"], originals)[0]  # the last question, on the first one's memory
    with pytest.raises(ValueError, match="of question short, but it was given for question letters"):
        team["critic"].recall(request, originals["critic"][0].segment.inputs, RunningBatch(lm))


def test_inputs_are_kept_only_when_asked_for(lm):
    kept, left = (thought(team_of(lm, keep_inputs=keep), WORK[:1]) for keep in (True, False))
    assert all(result.segment.inputs is not None for rows in kept.values() for result in rows)
    assert all(result.segment.inputs is None for rows in left.values() for result in rows)
    for name, rows in kept.items():
        assert torch.equal(rows[0].segment.keys_LNTH, left[name][0].segment.keys_LNTH)


@pytest.mark.parametrize("handover", PARTS)
def test_a_part_keeps_the_inputs_of_the_whole_turn_and_no_neighbours(lm, handover):
    team = team_of(lm, handover=handover)
    for one, result in zip(WORK, thought(team)["planner"], strict=True):
        inputs = result.segment.inputs
        assert inputs.token_ids.tolist() == team["planner"].prompt(collect(one, team["planner"], []))
        assert inputs.latents_MD.shape == (4, 32)
        assert inputs.latents_MD.untyped_storage().nbytes() == inputs.latents_MD.nbytes


def test_traced_questions_are_traced_with_inputs_kept(lm):
    traced = [Assignment(question=q, source=q, traced=True) for q in QUESTIONS]
    turn = thought(team_of(lm), traced)["planner"][0].turn
    assert [seen.step for seen in turn.thoughts] == [0, 1, 2, 3]


def test_inputs_are_many_times_smaller_than_keys_and_values(lm):
    for rows in thought(team_of(lm)).values():
        for result in rows:
            assert result.segment.inputs.nbytes * 20 < result.segment.nbytes


def test_a_memory_file_does_not_hold_inputs(lm, tmp_path):
    memory = Memory.of([thought(team_of(lm), WORK[:1])["planner"][0].segment])
    memory.save(tmp_path / "memory")
    assert Memory.load(tmp_path / "memory", fingerprint=lm.fingerprint).segments[0].inputs is None
