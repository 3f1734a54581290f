"""progress.jsonl: how a run went, over all attempts at it."""

from dataclasses import replace

import pytest

from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.reports import summarize
from pipeline.runtime import history
from pipeline.runtime.history import Tally, add_point, read_points
from pipeline.runtime.results import RunFolder
from pipeline.tracking import Point
from trackers import asked, row


@pytest.fixture
def folder(tmp_path):
    config = RunConfig()
    return RunFolder.create(tmp_path / "run", config, plan_for(config.collaboration))


def test_the_last_point_says_what_the_run_reports_also_after_a_resume():
    first, second, third = (row(one) for one in asked(3))
    later = [replace(one, attempt=2, started=900.0 + n, finished=903.0 + n) for n, one in enumerate((second, third))]
    wrong = replace(later[1], correct=False)
    tally = Tally([first])
    tally.add(later[:1])
    tally.add([wrong])
    rows = [first, later[0], wrong]
    metrics = summarize(rows, RunConfig(), graph="g", run_id="", run_dir="")
    assert metrics.seconds == 6.0  # 2 s, a long pause, 4 s
    assert tally.point().step == 3
    assert tally.point().values == {
        "accuracy_so_far": metrics.accuracy,
        "accuracy_lenient_so_far": metrics.accuracy_lenient,
        "output_tokens_so_far": metrics.output_tokens,
        "tokens_per_second_so_far": metrics.tokens_per_second,
        "questions_per_second_so_far": metrics.questions_per_second,
    }


def test_nothing_has_no_speed_and_no_fault():
    assert Tally().point().values == {
        "accuracy_so_far": 0.0,
        "accuracy_lenient_so_far": 0.0,
        "output_tokens_so_far": 0.0,
    }


def test_points_are_due_only_now_and_then(monkeypatch):
    times = iter([10.0, 10.5, 11.0, 11.9])
    monkeypatch.setattr(history.time, "monotonic", lambda: next(times))
    tally = Tally()
    assert [tally.due() for _ in range(4)] == [True, False, True, False]


def test_points_come_back_as_they_were_and_a_torn_line_is_none(folder):
    points = [Point(step=step, time=1000 + step, values={"accuracy_so_far": 0.5}) for step in range(3)]
    assert read_points(folder) == []
    add_point(folder, points[0])
    with (folder.path / history.FILE).open("a") as file:
        file.write('{"step": 1, "ti')  # a driver that was killed
    add_point(folder, points[1])
    add_point(folder, points[2])
    assert read_points(folder) == points
    assert len((folder.path / history.FILE).read_text().splitlines()) == 4


@pytest.mark.parametrize("line", ["", "3", "[]", "{}", '{"step": 1}', "\x00\x00"])
def test_what_is_no_point_is_left_out(line, folder):
    (folder.path / history.FILE).write_text(f"{line}\n")
    assert read_points(folder) == []
