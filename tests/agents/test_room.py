"""How many questions there is room for: halved when memory runs out, and slowly raised again."""

import pytest

from pipeline.agents.room import CAUTION, PATIENCE, Room


def until_more(room, most=10**4):
    """How many questions end before more are worked on at once."""
    before = room.at_once
    for count in range(1, most):
        room.ended(1)
        if room.at_once != before:
            return count
    return None


@pytest.mark.parametrize("at_once", [None, 64])
def test_after_memory_ran_out_numbers_double_until_all_is_as_it_was(at_once):
    room = Room(at_once)
    room.ran_out(12)
    seen = [room.at_once]
    while until_more(room):
        seen.append(room.at_once)
    assert seen == ([6, None] if at_once is None else [6, 12, 24, 48, 64])


def test_a_number_is_kept_for_at_least_a_round_of_questions():
    room = Room(200)
    room.ran_out(3)
    waits = []
    while (wait := until_more(room)) is not None:
        waits.append(wait)
    assert waits == [PATIENCE] * 5 + [32, 64, 128]


def test_who_tried_more_too_early_waits_longer_the_next_time():
    room = Room(8)
    room.ran_out(8)
    assert until_more(room) == PATIENCE
    room.ran_out(8)
    assert until_more(room) == CAUTION * PATIENCE
    room.ran_out(8)
    room.ran_out(4)  # that was not early, but still too many
    assert until_more(room) == CAUTION**2 * PATIENCE


def test_trouble_on_the_way_begins_the_wait_anew():
    room = Room(8)
    room.ran_out(8)
    room.ended(PATIENCE - 1)
    room.failed()
    assert until_more(room) == PATIENCE


def test_one_notice_a_time_that_memory_runs_out_and_one_that_it_suffices_again():
    room, told = Room(64), []
    for _ in range(3):
        told.append(room.ran_out(8))
        told += [room.ended(1) for _ in range(2000)]
        assert room.at_once == 64
    words = [word for word in told if word]
    assert words[0] == "memory ran out with 8 questions at once; going on with 4"
    assert words[1].startswith("memory has sufficed since, with 4 at once")
    assert words[2:] == words[:1] * 2


def test_where_memory_never_ran_out_nothing_changes():
    for at_once in (None, 3):
        room = Room(at_once)
        assert [room.ended(5) for _ in range(50)] == [""] * 50
        assert room.at_once == at_once
