"""Memory of a cache: on a CPU what is written to is taken and given back; elsewhere all, and growing moves it."""

import mmap
import runpy
import sys

import pytest
import torch

from pipeline.agents.resident import SELF
from pipeline.memory import KVCache, KVShape
from pipeline.memory.backing import LazyBacking

MIB = 2**20
CPU = torch.device("cpu")
SHAPE = KVShape(layers=4, heads=2, key_size=64, value_size=64, dtype=torch.float32, device=CPU)
ODD = KVShape(layers=3, heads=2, key_size=3, value_size=5, dtype=torch.float32, device=CPU)


def resident() -> int:
    return int((SELF / "statm").read_text().split()[1]) * mmap.PAGESIZE


def fill(slot, columns):
    slot.reserve(columns)
    here = slice(slot.length, slot.length + columns)
    shape = slot.cache.shape
    ones = [torch.ones(shape.layers, shape.heads, columns, size) for size in (shape.key_size, shape.value_size)]
    slot.write(here, *ones)
    slot.length += columns


@pytest.fixture
def stingy(monkeypatch):
    """A system that lends no addresses."""

    def refused(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("pipeline.memory.backing.mmap.mmap", refused)


def test_room_for_the_longest_slots_takes_no_memory_before_it_is_written_to():
    before = resident()
    cache = KVCache(SHAPE, most=1 << 20)
    slot = cache.slot()
    slot.reserve(1 << 20)  # 4 GiB in this slot alone
    assert resident() - before < 64 * MIB
    assert cache.columns == 1 << 20


def test_what_a_slot_takes_is_what_was_written_and_goes_back_with_the_slot():
    cache = KVCache(SHAPE, most=1 << 16)
    slot = cache.slot()
    before = resident()
    fill(slot, 20_000)
    assert cache.nbytes == 20_000 * SHAPE.bytes_per_position
    assert resident() - before > 0.9 * cache.nbytes
    del slot
    assert cache.nbytes == 0
    assert resident() - before < 16 * MIB


def test_a_cache_with_room_grows_where_it_lies():
    cache = KVCache(SHAPE, most=4096)
    slot = cache.slot()
    fill(slot, 10)
    place = cache.layer(0)[0].data_ptr()
    segment = slot.cut(0, role="r", question_id="q", fingerprint="f", latent_steps=0)
    cache.reserve(rows=50, columns=3000)
    assert cache.layer(0)[0].data_ptr() == place == segment.keys_LNTH.data_ptr()
    assert cache.layer(3)[1].shape == (50, 2, 3000, 64)


def test_a_cache_moves_when_it_needs_more_than_it_has_room_for():
    cache = KVCache(ODD, most=100)
    slot = cache.slot()
    fill(slot, 90)
    slot.reserve(5000)
    keys, values = cache.layer(2)
    assert (keys[slot.row, :, :90] == 1).all()
    assert (values[slot.row, :, :90] == 1).all()
    assert not keys[slot.row, :, 90:].any()


@pytest.mark.parametrize("shape", [SHAPE, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("lent", [True, False], ids=["lent", "not lent"])
def test_a_row_that_was_given_away_is_zeros_for_the_next_one(shape, lent, request):
    if not lent:
        request.getfixturevalue("stingy")
    cache = KVCache(shape, rows=2, columns=8, most=64)
    first, second = cache.slot(), cache.slot()
    fill(first, 40)
    fill(second, 40)
    del first
    again = cache.slot()
    assert again.row == 0
    keys, values = cache.layer(0)
    assert not keys[0].any()
    assert not values[0].any()
    assert (keys[1, :, :40] == 1).all()


def test_where_no_addresses_are_lent_only_what_is_needed_is_taken(stingy):
    cache = KVCache(SHAPE, most=1 << 40)
    slot = cache.slot()
    fill(slot, 10)
    assert cache.nbytes == 10 * SHAPE.bytes_per_position
    fill(slot, 1)
    assert cache.columns == 266
    assert (cache.layer(1)[0][slot.row, :, :11] == 1).all()


def test_a_cache_that_grew_in_inference_mode_can_be_written_to_outside_of_it():
    for most in (0, 4096):
        with torch.inference_mode():
            cache = KVCache(SHAPE, most=most)
            slot = cache.slot()
            slot.reserve(4)
        fill(slot, 4)
        assert (cache.layer(0)[0][slot.row, :, :4] == 1).all()


def test_a_kernel_without_huge_pages_lends_addresses_as_well(monkeypatch):
    class Pages(mmap.mmap):
        def madvise(self, option, *where):
            if option == mmap.MADV_NOHUGEPAGE:
                raise OSError(22, "Invalid argument")
            return super().madvise(option, *where)

    monkeypatch.setattr("pipeline.memory.backing.mmap.mmap", Pages)
    cache = KVCache(SHAPE, most=1 << 20)
    slot = cache.slot()
    fill(slot, 10)
    assert cache.columns < 1 << 20 < cache.caches[0]._keys.data_LRNCH.shape[3] + 1
    del slot
    assert cache.nbytes == 0


def test_addresses_are_lent_on_linux_alone(monkeypatch):
    """Elsewhere the flag is another one, and rows that were given back would not be zeros."""
    monkeypatch.setattr("sys.platform", "darwin")
    assert runpy.run_path(sys.modules[LazyBacking.__module__].__file__)["NORESERVE"] == 0


def test_rows_of_more_elements_than_32_bits_count_are_read_and_written_where_they_are():
    narrow = KVShape(layers=2, heads=2, key_size=64, value_size=64, dtype=torch.float32, device=CPU)
    cache = KVCache(narrow, most=1 << 25)
    slots = [cache.slot() for _ in range(3)]
    for number, slot in enumerate(slots):
        slot.reserve((1 << 25) - 8 * number)
        slot.length = slot.reserved - 4
        values = torch.full((2, 2, 4, 64), float(number + 1))
        slot.write(slice(slot.length, slot.reserved), values, -values)
    keys, values = cache.layer(1)
    assert keys.stride(0) > 2**32
    for number, slot in enumerate(slots):
        assert (keys[slot.row, :, slot.length : slot.reserved] == number + 1).all()
        assert (values[slot.row, :, slot.length : slot.reserved] == -number - 1).all()
        assert not keys[slot.row, :, slot.length - 4 : slot.length].any()
