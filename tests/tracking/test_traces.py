"""Traces as MLflow's own client reads them back."""

import os
from dataclasses import replace

import mlflow
import pytest

from pipeline.tracking import log_traces
from served import served
from traced import QUESTIONS, traced_rows


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store") / "mlflow.db"


@pytest.fixture(scope="module")
def uri(store):
    return f"sqlite:///{store}"


@pytest.fixture(scope="module")
def experiment_id(uri):
    return mlflow.MlflowClient(tracking_uri=uri).create_experiment("latentmas/gsm8k")


@pytest.fixture
def run(uri, experiment_id, llama):
    """Logs the traces of a run; gives its id, its rows, and what its traces are then."""

    def log(**settings):
        config, rows = traced_rows(llama, **settings)
        client = mlflow.MlflowClient(tracking_uri=uri)
        tags = {name: str(config.flat()[name]) for name in ("method", "graph", "model", "memory")}
        run_id = client.create_run(experiment_id, tags=tags).info.run_id
        count = send(uri, run_id, rows)
        traces = found(client, run_id)
        assert count == len(traces)
        return run_id, rows, traces

    return log


def send(uri, run_id, rows):
    experiment_id = mlflow.MlflowClient(tracking_uri=uri).get_run(run_id).info.experiment_id
    return log_traces(tracking_uri=uri, experiment_id=experiment_id, run_id=run_id, rows=rows, task="gsm8k")


def found(client, run_id):
    """A run's traces in the order of the questions, as the run's page finds them."""
    traces = client.search_traces(
        locations=[client.get_run(run_id).info.experiment_id], filter_string=f"metadata.`mlflow.sourceRun` = '{run_id}'"
    )
    return sorted(traces, key=lambda trace: trace.info.tags["question_id"])


def test_every_traced_question_is_a_trace_of_its_run(run):
    _, rows, traces = run(graph="hierarchical")
    assert [trace.info.tags["mlflow.traceName"] for trace in traces] == ["latent_mas gsm8k/0", "latent_mas gsm8k/1"]
    first, second = traces
    told = {name: first.info.tags[name] for name in ("method", "graph", "task", "question_id", "correct", "reason")}
    assert told == {
        "method": "latent_mas",
        "graph": "hierarchical",
        "task": "gsm8k",
        "question_id": "gsm8k/0",
        "correct": "true",
        "reason": "correct",
    }
    assert second.info.tags["correct"] == "false"
    assert [trace.info.request_preview for trace in traces] == [question.text for question in QUESTIONS[:2]]
    assert [trace.info.response_preview for trace in traces] == [row.output_text for row in rows[:2]]


def test_a_trace_has_a_span_for_the_question_and_one_for_each_agent(run):
    _, rows, [trace, *_] = run()
    root, *agents = trace.data.spans
    assert root.inputs == {"question": QUESTIONS[0].text}
    assert root.outputs["answer"] == rows[0].output_text
    assert (root.outputs["gold"], root.outputs["correct"], root.outputs["reason"]) == ("1", True, "correct")
    assert [span.name for span in agents] == ["planner", "critic", "refiner", "solver"]
    assert {span.span_type for span in agents} == {"AGENT"}
    assert {span.parent_id for span in agents} == {root.span_id}
    for span, turn in zip(agents, rows[0].turns, strict=True):
        assert span.inputs["prompt"] == turn.prompt
        assert span.start_time_ns == int(turn.started * 1e9)
        assert span.end_time_ns == int(turn.finished * 1e9)
        assert root.start_time_ns <= span.start_time_ns <= span.end_time_ns <= root.end_time_ns
    assert [step["step"] for step in agents[0].outputs["latent_steps"]] == [0, 1, 2]
    assert agents[3].outputs == {"text": rows[0].output_text}
    assert agents[3].inputs["memory_bytes"] == sum(span.outputs["memory_bytes"] for span in agents[:3])


def test_tokens_are_where_mlflow_counts_them(run):
    _, rows, traces = run(method="text_mas")
    for row, trace in zip(rows, traces, strict=False):
        assert trace.info.token_usage == {
            "input_tokens": row.prefill_tokens,
            "output_tokens": row.output_tokens,
            "total_tokens": row.prefill_tokens + row.output_tokens,
        }


def test_score_and_right_answer_are_assessments_of_the_answer(run):
    _, _, traces = run(method="single")
    for trace, correct, reason, gold in zip(traces, (True, False), ("correct", "wrong"), "12", strict=True):
        found = {one.name: one for one in trace.info.assessments}
        assert found["correct"].value is correct
        assert found["correct"].rationale == reason
        assert found["gold"].value == gold


def test_a_trace_that_is_sent_again_is_there_once_and_tells_the_latest(run, uri):
    run_id, rows, before = run()
    regraded = [replace(row, correct=False, reason="wrong") for row in rows]
    assert send(uri, run_id, regraded) == 2
    after = found(mlflow.MlflowClient(tracking_uri=uri), run_id)
    assert [trace.info.trace_id for trace in after] == [trace.info.trace_id for trace in before]
    assert [len(trace.data.spans) for trace in after] == [5, 5]
    assert [trace.info.tags["correct"] for trace in after] == ["false", "false"]
    assert [[a.value for a in trace.info.assessments if a.name == "correct"] for trace in after] == [[False]] * 2


def test_an_unscored_question_has_no_score(run, uri):
    run_id, [row, *_], _ = run(method="single", trace=1)
    other = replace(row, question_id="gsm8k/9", correct=None, correct_lenient=None, reason="unscored")
    assert send(uri, run_id, [other]) == 1
    _, trace = found(mlflow.MlflowClient(tracking_uri=uri), run_id)
    assert trace.info.tags["correct"] == "unscored"
    assert [one.name for one in trace.info.assessments] == ["gold"]


def test_a_run_without_traced_questions_asks_no_store(llama):
    _, rows = traced_rows(llama, method="single", trace=0)
    gone = "http://127.0.0.1:1"
    assert log_traces(tracking_uri=gone, experiment_id="1", run_id="0" * 32, rows=rows, task="gsm8k") == 0


def test_mlflow_is_left_as_it_was_and_nothing_is_printed(run, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # what this process uses otherwise
    before = mlflow.get_tracking_uri(), dict(os.environ)
    run(trace=1)
    assert (mlflow.get_tracking_uri(), dict(os.environ)) == before
    assert mlflow.active_run() is None
    assert mlflow.get_last_active_trace_id() is None
    assert capfd.readouterr().out == ""


def test_a_run_that_is_not_there_is_an_error(uri, llama):
    _, rows = traced_rows(llama, method="single", trace=1)
    with pytest.raises(mlflow.MlflowException, match="not found"):
        log_traces(tracking_uri=uri, experiment_id="1", run_id="0" * 32, rows=rows, task="gsm8k")


def test_a_server_that_is_down_is_an_error(llama, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    _, rows = traced_rows(llama, method="single", trace=1)
    with pytest.raises(mlflow.MlflowException, match="127.0.0.1"):
        log_traces(tracking_uri="http://127.0.0.1:1", experiment_id="1", run_id="0" * 32, rows=rows, task="gsm8k")


def test_a_server_gets_what_a_store_gets(run, uri, store, llama):
    run_id, rows, [direct, *_] = run(trace=1)
    with served(store) as address:
        other = replace(rows[0], question_id="gsm8k/8")
        assert send(address, run_id, [other]) == 1
        _, sent = found(mlflow.MlflowClient(tracking_uri=address), run_id)
    assert [span.name for span in sent.data.spans][1:] == [span.name for span in direct.data.spans][1:]
    for here, there in zip(direct.data.spans, sent.data.spans, strict=True):
        assert (there.inputs, there.outputs) == (here.inputs, here.outputs)
        assert (there.start_time_ns, there.end_time_ns) == (here.start_time_ns, here.end_time_ns)
    assert sent.info.token_usage == direct.info.token_usage
    assert {a.name: a.value for a in sent.info.assessments} == {"gold": "1", "correct": True}
