"""Sizes: what a batch is taken to need of the object store."""

import pytest

from pipeline.records import Assignment, Question
from pipeline.runtime.sizes import SHARE, WHOLE, Sizes


def batch(*lengths, sources=None):
    questions = [Question(id=f"q{i}", text="x" * length, kind="number", gold="1") for i, length in enumerate(lengths)]
    memory = [Question(id="s", text="x" * length, kind="number", gold="1") for length in sources or ()] or questions
    return tuple(Assignment(question=q, source=s) for q, s in zip(questions, memory, strict=True))


def test_while_nothing_is_known_a_batch_claims_the_whole_budget():
    sizes = Sizes(1000, senders=3, travels=True)
    assert sizes.estimate(batch(10)) == sizes.budget == int(SHARE * 1000)


def test_memory_that_does_not_travel_through_the_store_takes_nothing_of_it():
    assert Sizes(1000, senders=3, travels=False).estimate(batch(10)) == 0


def test_a_batch_like_one_before_is_taken_to_be_a_little_larger_for_each_role_that_sends():
    sizes = Sizes(10**9, senders=3, travels=True)
    sizes.learn(batch(500, 500), 10_000)
    assert 3 * 10_000 < sizes.estimate(batch(500, 500)) < 3 * 12_000
    assert sizes.estimate(batch(500)) == pytest.approx(sizes.estimate(batch(500, 500)) / 2, abs=1)
    assert sizes.estimate(batch(2500)) > sizes.estimate(batch(500))


def test_the_largest_memory_so_far_counts():
    sizes = Sizes(10**9, senders=1, travels=True)
    for nbytes in (1000, 9000, 3000):
        sizes.learn(batch(100), nbytes)
    assert sizes.estimate(batch(100)) >= 9000


def test_memory_is_as_long_as_the_question_that_it_is_made_for():
    sizes = Sizes(10**9, senders=1, travels=True)
    sizes.learn(batch(100), 1000)
    assert sizes.estimate(batch(100, sources=[5000])) == sizes.estimate(batch(5000))


def test_only_batches_of_several_questions_are_known_to_be_too_large():
    sizes = Sizes(10_000, senders=1, travels=True)
    assert not sizes.too_large(batch(100, 100))
    sizes.learn(batch(100), 3900)
    assert sizes.too_large(batch(100, 100))
    assert not sizes.too_large(batch(100))
    assert not sizes.too_large(())


def test_one_question_may_fill_more_of_the_store_than_a_batch():
    sizes = Sizes(1200, senders=3, travels=True)
    assert (sizes.limit(2), sizes.limit(1)) == (int(SHARE * 400), int(WHOLE * 400))


def test_what_can_be_done_about_too_large_a_question_is_said_in_one_line():
    line = Sizes(100_000_000, senders=3, travels=True).explain(30_000_000)
    assert "\n" not in line
    for words in ("30.0 MB", "3 roles", "100.0 MB", "--object-store-memory", "--transport reencode", "colocated"):
        assert words in line
