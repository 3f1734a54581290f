"""jobs/bench.py handover: what it sends, what it makes of what it measured, and a small run."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from evaluations import LONGEST, ROOT
from jobs import bench
from jobs.benches.handover import Handover, verdict
from jobs.benches.overlap import FILLING, Outcome, Untold, alternating, compared
from jobs.benches.parcels import LAYER, ROWS, SPARE, Load
from pipeline.runtime.standin import Coming

# --- parcels


@pytest.mark.parametrize(("megabytes", "positions"), [(16, 200), (64, 200), (256, 200), (64, 40), (1, 7)])
def test_a_load_has_as_many_layers_as_come_next_to_its_size(megabytes, positions):
    load = Load.of(megabytes, positions)
    layer = Load(layers=1, lengths=load.lengths).nbytes
    assert abs(load.nbytes - megabytes * 1e6) <= layer / 2
    assert sum(load.lengths) / len(load.lengths) == pytest.approx(positions, rel=0.1)
    assert len(set(load.lengths)) > 4


def test_rows_are_views_of_one_cache_and_hold_what_the_load_says():
    load = Load(layers=2, lengths=(3, 5))
    cache = load.cache()
    rows = list(load.rows(cache))
    assert [keys.shape for keys, _ in rows] == [(2, LAYER.heads, length, LAYER.key_size) for length in (3, 5)]
    assert sum(part.nbytes for pair in rows for part in pair) == load.nbytes
    keys, values = rows[1]
    assert not keys.is_contiguous()
    assert keys.data_ptr() == cache[0][0, 1, 0, SPARE].data_ptr()
    assert values.data_ptr() == cache[1][0, 1, 0, SPARE].data_ptr()


def test_no_two_places_of_a_cache_hold_the_same_bytes():
    words = [part.view(torch.int32).flatten() for part in Load(layers=1, lengths=(2, 1)).cache()]
    assert torch.equal(torch.cat(words), torch.arange(2 * len(words[0]), dtype=torch.int32))


def test_the_questions_of_a_batch_are_of_the_mean_length_together():
    assert sum(ROWS) / len(ROWS) == pytest.approx(1)
    assert LAYER.dtype.itemsize == 2


# --- overlap


def run_of(came, waited, seconds):
    """A run whose first batches find their reader idle, as it begins."""
    filling, later = Coming(seconds=50, idle=50), Coming(seconds=came, idle=waited)
    return Outcome(comings=(filling,) * FILLING + (later, Coming(seconds=came + 2, idle=waited)), seconds=seconds)


def test_what_was_waited_for_is_compared_run_by_run_without_the_batches_that_fill_it():
    ahead = [run_of(0, 0.5, 10), run_of(0, 1, 10), run_of(0, 3, 20)]
    asked = [run_of(4, 2.5, 20), run_of(4, 2.5, 20), run_of(1, 2, 20)]
    told = compared(ahead, asked, turn_seconds=2.0)
    assert told["wait_pct"] == pytest.approx(20)
    assert told["control_wait_pct"] == pytest.approx(50)
    assert (told["wait_ms"], told["transfer_ms"]) == (pytest.approx(1000), pytest.approx(5000))
    assert told["efficiency_pct"] == pytest.approx(100 * 2 * (FILLING + 1) / 10)
    assert told["control_efficiency_pct"] == pytest.approx(100 * 2 * (FILLING + 1) / 20)


def test_neighbours_are_on_different_nodes_as_far_as_that_goes():
    members = [SimpleNamespace(status=SimpleNamespace(node=node)) for node in "aabab"]
    assert [member.status.node for member in alternating(members)] == ["a", "b", "a", "b", "a"]


def test_the_control_is_told_everything_but_to_fetch_ahead():
    told = []
    actor = SimpleNamespace(
        prefetch=SimpleNamespace(remote=lambda _: told.append("prefetch")),
        take_leg=SimpleNamespace(remote=lambda: told.append("take_leg")),
    )
    control = Untold(actor)
    control.prefetch.remote(["parcel"])
    control.take_leg.remote()
    assert told == ["take_leg"]


# --- the command


def way_of(case, megabytes, rate):
    return {"case": case, "megabytes": megabytes, "way_gbps": rate, "of_plain": 1.0, "padding_pct": 0.0}


@pytest.mark.parametrize(
    ("rate", "wait", "nodes", "met"), [(6, 5, 2, True), (4, 5, 2, False), (6, 11, 2, False), (6, 90, 1, True)]
)
def test_the_largest_parcel_and_the_spread_run_have_to_reach_their_goals(rate, wait, nodes, met):
    way = [way_of("one", 16, 1), way_of("one", 256, rate), way_of("two", 300, 0.5)]
    told = verdict(way, {"wait_pct": wait, "nodes": nodes})
    assert told["met"] is met
    assert told["largest"]["megabytes"] == 256
    assert told["wait_pct"] == (wait if nodes > 1 else None)


def test_without_a_spread_run_the_largest_parcel_decides():
    assert verdict([way_of("one", 256, 6)], None)["met"]


def test_the_store_holds_what_is_under_way():
    assert Handover(sizes="256", parcel_mb=1).store_bytes >= 4 * 256e6
    assert Handover(sizes="16", parcel_mb=100).store_bytes * 0.4 >= 5 * 3 * 100e6


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--bogus"], ["--bogus"]),
        (["--sizes", "0"], ["--sizes", "1 or more"]),
        (["--sizes", "16,huge"], ["--sizes", "16,huge"]),
        (["--positions", "-1"], ["--positions", "1 or more"]),
        (["--repeats", "0"], ["--repeats", "1 or more"]),
        (["--turn-seconds", "0"], ["--turn-seconds", "above 0"]),
        (["--parcel-mb", "none"], ["--parcel-mb", "none"]),
        (["--batches", "2"], ["--batches", "6 or more"]),
        (["--runs", "-1"], ["--runs", "0 or more"]),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(argv, words, capsys):
    assert bench.main(["handover", *argv]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.ray
def test_parcels_are_sent_verified_and_reported_on(ray_head):
    argv = ["--quick", "--address", ray_head.address]
    command = [sys.executable, str(ROOT / "jobs/bench.py"), "handover", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=True)
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    (way,) = told["way"]
    assert way["case"] == "one node, rows of 200"
    assert way["padding_pct"] == 0
    assert way["pieces"] > 1  # the store took the cache as it lay
    assert min(way[name] for name in ("way_gbps", "plain_gbps", "place_gbps", "fetch_ms")) > 0
    assert told["overlap"]["nodes"] == 1
    assert told["overlap"]["efficiency_pct"] > 0
    assert told["wait_pct"] is None
