"""A crowd: callers from several threads share one running batch, and nobody pays for another one's faults."""

import gc
import logging
import threading
import weakref

import pytest
import torch

from pipeline.agents.crowd import Crowd, ran_out_of_memory
from pipeline.agents.team import build_team
from pipeline.agents.walk import Walk, answer_batch
from pipeline.config import RunConfig
from pipeline.engine import RunningBatch
from pipeline.graphs import plan_for
from pipeline.memory import KVCache
from pipeline.records import Question
from pipeline.runtime.assigning import assign
from tiny import tiny_model

QUESTIONS = [
    Question(id=f"q{i}", text=f"How many are {i} and {i * 77}? " * (1 + i % 3), kind="number", gold="1")
    for i in range(8)
]
METHODS = ("single", "text_mas", "latent_mas")


@pytest.fixture(scope="module", params=METHODS)
def team(request):
    lm = tiny_model("llama")
    lm.stop_ids = frozenset(range(0, len(lm.tokenizer), 9))
    return team_of(lm, method=request.param)


def team_of(lm, **settings):
    chosen = {"max_new_tokens": 9, "latent_steps": 3, "temperature": 1.3, **settings}
    config = RunConfig.from_flat(chosen)
    return build_team(lm, config, plan_for(config.collaboration))


def lm_of(team):
    return next(iter(team.values())).lm


def work(questions=QUESTIONS):
    return assign(questions, memory="real", seed=0, trace=0)


def walks_of(team, questions=QUESTIONS):
    return [Walk(assignment, team, list(team)) for assignment in work(questions)]


def told(walks):
    return {
        walk.assignment.question.id: [(result.turn.text, result.turn.usage) for result in walk.results.values()]
        for walk in walks
    }


@pytest.fixture(scope="module")
def expected(team):
    """What each question gets alone."""
    alone = {}
    for question in QUESTIONS:
        walks = walks_of(team, [question])
        Crowd(RunningBatch(lm_of(team))).answer(walks)
        alone |= told(walks)
    return alone


def together(*calls, timeout=120):
    """Runs calls in threads of their own; fails if one of them fails or never ends."""
    errors = []

    def guarded(call):
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
        assert not thread.is_alive(), "a caller waits for ever"
    assert not errors, errors


class Full:
    """Has a model run out of memory in every forward beside more than some questions, or on some words."""

    def __init__(self, lm, monkeypatch, *, most=10**9, word=None, error=None):
        self.lm, self.most, self.original = lm, most, type(lm).forward
        self.tokens = None if word is None else lm.tokenizer(word).input_ids
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        self.largest = self.failures = 0
        monkeypatch.setattr(lm, "forward", self.forward)

    def forward(self, lanes, embeds_SD):
        if lanes.cache.busy > self.most or self._holds_word(embeds_SD):
            self.failures += 1
            raise type(self.error)(*self.error.args)
        self.largest = max(self.largest, lanes.cache.busy)
        return self.original(self.lm, lanes, embeds_SD)

    def _holds_word(self, embeds_SD):
        if self.tokens is None:
            return False
        word_TD = self.lm.embed(torch.tensor(self.tokens))
        places = range(len(embeds_SD) - len(word_TD) + 1)
        return any(torch.equal(embeds_SD[i : i + len(word_TD)], word_TD) for i in places)


@pytest.mark.parametrize("at_once", [None, 1, 3])
def test_questions_at_once_get_what_each_gets_alone(team, expected, at_once):
    crowd, walks = Crowd(RunningBatch(lm_of(team)), at_once=at_once), walks_of(team)
    crowd.answer(walks)
    assert told(walks) == expected
    assert crowd.batch.cache.busy == 0
    assert crowd.notices == []


def test_no_more_questions_are_worked_on_than_allowed(team, monkeypatch):
    crowd = Crowd(RunningBatch(lm_of(team)), at_once=3)
    full = Full(lm_of(team), monkeypatch)
    crowd.answer(walks_of(team))
    assert full.largest == 3
    assert crowd.batch.cache.rows <= 4


@pytest.mark.parametrize("at_once", [None, 2])
def test_callers_in_threads_get_what_they_get_alone(team, expected, at_once):
    crowd = Crowd(RunningBatch(lm_of(team)), at_once=at_once)
    parts = [walks_of(team, QUESTIONS[i::4]) for i in range(4)]
    together(*(lambda part=part: crowd.answer(part) for part in parts))
    assert {name: turns for part in parts for name, turns in told(part).items()} == expected
    assert crowd.batch.cache.busy == 0


def test_callers_go_through_the_batch_together(team, monkeypatch):
    """The questions of one caller are computed beside another one's, whoever of the two computes the step."""
    crowd, full = Crowd(RunningBatch(lm_of(team))), Full(lm_of(team), monkeypatch)
    brought, original = threading.Event(), crowd.batch.step
    monkeypatch.setattr(crowd.batch, "step", lambda: (brought.wait(60), original())[1])

    def let_go():
        while len(crowd._waiting) + len(crowd._active) < 8:
            pass
        brought.set()

    together(lambda: crowd.answer(walks_of(team)[:3]), lambda: crowd.answer(walks_of(team)[3:]), let_go)
    assert full.largest > 5  # more than either has brought


def test_a_caller_returns_with_its_own_questions_while_others_go_on(llama, monkeypatch):
    monkeypatch.setattr(llama, "stop_ids", frozenset())
    [mine] = walks_of(team_of(llama, method="single", max_new_tokens=60), QUESTIONS[:1])
    [yours] = walks_of(team_of(llama, method="single", max_new_tokens=2), QUESTIONS[1:2])
    crowd, returned, left = Crowd(RunningBatch(llama)), threading.Event(), []
    original = crowd.batch.step

    def step():
        if yours.done:
            left.append(returned.wait(60))
        return original()

    monkeypatch.setattr(crowd.batch, "step", step)
    together(lambda: crowd.answer([mine]), lambda: (crowd.answer([yours]), returned.set()))
    assert mine.results["solver"].turn.usage.output_tokens == 60
    assert left
    assert all(left)


class Stumbling:
    """An agent that can't bear one question."""

    def __init__(self, agent, where):
        self._agent, self._where = agent, where

    def __getattr__(self, name):
        return getattr(self._agent, name)

    def begin(self, request, batch):
        if self._where == "begin" and request.question.id == "q3":
            raise RuntimeError("stumbled")
        return self._agent.begin(request, batch)

    def end(self, turn):
        if self._where == "end" and turn.scene.request.question.id == "q3":
            raise RuntimeError("stumbled")
        return self._agent.end(turn)


@pytest.mark.parametrize("where", ["begin", "end"])
def test_a_question_that_fails_hurts_no_other_one_and_no_other_caller(team, expected, where):
    bad = {name: Stumbling(agent, where) if agent.role.answers else agent for name, agent in team.items()}
    crowd = Crowd(RunningBatch(lm_of(team)))
    parts = [walks_of(bad, QUESTIONS[:4]), walks_of(team, QUESTIONS[4:])]
    together(*(lambda part=part: crowd.answer(part) for part in parts))
    failed = parts[0].pop()
    assert str(failed.error) == "stumbled"
    assert {name: turns for part in parts for name, turns in told(part).items()} == {
        name: turns for name, turns in expected.items() if name != "q3"
    }
    assert crowd.batch.cache.busy == 0  # though the failed one is still there, with its error


def test_a_fault_in_the_model_ends_those_who_were_in_the_step_and_no_later_ones(team, expected, monkeypatch):
    crowd = Crowd(RunningBatch(lm_of(team)))
    with monkeypatch.context() as patched:
        Full(lm_of(team), patched, most=0, error=RuntimeError("device-side assert"))
        hit = walks_of(team, QUESTIONS[:3])
        crowd.answer(hit)
    assert {str(walk.error) for walk in hit} == {"device-side assert"}
    assert crowd.notices == []
    later = walks_of(team)
    crowd.answer(later)
    assert told(later) == expected


@pytest.mark.parametrize(("most", "halvings"), [(4, [(8, 4)]), (3, [(8, 4), (4, 2)]), (1, [(8, 4), (4, 2), (2, 1)])])
def test_out_of_memory_halves_the_questions_at_once_says_so_and_changes_no_answer(
    team, expected, monkeypatch, caplog, most, halvings
):
    crowd, walks = Crowd(RunningBatch(lm_of(team))), walks_of(team)
    full = Full(lm_of(team), monkeypatch, most=most)
    with caplog.at_level(logging.WARNING):
        crowd.answer(walks)
    assert told(walks) == expected
    words = [f"memory ran out with {hit} questions at once; going on with {left}" for hit, left in halvings]
    assert crowd.notices == words
    assert [record.message for record in caplog.records] == words
    assert crowd.at_once == halvings[-1][1]
    assert full.failures == len(halvings)
    assert crowd.batch.cache.busy == 0


def test_memory_that_runs_out_while_a_question_is_let_in_halves_as_well(team, expected, monkeypatch):
    """Where the cache has to grow for one more memory or prompt, which is its largest allocation."""
    crowd, walks = Crowd(RunningBatch(lm_of(team))), walks_of(team)
    original = KVCache.slot

    def slot(self):
        if self.busy >= 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return original(self)

    monkeypatch.setattr(KVCache, "slot", slot)
    crowd.answer(walks)
    assert [walk.error for walk in walks] == [None] * 8
    assert told(walks) == expected
    assert crowd.notices
    assert crowd.at_once <= 3


def test_out_of_memory_is_shared_by_the_callers_of_all_threads(team, expected, monkeypatch):
    crowd = Crowd(RunningBatch(lm_of(team)))
    Full(lm_of(team), monkeypatch, most=2)
    parts = [walks_of(team, QUESTIONS[i::4]) for i in range(4)]
    together(*(lambda part=part: crowd.answer(part) for part in parts))
    assert {name: turns for part in parts for name, turns in told(part).items()} == expected


def test_a_question_that_always_runs_out_fails_alone(team, expected, monkeypatch):
    crowd = Crowd(RunningBatch(lm_of(team)))
    giant = Question(id="giant", text="~~~~", kind="number", gold="1")
    Full(lm_of(team), monkeypatch, word="~~~~")
    walks = walks_of(team, [*QUESTIONS[:3], giant, *QUESTIONS[3:]])
    crowd.answer(walks)
    failed = walks.pop(3)
    assert isinstance(failed.error, torch.OutOfMemoryError)
    assert told(walks) == expected
    assert crowd.at_once == 1


def test_after_memory_ran_out_the_old_cache_is_gone_before_the_next_step(team, monkeypatch):
    """Else the halved batch would have to live beside what did not fit."""
    crowd = Crowd(RunningBatch(lm_of(team)))
    old, alive = [weakref.ref(crowd.batch.cache)], []
    full = Full(lm_of(team), monkeypatch, most=4)
    inner = full.forward

    def forward(lanes, embeds_SD):
        if full.failures:
            alive.append(old[0]() is not None)
        return inner(lanes, embeds_SD)

    monkeypatch.setattr(lm_of(team), "forward", forward)
    gc.disable()
    try:
        crowd.answer(walks_of(team))
    finally:
        gc.enable()
    assert full.failures == 1
    assert alive
    assert not any(alive)


def test_a_question_that_failed_keeps_no_cache_alive(team, monkeypatch):
    crowd, walks = Crowd(RunningBatch(lm_of(team))), walks_of(team, QUESTIONS[:2])
    old = weakref.ref(crowd.batch.cache)
    with monkeypatch.context() as patched:
        Full(lm_of(team), patched, most=0, error=RuntimeError("device-side assert"))
        crowd.answer(walks)
    assert all(walk.error is not None for walk in walks)
    assert old() is None


def test_who_wants_the_batch_alone_gets_it_alone_and_nobody_starves(team, expected):
    crowd = Crowd(RunningBatch(lm_of(team)), at_once=2)
    inside, alone = [], []

    def exclusively():
        for _ in range(5):
            with crowd.exclusive() as batch:
                inside.append(None)
                alone.append((len(inside), len(crowd._active), len(batch.rows)))
                inside.pop()

    parts = [walks_of(team, QUESTIONS[i::3]) for i in range(3)]
    together(*(lambda part=part: crowd.answer(part) for part in parts), exclusively, exclusively)
    assert alone == [(1, 0, 0)] * 10
    assert {name: turns for part in parts for name, turns in told(part).items()} == expected


def test_an_error_of_who_has_the_batch_alone_gives_it_back(team, expected):
    crowd, walks = Crowd(RunningBatch(lm_of(team))), walks_of(team)
    with pytest.raises(RuntimeError, match="mine"), crowd.exclusive():
        raise RuntimeError("mine")
    crowd.answer(walks)
    assert told(walks) == expected


def test_a_question_answered_alone_beside_a_crowd_gets_what_it_always_gets(team, expected):
    crowd = Crowd(RunningBatch(lm_of(team)))
    [one], others = walks_of(team, QUESTIONS[:1]), walks_of(team, QUESTIONS[1:])
    together(lambda: crowd.answer(others), lambda: crowd.answer_alone(one))
    assert told([one, *others]) == expected


def test_no_questions_are_answered_at_once(team):
    Crowd(RunningBatch(lm_of(team))).answer([])


def test_answers_of_a_crowd_that_had_to_halve_are_those_of_one_that_did_not(team, expected, monkeypatch):
    crowd = Crowd(RunningBatch(lm_of(team)))
    Full(lm_of(team), monkeypatch, most=3)
    answers = answer_batch(work(), team, crowd)
    found = {answer.question_id: [(turn.text, turn.usage) for turn in answer.turns] for answer in answers}
    assert found == expected


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: ..."), True),
        (RuntimeError("device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_ran_out(error, ran_out):
    assert ran_out_of_memory(error) == ran_out
