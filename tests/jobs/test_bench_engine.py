"""jobs/bench.py engine: the plain baseline answers as our engine does, what is counted, and a small run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evaluations import LONGEST, ROOT
from jobs import bench
from jobs.benches import methods, plain_continuous
from jobs.benches.engine import GOALS, verdict
from jobs.benches.engine_parts import attention_flop, bare_step, matrices, random_prompts
from jobs.benches.engine_probe import decode_step, occupancy, prefill
from jobs.benches.engine_settings import Engine
from jobs.benches.methods import CONTINUOUS, OURS, UNAIDED, Sides, agreement, headline, lookup, measure_method
from jobs.benches.plain import Computed, answer_static, left_padded, library_model, until_stop
from jobs.benches.rounds import in_turn
from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.benchmarks import load_questions
from pipeline.config import RunConfig
from pipeline.engine import LanguageModel
from pipeline.engine.attention import NAME as ATTENTION
from pipeline.engine.running import Tally
from pipeline.graphs import plan_for
from pipeline.records import Answer, Assignment, Turn, Usage
from tiny import save_tiny_model, tiny_model

METHODS = ["single", "text_mas", "latent_mas"]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_model("llama")


def team_of(lm, method, tokens=12):
    flat = {"method": method, "latent_steps": 3, "max_new_tokens": tokens, "temperature": 0.0}
    config = RunConfig.from_flat(flat)
    return build_team(lm, config, plan_for(config.collaboration))


def asked(count=3):
    questions = load_questions("demo", data_dir=None, limit=count)
    return [Assignment(question=question, source=question) for question in questions]


def written(answers):
    return [[(turn.role, turn.text, turn.finish, turn.usage) for turn in answer.turns] for answer in answers]


# --- the plain baseline


@pytest.mark.parametrize(("family", "batch_size"), [("llama", 2), ("qwen3", 2), ("gemma3", 1)])
@pytest.mark.parametrize("method", METHODS)
def test_plain_transformers_answers_what_our_engine_answers(method, family, batch_size):
    lm = tiny_model(family)
    team, assignments = team_of(lm, method), asked()
    plain = answer_static(assignments, team, library_model(lm), batch_size, Computed())
    assert written(plain) == written(answer_batch(assignments, team))


@pytest.mark.parametrize("method", METHODS)
def test_the_baseline_uses_nothing_of_our_engine(method, lm, monkeypatch):
    def ours(*_, **__):
        raise AssertionError("this is the engine's")

    team = team_of(lm, method)
    for name in ("forward", "open", "logits", "embed"):
        monkeypatch.setattr(LanguageModel, name, ours)
    answers = answer_static(asked(), team, library_model(lm), 3, Computed())
    assert all(answer.usage.output_tokens for answer in answers)


def test_the_library_has_its_own_attention_and_our_weights(lm):
    model = library_model(lm)
    assert model.config._attn_implementation == "sdpa"
    assert lm.causal_lm.config._attn_implementation == ATTENTION
    theirs, ours = dict(model.named_parameters()), dict(lm.causal_lm.named_parameters())
    assert {name: p.data_ptr() for name, p in theirs.items()} == {name: p.data_ptr() for name, p in ours.items()}


def test_the_librarys_continuous_batching_answers_the_same(lm):
    team, assignments = team_of(lm, "text_mas", tokens=5), asked(2)
    answers = plain_continuous.answer_continuous(assignments, team, library_model(lm))
    assert written(answers) == written(answer_batch(assignments, team))


def test_static_batches_count_padding_and_rows_that_wait_for_the_longest(lm):
    team, assignments, computed = team_of(lm, "single", tokens=5), asked(3), Computed()
    answers = answer_static(assignments, team, library_model(lm), 3, computed)
    longest = max(answer.usage.prefill_tokens for answer in answers)
    assert computed.prefill_positions == 3 * longest
    assert computed.row_steps == 3 * (max(answer.usage.output_tokens for answer in answers) - 1)


def test_prompts_are_padded_on_the_left_and_the_padding_is_masked():
    ids_BT, mask_BT = left_padded([[5, 6, 7], [8]], 0, torch.device("cpu"))
    assert ids_BT.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask_BT.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_a_text_ends_with_its_first_stop_token():
    assert until_stop([4, 2, 9, 9], frozenset({2, 9})) == [4, 2]
    assert until_stop([4, 5], frozenset({2})) == [4, 5]


# --- methods


def test_a_method_is_measured_every_way_in_every_round(lm, monkeypatch):
    questions = load_questions("demo", data_dir=None, limit=3)
    monkeypatch.setattr(methods, "BEHIND", float("inf"))
    settings = Engine(quick=True, repeats=2, plain_batch_sizes="1,2", max_new_tokens=4, task="demo")
    told = measure_method(Sides.of(lm), "single", questions, settings)
    assert [row["way"] for row in told["ways"]] == [OURS, UNAIDED, "plain 1", "plain 2", CONTINUOUS]
    for row in told["ways"]:
        assert len(row["all_seconds"]) == 2
        assert row["output_tokens"] == 12
        assert row.get("same_answers_pct", 100) == 100
    assert told["ways"][2]["padding_pct"] == 0
    assert told["ways"][3]["padding_pct"] > 0
    assert told["tokens_per_step"] >= 1


def test_continuous_batching_that_does_not_run_is_left_out_with_the_reason(lm, monkeypatch):
    def refuse(*_):
        raise NotImplementedError("not on\nthis device")

    monkeypatch.setattr(plain_continuous, "answer_continuous", refuse)
    questions = load_questions("demo", data_dir=None, limit=2)
    settings = Engine(repeats=1, plain_batch_sizes="2", max_new_tokens=2)
    told = measure_method(Sides.of(lm), "single", questions, settings)
    assert told["left_out"] == {CONTINUOUS: "NotImplementedError: not on this device"}
    assert [row["way"] for row in told["ways"]] == [OURS, UNAIDED, "plain 2"]


def test_what_looking_up_came_to_is_told_in_tokens_a_step():
    assert lookup(Tally(decoded=40, guessed=30, right=12)) == {"tokens_per_step": 1.3, "guesses_right_pct": 40.0}
    assert lookup(Tally(decoded=40)) == {"tokens_per_step": 1.0, "guesses_right_pct": 0.0}
    assert lookup(None) == lookup(Tally()) == {}


def test_the_headline_is_told_against_the_fastest_other_way():
    rows = [
        {"way": OURS, "seconds": 2.0},
        {"way": UNAIDED, "seconds": 3.0, "times_ours": 1.5, "same_answers_pct": 100.0},
        {"way": "plain 8", "seconds": 9.0, "times_ours": 4.5, "same_answers_pct": 100.0},
        {"way": "plain 32", "seconds": 6.0, "times_ours": 3.0, "same_answers_pct": 90.0},
    ]
    assert headline(rows) == {"fastest": "plain 32", "times_ours": 3.0, "same_answers_pct": 90.0}
    assert headline(rows[:1]) == {}


def test_answers_agree_when_all_texts_and_their_tokens_are_the_same():
    def answer(text, tokens):
        turn = Turn(role="r", text=text, finish="stop", usage=Usage(output_tokens=tokens), seconds=0.0)
        return Answer(question_id="q", turns=(turn,))

    some = [answer("a", 1), answer("b", 2), answer("c", 3), answer("d", 4)]
    others = [answer("a", 1), answer("b", 3), answer("x", 3), answer("d", 4)]
    assert agreement(some, others) == 50


def test_ways_are_run_in_turn_and_compared_round_by_round():
    order = []
    ways = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    timed = in_turn(ways, rounds=2, wait=lambda: None)
    assert order == ["a", "b", "a", "b"]
    timed["a"].seconds, timed["b"].seconds = [2.0, 30.0, 6.0], [1.0, 10.0, 2.0]
    assert timed["a"].over(timed["b"]) == 3.0


def test_a_way_that_is_far_behind_is_run_once():
    order = []
    ways = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    timed = in_turn(ways, rounds=3, wait=lambda: None, goes_on=lambda name, timed: name == "a")
    assert order == ["a", "b", "a", "a"]
    timed["a"].seconds, timed["b"].seconds = [2.0, 9.0, 9.0], [4.0]
    assert timed["b"].over(timed["a"]) == 2.0


# --- parts of the engine


def test_a_step_of_ours_and_the_bare_models_step_go_on_from_the_same_positions(lm):
    prompts = random_prompts(lm, 2, 7)
    ours, bare = decode_step(lm, prompts, 3), bare_step(library_model(lm), prompts)
    for _ in range(3):
        ours()
        assert bare().shape[:2] == (2, 1)
    batch = ours.__self__
    assert [row.slot.length for row in batch.rows] + [row.done for row in batch.rows] == []
    assert batch.tally.decoded == 2 * 3


def test_a_prefill_can_be_repeated(lm):
    read = prefill(lm, random_prompts(lm, 2, 7))
    first = read().clone()
    assert torch.equal(read(), first)


def test_matrices_are_the_decoders_linear_weights_without_the_head(lm):
    shapes = matrices(lm.decoder)
    assert {name: len(weights) for name, weights in shapes.items()} == {
        "32x32": 6,  # queries and outputs of 3 layers
        "32x16": 6,  # keys and values
        "32x64": 6,
        "64x32": 3,
    }


def test_attention_counts_pairs_of_positions_once(lm):
    pairs, layers, heads, size = 3, 3, 4, 8
    assert attention_flop(lm, 5, 2) == 5 * pairs * layers * heads * size * 4


def test_occupancy_counts_rows_that_go_on_with_a_text(lm):
    seen = occupancy(lm, random_prompts(lm, 2, 9), [1, 4], 2)
    assert seen.steps == 4  # both prompts at once, then three positions of the longer text
    assert seen.live == 2 + 3
    assert seen.slots_pct == 100 * 5 / 8
    assert seen.computed == 18 + 3
    assert seen.padding_pct == 0


def test_a_slot_that_gets_free_is_taken_at_once(lm):
    seen = occupancy(lm, random_prompts(lm, 3, 9), [2, 6, 3], 2)
    assert seen.slots_pct > 80


def test_text_lengths_are_spread_evenly_and_mixed():
    lengths = Engine().lengths()
    assert len(lengths) == 64
    assert (min(lengths), max(lengths)) == (6, 120)
    assert abs(sum(lengths) / 64 - 63) < 1
    assert all(30 < sum(lengths[i : i + 8]) / 8 < 96 for i in range(0, 64, 8))


# --- the command


def test_only_what_was_measured_is_held_against_its_goal():
    assert verdict({"prefill": {"share_pct": 80.0}}) == {
        "goals": GOALS,
        "goals_met": {"prefill_share_pct": True},
        "met": True,
    }
    steps = [{"times_bare": 1.0}, {"times_bare": 1.2}]
    assert verdict({"step": steps})["met"] is False
    assert verdict({"methods": [{"times_ours": 2.6}, {"times_ours": 2.4}]})["goals_met"] == {"times_ours": False}
    full = {"occupancy_pct": 91.0, "padding_pct": 5.1}
    assert verdict({"occupancy": full})["goals_met"] == {"occupancy_pct": True, "padding_pct": False}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--bogus"], ["--bogus"]),
        (["--parts", "speed"], ["--parts", "speed", "occupancy"]),
        (["--parts", ""], ["--parts", "occupancy"]),
        (["--methods", "debate"], ["--methods", "debate", "latent_mas"]),
        (["--plain-batch-sizes", "8,many"], ["--plain-batch-sizes", "8,many"]),
        (["--batch-size", "0"], ["--batch-size", "1 or more"]),
        (["--batch-size", "some"], ["--batch-size", "some"]),
        (["--limit", "0"], ["--limit", "1 or more"]),
        (["--latent-steps", "-1"], ["--latent-steps", "0 or more"]),
        (["--dtype", "int8"], ["--dtype", "int8"]),
        (["--task", "nothing"], ["nothing"]),
        (["--task", "demo", "--model", "/no/such/folder"], ["/no/such/folder"]),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(argv, words, capsys):
    assert bench.main(["engine", *argv]) == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if not line.startswith("this machine is busy")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


def test_a_quick_run_measures_every_part_without_ray(tmp_path: Path):
    save_tiny_model(tmp_path)
    argv = ["engine", "--quick", "--task", "demo", "--model", str(tmp_path)]
    code = f"import sys; from jobs import bench; sys.exit(bench.main({argv!r}) or 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert [one["method"] for one in told["methods"]] == METHODS
    assert all(one["same_answers_pct"] == 100 for one in told["methods"])
    assert {(one["model"], one["rows"]) for one in told["step"]} == {
        (name, rows) for name in ("tiny", str(tmp_path)) for rows in (1, 2)
    }
    assert 0 < told["prefill"]["share_pct"] < told["prefill"]["share_with_attention_pct"]
    assert 0 < told["occupancy"]["occupancy_pct"] <= 100
    assert told["goals_met"].keys() == GOALS.keys() - {"vllm_times_ours"}
