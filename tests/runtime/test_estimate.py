"""What a run is said to take: cache and handed-over bytes to the byte, measured on tiny models."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pipeline.agents.crowd import Crowd
from pipeline.agents.fitting import held
from pipeline.agents.holding import moments
from pipeline.agents.lengths import caps_of, lengths_of
from pipeline.agents.rehearsal import rehearse
from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch, collect
from pipeline.benchmarks import load_questions
from pipeline.config import CARRIERS, RunConfig
from pipeline.engine import RunningBatch
from pipeline.engine.footprint import footprint_of, footprint_of_loaded
from pipeline.graphs import plan_for
from pipeline.memory.transport import ALIGNED, pack
from pipeline.runtime.assigning import assign
from pipeline.runtime.estimate import Machine, forecast, models_of
from pipeline.runtime.needs import Team, replica_needs, store_needs
from pipeline.runtime.outline import outline
from pipeline.runtime.placement import Capacity, seats
from pipeline.runtime.planned import PlannedRun
from pipeline.runtime.samples import SAMPLED, sampled
from tiny import tiny_model
from turns import take_turns

CPU = Machine(capacity=Capacity(gpus=0, cpus=8))
WAYS = [
    {},
    {"max_new_tokens": 700},
    {"max_new_tokens": 1},
    {"latent_steps": 0},
    {"graph": "hierarchical"},
    {"graph": "hierarchical", "experts": "chained"},
    {"handover": "thoughts"},
    {"handover": "prompt"},
    {"memory": "none"},
    {"memory": "shuffled"},
    {"method": "single"},
]


@pytest.fixture
def endless():
    """A model that never ends a text."""
    lm = tiny_model("llama")
    lm.stop_ids = frozenset()
    return lm


def planned(limit=5, **flat):
    config = RunConfig.from_flat({"latent_steps": 7, "max_new_tokens": 20, "batch_size": 5, **flat})
    plan = plan_for(config.collaboration)
    questions = load_questions("demo", data_dir=None, limit=limit)
    assignments = assign(questions, memory=config.collaboration.memory, seed=0, trace=0)
    return PlannedRun(config=config, plan=plan, assignments=assignments)


def lengths_for(run, lm):
    parts = rehearse(run.assignments, run.plan, lm.tokenizer, {})
    team, decoding = run.config.collaboration, run.config.decoding
    return lengths_of(parts, handover=team.handover, caps=caps_of(run.plan, decoding), context=lm.context)


class Watched(Crowd):
    """A crowd that looks after every step what its cache takes."""

    most_bytes = 0

    def _go_on(self):
        self.most_bytes = max(self.most_bytes, self.batch.cache.nbytes)
        super()._go_on()


def taken(run, lm, count=None):
    """What a replica's cache takes at most while it answers all questions of a run."""
    crowd = Watched(RunningBatch(lm), at_once=count)
    answer_batch(run.assignments, build_team(lm, run.config, run.plan), crowd)
    return crowd.most_bytes


def foretold(run, lm, count):
    turns = lengths_for(run, lm).rows(count).turns
    return held(turns, footprint_of_loaded(lm), "cpu").cache_bytes


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_cache_is_foretold_where_questions_go_side_by_side_and_texts_run_to_their_cap(way, endless):
    run = planned(**way)
    told = foretold(run, endless, 5)
    # prompts are read some at a time, so that not all questions are at their longest in the same step
    assert 0.6 * told <= taken(run, endless) <= told


@pytest.mark.parametrize("way", [*WAYS, {"method": "text_mas"}], ids=str)
def test_the_cache_is_foretold_to_the_byte_for_one_question(way, endless):
    limit = 2 if way.get("memory") == "shuffled" else 1
    run = planned(limit=limit, **way)
    assert taken(run, endless, 1) == foretold(run, endless, 1)


def test_many_questions_take_no_more_than_the_longest_ones_at_once(endless):
    run = planned(limit=12, max_new_tokens=60)
    assert 0.7 * foretold(run, endless, 3) <= taken(run, endless, 3) <= foretold(run, endless, 3)


def test_memory_from_elsewhere_goes_into_a_slot_of_its_own(endless):
    lengths = lengths_for(planned(), endless)
    planner, critic = lengths.of("planner"), lengths.of("critic")
    (alone,) = moments([critic], received={"planner": planner.handed}, keep=["critic"])
    both = moments([planner, critic], keep=["planner", "critic"])
    assert alone.positions == both[-1].positions == sum(planner.added) + sum(critic.added)
    assert (alone.slots, both[-1].slots) == (1, 1)


def test_experts_hold_a_slot_each_until_they_have_been_read(endless):
    found = moments(lengths_for(planned(graph="hierarchical"), endless).turns)
    assert [moment.slots for moment in found] == [1, 2, 3, 4]
    found = moments(lengths_for(planned(handover="thoughts"), endless).turns)
    assert [moment.slots for moment in found] == [1, 2, 3, 4]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_prompts_and_handed_over_bytes_are_those_of_the_run(way, endless, model_dir):
    run = planned(model=str(model_dir), **way)
    answers = answer_batch(run.assignments, build_team(endless, run.config, run.plan))
    told = forecast(run, models_of(run, CPU), CPU)
    for place, role in enumerate(told.roles):
        used = [answer.turns[place] for answer in answers]
        assert role.prompt_positions.max == max(turn.usage.prefill_tokens for turn in used)
        assert role.handover_bytes.max == max(sum(t.bytes for t in turn.transfers) for turn in used)
    total = sum(t.bytes for answer in answers for turn in answer.turns for t in turn.transfers)
    assert told.handover_bytes.mean * len(answers) == total
    assert told.hops == len([turn for turn in answers[0].turns if turn.transfers])


def test_texts_count_with_all_that_their_readers_may_get_to_read(endless, model_dir):
    run = planned(model=str(model_dir), method="text_mas")
    told = {role.role: role for role in forecast(run, models_of(run, CPU), CPU).roles}
    frame = told["critic"].prompt_positions.max - 20
    assert told["solver"].prompt_positions.max >= 3 * 20
    assert (told["critic"].texts_of, told["critic"].memory_of) == (("planner",), ())
    answers = answer_batch(run.assignments, build_team(endless, run.config, run.plan))
    longest = max(answer.turns[1].usage.prefill_tokens for answer in answers)
    assert frame <= longest <= told["critic"].prompt_positions.max


@pytest.mark.parametrize(
    ("flat", "caps"),
    [
        ({"method": "text_mas"}, {"planner": 40, "critic": 40, "refiner": 40, "solver": 40}),
        ({"method": "text_mas", "budget": "system"}, {"planner": 10, "critic": 10, "refiner": 10, "solver": 10}),
        (
            {"method": "text_mas", "budget": "system", "graph": "hierarchical"},
            {"math": 10, "science": 10, "code": 10, "summarizer": 10},
        ),
        ({"budget": "system"}, {"solver": 40}),
    ],
)
def test_texts_are_as_long_as_their_part_of_the_budget(flat, caps, endless, model_dir):
    run = planned(model=str(model_dir), max_new_tokens=40, **flat)
    told = {r.role: r.new_tokens for r in forecast(run, models_of(run, CPU), CPU).roles if r.latent_steps is None}
    assert told == caps
    (answer,) = answer_batch(run.assignments[:1], build_team(endless, run.config, run.plan))
    assert {turn.role: turn.usage.output_tokens for turn in answer.turns if turn.usage.output_tokens} == caps


def team_for(run, lm, device="cpu"):
    size = footprint_of(lm.causal_lm.config, torch.float32)
    names = {run.config.model.of_role(role) for role in run.roles}
    return Team(
        config=run.config, plan=run.plan, rows=lengths_for(run, lm), sizes=dict.fromkeys(names, size), device=device
    )


@pytest.mark.parametrize("transport", ["object_store", "reencode"])
def test_a_parcel_is_as_large_as_the_one_that_travels(transport, endless):
    run = planned(placement="spread", replicas=4, transport=transport, batch_size=20)
    team, carrier = team_for(run, endless), CARRIERS[transport]
    team = replace(team, rows=team.rows.rows(20))
    assert team.flow.batch == 5
    planner = build_team(endless, run.config, run.plan, keep_inputs=carrier.inputs)["planner"]
    left = take_turns(planner, [collect(a, planner, []) for a in run.assignments])
    parcel = pack(carrier, [("q", result.segment) for result in left])
    size = next(iter(team.sizes.values()))
    longest = max(result.segment.nbytes for result in left)
    slack = 2 * len(left) * ALIGNED  # every tensor begins at a round address
    told = replace(team, rows=lengths_for(run, endless)).rows.of("planner")
    exact = (
        sum(size.input_bytes(told.prompts, told.latent_steps))
        if carrier.inputs
        else sum(told.handed) * size.shape.bytes_per_position
    )
    assert 0 <= parcel.nbytes - exact < slack
    assert exact <= team.parcel_bytes("planner", size) <= (exact if carrier.inputs else 5 * longest) * 2


def test_the_store_takes_what_is_under_way_and_only_if_memory_travels_through_it(endless):
    def needs(**flat):
        run = planned(**flat)
        seated, _ = seats(run.roles, run.config.execution, run.config.model, CPU.capacity)
        return store_needs(seated, team_for(run, endless))

    four, eight = (needs(placement="spread", replicas=count) for count in (4, 8))
    assert four.parcel_bytes == eight.parcel_bytes
    assert eight.full_bytes == pytest.approx(2 * four.full_bytes, abs=4)
    assert four.parcel_bytes < four.batch_bytes < four.least_bytes < four.full_bytes
    assert needs() is None
    assert needs(placement="spread", replicas=4, transport="reencode") is None
    assert needs(placement="spread", replicas=4, memory="none") is None
    assert needs(placement="spread", replicas=1) is None


def test_replicas_of_one_role_need_less_cache_than_one_that_plays_all(endless):
    def needs(device="cpu", **flat):
        run = planned(**flat)
        seated, _ = seats(run.roles, run.config.execution, run.config.model, CPU.capacity)
        return replica_needs(seated, team_for(run, endless, device))

    (alone,) = needs(replicas=3)
    assert alone.names == ("r0", "r1", "r2")
    spread = needs(placement="spread", replicas="planner=1,critic=1,refiner=1,solver=2")
    assert [one.roles for one in spread] == [("planner",), ("critic",), ("refiner",), ("solver",)]
    assert spread[-1].names == ("r3", "r4")
    assert all(one.cache_bytes < alone.cache_bytes for one in spread[:-1])
    assert spread[-1].cache_bytes == alone.cache_bytes  # all that was thought is in its one slot
    for one in (alone, *spread):
        parts = one.weight_bytes + one.alignment_bytes + one.cache_bytes + one.working_bytes + one.process_bytes
        assert parts == one.running_bytes <= one.peak_bytes
    on_gpu = needs("cuda", placement="spread", replicas=4)
    assert on_gpu[-1].working_bytes > spread[-1].working_bytes  # what came is copied to the device


def test_questions_are_sampled_evenly_and_the_longest_make_the_batch(endless):
    run = planned(limit=24)
    assert sampled(run.assignments) == list(run.assignments)
    many = list(run.assignments) * 5
    chosen = sampled(many)
    assert len(chosen) == SAMPLED
    assert chosen[0] == many[0]
    assert chosen[SAMPLED // 2] == many[len(many) // 2]
    lengths = lengths_for(run, endless)
    planner = sorted(lengths.of("planner").prompts, reverse=True)
    assert sorted(lengths.rows(3).of("planner").prompts, reverse=True) == planner[:3]
    assert len(lengths.rows(30).of("planner").prompts) == 30
    assert max(lengths.rows(30).of("planner").prompts) == planner[0]


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"max_new_tokens": 4000}, "texts are cut off there"),
        ({"latent_steps": 4000}, "such questions stay unscored"),
        ({"latent_steps": 1400}, "such turns are left out"),
        ({"method": "text_mas", "max_new_tokens": 2000}, "texts are cut off there"),
        ({}, ""),
    ],
)
def test_too_little_context_is_warned_of(flat, words, model_dir):
    (task,) = outline([planned(model=str(model_dir), **flat)], CPU).numbers["tasks"]
    assert bool(task["warnings"]) == bool(words)
    assert all(words in line for line in task["warnings"][:1])


@pytest.mark.parametrize(
    ("gpu_bytes", "flat", "words"),
    [
        (100 << 30, {}, ""),
        (1 << 30, {}, "are not enough"),
        (3 << 30, {}, ""),
        (3 << 30, {"gpus_per_replica": 0.25, "replicas": 4}, "are not enough"),
        (6 << 29, {"gpus_per_replica": 4}, ""),
        (1 << 30, {"gpus_per_replica": 0}, ""),
    ],
)
def test_a_gpu_that_is_too_small_is_warned_of(gpu_bytes, flat, words, model_dir):
    machine = Machine(capacity=Capacity(gpus=4, cpus=8), gpu_bytes=gpu_bytes)
    shown = outline([planned(model=str(model_dir), **flat)], machine)
    (task,) = shown.numbers["tasks"]
    assert bool(task["warnings"]) == bool(words)
    assert all(words in line for line in task["warnings"])
    assert all(f"  warning: {line}" in shown.lines for line in task["warnings"])


def test_several_tasks_are_told_one_after_another(model_dir):
    runs = [planned(model=str(model_dir), limit=limit) for limit in (5, 9)]
    shown = outline(runs, CPU)
    assert [task["num_questions"] for task in shown.numbers["tasks"]] == [5, 9]
    assert sum(line.startswith("task demo: ") for line in shown.lines) == 2
    assert sum(line.startswith("model: ") for line in shown.lines) == 1


def test_more_replicas_than_there_is_room_for_are_refused_here_and_not_on_a_cluster_that_is_not_asked(
    model_dir, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ValueError, match="--replicas is 9; allowed: at most 8, the number of CPUs"):
        outline([planned(model=str(model_dir), replicas=9)], CPU)
    lines = outline([planned(model=str(model_dir), replicas=9, address="far:6379")], CPU).lines
    assert any("the cluster far:6379 is not asked" in line for line in lines)


def test_a_tokenizer_that_cant_be_loaded_is_one_line(model_dir, monkeypatch):
    run = planned(model=str(model_dir))
    models = models_of(run, CPU)
    broken = SimpleNamespace(from_pretrained=lambda **_: (_ for _ in ()).throw(OSError("no\ntokenizer")))
    monkeypatch.setattr("transformers.AutoTokenizer", broken)
    with pytest.raises(ValueError, match=r"--model .* can't be loaded: no$"):
        forecast(run, models, CPU)
