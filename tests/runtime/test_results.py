from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import CollaborationConfig, RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Answer, Assignment, Prediction, Question, Score, Thought, Turn, Usage
from pipeline.runtime.results import RunFolder

PLAN = plan_for(CollaborationConfig())


def prediction(number: int, *, attempt: int = 1, error: str = "", correct: bool = True) -> Prediction:
    question = Question(id=f"q{number}", text="?", kind="number", gold="1")
    usage = Usage(output_tokens=3, latent_steps=2, prefill_tokens=5)
    turn = Turn(role="solver", text="one", finish="stop", usage=usage, seconds=0.5)
    answer = Answer(question_id=question.id, turns=() if error else (turn, turn), started=1, finished=2, error=error)
    score = Score(correct=correct, correct_lenient=True, prediction="1", prediction_lenient="1", reason="correct")
    return Prediction.of(
        Assignment(question=question, source=question), answer, None if error else score, seconds=0.1, attempt=attempt
    )


def test_rows_survive_the_run_folder_in_the_order_of_the_questions(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(2), prediction(0)])
    folder.append([prediction(1)])
    rows = folder.consolidate({"q0": 0, "q1": 1, "q2": 2})
    assert rows == [prediction(0), prediction(1), prediction(2)]
    assert sorted(p.name for p in folder.path.iterdir()) == ["config.yaml", "graph.yaml", "predictions.parquet"]
    assert RunFolder.open(folder.path).read() == rows


def test_unfinished_parts_are_read_after_a_crash(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(1)])
    assert RunFolder.open(folder.path).read() == [prediction(1)]


def test_what_a_killed_driver_left_half_written_is_no_row_and_in_nobodys_way(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(1)])
    (folder.path / "parts" / ".001-000001.parquet.4711").write_bytes(b"PAR1 and then nothing")
    assert folder.consolidate({"q1": 0}) == [prediction(1)]
    assert not (folder.path / "parts").exists()


def test_a_question_is_kept_once_and_a_scored_row_replaces_a_fault(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(1, error="boom"), prediction(2)])
    folder.consolidate({"q1": 0, "q2": 1})
    folder.append([prediction(1, attempt=2)])
    assert [(r.question_id, r.error) for r in folder.consolidate({"q1": 0, "q2": 1})] == [("q1", ""), ("q2", "")]


def test_parts_of_a_second_attempt_do_not_overwrite_the_first(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(1)])
    folder.append([prediction(2, attempt=2)])
    assert len(folder.read()) == 2


def test_a_run_folder_that_exists_is_refused_with_the_way_on(tmp_path):
    RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    with pytest.raises(ValueError, match="--out .* exists; .* --resume"):
        RunFolder.create(tmp_path / "run", RunConfig(), PLAN)


def test_an_empty_folder_may_be_used(tmp_path):
    assert RunFolder.create(tmp_path, RunConfig(), PLAN).read() == []


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(ValueError, match="is no run folder"):
        RunFolder.open(tmp_path)


def test_a_resumed_run_refuses_settings_that_change_answers_and_takes_those_that_do_not(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.check_same(RunConfig.from_flat({"replicas": 3, "batch_size": 2}), PLAN)
    with pytest.raises(ValueError, match="--latent-steps was 10 and is now 3"):
        folder.check_same(RunConfig.from_flat({"latent_steps": 3}), PLAN)


def test_a_resumed_run_keeps_its_backend_and_may_change_what_that_gets_of_a_gpu(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.check_same(RunConfig.from_flat({"gpu_memory_utilization": 0.7}), PLAN)
    with pytest.raises(ValueError, match="--backend was 'hf' and is now 'vllm'"):
        folder.check_same(RunConfig.from_flat({"backend": "vllm"}), PLAN)


def test_a_resumed_run_refuses_another_graph_of_the_same_name(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    other = plan_for(CollaborationConfig(graph="hierarchical"))
    with pytest.raises(ValueError, match="--graph 'sequential' is not what it was"):
        folder.check_same(RunConfig(), other)


def test_rows_of_other_questions_are_never_dropped(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(1), prediction(7)])
    with pytest.raises(ValueError, match="answers 'q7', which --task does not ask"):
        folder.consolidate({"q1": 0})
    assert folder.read() == [prediction(1), prediction(7)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "q2"}, "'q1' .* is gone"),
        ({"text": "??"}, "'q1' .* has another text now"),
        ({"gold": "2"}, "'q1' .* has another gold answer now"),
        ({"kind": "choice"}, "'q1' .* has another kind now"),
    ],
)
def test_a_resumed_run_refuses_other_questions_than_those_that_are_answered(change, words, tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(1, error="lost")])
    question = Question(id="q1", text="?", kind="number", gold="1")
    folder.check_questions([Assignment(question=question, source=question)], "quiz.jsonl")
    other = replace(question, **change)
    with pytest.raises(ValueError, match=f"--task 'quiz.jsonl': question {words}.*--data-dir"):
        folder.check_questions([Assignment(question=other, source=other)], "quiz.jsonl")


def test_a_resumed_run_refuses_to_pair_a_question_with_another_ones_memory(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(1)])
    question = Question(id="q1", text="?", kind="number", gold="1")
    with pytest.raises(ValueError, match="would get another question's memory"):
        folder.check_questions([Assignment(question=question, source=replace(question, id="q2"))], "quiz.jsonl")


def test_only_a_folder_without_rows_is_discarded(tmp_path):
    empty, full = (RunFolder.create(tmp_path / name, RunConfig(), PLAN) for name in ("empty", "full"))
    full.append([prediction(1)])
    for folder in (empty, full):
        folder.discard_if_empty()
    assert not empty.path.exists()
    assert full.read() == [prediction(1)]


def test_a_path_that_cannot_be_a_folder_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="--out .* can't be written"):
        RunFolder.create(tmp_path / ("x" * 300), RunConfig(), PLAN)


def test_thoughts_survive_the_run_folder(tmp_path):
    thought = Thought(step=0, tokens=("a", "b"), probabilities=(0.5, 0.25), norm=1.5, nearest="c", cosine=0.5)
    row = prediction(1)
    row = replace(row, turns=(replace(row.turns[0], thoughts=(thought,)), row.turns[1]))
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([row])
    assert folder.read() == [row]


def test_what_traced_turns_record_survives_the_run_folder(tmp_path):
    row = prediction(1)
    told = replace(row.turns[0], prompt="Who?\n", started=1.5, finished=2.25, left_bytes=2**40)
    row = replace(row, turns=(told, row.turns[1]))
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([row])
    assert folder.read() == [row]


def test_a_run_folder_from_before_turns_had_times_and_prompts_is_read(tmp_path):
    folder = RunFolder.create(tmp_path / "run", RunConfig(), PLAN)
    folder.append([prediction(1)])
    file = folder.path / "predictions.parquet"
    folder.consolidate({"q1": 0})
    [row] = pq.read_table(file).to_pylist()
    for turn in row["turns"]:
        for name in ("prompt", "started", "finished", "left_bytes"):
            del turn[name]
    pq.write_table(pa.Table.from_pylist([row]), file)
    assert folder.read() == [prediction(1)]
