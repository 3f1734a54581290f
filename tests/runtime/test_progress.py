"""Progress: of one run, and of several as one."""

import re

import pytest

from pipeline.runtime.progress import Lines, Share, Whole, in_minutes, progress, progress_of_all

SHARES = [
    Share(title=f"cell {i}/3 {name}", size=10, before=b) for i, name, b in ((1, "a", 10), (2, "b", 4), (3, "c", 2))
]


class Board:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def __call__(self, done, note):
        self.told.append((done, note))

    def name(self, title):
        self.told.append(title)

    def say(self, text):
        self.told.append(f"said {text}")


class Clock:
    """Is set by hand."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def lines():
    shown, clock = [], Clock()
    report = Lines(shown.append, "cell 1/2 a", 200, clock)

    def tell(seconds, done, note=""):
        clock.now += seconds
        report(done, note)
        return shown

    tell.report = report
    return tell


def test_questions_of_all_runs_are_counted_whichever_is_under_way():
    board = Board()
    whole = Whole(board, SHARES)
    with whole.part(0):
        pass
    with whole.part(1) as report:
        report(7, "fine")
        report.say("hello")
    with whole.part(2) as report:
        report(2, "")
    assert board.told == [
        *("cell 1/3 a", (16, "")),
        *("cell 2/3 b", (19, "fine"), "said hello", (22, "")),
        *("cell 3/3 c", (22, ""), (30, "")),
    ]


def test_a_run_that_failed_is_past_and_one_that_is_stopped_stays_where_it_is():
    board = Board()
    whole = Whole(board, SHARES)
    with whole.part(1) as report:
        report(5, "")  # and no more
    assert board.told[-1] == (22, "")
    with pytest.raises(KeyboardInterrupt), whole.part(2):
        raise KeyboardInterrupt
    assert board.told[-1] == "cell 3/3 c"


def test_without_a_terminal_there_is_a_line_now_and_then(lines):
    assert lines(0, 10, "good") == ["cell 1/2 a: 10/200, good"]
    assert len(lines(9, 20)) == 1
    assert lines(1, 30)[1:] == ["cell 1/2 a: 30/200, about 85 s left"]


def test_the_time_left_is_reckoned_over_all_runs_from_what_was_done_here(lines):
    lines(0, 100)  # of which nobody knows how long it took
    lines.report.name("cell 2/2 b")
    assert lines(3600, 110)[-1] == "cell 2/2 b: 110/200, about 9.0 h left"


def test_the_end_is_told_once_and_without_delay(lines):
    lines(0, 10)
    lines(1, 200)
    assert lines(1, 200)[1:] == ["cell 1/2 a: 200/200"]


def test_a_run_by_itself_says_what_it_is(capsys):
    with progress("single on demo", 3) as report:
        report(3, "done")
    assert capsys.readouterr().err == "single on demo: 3 questions; getting ready\nsingle on demo: 3/3, done\n"


def test_runs_that_were_finished_before_are_counted_and_said(capsys):
    with progress_of_all(SHARES) as whole, whole.part(2) as report:
        report(9, "nice")
    assert capsys.readouterr().err.splitlines() == [
        "3 runs: 30 questions, 16 of them answered before; getting ready",
        "1 of 3 runs was finished before",
        "cell 3/3 c: 29/30, nice",
        "cell 3/3 c: 30/30",
    ]


def test_a_terminal_has_one_bar_that_names_what_is_under_way(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    with progress_of_all(SHARES) as whole, whole.part(1) as report:
        report(6, "half right")
        report.say("[a word]")
    last = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", capsys.readouterr().err).partition("[a word]")[2]
    assert re.search(r"cell 2/3 b ━+[╸╺]?━* 22/30 ", last)


@pytest.mark.parametrize(("seconds", "words"), [(3.4, "3 s"), (89, "89 s"), (120, "2 min"), (7200, "2.0 h")])
def test_times_are_said_as_people_say_them(seconds, words):
    assert in_minutes(seconds) == words
