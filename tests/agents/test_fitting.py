"""How many questions a replica works on at once where nobody says: what fits, and no more than there are."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pipeline.agents.actor import Briefing, Replica, ReplicaStatus
from pipeline.agents.fitting import MOST, RUNGS, USED, at_once, held
from pipeline.agents.lengths import Lengths, TurnLengths
from pipeline.agents.sizing import size_of
from pipeline.agents.spare import Spare
from pipeline.agents.team import Alignments
from pipeline.benchmarks import load_questions
from pipeline.config import RunConfig
from pipeline.engine.footprint import footprint_of_loaded
from pipeline.graphs import plan_for
from pipeline.runtime.assigning import assign


def lengths(*prompts, new_tokens=11):
    turn = TurnLengths(role="solver", prompts=prompts, new_tokens=new_tokens)
    return Lengths(turns=(turn,), notes={}, needed={}, added={})


@pytest.fixture
def size(llama):
    return footprint_of_loaded(llama)


def fitting(size, free, *, device="cpu", most=1000, told=None):
    return at_once(told or lengths(90, 190), size, device, free_bytes=free, most=most)


def test_as_many_fit_as_memory_has_room_for(size):
    for count in (2, 8, 32):
        needed = held(lengths(90, 190).rows(count).turns, size, "cpu").nbytes / USED["cpu"]
        assert fitting(size, int(needed) + 1) == count
        assert fitting(size, int(needed) - 1) < count


def test_with_hardly_any_memory_it_is_one(size):
    assert fitting(size, 0) == fitting(size, -5) == 1


def test_there_are_no_more_than_questions_and_no_more_than_help(size):
    assert fitting(size, 1 << 40, most=13) == 13
    assert [fitting(size, 1 << 50, device=device) for device in ("cpu", "cuda")] == [MOST["cpu"], MOST["cuda"]]


def test_a_little_more_or_less_memory_makes_no_difference(size):
    found = {fitting(size, free) for free in range(1 << 20, 64 << 20, 1 << 18)}
    assert found <= set(RUNGS)
    assert len(found) > 3


def test_longer_texts_leave_room_for_fewer(size):
    few = fitting(size, 8 << 20, told=lengths(90, 190, new_tokens=2000))
    assert few < fitting(size, 8 << 20)


def test_a_gpu_has_room_for_the_longest_in_every_slot_and_a_cpu_takes_what_is_written(size):
    turns = lengths(90, 190).turns
    unit = size.shape.bytes_per_position
    cpu, gpu = (held(turns, size, device) for device in ("cpu", "cuda"))
    assert cpu.cache_bytes == (100 + 200) * unit
    assert gpu.cache_bytes == 2 * 200 * unit
    assert (gpu.slots, gpu.columns) == (2, 200)


def test_the_logits_of_guesses_are_counted(size):
    """With a large vocabulary they are most of what a step takes."""
    size = replace(size, vocabulary=150_000)
    turns = lengths(90, 190).turns
    without, few, by_default = (held(turns, size, "cpu", guesses=most).working_bytes for most in (0, 3, None))
    assert by_default == 9 / 4 * few == 9 * without
    assert held(turns, size, "cuda").working_bytes == without
    assert held(lengths(*range(90, 140)).turns, size, "cpu").working_bytes == 128 * without / 2


def test_where_nobody_writes_there_are_no_logits(size):
    """As in replicas that only think, or whose texts another engine writes."""
    size = replace(size, vocabulary=150_000)
    thinks = replace(lengths(90, 190).turns[0], latent_steps=3)
    few, many = (held([thinks], replace(size, vocabulary=count), "cpu").working_bytes for count in (10, 150_000))
    assert few == many < held(lengths(90, 190).turns, size, "cpu").working_bytes


@pytest.fixture
def briefed(llama, monkeypatch):
    """A loaded replica that is briefed for a run; where so much memory is free, and so many replicas share it."""

    def brief(free, *, sharing=1, **flat):
        monkeypatch.setattr("pipeline.agents.sizing.spare_memory", lambda: Spare(free_bytes=free, total_bytes=free))
        replica = Replica.__new__(Replica)
        replica._lm, replica._alignments, replica._threads = llama, Alignments(llama), torch.get_num_threads()
        replica._status, replica._loading = ReplicaStatus(), 0.0
        config = RunConfig.from_flat({"latent_steps": 2, "max_new_tokens": 8, **flat})
        sample = assign(load_questions("demo", data_dir=None, limit=12), memory="real", seed=0, trace=0)
        plan = plan_for(config.collaboration)
        return replica.brief(
            Briefing(config=config, plan=plan, sample=tuple(sample), questions=50, most=25, sharing=sharing)
        )

    return brief


def test_a_replica_chooses_by_what_is_free_and_by_who_shares_it(briefed):
    assert briefed(1 << 40).at_once == 25
    assert briefed(1 << 20).at_once == 1
    alone, shared = (briefed(64 << 20, sharing=count).at_once for count in (2, 8))
    assert 1 <= shared < alone <= 25


def test_texts_that_another_engine_writes_take_no_memory_here(llama, monkeypatch):
    monkeypatch.setattr("pipeline.agents.sizing.spare_memory", lambda: Spare(free_bytes=1 << 20, total_bytes=1 << 20))
    sizes = {}
    for method in ("single", "latent_mas"):
        config = RunConfig.from_flat({"method": method, "latent_steps": 2, "max_new_tokens": 8})
        sample = assign(load_questions("demo", data_dir=None, limit=12), memory="real", seed=0, trace=0)
        plan = plan_for(config.collaboration)
        for served in (False, True):
            sizes[method, served] = size_of(llama, config, plan, sample, most=25, sharing=1, served=served)
    assert sizes["single", True].at_once == 25
    assert sizes["single", True].held.nbytes == 0
    assert 0 < sizes["latent_mas", True].held.cache_bytes <= sizes["latent_mas", False].held.cache_bytes


def test_a_number_that_is_set_is_taken_whatever_is_free(briefed):
    assert briefed(1 << 20, batch_size=7).at_once == 7


def test_a_replica_foretells_its_peak_by_the_questions_that_it_works_on_at_once(briefed):
    few, many = (briefed(1 << 40, batch_size=count).foretold_bytes for count in (1, 12))
    assert 0 < few < many
    assert briefed(1 << 40, batch_size=25).foretold_bytes == briefed(1 << 40).foretold_bytes


def test_a_replica_without_questions_to_tell_by_foretells_nothing(llama):
    replica = SimpleNamespace(_lm=llama, _crowd=SimpleNamespace(at_once=None))
    config = RunConfig.from_flat({"batch_size": 3})
    assert Replica._size(replica, Briefing(config=config, plan=plan_for(config.collaboration))) == 0
    assert replica._crowd.at_once == 3
