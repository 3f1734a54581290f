"""Common beginnings of prompts are computed once, and nobody can tell from an answer."""

import gc
import weakref

import pytest
import torch

from pipeline.engine import Reading, Row, RunningBatch
from pipeline.engine.prefixes import FAMILIES as KEPT
from pipeline.engine.prefixes import SHORTEST
from tiny import tiny_model

COMMON = list(range(10, 40))
ENDS = ([5, 6], [7, 8, 9, 50], [41])


@pytest.fixture(scope="module", params=["llama", "gemma2", "mistral", "llama one by one"])
def lm(request):
    return tiny_model(request.param.split()[0], packs="one by one" not in request.param)


def read(lm, prompts, *, family="planner", batch=None, length=0, **more):
    """Rows that have read prompts."""
    batch = batch or RunningBatch(lm, **more)
    rows = [Row(slot=batch.cache.slot(), goal=Reading(), token_ids=prompt, family=family) for prompt in prompts]
    batch.run(rows)
    return batch, rows


def the_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.hidden_D, other.hidden_D, atol=1e-4, rtol=1e-4)
        assert one.slot.length == other.slot.length == len(one.token_ids)
        for name in ("keys_LRNCH", "values_LRNCH"):
            held = [getattr(r.slot.cache.caches[0], name)[:, r.slot.row, :, : r.slot.length] for r in (one, other)]
            torch.testing.assert_close(held[0], held[1], atol=1e-4, rtol=1e-4)


def plain(lm, prompts):
    batch, rows = read(lm, prompts, family="")
    assert batch.tally.shared == 0
    assert batch.tally.positions == sum(map(len, prompts))
    return rows


@pytest.mark.parametrize("read_at_once", [None, 3])
def test_prompts_that_begin_alike_are_read_as_without_sharing(lm, read_at_once):
    prompts = [COMMON + end for end in ENDS]
    batch, rows = read(lm, prompts, read_at_once=read_at_once)
    the_same(rows, plain(lm, prompts))
    assert batch.tally.shared == 3 * len(COMMON)
    assert batch.tally.positions == sum(map(len, ENDS))


def test_later_prompts_use_as_much_of_the_beginning_as_they_have(lm):
    batch, _ = read(lm, [COMMON + end for end in ENDS])
    later = [COMMON[:20] + [80, 81], COMMON[: SHORTEST - 1] + [80], [80, 81], COMMON + [80], COMMON[:SHORTEST] + [3]]
    before = batch.tally.shared
    _, rows = read(lm, later, batch=batch)
    the_same(rows, plain(lm, later))
    assert batch.tally.shared - before == 20 + 0 + 0 + 30 + SHORTEST


def test_of_a_prompt_that_is_all_beginning_the_last_token_is_still_read(lm):
    batch, _ = read(lm, [COMMON + end for end in ENDS])
    prompts = [COMMON, COMMON[:-1], COMMON + [3]]
    _, rows = read(lm, prompts, batch=batch)
    the_same(rows, plain(lm, prompts))


def test_a_prompt_that_is_another_ones_beginning_is_learned_from(lm):
    prompts = [COMMON, COMMON + [5, 6]]
    batch, rows = read(lm, prompts)
    the_same(rows, plain(lm, prompts))
    assert batch.tally.shared == 29 + 30


def test_one_prompt_teaches_nothing_and_neither_does_its_repetition(lm):
    batch, _ = read(lm, [COMMON])
    _, rows = read(lm, [COMMON, COMMON], batch=batch)
    assert batch.tally.shared == 0
    the_same(rows, plain(lm, [COMMON, COMMON]))
    read(lm, [COMMON + [5]], batch=batch)
    assert batch.tally.shared == 30


def test_families_do_not_lend_each_other(lm):
    batch, _ = read(lm, [COMMON + end for end in ENDS])
    other = [[81, *COMMON, 4], [81, *COMMON, 5]]
    _, rows = read(lm, other, batch=batch, family="critic")
    the_same(rows, plain(lm, other))


def test_beginnings_are_for_empty_memory_alone(lm):
    """On top of a memory the same words are other keys."""
    prompts = [COMMON + end for end in ENDS]
    batch, rows = read(lm, prompts)
    shared = batch.tally.shared
    again = [Row(slot=row.slot, goal=Reading(), token_ids=COMMON + [3], family="planner") for row in rows]
    batch.run(again)
    assert batch.tally.shared == shared
    [expected] = plain(lm, [prompts[0] + COMMON + [3]])
    torch.testing.assert_close(again[0].hidden_D, expected.hidden_D, atol=1e-4, rtol=1e-4)


def test_what_is_kept_of_beginnings_is_bounded_and_forgotten_ones_are_learned_again(lm):
    batch = RunningBatch(lm)
    families = [f"role {i}" for i in range(KEPT + 3)]
    for family in [*families, families[0]]:
        prompts = [[5, *COMMON, 6], [5, *COMMON, 7, 8]]
        _, rows = read(lm, prompts, batch=batch, family=family)
    the_same(rows, plain(lm, prompts))
    assert len(batch._prefixes._known) == KEPT
    assert batch.tally.shared == (KEPT + 4) * 2 * 31


def test_what_was_shared_is_a_copy_of_each_questions_own(lm):
    batch, rows = read(lm, [COMMON + end for end in ENDS])
    rows[0].slot.cache.caches[0].keys_LRNCH[:, rows[0].slot.row].zero_()
    _, later = read(lm, [COMMON + [80]], batch=batch)
    the_same([*rows[1:], *later], plain(lm, [COMMON + end for end in (*ENDS[1:], [80])]))


def test_a_batch_that_begins_anew_keeps_what_was_learned_and_not_the_old_cache(lm):
    batch, rows = read(lm, [COMMON + end for end in ENDS])
    fresh, old = batch.anew(), weakref.ref(batch.cache)
    gc.disable()
    try:
        del batch, rows
        assert old() is None
    finally:
        gc.enable()
    _, [row] = read(lm, [COMMON + [80]], batch=fresh)
    the_same([row], plain(lm, [COMMON + [80]]))
    assert (fresh.tally.shared, fresh.tally.positions) == (len(COMMON), 1)
