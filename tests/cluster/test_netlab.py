"""Two network namespaces: equal answers over a link of known speed, real bytes, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.lab.namespaces import PREFIX, NotAllowedError, gbit_of, linked_nodes
from cluster.lab.trials import TRIALS, Trial, TrialResult, differing, flags
from pipeline.config import settings
from tiny import save_tiny_model

ROOT = Path(__file__).parents[2]
KNOWN = {setting.name for setting in settings()}
BIG_MEMORY = {"num_hidden_layers": 8, "num_key_value_heads": 4, "head_dim": 64}
"""Keys and values of 16 KiB a position: a handover stands out from what Ray itself has to say."""


def command(*options: str) -> list[str]:
    return [sys.executable, str(ROOT / "cluster" / "netlab.py"), *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def left_behind(pid: int) -> list[str]:
    """Namespaces, folders and processes that bear the name of a lab."""
    name = f"{PREFIX}{pid}"
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.split()
    found = [each for each in listed if each.startswith(name)] + [str(p) for p in Path("/tmp").glob(f"{name}*")]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"/tmp/{name}/" in words:
            found.append(words.replace("\0", " ")[:200])
    return found


def unknown_settings(trial: Trial) -> set[str]:
    """What a trial asks of `jobs/eval.py` that it can't do."""
    return set(trial.settings) - KNOWN


# --- without a network


@pytest.mark.parametrize(("rate", "gbit"), [("2gbit", 2.0), ("1.5gbit", 1.5), ("500mbit", 0.5), ("64kbit", 6.4e-5)])
def test_a_rate_is_what_tc_understands(rate, gbit):
    assert gbit_of(rate) == pytest.approx(gbit)


@pytest.mark.parametrize("rate", ["2", "fast", "0gbit", "-1gbit", "2gbps", "2gbit; true"])
def test_anything_else_is_no_rate(rate):
    with pytest.raises(ValueError, match="--rate"):
        gbit_of(rate)


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--rate", "2"], ["--rate", "gbit"]), (["--delay", "-1"], ["--delay"]), (["--json", "/no/x"], ["--json"])],
)
def test_bad_input_is_one_line_and_exit_code_2(options, words):
    done = subprocess.run(command(*options), env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words)


def test_without_the_tools_it_says_so_in_one_line():
    without = {**environment(), "PATH": "/nowhere"}
    done = subprocess.run(command(), env=without, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "'ip'" in done.stderr


def test_every_graph_has_a_colocated_reference_and_both_transports():
    for graph in ("sequential", "hierarchical"):
        ways = [(t.placement, t.transport) for t in TRIALS if t.graph == graph]
        assert ways == [("colocated", "-"), ("spread", "object_store"), ("spread", "reencode")]


def test_settings_become_flags():
    assert flags({"max_new_tokens": "5", "graph": "g"}) == ["--max-new-tokens", "5", "--graph", "g"]


def test_answers_are_compared_with_the_first_finished_run_of_the_same_graph():
    base = TrialResult(
        name="base", graph="g", placement="colocated", transport="-", answers={"q1": "a", "q2": "b", "q3": "c"}
    )
    same = replace(base, name="same")
    other = replace(base, name="other", answers={"q1": "a", "q2": "x"})
    failed = replace(base, name="failed", error="no", answers={})
    elsewhere = replace(base, name="elsewhere", graph="h", answers={"q1": "z"})
    assert differing([failed, base, same, other, elsewhere]) == {"same": 0, "other": 2}


# --- with one


@pytest.fixture(scope="module")
def _namespaces():
    """Skips where two linked namespaces can't be made."""
    try:
        with linked_nodes(rate="1gbit", delay_ms=0):
            pass
    except NotAllowedError as error:
        pytest.skip(f"no linked network namespaces here: {error}")


@pytest.fixture(scope="module")
def big_memory_model(_namespaces, tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("netlab") / "tiny", **BIG_MEMORY)


@pytest.fixture(scope="module")
def lab(big_memory_model, tmp_path_factory):
    """One run of the script: exit code, JSON, what it left behind."""
    file = tmp_path_factory.mktemp("netlab") / "lab.json"
    sizes = ["--limit", "4", "--batch-size", "2", "--max-new-tokens", "8", "--json", str(file)]
    process = subprocess.Popen(
        command("--model", str(big_memory_model), *sizes),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=900)
    left = left_behind(process.pid)
    assert out, err
    assert json.loads(file.read_text()) == json.loads(out.splitlines()[-1])
    return process.returncode, json.loads(out.splitlines()[-1]), left


@pytest.mark.ray
@pytest.mark.slow
def test_the_link_is_as_fast_as_asked_and_nothing_is_left_behind(lab):
    _, told, left = lab
    for direction in ("gbit_out", "gbit_in"):
        assert told["link"][direction] == pytest.approx(told["link"]["asked_gbit"], rel=0.5)
    assert told["link"]["round_trip_ms"] > 0
    assert left == []


@pytest.mark.ray
@pytest.mark.slow
def test_every_trial_that_can_run_gives_the_answers_of_its_reference(lab):
    code, told, _ = lab
    runs = {run["name"]: run for run in told["runs"]}
    assert list(runs) == [trial.name for trial in TRIALS]
    for trial in TRIALS:
        run, unknown = runs[trial.name], unknown_settings(trial)
        if unknown:
            assert all("--" + name in run["error"] for name in unknown)
        else:
            assert run["error"] == ""
            assert run["questions"] > 0
            assert run["handover_bytes"] > 1e6
    compared = [t.name for t in TRIALS if t.placement != "colocated" and not unknown_settings(t)]
    assert told["differing_answers"] == dict.fromkeys(compared, 0)
    assert code == int(any(unknown_settings(trial) for trial in TRIALS))


@pytest.mark.ray
@pytest.mark.slow
def test_memory_crosses_the_link_where_roles_are_spread_and_only_as_memory(lab):
    _, told, _ = lab
    able = {trial.name for trial in TRIALS if not unknown_settings(trial)}
    runs = [run for run in told["runs"] if run["name"] in able]
    for graph in ("sequential", "hierarchical"):
        crossed = {run["transport"]: run["link_bytes"] for run in runs if run["graph"] == graph}
        memory = next(run["handover_bytes"] for run in runs if run["graph"] == graph)
        assert 0 < crossed["-"] < memory / 10  # memory that stays in its replica never sees the link
        if "object_store" in crossed:
            assert crossed["object_store"] > crossed["-"] + memory / 10
        if "reencode" in crossed:
            assert 0 < crossed["reencode"] < crossed["object_store"] / 4


@pytest.mark.ray
@pytest.mark.slow
def test_a_stopped_lab_cleans_up_and_a_killed_one_is_cleaned_up_by_the_next(big_memory_model, tmp_path):
    def begun() -> subprocess.Popen:
        log = (tmp_path / "stderr").open("w")
        process = subprocess.Popen(command("--model", str(big_memory_model)), env=environment(), stderr=log)
        end = time.monotonic() + 60
        while not any("raylet" in words for words in left_behind(process.pid)):
            assert time.monotonic() < end
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            time.sleep(0.2)
        return process

    killed = begun()
    killed.kill()
    killed.wait()
    assert left_behind(killed.pid)
    stopped = begun()
    assert left_behind(killed.pid) == []
    assert re.search(rf"removed {PREFIX}{killed.pid}", (tmp_path / "stderr").read_text())
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(60) == 130
    assert left_behind(stopped.pid) == []
