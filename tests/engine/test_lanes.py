"""Lanes: whatever lies side by side in one forward, every position sees its own slot up to itself, and nothing else."""

import random

import pytest
import torch

from pipeline.engine import lanes as lanes_module
from pipeline.engine.attention import Kernel, on_lanes
from pipeline.engine.lanes import Lanes
from pipeline.memory import KVCache, KVShape, Memory
from tiny import FAMILIES, tiny_model

HEADS, GROUPS, SIZE, VALUES = 2, 3, 4, 6
SHAPE = KVShape(
    layers=3, heads=HEADS, key_size=SIZE, value_size=VALUES, dtype=torch.float32, device=torch.device("cpu")
)
MIXES = {
    "singles beside each other": ({0: 1, 1: 1, 2: 1}, {}),
    "singles with gaps": ({0: 1, 2: 1, 3: 1, 6: 1}, {}),
    "long alone": ({4: 7}, {}),
    "long, in any order of rows": ({5: 3, 1: 8, 3: 2}, {"SHORT": 1}),
    "short of unequal lengths": ({1: 3, 2: 1, 3: 8, 4: 2, 6: 5, 7: 5}, {}),
    "short in blocks of two": ({1: 3, 2: 1, 3: 8, 4: 2}, {"WASTE": 2000}),
    "mixed": ({1: 1, 2: 4, 6: 1, 5: 20, 0: 17}, {}),
    "mixed, where no more than one is short": ({1: 1, 2: 1, 6: 1, 5: 4, 0: 9}, {"SHORT": 1}),
    "long ones in bands": ({2: 2, 1: 20, 0: 17, 3: 24}, {"BAND": {"cpu": 8}}),
    "more singles than a block": (dict.fromkeys(range(12), 1), {"WASTE": 2000}),
    "blocks of one": (dict.fromkeys(range(4), 1), {"WASTE": -1}),
}


def filled(rows, most=0):
    """A cache full of numbers, and slots of unequal lengths: what lies behind a slot's end is left from somebody."""
    generator = torch.Generator().manual_seed(0)
    cache = KVCache(SHAPE, rows=rows, columns=48, most=most)
    cache.caches[0].keys_LRNCH.normal_(generator=generator)
    cache.caches[0].values_LRNCH.normal_(generator=generator)
    slots = [cache.slot() for _ in range(rows)]
    for slot in slots:
        slot.length = (slot.row * 5) % 17
    return cache, slots


def by_definition(query_QH, keys_NCH, values_NCH, own, window, softcap):
    """Attention of one position, head by head."""
    first = 0 if window is None else max(0, own - window + 1)
    heads = []
    for head, query_H in enumerate(query_QH):
        keys_CH, values_CH = (tensor[head // GROUPS, first : own + 1] for tensor in (keys_NCH, values_NCH))
        scores_C = keys_CH @ query_H * SIZE**-0.5
        if softcap:
            scores_C = torch.tanh(scores_C / softcap) * softcap
        heads.append(scores_C.softmax(0) @ values_CH)
    return torch.stack(heads)


@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("most", [0, 64], ids=["layer after layer", "row after row"])
def test_attention_of_lanes_is_attention_by_its_definition(mix, window, softcap, most, monkeypatch):
    counts, constants = MIXES[mix]
    for name, value in constants.items():
        monkeypatch.setattr(lanes_module, name, value)
    cache, slots = filled(max(counts) + 1, most)
    lanes = Lanes([(slots[row], count) for row, count in counts.items()], window=window)
    total = sum(counts.values())
    query_1QSH = torch.randn(1, HEADS * GROUPS, total, SIZE)
    keys_1NSH, values_1NSH = (torch.randn(1, HEADS, total, size) for size in (SIZE, VALUES))
    keys_RNCH, values_RNCH = cache.layer(1)
    all_LRNCH = cache.caches[0].keys_LRNCH, cache.caches[0].values_LRNCH
    expected_LRNCH = [tensor.clone() for tensor in all_LRNCH]
    lanes.write(keys_RNCH, keys_1NSH)
    lanes.write(values_RNCH, values_1NSH)
    kernel = Kernel(scale=None, softcap=softcap)
    found_1SQH = lanes.attend(query_1QSH, keys_RNCH, values_RNCH, kernel)
    place = 0
    for row, count in counts.items():
        start = slots[row].length
        for expected, new_1NSH in zip(expected_LRNCH, (keys_1NSH, values_1NSH), strict=True):
            expected[1, row, :, start : start + count] = new_1NSH[0, :, place : place + count]
        for own in range(start, start + count):
            expected_QH = by_definition(query_1QSH[0, :, place], keys_RNCH[row], values_RNCH[row], own, window, softcap)
            torch.testing.assert_close(found_1SQH[0, place], expected_QH, atol=1e-5, rtol=1e-4)
            assert lanes.positions_S[place] == own
            place += 1
    for written, expected in zip(all_LRNCH, expected_LRNCH, strict=True):
        assert torch.equal(written, expected)  # and nothing else, in no other layer


@pytest.mark.parametrize("order", [[(2, 1), (1, 5)], [(1, 1), (1, 1)], [(1, 17), (2, 1)]], ids=str)
def test_lanes_out_of_order_are_refused(order):
    _, slots = filled(4)
    with pytest.raises(AssertionError, match="lane"):
        Lanes([(slots[row], count) for row, count in order])


def test_slots_grow_by_what_their_lanes_got_and_by_nothing_else():
    _, slots = filled(4)
    before = [slot.length for slot in slots]
    lanes = Lanes([(slots[1], 1), (slots[3], 1), (slots[0], 18)])
    lanes.advance()
    after = [slot.length for slot in slots]
    assert [new - old for new, old in zip(after, before, strict=True)] == [18, 1, 0, 1]


def test_a_forward_that_fails_leaves_no_lanes_behind(llama):
    """Else the model's own forward would go on reading slots."""
    ids = torch.tensor([[5, 6, 7]])
    expected = llama.causal_lm(input_ids=ids).logits
    slot = llama.open([Memory()], columns=3)[0]
    with pytest.raises(RuntimeError, match="in between"), on_lanes(Lanes([(slot, 3)])):
        raise RuntimeError("in between")
    assert torch.equal(llama.causal_lm(input_ids=ids).logits, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_together_and_one_by_one_have_the_same_hidden_states(family):
    """Over many steps of random chunks: questions read, think and rest in any mix, with windows that they outgrow."""
    hidden = []
    for packs in (True, False):
        lm, chosen = tiny_model(family, packs=packs), random.Random(1)
        slots, found = lm.open([Memory()] * 6, columns=330), []
        for _ in range(30):
            rows = chosen.sample(range(6), chosen.randint(1, 6))
            counts = {row: chosen.choice([1, 1, 1, 2, 5, 20]) for row in rows}
            ordered = sorted(row for row in rows if counts[row] < 20) + [row for row in rows if counts[row] == 20]
            ids = [chosen.randrange(3, 90) for row in ordered for _ in range(counts[row])]
            found.append(lm.forward(Lanes([(slots[r], counts[r]) for r in ordered]), lm.embed(torch.tensor(ids))))
        assert len({slot.length for slot in slots}) > 3
        assert max(slot.length for slot in slots) > 24  # the window of those that have one
        hidden.append(torch.cat(found))
    torch.testing.assert_close(hidden[0], hidden[1], atol=1e-4, rtol=1e-4)
