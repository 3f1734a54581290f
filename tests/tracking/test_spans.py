"""What traces tell, before MLflow has it."""

from dataclasses import replace

import pytest

from pipeline.records import Thought, Transfer, Turn, Usage
from pipeline.tracking.spans import agent_step, is_traced, seen, steps_of
from traced import traced_rows

THOUGHT = Thought(step=2, tokens=(" the", '"'), probabilities=(0.51234, 0.25), norm=12.34567, nearest=" of", cosine=0.5)
TURN = Turn(
    role="planner",
    text="",
    finish="latent",
    usage=Usage(latent_steps=3, prefill_tokens=40),
    seconds=0.25,
    replica="r1",
    thoughts=(THOUGHT,),
    prompt="Plan.",
    started=10.0,
    finished=12.5,
    left_bytes=4096,
)


def test_a_thinking_agent_shows_its_prompt_its_latent_steps_and_the_memory_that_it_leaves():
    step = agent_step(TURN)
    assert (step.name, step.kind, step.started, step.finished) == ("planner", "AGENT", 10.0, 12.5)
    assert step.inputs == {"prompt": "Plan."}
    assert step.outputs == {"latent_steps": [seen(THOUGHT)], "memory_bytes": 4096}
    assert (step.facts["finish"], step.facts["latent_steps"], step.facts["replica"]) == ("latent", 3, "r1")
    assert "transfers" not in step.facts


def test_an_agent_that_writes_shows_its_text_and_the_memory_that_it_inherits():
    came = Transfer(transport="object_store", bytes=512, seconds=0.5)
    turn = replace(TURN, text="It is 3.", finish="stop", thoughts=(), left_bytes=0, transfers=(came,))
    step = agent_step(turn)
    assert step.inputs == {"prompt": "Plan.", "memory_bytes": 512}
    assert step.outputs == {"text": "It is 3."}
    assert step.facts["transfers"] == [{"transport": "object_store", "bytes": 512, "seconds": 0.5}]


def test_a_latent_step_shows_tokens_in_quotes_so_that_blanks_are_seen():
    assert seen(THOUGHT) == {
        "step": 2,
        "most_likely": '" the" 0.512, "\\"" 0.250',
        "nearest": '" of"',
        "cosine": 0.5,
        "norm": 12.346,
    }


@pytest.mark.parametrize(("driver", "held"), [((9.0, 20.0), (9.0, 20.0)), ((10.5, 11.0), (10.0, 12.5))])
def test_a_question_holds_its_agents_even_where_clocks_differ(llama, driver, held):
    _, [row, *_] = traced_rows(llama, method="single", trace=1)
    whole, *_ = steps_of(replace(row, started=driver[0], finished=driver[1], turns=(TURN,)), "name")
    assert (whole.started, whole.finished) == held


def test_experts_that_worked_at_the_same_time_overlap(llama):
    _, [row, *_] = traced_rows(llama, graph="hierarchical", trace=1)
    math, science, *_ = row.turns
    beside = replace(science, started=math.started, finished=math.finished + 1)
    _, first, second, *_ = steps_of(replace(row, turns=(math, beside, *row.turns[2:])), "name")
    assert (first.started, first.finished) == (math.started, math.finished)
    assert (second.started, second.finished) == (math.started, math.finished + 1)


@pytest.mark.parametrize(("memory", "told"), [("shuffled", "gsm8k/"), ("none", "nobody"), ("real", None)])
def test_whose_memory_was_handed_over_is_told_where_it_is_not_the_questions_own(llama, memory, told):
    _, [row, *_] = traced_rows(llama, memory=memory, trace=1)
    fact = steps_of(row, "name")[0].facts.get("memory_of")
    assert fact == (row.source_id if memory == "shuffled" else told)
    assert fact is None or fact.startswith(told)


def test_only_questions_that_recorded_their_prompts_are_traced(llama):
    for method in ("single", "text_mas", "latent_mas"):
        assert [is_traced(row) for row in traced_rows(llama, method=method, trace=2)[1]] == [True, True, False]
