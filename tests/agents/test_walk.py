"""The walk over the graph, and what the whole system promises: answers depend on the question alone."""

import gc
import random
import weakref

import pytest
import torch

from pipeline.agents.conduct import TurnResult
from pipeline.agents.crowd import Crowd
from pipeline.agents.team import build_team
from pipeline.agents.walk import Walk, answer_batch, collect, walk
from pipeline.config import DecodingConfig, RunConfig
from pipeline.engine import RunningBatch, build_alignment, decode, prefill, think
from pipeline.graphs import plan_for
from pipeline.memory import KVCache, Memory, Slot
from pipeline.records import Question, Turn, Usage
from pipeline.runtime.assigning import assign as assign_memory
from tiny import tiny_model
from turns import take_turns

TEXTS = [
    "What is 2 + 3?",
    "Anna has twelve apples and gives away a third of them. Then she buys twice as many as she has left. How many now?",
    "1+1",
    "A train leaves at nine and arrives at noon. How long does it take?",
    "How many sides do three triangles have together?",
    "Ten minus four?",
    "If a box holds 6 eggs, how many eggs are in 7 boxes, when one box has lost 2 eggs and another one all of them?",
    "What is half of a half of 100?",
]
QUESTIONS = [
    Question(id=f"q{i}", text=text, kind=("choice" if i % 3 == 2 else "number"), gold="1", labels=("A", "B"))
    for i, text in enumerate(TEXTS)
]
METHODS = ("single", "text_mas", "latent_mas")


def team_of(lm, method, **settings):
    config = RunConfig.from_flat({"method": method, "max_new_tokens": 12, "latent_steps": 4, **settings})
    return build_team(lm, config, plan_for(config.collaboration))


def assign(questions, memory="real", trace=0):
    return assign_memory(questions, memory=memory, seed=0, trace=trace)


def texts(answers):
    return {answer.question_id: [turn.text for turn in answer.turns] for answer in answers}


def in_batches(questions, team, size):
    batches = [questions[i : i + size] for i in range(0, len(questions), size)]
    return texts(answer for batch in batches for answer in answer_batch(assign(batch), team))


@pytest.mark.parametrize("temperature", [0, 0.8])
@pytest.mark.parametrize("method", METHODS)
def test_answers_do_not_depend_on_batch_size_order_or_neighbours(lm, method, temperature):
    team = team_of(lm, method, temperature=temperature)
    expected = in_batches(QUESTIONS, team, 1)
    shuffled = random.Random(3).sample(QUESTIONS, len(QUESTIONS))
    assert in_batches(QUESTIONS, team, 3) == expected
    assert in_batches(QUESTIONS, team, 8) == expected
    assert in_batches(shuffled, team, 3) == expected
    assert len({tuple(t) for t in expected.values()}) > 1  # the model does not say the same to everything


@pytest.mark.parametrize("method", METHODS)
def test_every_agent_takes_one_turn_and_only_writers_write(lm, method):
    team = team_of(lm, method, temperature=0)
    for answer in answer_batch(assign(QUESTIONS[:2]), team):
        assert [turn.role for turn in answer.turns] == list(team)
        for turn in answer.turns:
            thinks = method == "latent_mas" and turn.role != "solver"
            assert turn.usage.latent_steps == (4 if thinks else 0)
            assert (turn.usage.output_tokens > 0) != thinks
            assert (turn.finish == "latent") == thinks


def test_tokens_are_counted_from_ids(lm):
    # One character is one token here, so what was written can be counted independently.
    team = team_of(lm, "text_mas", temperature=0)
    for answer in answer_batch(assign(QUESTIONS[:3]), team):
        for turn in answer.turns:
            if turn.finish == "length":
                assert turn.usage.output_tokens == 12
    prompt = team["planner"].prompt(collect(assign(QUESTIONS[:1])[0], team["planner"], []))
    assert answer_batch(assign(QUESTIONS[:1]), team)[0].turns[0].usage.prefill_tokens == len(prompt)


@pytest.mark.parametrize("steps", [0, 4])
def test_a_later_agent_computes_what_it_would_have_computed_itself(lm, steps):
    """The solver's text equals one cache-less pass over everything that was fed before it: prompts and thoughts."""
    team = team_of(lm, "latent_mas", temperature=0, latent_steps=steps)
    question = QUESTIONS[1]
    answer = answer_batch(assign([question]), team)[0]
    fed: list[torch.Tensor] = []
    model, alignment = lm.causal_lm, team["planner"].conduct.alignment
    with torch.inference_mode():
        for role in ("planner", "critic", "refiner", "solver"):
            remembered = _request_after(team, question, role)
            fed.append(lm.embed(torch.tensor([team[role].prompt(remembered)])))
            for _ in range(steps if role != "solver" else 0):
                hidden = model.model(inputs_embeds=torch.cat(fed, dim=1)).last_hidden_state[:, -1]
                fed.append(alignment(hidden)[:, None])
        written = []
        for _ in range(answer.turns[-1].usage.output_tokens):
            token = int(model(inputs_embeds=torch.cat(fed, dim=1)).logits[0, -1].argmax())
            written.append(token)
            fed.append(lm.embed(torch.tensor([[token]])))
    assert lm.tokenizer.decode(written, skip_special_tokens=True).strip() == answer.text


def _request_after(team, question, role):
    """The request that a role gets once the agents before it have taken their turns."""
    results = {}
    for name, agent in team.items():
        request = collect(assign([question])[0], agent, [results[read] for read in agent.role.reads])
        if name == role:
            return request
        results[name] = take_turns(agent, [request])[0]
    raise AssertionError(role)


def test_m_of_zero_still_passes_the_prompts_memory_on(lm):
    team = team_of(lm, "latent_mas", temperature=0, latent_steps=0)
    answer = answer_batch(assign(QUESTIONS[:1]), team)[0]
    prompts = [turn.usage.prefill_tokens for turn in answer.turns]
    per_position = lm.shape.bytes_per_position
    assert [turn.handover_bytes for turn in answer.turns] == [sum(prompts[:i]) * per_position for i in range(4)]
    alone = take_turns(team["solver"], [_request_after(team, QUESTIONS[0], "planner")])[0].turn
    assert alone.text != answer.text


def test_memory_is_handed_over_in_place_between_agents_of_one_replica(lm):
    team, batch = team_of(lm, "latent_mas"), RunningBatch(lm)
    first = take_turns(team["planner"], [_request_after(team, q, "planner") for q in QUESTIONS[:3]], batch)
    requests = [collect(a, team["critic"], [r]) for a, r in zip(assign(QUESTIONS[:3]), first, strict=True)]
    second = take_turns(team["critic"], requests, batch)
    assert all(after.segment.home is before.segment.home for before, after in zip(first, second, strict=True))
    assert len({id(result.segment.home) for result in second}) == batch.cache.busy == 3


def test_a_segment_holds_only_its_own_positions(lm):
    team = team_of(lm, "latent_mas")
    request = _request_after(team, QUESTIONS[0], "refiner")
    lengths = [len(segment) for segment in request.memory]
    segment = take_turns(team["refiner"], [request])[0].segment
    assert segment.positions_T[0] == sum(lengths)
    assert len(segment) == len(team["refiner"].prompt(request)) + 4


def test_a_prompt_that_does_not_fit_the_context_is_an_error_with_numbers(llama):
    team = team_of(llama, "single")
    long = Question(id="long", text="x" * 5000, kind="number", gold="1")
    with pytest.raises(ValueError, match=r"'long'.*solver needs \d+ positions.*context is 4096"):
        answer_batch(assign([long]), team)


def test_decode_prefill_and_think_are_usable_without_agents(lm):
    """The engine is a library of its own."""
    slots = lm.open([Memory()], columns=20)
    hidden = prefill(lm, slots, [[5, 6, 7]])
    hidden = think(
        lm, slots, hidden, build_alignment("identity", input_VD=lm.input_vectors(), output_VD=lm.output_vectors()), 2
    )
    written = decode(lm, slots, hidden, noise_keys=[("q", "solver")], budgets=[3], config=DecodingConfig())
    assert len(written[0].token_ids) <= 3


def test_a_chain_of_thinkers_writes_into_one_storage_without_copying_it(lm):
    team, batch = team_of(lm, "latent_mas"), RunningBatch(lm)
    batch.cache.reserve(rows=3, columns=2000)  # or the cache grows on its way, and what was cut stays where it was
    work, results, storages = assign(QUESTIONS[:3]), {}, set()
    for name, agent in team.items():
        if agent.role.answers:
            break
        requests = [collect(a, agent, [results[r][i] for r in agent.role.reads]) for i, a in enumerate(work)]
        results[name] = take_turns(agent, requests, batch)
        storages |= {result.segment.keys_LNTH.untyped_storage().data_ptr() for result in results[name]}
    assert len(storages) == 1


@pytest.mark.parametrize("method", METHODS)
def test_what_questions_leave_is_freed_without_the_garbage_collector(lm, method, monkeypatch):
    team = team_of(lm, method)
    alive = []
    for kind in (KVCache, Slot):
        monkeypatch.setattr(kind, "__init__", _counted(kind.__init__, alive))
    crowd = Crowd(RunningBatch(lm))
    cache = weakref.ref(crowd.batch.cache)
    gc.disable()
    try:
        answer_batch(assign(QUESTIONS[:2]), team, crowd)
        assert len(alive) > 2
        assert crowd.batch.cache.busy == 0
        assert not [slot for slot in alive if isinstance(slot(), Slot)]
        del crowd
        assert cache() is None
        assert not [one for one in alive if one() is not None]
    finally:
        gc.enable()


def _counted(original, alive):
    def counted(self, *args, **kwargs):
        original(self, *args, **kwargs)
        alive.append(weakref.ref(self))

    return counted


@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
@pytest.mark.parametrize("keep", [(), ("first",), ("first", "last")])
def test_memory_is_let_go_of_when_nobody_is_to_read_it_any_more_unless_it_is_wanted(lm, graph, keep):
    team, crowd = team_of(lm, "latent_mas", graph=graph), Crowd(RunningBatch(lm))
    thinkers = [name for name, agent in team.items() if not agent.role.answers]
    kept = {thinkers[0 if which == "first" else -1] for which in keep}
    work = walk(assign(QUESTIONS[:3]), team, list(team), keep=kept, crowd=crowd)
    for name, results in work.items():
        assert [result.segment is not None for result in results] == [name in kept] * 3
    slots = {id(result.segment.home) for results in work.values() for result in results if result.segment}
    assert crowd.batch.cache.busy == len(slots)
    assert bool(slots) == bool(keep)


def test_a_question_that_is_done_makes_room_for_the_next_one(lm):
    """As many slots as questions at once, however many questions there are and whatever they leave behind."""
    for method in METHODS:
        crowd = Crowd(RunningBatch(lm), at_once=2)
        answer_batch(assign(QUESTIONS), team_of(lm, method), crowd)
        assert crowd.batch.cache.rows <= 3


def test_a_walk_that_begins_anew_takes_all_its_turns_again(lm):
    team, batch = team_of(lm, "latent_mas"), RunningBatch(lm)
    one, straight = (Walk(assign(QUESTIONS[:1])[0], team, list(team)) for _ in range(2))
    Crowd(batch).answer([straight])
    while len(one.results) < 2:
        one.go_on(batch)
        batch.step()
    one.restart()
    assert (one.results, one.row, one.done) == ({}, None, False)
    Crowd(batch.anew()).answer([one])
    texts = [[result.turn.text for result in walked.results.values()] for walked in (one, straight)]
    assert texts[0] == texts[1]


def test_a_later_agent_of_the_text_method_reads_what_the_earlier_ones_wrote(lm):
    team = team_of(lm, "text_mas")
    work = assign(QUESTIONS[:1])
    results = {}
    for name, agent in team.items():
        request = collect(work[0], agent, [results[read] for read in agent.role.reads])
        prompt = lm.tokenizer.decode(agent.prompt(request))
        for read in agent.role.reads:
            assert f"[{read}]" in prompt
            assert results[read].turn.text in prompt
        results[name] = take_turns(agent, [request])[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"seed": 0}, {"seed": 1}),
        ({"temperature": 0.7}, {"temperature": 2.5}),
        ({"top_p": 1.0}, {"top_p": 0.05}),
        ({"alignment": "ridge"}, {"alignment": "random"}),
        ({"latent_steps": 1}, {"latent_steps": 6}),
        ({"chat_options": {}}, {"chat_options": {"enable_thinking": False}}),
        ({"handover": "full"}, {"handover": "thoughts"}),
        ({"graph": "sequential"}, {"graph": "hierarchical"}),
        ({"graph": "hierarchical", "experts": "parallel"}, {"graph": "hierarchical", "experts": "chained"}),
    ],
)
def test_every_setting_that_should_change_answers_does(llama, one, other):
    base = {"temperature": 1.5, "top_p": 1.0, "max_new_tokens": 20}
    first, second = (
        answer_batch(assign(QUESTIONS), team_of(llama, "latent_mas", **{**base, **s})) for s in (one, other)
    )
    assert [a.text for a in first] != [a.text for a in second]


def test_earlier_texts_that_leave_no_room_cut_the_turn_off_and_cost_no_neighbour():
    tight = Question(id="tight", text="y" * 150, kind="number", gold="1")
    prompts = {}
    for question in (tight, QUESTIONS[0]):
        wide = team_of(tiny_model("llama"), "text_mas", temperature=0, max_new_tokens=40)
        prompts[question.id] = [turn.usage.prefill_tokens for turn in answer_batch(assign([question]), wide)[0].turns]
    context = prompts["q0"][-1] + 45
    assert prompts["tight"][0] < context < prompts["tight"][-1]
    small = tiny_model("llama", max_position_embeddings=context)
    small.stop_ids = frozenset()  # so that every text is as long as its budget
    team = team_of(small, "text_mas", temperature=0, max_new_tokens=40)
    together = answer_batch(assign([tight, QUESTIONS[0]]), team)
    alone = answer_batch(assign([QUESTIONS[0]]), team)[0]
    assert "context" not in [turn.finish for turn in together[1].turns]
    assert [turn.finish for turn in together[0].turns][::3] == ["length", "context"]
    assert (together[0].turns[-1].text, together[0].turns[-1].usage.output_tokens) == ("", 0)
    assert together[0].truncated
    assert together[0].truncated_turns == 4
    assert [answer.context_limited for answer in together] == [True, False]
    assert together[0].error == ""
    assert [turn.text for turn in together[1].turns] == [turn.text for turn in alone.turns]
    assert alone.turns[-1].usage.output_tokens > 0


@pytest.mark.parametrize("handover", ["full", "thoughts"])
def test_memory_that_leaves_no_room_cuts_the_turn_off_as_texts_do_and_costs_no_neighbour(handover):
    tight = Question(id="tight", text="y" * 300, kind="number", gold="1")
    settings = {"temperature": 0, "latent_steps": 60, "handover": handover}
    wide = answer_batch(assign([tight]), team_of(tiny_model("llama"), "latent_mas", **settings))[0].turns
    held = [turn.usage.prefill_tokens + turn.usage.latent_steps for turn in wide]
    before = sum(held[:2]) if handover == "full" else 2 * 60
    team = team_of(tiny_model("llama", max_position_embeddings=before + held[2] - 1), "latent_mas", **settings)
    for question, neighbour in zip(answer_batch(assign([tight, QUESTIONS[0]]), team), (False, True), strict=True):
        assert question.error == ""
        assert question.context_limited != neighbour
    finishes = [turn.finish for turn in answer_batch(assign([tight]), team)[0].turns]
    assert finishes[:3] == ["latent", "latent", "context"]
    assert finishes[3] != "context"  # it has no thoughts of its own to make room for, and none of the refiner's


def test_an_answer_that_memory_leaves_no_room_for_is_wrong_and_not_unscored():
    tight = Question(id="tight", text="y" * 300, kind="number", gold="1")
    wide = answer_batch(assign([tight]), team_of(tiny_model("llama"), "latent_mas"))[0].turns
    room = sum(turn.usage.prefill_tokens + 4 for turn in wide) - 5
    [answer] = answer_batch(assign([tight]), team_of(tiny_model("llama", max_position_embeddings=room), "latent_mas"))
    assert [turn.finish for turn in answer.turns] == ["latent", "latent", "latent", "context"]
    assert (answer.error, answer.text, answer.truncated) == ("", "", True)
    assert answer.turns[-1].usage.prefill_tokens == 0


def test_an_agent_that_thinks_and_found_no_room_is_no_author_of_an_empty_text(lm):
    team = team_of(lm, "latent_mas")
    cut = [Turn(role=role, text="", finish="context", usage=Usage(), seconds=0.0) for role in ("planner", "critic")]
    results = [TurnResult(turn=turn, thinks=thinks) for turn, thinks in zip(cut, (True, False), strict=True)]
    request = collect(assign(QUESTIONS[:1])[0], team["refiner"], results)
    assert [note.role for note in request.notes] == ["critic"]
    assert request.remembered == ()
