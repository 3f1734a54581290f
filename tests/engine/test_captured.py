"""Captured steps without a GPU: the very step that would be captured, repeated by a recorder, against the usual way."""

from contextlib import contextmanager

import pytest
import torch

from pipeline.config import DecodingConfig
from pipeline.engine import Row, RunningBatch, Thinking, Writing, build_alignment, lanes
from pipeline.engine import sampling as drawing
from pipeline.engine.captured import StepGraphs, unsuited, why_not
from pipeline.engine.kernels import agrees, split_for
from pipeline.engine.staging import form_of
from pipeline.memory import KVCache, Memory
from tiny import tiny_model

PROMPTS = [[5, 9, 11, 30, 31], [7, 8], [20, 21, 22, 23, 24, 25, 26, 27, 40], [33, 12, 12]]
LENGTHS = [24, 9, 40, 17]
GREEDY = DecodingConfig(temperature=0, max_new_tokens=64)
WARM = DecodingConfig(temperature=0.9, top_p=0.9, max_new_tokens=64, seed=3)


def recorder(prepare, step):
    """What a CUDA graph does, without one: two rounds to warm up, and the step again at each replay."""
    for _ in range(2):
        prepare()
        step()
    return step


@contextmanager
def captured(lm, *, patience=0, record=recorder):
    lm.graphs = StepGraphs(record, patience=patience)
    try:
        yield lm.graphs
    finally:
        lm.graphs = None


def alignment_of(lm):
    return build_alignment("ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())


def writers(lm, batch, config=GREEDY, lengths=LENGTHS):
    return [
        Row(
            slot=batch.cache.open(Memory(), columns=len(prompt), move=lm.move),
            goal=Writing(config=config, noise_key=(f"q{i}", "solver"), budget=length, room=4000),
            token_ids=prompt,
        )
        for i, (prompt, length) in enumerate(zip(PROMPTS, lengths, strict=True))
    ]


def thinkers(lm, batch, alignment, steps=12, **options):
    return [
        Row(
            slot=batch.cache.open(Memory(), columns=len(prompt) + steps, move=lm.move),
            goal=Thinking(alignment=alignment, steps=steps, **options),
            token_ids=prompt,
        )
        for prompt in PROMPTS
    ]


def written(lm, config=GREEDY):
    batch = RunningBatch(lm, guesses=0)
    rows = writers(lm, batch, config)
    batch.run(rows)
    return [row.goal.token_ids for row in rows]


@pytest.fixture
def free(lm):
    """A model whose texts only end with their budgets."""
    original, lm.stop_ids = lm.stop_ids, frozenset()
    yield lm
    lm.stop_ids = original


@pytest.mark.parametrize("config", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_texts_are_those_of_the_usual_way(free, config):
    expected = written(free, config)
    with captured(free) as graphs:
        assert written(free, config) == expected
    assert graphs.replayed == max(LENGTHS) - 1  # the first token follows the prompt


def test_texts_that_the_model_ends_are_those_of_the_usual_way(free):
    stops = written(free)
    free.stop_ids = frozenset([stops[0][5], stops[2][20]])
    expected = written(free)
    with captured(free) as graphs:
        assert written(free) == expected
    assert graphs.replayed > 0


def test_steps_with_guesses_go_the_usual_way_and_the_others_are_captured(free):
    expected = written(free)
    with captured(free) as graphs:
        batch = RunningBatch(free, guesses=3)
        rows = writers(free, batch)
        ahead = iter(range(1000))

        def guess(past, most):  # in every other step
            text = expected[next(i for i, row in enumerate(rows) if row.past is past)]
            return text[past.written : past.written + most] if next(ahead) // len(rows) % 2 else []

        batch._guesser.guess = guess
        batch.run(rows)
    assert [row.goal.token_ids for row in rows] == expected
    assert batch.tally.right == batch.tally.guessed > 10
    assert graphs.replayed > 2


def test_a_nucleus_wider_than_the_candidates_is_drawn_from_the_whole_vocabulary(free, monkeypatch):
    expected = written(free, WARM)
    monkeypatch.setattr(drawing, "CANDIDATES", 2)
    with captured(free) as graphs:
        assert written(free, WARM) == expected
    assert graphs.replayed > 0


def test_latent_steps_leave_the_same_memory(lm):
    def thought():
        batch = RunningBatch(lm, guesses=0)
        rows = thinkers(lm, batch, alignment, keep=True)
        batch.run(rows)
        cut = {"role": "r", "question_id": "q", "fingerprint": "f", "latent_steps": 12}
        return [(row.slot.cut(0, **cut), row.hidden_D, torch.stack(row.goal.latents)) for row in rows]

    alignment = alignment_of(lm)
    expected = thought()
    with captured(lm) as graphs:
        found = thought()
    assert graphs.replayed == 12
    for (ours, hidden, latents), (theirs, own_hidden, own_latents) in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.keys_LNTH, theirs.keys_LNTH, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.values_LNTH, theirs.values_LNTH, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(hidden, own_hidden, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(latents, own_latents, atol=1e-4, rtol=1e-4)


def test_a_watcher_sees_every_latent_step_by_itself(lm):
    seen = []
    alignment = alignment_of(lm)
    with captured(lm):
        batch = RunningBatch(lm, guesses=0)
        batch.run(
            thinkers(lm, batch, alignment, steps=5, watch=lambda step, hidden, embeds: seen.append((step, embeds)))
        )
    for row in range(len(PROMPTS)):
        own = seen[row :: len(PROMPTS)]
        assert [step for step, _ in own] == list(range(5))
        assert len({tuple(embeds.tolist()) for _, embeds in own}) == 5


def test_thinkers_and_writers_share_a_step_and_newcomers_may_interrupt_it(free):
    def mixed():
        batch = RunningBatch(free, guesses=0)
        rows = [*thinkers(free, batch, alignment)[:2], *writers(free, batch)[2:]]
        for row in rows:
            batch.add(row)
        for _ in range(6):
            batch.step()
        late = writers(free, batch)[:1]
        batch.run(late)
        batch.run([])
        while batch.rows:
            batch.step()
        return [row.goal.token_ids for row in (*rows[2:], *late)], [row.hidden_D for row in rows[:2]]

    alignment = alignment_of(free)
    texts, hidden = mixed()
    with captured(free) as graphs:
        own_texts, own_hidden = mixed()
    assert own_texts == texts
    torch.testing.assert_close(own_hidden, hidden, atol=1e-4, rtol=1e-4)
    assert graphs.captured >= 3


def test_a_cache_that_moves_has_its_steps_captured_anew(free):
    expected = written(free)
    with captured(free) as graphs:
        batch = RunningBatch(free, guesses=0)
        rows = writers(free, batch)
        for row in rows:
            batch.add(row)
        for _ in range(8):
            batch.step()
        before = graphs.captured
        batch.cache.reserve(columns=batch.cache.columns + 1)
        while batch.rows:
            batch.step()
    assert [row.goal.token_ids for row in rows] == expected
    assert graphs.captured > before


def test_idle_places_write_to_nobodys_columns(free):
    """Every other slot belongs to somebody who is not in the step, up to its last column."""
    with captured(free) as graphs:
        batch = RunningBatch(free, guesses=0)
        batch.cache.reserve(rows=8, columns=100)
        others = [batch.cache.slot() for _ in range(4)]
        rows = writers(free, batch)
        assert [row.slot.row for row in rows] == [4, 5, 6, 7]
        torch.manual_seed(0)
        for slot in others:
            slot.length = batch.cache.columns
            (stage,) = batch.cache.caches
            stage.keys_LRNCH[:, slot.row].normal_()
            stage.values_LRNCH[:, slot.row].normal_()
        usable = slice(0, batch.cache.columns)
        before = [part[:4, :, usable].clone() for part in batch.cache.layer(0)]
        batch.run(rows)
        after = [part[:4, :, usable] for part in batch.cache.layer(0)]
    assert graphs.replayed > 0
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other)


def test_a_form_is_captured_only_once_it_has_come_up_some_times(free):
    with captured(free, patience=1000) as graphs:
        written(free)
    assert (graphs.captured, graphs.replayed) == (0, 0)
    with captured(free, patience=3) as graphs:
        written(free)
    assert graphs.captured > 0
    assert graphs.replayed < max(LENGTHS) - 3


def test_a_capture_that_fails_is_told_once_and_costs_nothing(free, caplog):
    def failing(prepare, step):
        prepare()
        step()
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    expected = written(free)
    with captured(free, record=failing) as graphs:
        assert written(free) == expected
    assert graphs.replayed == 0
    assert [record.getMessage() for record in caplog.records] == [
        "steps are computed without CUDA graphs: operation not permitted when stream is capturing"
    ]


def test_steps_with_unread_prompts_and_of_unlike_sampling_are_not_for_a_graph(free):
    with captured(free):
        batch = RunningBatch(free, guesses=0)
        rows = writers(free, batch)
        assert form_of(rows) is None
        for row in rows:
            row.read, row.token = len(row.token_ids), 5
        assert form_of(rows) is not None
        rows[0].goal.config = WARM
        assert form_of(rows) is None


def test_a_form_covers_rows_and_columns_in_buckets(free):
    with captured(free):
        cache = KVCache(free.shape, rows=6, columns=600, captured=True)
        slots = [cache.slot() for _ in range(6)]
        goal = Writing(config=GREEDY, noise_key=("", ""), budget=9, room=9)
        rows = [Row(slot=slot, goal=goal, token_ids=[5]) for slot in slots]
        for row in rows:
            row.read, row.token = 1, 5
        assert (cache.allocated, cache.columns) == (1024, 1016)
        slots[0].length = 511
        assert [form_of(rows[:count]).places for count in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 4, 6, 6]
        assert form_of(rows).columns == 512
        slots[3].length = 512
        assert form_of(rows).columns == 1016
        assert form_of(rows, whole=True).columns == 1024


@pytest.mark.parametrize(
    ("family", "word"), [("gemma2", "capped"), ("qwen3_moe", "experts"), ("qwen3", ""), ("mistral", "")]
)
def test_models_whose_steps_depend_on_more_than_shapes_are_not_captured(family, word):
    reason = unsuited(tiny_model(family))
    assert word in reason
    assert bool(word) == bool(reason)


def test_a_sliding_window_is_kept():
    lm = tiny_model("mistral", sliding_window=8)
    lm.stop_ids = frozenset()
    expected = written(lm)
    with captured(lm) as graphs:
        assert written(lm) == expected
    assert graphs.replayed > 0


def test_a_model_on_a_cpu_has_no_captured_steps(llama, monkeypatch):
    assert llama.graphs is None
    assert "cpu" in why_not(llama)
    monkeypatch.setenv("LATENTMAS_GRAPHS", "0")
    assert why_not(llama) == "LATENTMAS_GRAPHS=0"


def test_prompts_read_from_their_first_position_need_no_mask(free, monkeypatch):
    expected, masks, band_mask = written(free), [], lanes.Lanes._band_mask
    monkeypatch.setattr(lanes, "SHORT", 1)  # else prompts of a few positions are read as blocks
    monkeypatch.setattr(lanes.Lanes, "_band_mask", lambda *given: masks.append(given) or band_mask(*given))
    assert written(free) == expected
    assert masks
    masks.clear()
    monkeypatch.setattr(lanes, "SKIPPING", frozenset({"cpu"}))
    assert written(free) == expected
    assert not masks


def reference(query_BQH, keys_RNCH, values_RNCH, position_B, *, scale=None, window=None):
    """What our kernel computes, in plain operations."""
    places, queries, size = query_BQH.shape
    group = queries // keys_RNCH.shape[1]
    keys_BQCH, values_BQCH = (part[:places].repeat_interleave(group, dim=1) for part in (keys_RNCH, values_RNCH))
    scores_BQC = torch.einsum("bqh,bqch->bqc", query_BQH, keys_BQCH) * (scale or size**-0.5)
    column_C = torch.arange(keys_RNCH.shape[2])
    read_BC = (column_C <= position_B[:, None]) & (column_C > position_B[:, None] - (window or 10**9))
    weights_BQC = scores_BQC.masked_fill(~read_BC[:, None], float("-inf")).softmax(dim=-1)
    return torch.einsum("bqc,bqch->bqh", weights_BQC, values_BQCH)


@pytest.mark.parametrize("family", ["qwen3", "mistral"])
def test_a_kernel_that_needs_no_mask_gets_the_whole_cache_and_leads_to_the_same_text(family):
    lm = tiny_model(family, sliding_window=8) if family == "mistral" else tiny_model(family)
    lm.stop_ids = frozenset()
    expected, widths = written(lm), set()

    def split(query_BQH, keys_RNCH, *rest, **options):
        widths.add(keys_RNCH.shape[2])
        return reference(query_BQH, keys_RNCH, *rest, **options)

    lm.graphs = StepGraphs(recorder, patience=0, find=lambda _: split)
    assert written(lm) == expected
    assert lm.graphs.replayed > 0
    assert widths == {512}


def test_a_kernel_is_used_only_if_it_finds_what_torchs_does(lm):
    assert agrees(reference, lm)
    assert not agrees(lambda *given, **options: reference(*given, **{**options, "window": 5}), lm)
    assert not agrees(lambda *given, **options: reference(*given, **options) * float("nan"), lm)
    assert split_for(lm) is None, "on a CPU there is none"


def test_a_kernel_is_tried_on_keys_that_lie_as_they_do_in_a_cache(lm):
    orders = set()

    def split(query_BQH, keys_RNCH, values_RNCH, *rest, **options):
        orders.update(part.dim_order() for part in (keys_RNCH, values_RNCH))
        return reference(query_BQH, keys_RNCH, values_RNCH, *rest, **options)

    assert agrees(split, lm)
    assert orders == {part.dim_order() for part in lm.cache(rows=4, columns=300).layer(0)}
