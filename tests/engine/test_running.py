"""The running batch: what a question gets does not depend on who is beside it, who comes, who leaves, or on chunks."""

import random
from itertools import pairwise

import pytest
import torch

from pipeline.config import DecodingConfig
from pipeline.engine import Reading, Row, RunningBatch, Thinking, Writing, build_alignment, guessing
from pipeline.memory import Memory
from tiny import tiny_model

PROMPTS = [[5, 9, 11, 30, 31], [7], list(range(10, 50)), [20, 21, 22, 23], [60], list(range(90, 70, -1))]
BUDGETS = (9, 1, 14, 30, 3, 22)
DECODING = DecodingConfig(temperature=1.2, seed=4)


@pytest.fixture(scope="module", params=["llama", "gemma3", "llama one by one"])
def lm(request):
    made = tiny_model(request.param.split()[0], packs="one by one" not in request.param)
    made.stop_ids = frozenset(range(3, 9))
    return made


@pytest.fixture(scope="module")
def alignment(lm):
    return build_alignment("ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())


def writer(batch, place, **more):
    goal = Writing(config=DECODING, noise_key=(f"q{place}", "solver"), budget=BUDGETS[place], room=1000)
    return Row(slot=batch.cache.slot(), goal=goal, token_ids=PROMPTS[place], **more)


def thinker(batch, place, alignment, steps=4, **more):
    goal = Thinking(alignment=alignment, steps=steps, keep=True)
    return Row(slot=batch.cache.slot(), goal=goal, token_ids=PROMPTS[place], **more)


def alone(lm, place):
    batch = RunningBatch(lm)
    row = writer(batch, place)
    batch.run([row])
    return row.goal.token_ids, row.goal.finish


@pytest.fixture(scope="module")
def expected(lm):
    return [alone(lm, place) for place in range(len(PROMPTS))]


def told(rows):
    return [(row.goal.token_ids, row.goal.finish) for row in rows]


def test_questions_write_beside_each_other_what_they_write_alone(lm, expected):
    batch = RunningBatch(lm)
    rows = [writer(batch, place) for place in range(len(PROMPTS))]
    batch.run(rows)
    assert told(rows) == expected
    assert len({len(ids) for ids, _ in expected}) > 2


@pytest.mark.parametrize("seed", range(4))
def test_questions_that_enter_and_leave_in_the_middle_change_nobodys_text(lm, expected, alignment, seed):
    """Readers, thinkers and writers come at random moments; slots of those who left are taken again."""
    chosen, batch = random.Random(seed), RunningBatch(lm, read_at_once=chosen_width(seed))
    coming = [*range(len(PROMPTS))] * 2
    chosen.shuffle(coming)
    rows, beside = [], []
    while coming or batch.rows:
        if coming and len(batch.rows) < 5 and chosen.random() < 0.5:
            rows.append((coming[-1], writer(batch, coming.pop())))
            batch.add(rows[-1][1])
        if coming and len(batch.rows) < 7 and chosen.random() < 0.3:
            batch.add(thinker(batch, chosen.randrange(6), alignment, steps=chosen.randint(0, 3)))
        for row in batch.step():
            if isinstance(row.goal, Writing):  # its slot goes to whoever comes next
                beside.append(row.slot.row)
                row.slot = None
    assert [(ids, finish) for _, row in rows for ids, finish in told([row])] == [expected[p] for p, _ in rows]
    assert len(set(beside)) < len(beside)


def chosen_width(seed):
    return (1, 3, 17, None)[seed]


@pytest.mark.parametrize("read_at_once", [1, 2, 5, 39, 40, 41])
def test_prompts_are_read_in_chunks_as_they_are_at_once(lm, expected, read_at_once):
    batch = RunningBatch(lm, read_at_once=read_at_once)
    rows = [writer(batch, place) for place in range(len(PROMPTS))]
    batch.run(rows)
    assert told(rows) == expected
    written = sum(len(ids) - 1 for ids, _ in expected)  # the last token of each is fed to nobody
    assert batch.tally.positions == sum(map(len, PROMPTS)) + written
    assert batch.tally.decoded == written


def test_no_step_reads_more_than_it_may_and_those_who_write_do_not_wait(lm):
    batch = RunningBatch(lm, read_at_once=4)
    rows = [writer(batch, place) for place in range(len(PROMPTS))]
    for row in rows:
        batch.add(row)
    sizes, written = [], []
    while batch.rows or not sizes:
        before = batch.tally.positions, batch.tally.decoded
        batch.step()
        sizes.append(batch.tally.positions - before[0] - (batch.tally.decoded - before[1]))
        written.append(len(rows[0].goal.token_ids))
    assert max(sizes) == 4
    first = written.index(1)
    assert all(b == a + 1 for a, b in pairwise(written[first : first + len(rows[0].goal.token_ids)]))


def foretelling(batch, texts, chosen):
    """Makes a batch guess what texts will be, now and then with something wrong in it."""

    def guess(past, most):
        text = next(ids for ids in texts if ids[: past.written] == past.ids[len(past.ids) - past.written :])
        ahead = [*text[past.written :], 70, 71, 72][: max(0, min(most, chosen.randint(0, 8)))]
        wrong = chosen.randrange(12)
        return [token + 1 if place == wrong else token for place, token in enumerate(ahead)]

    batch._guesser.guess = guess


@pytest.mark.parametrize("seed", range(4))
def test_guesses_right_or_wrong_change_nobodys_text(lm, expected, alignment, seed):
    """Beside readers and thinkers; texts end with a stop token or their budget, in the middle of guesses as well."""
    chosen, batch = random.Random(seed), RunningBatch(lm, read_at_once=chosen_width(seed))
    foretelling(batch, [ids for ids, _ in expected], chosen)
    rows = [writer(batch, place) for place in range(len(PROMPTS))]
    thoughts = thinker(batch, 4, alignment, steps=9)
    batch.run([*rows, thoughts])
    assert told(rows) == expected
    for place, row in enumerate(rows):  # nothing of a wrong guess counts as memory, and the last token is fed to nobody
        assert row.slot.length == len(PROMPTS[place]) + len(expected[place][0]) - 1
    tally, written = batch.tally, sum(len(ids) - 1 for ids, _ in expected)
    assert tally.guessed > tally.right > 5
    assert tally.decoded + tally.right == written + 9
    assert tally.positions == sum(map(len, PROMPTS)) + len(PROMPTS[4]) + tally.decoded + tally.guessed


@pytest.mark.parametrize(("guesses", "room"), [(0, 128), (3, 128), (8, 128), (8, 20), (8, 3)])
def test_tokens_are_drawn_after_no_more_positions_than_are_foretold(lm, expected, monkeypatch, guesses, room):
    monkeypatch.setitem(guessing.ROOM, "cpu", room)
    batch, drawn, logits = RunningBatch(lm, guesses=guesses), [], lm.logits
    monkeypatch.setattr(lm, "logits", lambda hidden_SD: drawn.append(len(hidden_SD)) or logits(hidden_SD))
    foretelling(batch, [ids for ids, _ in expected], random.Random(3))
    batch.run([writer(batch, place) for place in range(len(PROMPTS))])
    most = guessing.most_drawn(len(PROMPTS), "cpu", guesses)
    assert max(drawn) <= most <= max(len(PROMPTS), room)
    assert (most > len(PROMPTS)) == (max(drawn) > len(PROMPTS))


def test_what_is_in_memory_after_guesses_is_what_there_would_be_without(lm, expected):
    held = []
    for guesses in (0, 8):
        batch = RunningBatch(lm, guesses=guesses)
        if guesses:
            foretelling(batch, [ids for ids, _ in expected], random.Random(3))
        row = writer(batch, 5)
        batch.run([row])
        keys_LNCH = batch.cache.caches[0].keys_LRNCH[:, row.slot.row, :, : row.slot.length]
        held.append((keys_LNCH.clone(), row.hidden_D))
    torch.testing.assert_close(held[1][0], held[0][0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(held[1][1], held[0][1], atol=1e-4, rtol=1e-4)


def test_nothing_is_guessed_where_it_is_not_wanted_or_a_step_has_no_room(lm, expected, monkeypatch):
    for settings, room in (({"guesses": 0}, 128), ({}, 1)):
        monkeypatch.setitem(guessing.ROOM, "cpu", room)
        batch = RunningBatch(lm, **settings)
        foretelling(batch, [ids for ids, _ in expected], random.Random(3))
        rows = [writer(batch, place) for place in range(len(PROMPTS))]
        batch.run(rows)
        assert told(rows) == expected
        assert batch.tally.guessed == 0


def test_who_watches_is_told_of_every_token_once_and_in_order(lm, expected):
    seen, batch = [], RunningBatch(lm)
    foretelling(batch, [ids for ids, _ in expected], random.Random(5))
    row = writer(batch, 3)
    row.goal.watch = seen.append
    batch.run([row])
    assert seen == expected[3][0]


def test_a_model_that_repeats_itself_is_guessed_and_needs_fewer_steps():
    """With the real guesser: without attention what comes next hangs on one token, so greedy texts end in circles."""
    lm = tiny_model("llama")
    for layer in lm.decoder.layers:
        layer.self_attn.o_proj.weight.data.zero_()
    greedy = DecodingConfig(temperature=0.0)
    texts, tallies = [], []
    for guesses in (0, 8):
        batch = RunningBatch(lm, guesses=guesses)
        goals = [Writing(config=greedy, noise_key=("q", "s"), budget=60, room=1000) for _ in range(2)]
        prompts = [[30, 31, 32] * 12, [40, 41] * 15]
        rows = [Row(slot=batch.cache.slot(), goal=g, token_ids=p) for g, p in zip(goals, prompts, strict=True)]
        batch.run(rows)
        texts.append(told(rows))
        tallies.append(batch.tally)
    assert texts[0] == texts[1]
    assert tallies[1].right > 0
    assert tallies[1].steps < tallies[0].steps


def test_thoughts_beside_writers_are_the_thoughts_alone(lm, alignment):
    by_itself = RunningBatch(lm)
    one = thinker(by_itself, 2, alignment)
    by_itself.run([one])
    batch = RunningBatch(lm, read_at_once=6)
    rows = [writer(batch, 3), thinker(batch, 2, alignment), writer(batch, 5), thinker(batch, 0, alignment, steps=9)]
    batch.run(rows)
    torch.testing.assert_close(torch.stack(rows[1].goal.latents), torch.stack(one.goal.latents), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rows[1].hidden_D, one.hidden_D, atol=1e-4, rtol=1e-4)
    assert (rows[1].slot.length, rows[3].slot.length) == (40 + 4, 5 + 9)


def test_without_latent_steps_a_prompt_is_read_and_no_more(lm, alignment):
    batch = RunningBatch(lm)
    row = thinker(batch, 0, alignment, steps=0)
    batch.run([row])
    assert (row.slot.length, row.goal.latents, batch.tally.positions) == (5, [], 5)
    read = Row(slot=batch.cache.slot(), goal=Reading(), token_ids=PROMPTS[0])
    batch.run([read])
    torch.testing.assert_close(row.hidden_D, read.hidden_D)


def test_who_comes_with_a_hidden_state_goes_on_from_it_without_reading(lm, expected, alignment):
    batch = RunningBatch(lm)
    read = Row(slot=batch.cache.slot(), goal=Reading(), token_ids=PROMPTS[2])
    batch.run([read])
    goal = Writing(config=DECODING, noise_key=("q2", "solver"), budget=BUDGETS[2], room=1000)
    row, other = Row(slot=read.slot, goal=goal, hidden_D=read.hidden_D), writer(batch, 0)
    nothing = Row(slot=batch.cache.slot(), goal=Thinking(alignment=alignment, steps=0), hidden_D=read.hidden_D)
    batch.run([row, other, nothing])
    assert told([row, other]) == [expected[2], expected[0]]
    assert torch.equal(nothing.hidden_D, read.hidden_D)
    assert nothing.slot.length == 0


def test_a_question_with_nothing_to_go_on_from_is_refused(lm):
    batch = RunningBatch(lm)
    with pytest.raises(AssertionError, match="something to read or to go on from"):
        batch.run([Row(slot=batch.cache.slot(), goal=Reading())])


def test_those_that_are_done_leave_at_once_and_nobody_writes_to_their_slots(lm):
    batch = RunningBatch(lm)
    rows = [writer(batch, place) for place in range(len(PROMPTS))]
    for row in rows:
        batch.add(row)
    assert all(row.slot.taken for row in rows)
    gone = []
    while len(gone) < len(rows):
        left = batch.step()
        assert all(row.done and row not in batch.rows and not row.slot.taken for row in left)
        gone += left
    lengths = [row.slot.length for row in rows]
    batch.run([writer(batch, 2)])
    assert [row.slot.length for row in rows] == lengths


def test_questions_of_different_sampling_go_side_by_side(lm, expected):
    batch = RunningBatch(lm)
    greedy = [
        Row(
            slot=batch.cache.slot(),
            goal=Writing(config=DecodingConfig(temperature=0), noise_key=("g", ""), budget=6, room=room),
            token_ids=prompt,
        )
        for prompt, room in ((PROMPTS[0], 100), (PROMPTS[3], 4))
    ]
    rows = [writer(batch, place) for place in (0, 2)]
    batch.run([rows[0], greedy[0], rows[1], greedy[1]])
    assert told(rows) == [expected[0], expected[2]]
    for row in greedy:
        batch = RunningBatch(lm)
        goal = Writing(config=DecodingConfig(temperature=0), noise_key=("g", ""), budget=6, room=row.goal.room)
        batch.run([Row(slot=batch.cache.slot(), goal=goal, token_ids=row.token_ids)])
        assert (goal.token_ids, goal.finish) == (row.goal.token_ids, row.goal.finish)
    assert greedy[1].goal.finish in ("context", "stop")


def test_what_a_question_leaves_in_its_slot_does_not_reach_the_next_one(lm, expected):
    """Even numbers that are none, which a broken device or half precision leaves: a masked NaN would still be one."""
    batch = RunningBatch(lm)
    broken = [writer(batch, place) for place in (2, 2, 2)]
    batch.run(broken)
    for slot in [row.slot for row in broken]:
        for cache in batch.cache.caches:
            cache.keys_LRNCH[:, slot.row, :, : slot.length] = float("nan")
            cache.values_LRNCH[:, slot.row, :, : slot.length] = float("inf")
    del broken, slot
    assert batch.cache.busy == 0
    rows = [writer(batch, place) for place in (0, 2, 3)]
    batch.run(rows)
    assert told(rows) == [expected[0], expected[2], expected[3]]


def test_a_slot_of_another_memory_is_read_like_its_own(lm, expected):
    """Rows whose memory is in place and rows whose memory was brought go on side by side."""
    batch = RunningBatch(lm)
    first = Row(slot=batch.cache.slot(), goal=Reading(), token_ids=PROMPTS[2][:30])
    batch.run([first])
    made = {"role": "r", "question_id": "q", "fingerprint": lm.fingerprint, "latent_steps": 0}
    memory = Memory.of([first.slot.cut(0, **made)])
    first.slot.taken = True
    slots = [first.slot, batch.cache.open(memory, columns=10, move=lm.move)]
    assert slots[0] is not slots[1]
    rows = [
        Row(
            slot=slot,
            goal=Writing(config=DECODING, noise_key=("q2", "solver"), budget=BUDGETS[2], room=1000),
            token_ids=PROMPTS[2][30:],
        )
        for slot in slots
    ]
    batch.run(rows)
    assert told(rows) == [expected[2]] * 2


def test_rows_whose_step_fails_are_taken_out_so_that_later_ones_are_computed(lm, monkeypatch):
    batch = RunningBatch(lm)
    monkeypatch.setattr(lm, "embed", lambda _: (_ for _ in ()).throw(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        batch.run([Row(slot=batch.cache.slot(), goal=Reading(), token_ids=[5, 6, 7])])
    monkeypatch.undo()
    row = Row(slot=batch.cache.slot(), goal=Reading(), token_ids=[5, 6, 7])
    batch.run([row])
    assert row.done
    assert batch.tally.positions == 3  # nothing of what had failed
