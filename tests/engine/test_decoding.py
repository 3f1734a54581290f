import pytest
import torch

from pipeline.config import DecodingConfig
from pipeline.engine import decode, prefill
from pipeline.memory import Memory, slots
from pipeline.memory.stages import StageCache
from tiny import tiny_model

PROMPTS = [[5, 9, 11, 30, 31], [7, 8], [20, 21, 22, 23, 24, 25, 26, 27, 40]]
GREEDY = DecodingConfig(temperature=0, max_new_tokens=25)


def write(lm, prompts, config=GREEDY, ids=None, budgets=None):
    opened = lm.open([Memory()] * len(prompts), columns=max(map(len, prompts)))
    keys = [(i, "solver") for i in (ids or [f"q{n}" for n in range(len(prompts))])]
    budgets = budgets or [config.max_new_tokens] * len(prompts)
    return decode(lm, opened, prefill(lm, opened, prompts), noise_keys=keys, budgets=budgets, config=config)


def library_greedy(lm, prompt, tokens):
    """Greedy tokens by the library's own `generate`."""
    out = lm.causal_lm.generate(
        torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False, pad_token_id=0, eos_token_id=sorted(lm.stop_ids)
    )
    return out[0, len(prompt) :].tolist()


def test_greedy_text_of_ragged_rows_equals_the_librarys(lm):
    for prompt, written in zip(PROMPTS, write(lm, PROMPTS), strict=True):
        assert written.token_ids == library_greedy(lm, prompt, 25)


def test_rows_that_finish_early_leave_without_disturbing_the_others(lm):
    free = write(lm, PROMPTS)
    lengths = [4, 9, 25]
    stops = [free[row].token_ids[n - 1] for row, n in enumerate(lengths)]
    original, lm.stop_ids = lm.stop_ids, frozenset(stops[:2])
    try:
        stopped = write(lm, PROMPTS)
    finally:
        lm.stop_ids = original
    for row, written in enumerate(stopped):
        assert written.token_ids == free[row].token_ids[: len(written.token_ids)]
        ended = any(token in stops[:2] for token in written.token_ids)
        assert written.finish == ("stop" if ended else "length")
        assert all(token not in stops[:2] for token in written.token_ids[:-1])
    assert len({len(written.token_ids) for written in stopped}) > 1


def test_the_stop_token_is_counted_and_ends_the_text(lm):
    first = write(lm, [PROMPTS[0]])[0].token_ids[0]
    original, lm.stop_ids = lm.stop_ids, frozenset([first])
    try:
        written = write(lm, [PROMPTS[0]])[0]
    finally:
        lm.stop_ids = original
    assert (written.token_ids, written.finish) == ([first], "stop")


def test_a_text_ends_with_its_budget(lm):
    written = write(lm, [PROMPTS[1]], DecodingConfig(temperature=0, max_new_tokens=3))[0]
    assert (len(written.token_ids), written.finish) == (3, "length")


def test_a_text_ends_with_the_models_context():
    lm = tiny_model("llama", max_position_embeddings=12)
    lm.stop_ids = frozenset()
    written = write(lm, PROMPTS)
    assert [len(w.token_ids) for w in written] == [12 - len(p) + 1 for p in PROMPTS]
    assert {w.finish for w in written} == {"context"}


def test_a_text_whose_budget_just_fits_the_context_ends_with_its_budget():
    lm = tiny_model("llama", max_position_embeddings=12)
    lm.stop_ids = frozenset()
    room = 12 - len(PROMPTS[0]) + 1
    for budget, finish in ((room, "length"), (room + 1, "context")):
        written = write(lm, PROMPTS[:1], budgets=[budget])[0]
        assert (len(written.token_ids), written.finish) == (room, finish)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_rows_of_unequal_budgets_write_what_each_writes_alone(lm, temperature):
    """The shorter text is the beginning of the longer one: neither noise nor neighbours depend on a budget."""
    config = DecodingConfig(temperature=temperature, max_new_tokens=25)
    ids, budgets = ["a", "b", "c"], [3, 25, 11]
    together = write(lm, PROMPTS, config, ids, budgets)
    whole = [write(lm, [p], config, [i], [25])[0] for p, i in zip(PROMPTS, ids, strict=True)]
    for text, long, budget in zip(together, whole, budgets, strict=True):
        assert text.token_ids == long.token_ids[:budget]
        assert text.finish == (long.finish if len(long.token_ids) <= budget else "length")
    assert [len(text.token_ids) for text in together] == [
        min(b, len(w.token_ids)) for b, w in zip(budgets, whole, strict=True)
    ]


def test_sampling_does_not_depend_on_neighbours_order_or_batch(lm):
    config = DecodingConfig(temperature=1.0, top_p=0.9, max_new_tokens=20, seed=5)
    ids = ["a", "b", "c"]
    together = [w.token_ids for w in write(lm, PROMPTS, config, ids)]
    backwards = [w.token_ids for w in write(lm, PROMPTS[::-1], config, ids[::-1])][::-1]
    alone = [write(lm, [p], config, [i])[0].token_ids for p, i in zip(PROMPTS, ids, strict=True)]
    assert together == backwards == alone
    assert together != [w.token_ids for w in write(lm, PROMPTS, config, ["x", "y", "z"])]


def test_the_cache_grows_without_changing_the_text(lm, monkeypatch):
    expected = [w.token_ids for w in write(lm, PROMPTS)]
    grown = []
    original = StageCache.grow
    monkeypatch.setattr(StageCache, "grow", lambda *sizes: grown.append(sizes) or original(*sizes))
    monkeypatch.setattr(slots, "GROWTH", 1)
    assert [w.token_ids for w in write(lm, PROMPTS)] == expected
    assert len(grown) > 5
