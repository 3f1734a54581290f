"""jobs/bench.py: what it derives from models' configurations, what it measures against, and a small run."""

import json
import subprocess
import sys

import pytest

from evaluations import LONGEST, ROOT
from jobs import bench
from jobs.benches.cases import Scale, case_of, cases, the_plan
from jobs.benches.stages import WORKLOADS
from jobs.benches.timing import Finished, ideal_rate, last_wave, steady

ROLES = ("planner", "critic", "refiner", "solver")


# --- stages: derived from public configurations, against known numbers


@pytest.mark.parametrize(
    ("model", "billions", "bytes_per_position"),
    [("Qwen3-4B", 4.02, 147_456), ("Qwen3-8B", 8.19, 147_456), ("Qwen3-14B", 14.77, 163_840)],
)
def test_a_models_weights_and_memory_follow_from_its_configuration(model, billions, bytes_per_position):
    shape = WORKLOADS[model].shape
    assert shape.parameters / 1e9 == pytest.approx(billions, abs=0.005)
    assert shape.bytes_per_position == bytes_per_position


def test_a_thinking_role_leaves_its_prompt_and_its_thoughts_behind():
    work = WORKLOADS["Qwen3-8B"]
    assert work.segment_bytes == (160 + 40) * 147_456
    assert work.input_bytes == 160 * 8 + 40 * 4096 * 2
    stages = work.stages(the_plan(), batch=8)
    assert [stages[role].parcel_bytes for role in ROLES] == [work.segment_bytes] * 3 + [0]


def test_a_step_reads_the_weights_once_however_many_questions_it_serves():
    work = WORKLOADS["Qwen3-8B"]
    weights = 2 * work.shape.parameters / (3.35e12 * 0.7)
    assert work.step_seconds(1, positions=0) == work.step_seconds(64, positions=0) == pytest.approx(weights)
    assert work.step_seconds(8, positions=1000) == pytest.approx(weights + 8 * 1000 * 147_456 / (3.35e12 * 0.7))


def test_the_solver_decodes_what_the_paper_counts_and_the_others_think():
    stages = WORKLOADS["Qwen3-8B"].stages(the_plan(), batch=8)
    assert [stages[role].usage.output_tokens for role in ROLES] == [0, 0, 0, 860]
    assert [stages[role].usage.latent_steps for role in ROLES] == [40, 40, 40, 0]
    assert stages["solver"].seconds > 10 * stages["planner"].seconds


# --- timing: what is ideal, and which part of a run is measured


def test_ideal_is_what_the_slowest_role_allows():
    seconds = {"planner": 0.5, "critic": 0.5, "refiner": 0.5, "solver": 1.5}
    assert ideal_rate([ROLES] * 6, seconds) == pytest.approx(2)
    assert ideal_rate([("planner",), ("critic",), ("refiner",), ("solver",), ("solver",)], seconds) == pytest.approx(
        4 / 3
    )
    assert ideal_rate([ROLES[:2], ROLES[2:]], seconds) == pytest.approx(1 / 2)
    assert last_wave([ROLES[:2], ROLES[2:], ROLES[2:]], "solver") == 2


def in_waves(count: int, wave: int, pause: float = 0.0) -> list[Finished]:
    """Batches that begin two waves before they finish, a wave a second; the driver uses 1 ms for each."""
    return [
        Finished(
            started=max(0.0, i // wave - 1.0),
            finished=1.0 + i // wave + pause * (i >= 2 * wave),
            driver_seconds=i / 1000,
            process_seconds=i / 500,
        )
        for i in range(count)
    ]


def test_the_steady_part_is_free_of_how_a_run_fills_and_drains():
    part = steady(in_waves(40, wave=4), wave=4)
    assert part.rate == pytest.approx(4)
    assert part.driver_seconds / part.batches == pytest.approx(0.001)
    assert part.process_seconds / part.batches == pytest.approx(0.002)
    assert part.batches < 40 - 4


def test_a_pause_in_the_steady_part_counts():
    assert steady(in_waves(40, wave=4, pause=1.0), wave=4).rate < 3.9


# --- cases


@pytest.mark.parametrize("placement", ["colocated", "spread"])
@pytest.mark.parametrize("count", [1, 2, 4, 6, 64])
def test_a_case_has_every_role_and_enough_batches_for_its_steady_part(placement, count):
    case = case_of("fixed", placement, count, Scale(seconds=4.0))
    assert len(case.plays) == count
    assert {role for roles in case.plays for role in roles} == set(ROLES)
    assert case.batches % case.wave == 0
    assert case.batches >= 4.0 * case.ideal + 2 * count


def test_models_run_with_as_many_stand_ins_for_a_role_as_its_time_asks_for():
    case = case_of("Qwen3-8B", "spread", 64, Scale())
    players = [sum(role in roles for roles in case.plays) for role in ROLES]
    assert sum(players) == 64
    assert players[3] > 40
    assert min(players) >= 1


def test_quick_is_small_and_the_default_covers_both_placements_and_a_model():
    assert [case.name for case in cases(Scale(quick=True))] == ["fixed colocated 4", "fixed spread 4"]
    names = [case.name for case in cases(Scale())]
    assert {"fixed colocated 64", "fixed spread 64", "Qwen3-8B spread 64"} <= set(names)


# --- the command


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["speed"], ["'speed'", "scale"]),
        (["scale", "--bogus"], ["--bogus"]),
        (["scale", "--replicas", "0"], ["--replicas", "1 or more"]),
        (["scale", "--replicas", "4,many"], ["--replicas", "4,many"]),
        (["scale", "--placement", "nowhere"], ["--placement", "colocated", "spread"]),
        (["scale", "--models", "Qwen9"], ["--models", "Qwen3-4B"]),
        (["scale", "--time-scale", "0"], ["--time-scale", "above 0"]),
        (["scale", "--batch-size", "none"], ["--batch-size", "none"]),
        (["scale", "--turn-seconds", "0", "--models", "none"], ["--models", "--turn-seconds"]),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(argv, words, capsys):
    assert bench.main(argv) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_help_names_the_commands(capsys):
    assert bench.main(["--help"]) == 0
    assert "scale" in capsys.readouterr().out


@pytest.mark.ray
def test_stand_ins_answer_every_question_once_and_are_reported_on(ray_head):
    argv = ["--quick", "--turn-seconds", "0.1", "--seconds", "1", "--address", ray_head.address]
    command = [sys.executable, str(ROOT / "jobs/bench.py"), "scale", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=True)
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert [case["case"] for case in told["cases"]] == ["fixed colocated 4", "fixed spread 4"]
    for case in told["cases"]:
        assert case["questions"] == case["answered_once"] > 0
        assert case["unscored"] == 0
        assert case["driver_ms_per_turn"] > 0
        assert case["efficiency_pct"] > 0
    alone, apart = told["cases"]
    assert alone["store_mb_per_second"] == 0
    assert apart["true_mb_per_question"] == pytest.approx(3 * 200 * 147_456 / 1e6, rel=0.01)
    assert 0 < apart["peak_bytes"] <= apart["budget_bytes"]
    assert told["worst"]["replicas"] == 4
