"""Texts written by another engine, from prompts: what it is given has the memory in it that our own engine reads."""

import pytest
import torch

from pipeline.agents.crowd import Crowd
from pipeline.agents.observing import Observer
from pipeline.agents.team import build_team
from pipeline.agents.walk import Walk, answer_batch
from pipeline.config import RunConfig
from pipeline.engine import RunningBatch
from pipeline.engine.served import ServedBatch
from pipeline.graphs import plan_for
from pipeline.records import Question
from pipeline.runtime.assigning import assign
from plainserver import PlainServer
from tiny import tiny_model

QUESTIONS = [
    Question(id=f"q{i}", text=f"How many are {i} and {i * 77}? " * (1 + i % 3), kind="number", gold="1")
    for i in range(4)
]
RUNS = {
    "single": {"method": "single"},
    "text": {"method": "text_mas"},
    "latent": {},
    "without thoughts": {"latent_steps": 0},
    "chained": {"graph": "hierarchical", "experts": "chained"},
    "prompts alone": {"handover": "prompt"},
    "another question's": {"memory": "shuffled"},
    "nobody's": {"memory": "none"},
    "system": {"method": "text_mas", "budget": "system", "max_new_tokens": 20},
}


def settings(**flat):
    return RunConfig.from_flat({"temperature": 0.0, "max_new_tokens": 5, "latent_steps": 3, **flat})


def work(config):
    return assign(QUESTIONS, memory=config.collaboration.memory, seed=0, trace=0)


def team_of(lm, config, observer=None):
    more = {"observer": observer} if observer else {}
    return build_team(lm, config, plan_for(config.collaboration), keep_inputs=True, **more)


def told(answers):
    return [[(turn.role, turn.text, turn.finish, turn.usage) for turn in answer.turns] for answer in answers]


def both(lm, config):
    """The answers of our own engine alone, and of it beside a server."""
    team = team_of(lm, config)
    served = ServedBatch(lm, PlainServer(lm))
    return [told(answer_batch(work(config), team, Crowd(batch))) for batch in (RunningBatch(lm), served)]


@pytest.fixture(scope="module")
def wordy():
    """A tiny model of whose texts some end early."""
    lm = tiny_model("qwen3")
    lm.stop_ids = frozenset(range(0, len(lm.tokenizer), 7))
    return lm


@pytest.mark.parametrize("run", RUNS)
def test_a_server_of_prompts_gives_the_texts_counts_and_ends_of_our_own_engine(wordy, run):
    own, served = both(wordy, settings(**RUNS[run]))
    assert served == own


def test_memory_becomes_a_prompt_for_every_family(family_lm):
    own, served = both(family_lm, settings())
    assert served == own


def test_a_text_that_comes_to_the_end_of_the_context_ends_there(wordy):
    lm = tiny_model("llama")
    config = settings(method="single", max_new_tokens=40)
    longest = max(turn[-1].prefill_tokens for answer in both(lm, config)[0] for turn in answer)
    lm.context = longest + 5
    own, served = both(lm, config)
    assert served == own
    assert "context" in {finish for answer in own for *_, finish, _ in answer}


def test_texts_take_no_slot_of_the_cache(llama):
    server = PlainServer(llama)
    batch = ServedBatch(llama, server)
    config = settings(method="text_mas")
    answer_batch(work(config), team_of(llama, config), Crowd(batch))
    assert len(server.prompts) == 4 * len(QUESTIONS)
    assert (batch.cache.rows, batch.rows) == (0, [])


@pytest.mark.parametrize(("steps", "kind"), [(3, torch.Tensor), (0, list)])
def test_what_is_tokens_alone_is_handed_over_as_tokens(llama, steps, kind):
    server, config = PlainServer(llama), settings(latent_steps=steps)
    (answer, *_) = answer_batch(work(config), team_of(llama, config), Crowd(ServedBatch(llama, server)))
    first = server.prompts[min(server.prompts, key=int)]
    read = sum(turn.usage.prefill_tokens + turn.usage.latent_steps for turn in answer.turns)
    assert isinstance(first, kind)
    assert len(first) == read


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"graph": "hierarchical"}, "'science' was made at position 0 .* --experts chained, or --backend hf"),
        ({"handover": "thoughts"}, "thoughts of 'planner' .* --handover full or prompt, or --backend hf"),
    ],
)
def test_memory_that_no_prompt_reproduces_costs_its_question_and_says_why(llama, flat, words):
    config = settings(**flat)
    walk = Walk(work(config)[0], team_of(llama, config), list(team_of(llama, config)))
    Crowd(ServedBatch(llama, PlainServer(llama))).answer([walk])
    with pytest.raises(ValueError, match=words):
        raise walk.error


@pytest.mark.parametrize("watched", [False, True])
def test_what_is_computed_is_counted_as_in_our_own_engine(wordy, watched):
    """Where texts are written on no memory, so that a prompt is read once by either."""
    config, tallies = settings(method="text_mas"), []
    for batch in (RunningBatch(wordy, guesses=0), ServedBatch(wordy, PlainServer(wordy))):
        answer_batch(work(config), team_of(wordy, config, Listener() if watched else None), Crowd(batch))
        tallies.append(batch.tally)
    own, served = tallies
    assert (served.decoded, served.positions) == (own.decoded, own.positions + own.shared)


class Listener(Observer):
    def __init__(self):
        self.heard = []

    def writes(self, scene, token_id):
        self.heard.append((scene.request.question.id, token_id))


def test_who_watches_hears_tokens_as_they_are_written(llama):
    listener, config = Listener(), settings(method="single", max_new_tokens=3)
    batch = ServedBatch(llama, PlainServer(llama, at_once=4))
    answer_batch(work(config), team_of(llama, config, listener), Crowd(batch))
    assert [question for question, _ in listener.heard[:4]] == [question.id for question in QUESTIONS]


class Failing(PlainServer):
    """Runs out of memory once, when it has more than `most` texts."""

    def step(self):
        if len(self._texts) > 2 and not self.dropped:
            raise MemoryError("no room")
        return super().step()


def test_after_memory_ran_out_the_server_has_given_up_its_texts_and_all_are_answered(llama):
    config, server = settings(), Failing(llama)
    team = team_of(llama, config)
    crowd = Crowd(ServedBatch(llama, server))
    answers = told(answer_batch(work(config), team, crowd))
    assert len(server.dropped) > 2  # all that were under way
    assert crowd.at_once == 2
    assert answers == told(answer_batch(work(config), team, Crowd(RunningBatch(llama))))


class Dead(PlainServer):
    """Fails, and can't give its texts up either."""

    def step(self):
        raise MemoryError("no room")

    def drop(self, keys):
        raise RuntimeError("the engine is gone")


def test_where_a_server_can_not_give_its_texts_up_their_questions_fail_and_nobody_waits_for_them(llama):
    config = settings(method="single")
    team = team_of(llama, config)
    walks = [Walk(one, team, list(team)) for one in work(config)]
    Crowd(ServedBatch(llama, Dead(llama))).answer(walks)
    assert [str(walk.error) for walk in walks] == ["the engine is gone"] * len(walks)


def test_time_is_booked_to_the_texts_that_were_under_way(llama):
    config = settings(method="single")
    batch = ServedBatch(llama, PlainServer(llama))
    answers = answer_batch(work(config), team_of(llama, config), Crowd(batch))
    booked = sum(answer.turns[0].seconds for answer in answers)
    assert booked >= batch.tally.seconds > 0
