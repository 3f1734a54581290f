"""Guesses come from what was written before, are no more than asked for, and give way where they turn out wrong."""

import random

import pytest

from pipeline.engine import guessing
from pipeline.engine.guessing import Guesser, Past


def written(guesser, prompt, tokens):
    """A text that has been written token by token, with whatever was guessed in between."""
    past = Past.of(prompt)
    place = 0
    while place < len(tokens):
        guesses = guesser.guess(past, min(8, len(tokens) - place - 1))
        held = 0
        while held < len(guesses) and guesses[held] == tokens[place + held]:
            held += 1
        guesser.learn(past, tokens[place : place + held + 1])
        place += held + 1
    return past


def test_a_text_that_repeats_its_prompt_is_guessed_further_and_further():
    guesser, prompt = Guesser(), list(range(100, 160))
    past = Past.of([*prompt, 1, 2])
    guesser.learn(past, [100, 101])
    lengths = []
    for _ in range(8):
        guesses = guesser.guess(past, 8)
        after = past.ids[-1] + 1
        assert guesses == list(range(after, after + len(guesses)))
        lengths.append(len(guesses))
        guesser.learn(past, [*guesses, after + len(guesses)])
    assert lengths[0] >= 1
    assert lengths[-1] > lengths[0]
    assert past.ids[-past.written :] == list(range(100, 100 + past.written))


def test_what_was_never_seen_is_not_guessed():
    guesser = Guesser()
    assert guesser.guess(Past.of([]), 8) == []
    assert guesser.guess(Past.of([5]), 8) == []
    assert guesser.guess(Past.of([5, 6, 7, 8, 9]), 8) == []


def test_what_was_written_for_another_question_is_guessed_but_not_what_it_was_asked():
    guesser = Guesser()
    written(guesser, [1, 2, 3], [50, 51, 52, 53, 54])
    assert guesser.guess(Past.of([9, 50, 51]), 8)[:1] == [52]
    assert guesser.guess(Past.of([9, 1, 2]), 8) == []


def test_the_longest_match_is_taken_and_the_latest_of_equals():
    past = Past.of([1, 2, 3, 70, 9, 2, 3, 71, 5, 2, 3, 72])
    assert past.find([1, 2, 3]) == (70, 3)
    assert past.find([4, 2, 3]) == (72, 2)
    assert past.find([8, 8]) is None


@pytest.mark.parametrize("most", [-3, 0, 1, 3])
def test_no_more_is_guessed_than_asked_for(most):
    guesser = Guesser()
    past = written(guesser, [], [1, 2, 3, 4] * 20)
    assert len(guesser.guess(past, most)) == max(0, most)
    assert len(guesser.guess(past, 8)) > 3


def test_sources_that_prove_wrong_fall_silent_and_are_tried_again_some_day():
    guesser, asked = Guesser(), []
    past = Past.of([7, 8, 9])
    for token in range(1000, 1400):  # after 7, 8 comes something else each time
        guesser.learn(past, [7, 8])
        asked.append(len(guesser.guess(past, 8)))
        guesser.learn(past, [token])
    assert sum(asked[:5]) > 0
    assert sum(asked[5:]) < 40
    assert sum(asked[200:]) > 0


def test_a_guess_that_was_refused_does_not_count_for_those_after_it():
    """Where the first of three is wrong, nothing is learnt of the others."""
    guesser = Guesser()
    past = written(guesser, [], [1, 2, 3, 4, 5, 6] * 12)
    guesser.guess(past, 8)
    sources = [source for _, source in past.guessed]
    assert len(sources) > 3
    before = {source: record.asked for source, record in guesser._records.items()}
    guesser.learn(past, [99])
    changed = [source for source, record in guesser._records.items() if record.asked != before[source]]
    assert changed == sources[:1]


def test_a_guess_that_ended_its_text_was_right():
    """After a token that ends a text nothing is drawn: the last token was guessed, and not what came instead of it."""
    guesser = Guesser()
    past = written(guesser, [], [1, 2, 3, 4, 5, 6] * 12)
    guesses = guesser.guess(past, 3)
    records = [guesser._records[source] for _, source in past.guessed]
    before = [record.asked - record.right for record in records]
    guesser.learn(past, guesses)
    assert all(record.asked - record.right <= wrong for record, wrong in zip(records, before, strict=True))


def test_what_is_kept_is_bounded_and_the_oldest_goes(monkeypatch):
    monkeypatch.setattr(guessing, "ENTRIES", 200)
    guesser = Guesser()
    tokens = random.Random(1).sample(range(10_000), 3000)
    written(guesser, [], tokens)
    assert len(guesser._seen) <= 200
    assert guesser.guess(Past.of(tokens[-12:-8]), 1) == [tokens[-8]]
    assert guesser.guess(Past.of(tokens[:5]), 1) == []


def test_of_a_long_prompt_the_end_is_remembered(monkeypatch):
    monkeypatch.setattr(guessing, "REMEMBERED", 10)
    past = Past.of(range(100))
    assert past.ids == list(range(90, 100))
    assert past.written == 0


def test_a_continuation_that_changed_is_given_up_after_being_right_for_long():
    guesser = Guesser()
    for token in (3, 4):
        for _ in range(6):
            written(guesser, [], [1, 2, token, 8, 9])
        assert guesser.guess(Past.of([1, 2]), 1) == [token]
