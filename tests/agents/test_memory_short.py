"""When memory runs out: fewer questions at once, the same answers, and a notice that is handed on once."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline.agents.crowd import GRAIN, Crowd
from pipeline.agents.spare import Spare
from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.benchmarks import load_questions
from pipeline.config import RunConfig
from pipeline.engine import RunningBatch
from pipeline.graphs import plan_for
from pipeline.runtime.assigning import assign

SCRIPT = """
import resource, sys
from pathlib import Path
import torch
from pipeline.agents.crowd import Crowd
from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.benchmarks import load_questions
from pipeline.config import RunConfig
from pipeline.engine import RunningBatch
from pipeline.graphs import plan_for
from pipeline.runtime.assigning import assign
from tiny import tiny_model

torch.set_num_threads(1)
lm = tiny_model("llama", head_dim=64, num_key_value_heads=4, num_hidden_layers=12)
config = RunConfig.from_flat({"method": "single", "max_new_tokens": 8, "temperature": 0.0})
plan = plan_for(config.collaboration)
assignments = assign(load_questions("demo", data_dir=None, limit=12), memory="real", seed=0, trace=0)
team = build_team(lm, config, plan)

def answers(crowd):
    return [[turn.text for turn in answer.turns] for answer in answer_batch(assignments, team, crowd)]

free = answers(None)
taken = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize"))
limit = int(taken.split()[1]) * 1024 + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
crowd = Crowd(RunningBatch(lm))
assert answers(crowd) == free
print(crowd.at_once, *crowd.news(), sep="\\n")
"""


@pytest.fixture
def at_work(llama):
    """A team on some questions: how its questions are answered by a crowd, and the answers' texts."""
    config = RunConfig.from_flat({"latent_steps": 2, "max_new_tokens": 8, "temperature": 0.0})
    plan = plan_for(config.collaboration)
    assignments = assign(load_questions("demo", data_dir=None, limit=6), memory="real", seed=0, trace=0)
    team = build_team(llama, config, plan)

    def texts(crowd=None):
        return [[turn.text for turn in answer.turns] for answer in answer_batch(assignments, team, crowd)]

    return texts


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="a limit on addresses is Linux's")
def test_a_process_that_gets_no_more_memory_goes_on_with_fewer_questions_and_gives_the_same_answers():
    command = [sys.executable, "-c", SCRIPT, str(120 << 20)]
    whole = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}  # what is freed goes back, however small it is
    whole["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(command, env=whole, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    at_once, *notices = done.stdout.splitlines()
    assert int(at_once) in (3, 6)
    assert notices[0].startswith("memory ran out with 12 questions at once; going on with 6")


def test_a_machine_that_is_almost_full_is_not_filled_further(at_work, llama, monkeypatch):
    def spare():
        return Spare(free_bytes=1 if crowd.at_once is None else 50, total_bytes=100)

    monkeypatch.setattr("pipeline.agents.crowd.spare_memory", spare)
    monkeypatch.setattr("pipeline.agents.crowd.GRAIN", 1)
    crowd = Crowd(RunningBatch(llama))
    assert at_work(crowd) == at_work()
    assert (crowd.at_once, len(crowd.notices)) == (3, 1)


def test_one_question_alone_is_tried_however_little_memory_there_is(at_work, llama, monkeypatch):
    monkeypatch.setattr("pipeline.agents.crowd.spare_memory", lambda: Spare(free_bytes=0, total_bytes=100))
    monkeypatch.setattr("pipeline.agents.crowd.GRAIN", 1)
    crowd = Crowd(RunningBatch(llama))
    assert at_work(crowd) == at_work()
    assert crowd.at_once == 1


def test_it_is_looked_how_much_memory_there_is_only_as_the_cache_grows(llama, monkeypatch):
    looked = []
    monkeypatch.setattr(
        "pipeline.agents.crowd.spare_memory", lambda: looked.append(1) or Spare(free_bytes=9, total_bytes=9)
    )
    crowd = Crowd(RunningBatch(llama))
    crowd._active = [None, None]
    for taken in (0, GRAIN - 1, GRAIN, GRAIN + 1, 3 * GRAIN):
        crowd.batch.cache = SimpleNamespace(nbytes=taken)
        crowd._look()
    assert len(looked) == 2


def test_a_notice_is_handed_out_once(llama):
    crowd = Crowd(RunningBatch(llama))
    crowd.notices.append("one")
    assert (crowd.news(), crowd.news()) == (("one",), ())
    crowd.notices.append("two")
    assert crowd.news() == ("two",)
