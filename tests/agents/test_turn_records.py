"""What turns record besides their texts: when they were taken, what they left behind, and what traced ones had read."""

import time

import pytest

from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Question
from pipeline.runtime.assigning import assign
from relay import APART, Relay
from tiny import tiny_model

QUESTIONS = [Question(id=f"q{i}", text=f"How many are {i} and {i * 77}?", kind="number", gold="1") for i in range(3)]
METHODS = ("single", "text_mas", "latent_mas")


def answers_of(lm, *, trace=0, memory="real", **settings):
    config = RunConfig.from_flat({"max_new_tokens": 5, "latent_steps": 3, "memory": memory, **settings})
    team = build_team(lm, config, plan_for(config.collaboration))
    return answer_batch(assign(QUESTIONS, memory=memory, seed=0, trace=trace), team)


@pytest.mark.parametrize("method", METHODS)
def test_prompts_of_traced_questions_are_recorded_with_every_method(llama, method):
    answers = answers_of(llama, method=method, trace=2)
    for answer, question in zip(answers[:2], QUESTIONS, strict=False):
        for turn in answer.turns:
            assert question.text in turn.prompt
            assert turn.prompt.endswith("<|im_start|>assistant\n")
            assert len(llama.tokenizer(turn.prompt)["input_ids"]) == turn.usage.prefill_tokens
    assert not any(turn.prompt for turn in answers[2].turns)


def test_a_recorded_prompt_holds_what_earlier_agents_wrote(llama):
    [answer, *_] = answers_of(llama, method="text_mas", trace=1)
    assert answer.turns[0].text
    assert all(answer.turns[0].text in turn.prompt for turn in answer.turns[1:])


def test_under_a_control_the_recorded_prompts_are_about_the_other_question(llama):
    answers = answers_of(llama, trace=3, memory="shuffled")
    for answer, question in zip(answers, QUESTIONS, strict=True):
        *thinkers, solver = answer.turns
        assert question.text in solver.prompt
        assert not any(question.text in turn.prompt for turn in thinkers)
        assert len({next(q.id for q in QUESTIONS if q.text in turn.prompt) for turn in thinkers}) == 1


def test_recording_prompts_changes_no_answer(llama):
    for method in METHODS:
        told = [[a.text for a in answers_of(llama, method=method, trace=trace)] for trace in (0, 3)]
        assert told[0] == told[1]


def test_the_prompt_of_a_turn_that_finds_no_room_is_recorded_too():
    narrow = tiny_model("llama", max_position_embeddings=1000)
    [answer, *_] = answers_of(narrow, method="text_mas", trace=1, max_new_tokens=600, temperature=0)
    cut = next(turn for turn in answer.turns if turn.finish == "context" and not turn.usage.prefill_tokens)
    assert QUESTIONS[0].text in cut.prompt
    assert cut.started == cut.finished > 0


@pytest.mark.parametrize("method", METHODS)
def test_turns_tell_when_they_were_taken(llama, method):
    before = time.time()
    answers = answers_of(llama, method=method)
    after = time.time()
    for answer in answers:
        times = [moment for turn in answer.turns for moment in (turn.started, turn.finished)]
        assert [before, *times, after] == sorted([before, *times, after])
        assert answer.started <= times[0]
        assert times[-1] <= answer.finished


def test_the_time_of_steps_is_shared_out_among_the_questions_that_were_in_them(llama):
    began = time.perf_counter()
    answers = answers_of(llama)
    taken = time.perf_counter() - began
    turns = [turn for answer in answers for turn in answer.turns]
    assert all(turn.seconds > 0 for turn in turns)
    assert sum(turn.seconds for turn in turns) <= taken  # though the questions' turns lie side by side
    assert sum(turn.finished - turn.started for turn in turns) > taken


@pytest.mark.parametrize("handover", ["full", "thoughts", "prompt"])
def test_what_agents_leave_behind_is_what_the_last_one_inherits(llama, handover):
    position = llama.shape.bytes_per_position
    for answer in answers_of(llama, handover=handover):
        *thinkers, solver = answer.turns
        kept = {"full": lambda n: n + 3, "thoughts": lambda n: 3, "prompt": lambda n: n}[handover]
        assert [t.left_bytes for t in thinkers] == [kept(t.usage.prefill_tokens) * position for t in thinkers]
        assert solver.left_bytes == 0
        assert solver.handover_bytes == sum(turn.left_bytes for turn in thinkers)


def test_agents_that_write_leave_no_memory_behind(llama):
    answers = answers_of(llama, method="text_mas")
    assert [turn.left_bytes for answer in answers for turn in answer.turns] == [0] * 12


@pytest.mark.parametrize("transport", ["object_store", "reencode"])
def test_the_records_survive_the_way_over_other_replicas(transport):
    relay = Relay(transport)
    work = relay.work()
    for here, there in zip(relay.at_home(work), relay.answers(APART, work), strict=True):
        assert [turn.left_bytes for turn in there.turns] == [turn.left_bytes for turn in here.turns]
        times = [moment for turn in there.turns for moment in (turn.started, turn.finished)]
        assert times == sorted(times)
        assert times[0] > 0
