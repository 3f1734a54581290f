"""What becomes of questions when something goes wrong at an awkward moment: nobody waits for ever or is forgotten."""

import threading

import pytest
import torch

from pipeline.agents.crowd import Crowd
from pipeline.agents.room import PATIENCE
from pipeline.agents.team import build_team
from pipeline.agents.walk import Walk
from pipeline.config import RunConfig
from pipeline.engine import RunningBatch
from pipeline.graphs import plan_for
from pipeline.records import Question
from pipeline.runtime.assigning import assign
from tiny import tiny_model

QUESTIONS = [Question(id=f"q{i}", text=f"How many are {i}? " * (1 + i % 3), kind="number", gold="1") for i in range(40)]
GIANT = Question(id="giant", text="~~~~ " * 150, kind="number", gold="1")


@pytest.fixture(scope="module")
def lm():
    return tiny_model("llama")


def team_of(lm, **settings):
    config = RunConfig.from_flat({"latent_steps": 2, "max_new_tokens": 4, "temperature": 0, **settings})
    return build_team(lm, config, plan_for(config.collaboration))


def walks_of(team, questions, roles=None):
    return [Walk(one, team, roles or list(team)) for one in assign(questions, memory="real", seed=0, trace=0)]


def texts(walks):
    return [[result.turn.text for result in walk.results.values()] for walk in walks]


class Short:
    """An agent whose turns end only when there is memory for it again."""

    def __init__(self, agent, times):
        self._agent, self.left = agent, times

    def __getattr__(self, name):
        return getattr(self._agent, name)

    def end(self, turn):
        if self.left:
            self.left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return self._agent.end(turn)


@pytest.mark.parametrize("role", ["refiner", "solver"])
def test_a_last_turn_whose_end_runs_out_of_memory_is_taken_again(lm, role):
    team = team_of(lm)
    straight, walks = (walks_of(team, QUESTIONS[:4], list(team)[: list(team).index(role) + 1]) for _ in "ab")
    Crowd(RunningBatch(lm)).answer(straight)
    short = Short(team[role], 1)
    for walk in walks:
        walk._team = {**team, role: short}
    crowd = Crowd(RunningBatch(lm))
    crowd.answer(walks)
    assert (short.left, [walk.error for walk in walks]) == (0, [None] * 4)
    assert texts(walks) == texts(straight)
    assert crowd.notices


@pytest.mark.parametrize("error", [None, RuntimeError("stumbled")])
def test_who_is_done_in_the_very_step_that_it_came_in_is_told_at_once(lm, error, monkeypatch):
    """Its caller must not wait for the questions of whoever computes the steps."""
    monkeypatch.setattr(lm, "stop_ids", frozenset())
    [long] = walks_of(team_of(lm, method="single", max_new_tokens=60), QUESTIONS[:1])
    [brief] = walks_of(team_of(lm, method="single"), QUESTIONS[1:2])
    crowd, returned, waited = Crowd(RunningBatch(lm)), threading.Event(), []

    def go_on(batch):
        if error:
            raise error
        brief._left = []

    monkeypatch.setattr(brief, "go_on", go_on)
    original, callers = crowd.batch.step, []

    def step():
        if len(callers) < 1:
            callers.append(threading.Thread(target=lambda: (crowd.answer([brief]), returned.set()), daemon=True))
            callers[0].start()
            while not crowd._waiting:
                pass
        elif brief.done and not waited:
            waited.append(None)  # a step after the one that it came in
        elif waited == [None]:
            waited.append(returned.wait(20))
        return original()

    monkeypatch.setattr(crowd.batch, "step", step)
    crowd.answer([long])
    assert waited == [None, True]


def test_a_device_that_can_not_even_be_tidied_up_leaves_no_question_undone(lm, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    team = team_of(lm)
    walks = walks_of(team, QUESTIONS[:3])
    monkeypatch.setattr(lm, "forward", broken)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.empty_cache", broken)
    Crowd(RunningBatch(lm)).answer(walks)
    assert ["device-side assert" in str(walk.error) for walk in walks] == [True] * 3


def test_after_a_giant_question_more_and_more_are_worked_on_at_once_again(lm, monkeypatch):
    team, busy, original = team_of(lm, method="single"), [], type(lm).forward
    expected = walks_of(team, QUESTIONS)
    Crowd(RunningBatch(lm)).answer(expected)

    def forward(lanes, embeds_SD):
        if lanes.cache.busy > 1 and max(slot.length + count for slot, count in lanes.spans) > 700:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        busy.append(lanes.cache.busy)
        return original(lm, lanes, embeds_SD)

    monkeypatch.setattr(lm, "forward", forward)
    monkeypatch.setattr("pipeline.agents.room.PATIENCE", 4)
    assert PATIENCE > 4
    crowd = Crowd(RunningBatch(lm), at_once=8)
    walks = walks_of(team, [GIANT, *QUESTIONS])
    crowd.answer(walks)
    assert [walk.error for walk in walks] == [None] * 41
    assert texts(walks[1:]) == texts(expected)
    assert min(busy) == 1
    assert crowd.at_once == 8
    assert busy[-1] <= 8
    assert [notice.split()[1] for notice in crowd.notices] == ["ran", "ran", "ran", "has"]


def test_a_question_that_has_failed_before_it_is_answered_alone_is_in_nobodys_way(lm):
    crowd, failed = Crowd(RunningBatch(lm)), walks_of(team_of(lm), QUESTIONS[:2])
    for walk in failed:
        walk.fail(RuntimeError("broken"))
        crowd.answer_alone(walk)
    with crowd.exclusive() as batch:
        assert batch.rows == []
