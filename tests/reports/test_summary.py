from dataclasses import replace

import pytest

from pipeline.config import RunConfig
from pipeline.records import Answer, Assignment, Finish, Prediction, Question, Score, Transfer, Turn, Usage
from pipeline.reports import comparison_table, run_table, summarize
from pipeline.reports.summary import repeats_itself, run_seconds


def row(number: int, *, right: bool = True, boxed: bool = True, started: float = 0, finished: float = 1) -> Prediction:
    think = Turn(role="planner", text="", finish="latent", usage=Usage(latent_steps=4, prefill_tokens=10), seconds=0.5)
    write = Turn(
        role="solver",
        text="x",
        finish="stop",
        usage=Usage(output_tokens=7, prefill_tokens=20),
        seconds=1.5,
        transfers=(
            Transfer(transport="in_place", bytes=40, seconds=0.05),
            Transfer(transport="object_store", bytes=60, seconds=0.2),
        ),
    )
    question = Question(id=str(number), text="?", kind="number", gold="1")
    answer = Answer(
        question_id=str(number), turns=(think, write), started=started, finished=finished, load_seconds=number
    )
    score = Score(
        correct=right and boxed,
        correct_lenient=right,
        prediction="1" if boxed else "",
        prediction_lenient="1",
        reason="correct" if right and boxed else "wrong" if boxed else "no_answer",
    )
    return Prediction.of(Assignment(question=question, source=question), answer, score, seconds=0.1, attempt=1)


def unscored(number: int) -> Prediction:
    question = Question(id=str(number), text="?", kind="number", gold="1")
    return Prediction.of(
        Assignment(question=question, source=question),
        Answer(question_id=str(number), error="boom"),
        None,
        seconds=0,
        attempt=1,
    )


def test_totals_add_up():
    rows = [row(1), row(2, right=False), row(3, boxed=False), row(4, finished=5)]
    m = summarize(rows, RunConfig(), graph="sequential", run_id="r", run_dir="d")
    assert (m.accuracy, m.accuracy_lenient, m.no_answer_rate) == (0.5, 0.75, 0.25)
    assert m.accuracy_low < 0.5 < m.accuracy_high
    assert (m.output_tokens, m.output_tokens_per_question, m.latent_steps, m.prefill_tokens) == (28, 7, 16, 120)
    assert (m.seconds, m.tokens_per_second, m.load_seconds) == (5, 28 / 5, 4)
    assert (m.handover_bytes, m.handover_hops, m.handover_seconds) == (400, 8, 1)
    assert m.transports["in_place"] == {"bytes": 160, "seconds": pytest.approx(0.2), "hops": 4}
    assert m.transports["object_store"] == {"bytes": 240, "seconds": pytest.approx(0.8), "hops": 4}
    assert m.seconds_per_agent == {"planner": 2, "solver": 6}
    assert m.output_tokens_per_agent == {"planner": 0, "solver": 28}
    assert m.reasons == {"correct": 2, "wrong": 1, "no_answer": 1}


def test_an_unscored_question_is_told_of_and_not_counted_as_wrong():
    m = summarize([row(1), unscored(2)], RunConfig(), graph="sequential", run_id="r", run_dir="d")
    assert (m.num_questions, m.num_unscored, m.accuracy) == (2, 1, 1.0)


def test_a_run_without_rows_has_totals_of_zero():
    m = summarize([], RunConfig(), graph="sequential", run_id="r", run_dir="d")
    assert (m.accuracy, m.seconds, m.tokens_per_second) == (0, 0, 0)


def test_the_pause_before_a_resume_is_not_counted():
    first = [row(1, started=10, finished=12), row(2, started=11, finished=14)]
    second = [replace(row(3, started=1000, finished=1003), attempt=2)]
    assert run_seconds([*first, *second]) == pytest.approx(4 + 3)


@pytest.mark.parametrize(("since", "seconds"), [(990, 10), (0, 0), (2000, 0)])
def test_the_start_up_is_that_of_the_last_attempt(since, seconds):
    rows = [row(1, started=10, finished=12), replace(row(2, started=1000, finished=1003), attempt=2)]
    m = summarize(rows, RunConfig(), graph="sequential", run_id="r", run_dir="d", awaited_since=since)
    assert m.startup_seconds == seconds


def written(number: int, *finishes: Finish) -> Prediction:
    """A question whose planner has thought and whose other agents' texts ended so."""
    think = Turn(role="planner", text="", finish="latent", usage=Usage(latent_steps=4), seconds=0.5)
    texts = [Turn(role=f"w{i}", text="x", finish=f, usage=Usage(), seconds=1) for i, f in enumerate(finishes)]
    answer = Answer(question_id=str(number), turns=(think, *texts))
    question = Question(id=str(number), text="?", kind="number", gold="1")
    return Prediction.of(Assignment(question=question, source=question), answer, None, seconds=0, attempt=1)


def test_truncation_is_counted_for_answers_for_all_texts_and_for_the_context_alone():
    rows = [
        written(1, "length", "stop"),
        written(2, "stop", "length"),
        written(3, "context", "stop"),
        written(4, "stop", "context"),
        written(5, "length", "context"),
        written(6, "stop", "stop"),
    ]
    assert [r.truncated for r in rows] == [False, True, False, True, True, False]
    assert [r.truncated_turns for r in rows] == [1, 1, 1, 1, 2, 0]
    assert [r.context_limited for r in rows] == [False, False, True, True, True, False]
    m = summarize(rows, RunConfig(), graph="sequential", run_id="r", run_dir="d")
    assert (m.truncated_rate, m.truncated_turns_rate, m.context_limited_rate) == (3 / 6, 6 / 12, 3 / 6)


def test_m_is_reported_for_the_latent_method_only():
    for method, steps in (("single", 0), ("text_mas", 0), ("latent_mas", 10)):
        m = summarize([row(1)], RunConfig.from_flat({"method": method}), graph="sequential", run_id="r", run_dir="d")
        assert m.latent_steps_per_agent == steps


def test_repetition_is_eight_words_four_times():
    phrase = "one two three four five six seven eight "
    assert repeats_itself(phrase * 4)
    assert not repeats_itself(phrase * 3)
    assert not repeats_itself("a b " * 3)
    assert not repeats_itself("")


def test_tables_show_every_run():
    metrics = summarize([row(1)], RunConfig(), graph="sequential", run_id="r", run_dir="d").to_dict()
    assert run_table(metrics).row_count > 5
    assert comparison_table([metrics, metrics]).row_count == 2


def test_tables_name_a_file_of_ones_own_without_its_folders():
    metrics = summarize([], RunConfig.from_flat({"task": "/a/long/way/quiz.jsonl"}), graph="g", run_id="r", run_dir="d")
    assert [str(cell) for cell in comparison_table([metrics.to_dict()]).columns[2].cells] == ["quiz.jsonl"]
    assert str(run_table(metrics.to_dict()).title).endswith(" on quiz.jsonl")
