import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch, collect
from pipeline.config import RunConfig
from pipeline.engine import RunningBatch
from pipeline.graphs import plan_for
from pipeline.records import Assignment, Question
from pipeline.runtime.assigning import assign, derange
from turns import take_turns


def questions(count: int) -> list[Question]:
    return [Question(id=f"q{i}", text="x" * (i + 1), kind="number", gold="1") for i in range(count)]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(2, 60), seed=st.integers(0, 1000))
def test_shuffled_memory_is_always_another_questions_and_everybodys_once(count, seed):
    pairs = derange(questions(count), seed)
    assert all(source.id != question_id for question_id, source in pairs.items())
    assert sorted(source.id for source in pairs.values()) == sorted(pairs)
    assert pairs == derange(questions(count)[::-1], seed)  # whatever the order


def test_another_seed_shuffles_otherwise():
    assert derange(questions(20), 1) != derange(questions(20), 2)


def test_one_question_cannot_be_shuffled():
    with pytest.raises(ValueError, match="--memory shuffled needs at least 2 questions, got 1"):
        assign(questions(1), memory="shuffled", seed=0, trace=0)


def test_assignments_travel_as_json():
    for memory in ("real", "shuffled", "none"):
        for assignment in assign(questions(3), memory=memory, seed=0, trace=1):
            assert Assignment.from_json(assignment.to_json()) == assignment


def run(lm, work, **settings):
    config = RunConfig.from_flat({"max_new_tokens": 10, "latent_steps": 3, "temperature": 0, **settings})
    return answer_batch(work, build_team(lm, config, plan_for(config.collaboration)))


@pytest.mark.parametrize("method", ["text_mas", "latent_mas"])
@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
def test_controls_change_what_reaches_the_answering_agent_and_nothing_else(lm, method, graph):
    asked = questions(5)
    results = {}
    for memory in ("real", "shuffled", "none"):
        work = assign(asked, memory=memory, seed=3, trace=0)
        results[memory] = run(lm, work, method=method, graph=graph)
        assert [a.question_id for a in results[memory]] == [q.id for q in asked]
    sources = derange(asked, 3)
    real = {a.question_id: a for a in results["real"]}
    for answer in results["shuffled"]:
        # The agents before the last did exactly what they do in the real run of the other question.
        other = real[sources[answer.question_id].id]
        assert [t.text for t in answer.turns[:-1]] == [t.text for t in other.turns[:-1]]
        assert answer.turns[-1].handover_bytes == other.turns[-1].handover_bytes
    for answer in results["none"]:
        assert all(turn.handover_bytes == 0 for turn in answer.turns)
        prompts = [turn.usage.prefill_tokens for turn in answer.turns]
        if method == "latent_mas":  # the prompts say the same, only the memory is gone
            assert prompts == [turn.usage.prefill_tokens for turn in real[answer.question_id].turns]
    texts = {memory: [a.text for a in answers] for memory, answers in results.items()}
    assert texts["real"] != texts["shuffled"]
    assert texts["real"] != texts["none"]


@pytest.mark.parametrize("handover", ["full", "thoughts", "prompt"])
@pytest.mark.parametrize("memory", ["real", "shuffled", "none"])
@pytest.mark.parametrize("alignment", ["ridge", "identity", "random"])
@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
def test_every_combination_runs_and_hands_over_what_it_says(llama, handover, memory, alignment, graph):
    settings = {"handover": handover, "alignment": alignment, "graph": graph}
    steps = 3
    for answer in run(llama, assign(questions(3), memory=memory, seed=0, trace=0), **settings):
        thinkers = answer.turns[:-1]
        length = {
            "full": sum(t.usage.prefill_tokens + steps for t in thinkers),
            "thoughts": steps * len(thinkers),
            "prompt": sum(t.usage.prefill_tokens for t in thinkers),
        }[handover]
        expected = 0 if memory == "none" else length * llama.shape.bytes_per_position
        assert answer.turns[-1].handover_bytes == expected


@pytest.mark.parametrize("handover", ["full", "thoughts", "prompt"])
@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
def test_a_bit_that_flips_between_two_agents_is_caught_by_the_next(llama, handover, graph):
    settings = {"handover": handover, "graph": graph, "verify_memory": True, "max_new_tokens": 4, "latent_steps": 3}
    config = RunConfig.from_flat(settings)
    team = build_team(llama, config, plan_for(config.collaboration))
    work, results, batch = assign(questions(2), memory="real", seed=0, trace=0), {}, RunningBatch(llama)
    for name, agent in team.items():
        requests = [collect(a, agent, [results[r][i] for r in agent.role.reads]) for i, a in enumerate(work)]
        if agent.role.answers:
            with torch.inference_mode():
                requests[1].memory.segments[1].values_LNTH.view(torch.int32)[1, 0, 2, 3] ^= 1
            with pytest.raises(ValueError, match="was changed on its way"):
                take_turns(agent, requests, batch)
            return
        results[name] = take_turns(agent, requests, batch)
        assert all(result.segment.digest for result in results[name])
        assert all(result.turn.verify_seconds > 0 for result in results[name])


def test_memory_is_not_signed_unless_asked_for(llama):
    config = RunConfig.from_flat({"latent_steps": 1})
    planner = build_team(llama, config, plan_for(config.collaboration))["planner"]
    work = assign(questions(2), memory="real", seed=0, trace=0)
    assert not any(r.segment.digest for r in take_turns(planner, [collect(a, planner, []) for a in work]))


def test_an_agent_refuses_the_memory_of_a_question_that_was_not_assigned(llama):
    config = RunConfig.from_flat({"max_new_tokens": 4, "latent_steps": 1})
    team = build_team(llama, config, plan_for(config.collaboration))
    work = assign(questions(2), memory="real", seed=0, trace=0)
    planned = take_turns(team["planner"], [collect(a, team["planner"], []) for a in work])
    with pytest.raises(ValueError, match="of question q1, but it was given for question q0"):
        take_turns(team["critic"], [collect(work[0], team["critic"], [planned[1]])])


def test_controls_without_effect_are_refused():
    with pytest.raises(ValueError, match="--memory is 'shuffled'; allowed: real, with --method single"):
        RunConfig.from_flat({"method": "single", "memory": "shuffled"})
    with pytest.raises(ValueError, match="--latent-steps is 0; allowed: 1 or more, with --handover thoughts"):
        RunConfig.from_flat({"latent_steps": 0, "handover": "thoughts"})
