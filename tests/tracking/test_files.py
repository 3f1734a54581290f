"""Figures in MLflow: a run of their own, or a reason why not."""

import mlflow
import pytest

from pipeline.tracking import Store, log_files


@pytest.fixture
def figure(tmp_path):
    path = tmp_path / "figure.svg"
    path.write_text("<svg/>")
    return path


def test_files_are_kept_in_a_run_with_their_tags_and_numbers(tmp_path, figure):
    store = Store(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=tmp_path / "artifacts")
    told = {"figure-5": {"gsm8k/coverage": 0.25}}
    for _ in range(2):  # each time is a run of its own
        fault = log_files(
            store, [figure], experiment="latentmas/analysis", name="mine", tags={"kind": "analysis"}, metrics=told
        )
        assert fault == ""
    client = mlflow.MlflowClient(tracking_uri=store.uri)
    experiment = client.get_experiment_by_name("latentmas/analysis")
    runs = client.search_runs([experiment.experiment_id])
    assert [(run.info.run_name, run.info.status, run.data.tags["kind"]) for run in runs] == [
        ("mine", "FINISHED", "analysis")
    ] * 2
    assert runs[0].data.metrics == {"figure-5/gsm8k/coverage": 0.25}
    assert [file.path for file in client.list_artifacts(runs[0].info.run_id)] == ["figure.svg"]


@pytest.mark.parametrize("uri", ["nonsense://here", "http://127.0.0.1:9"])
def test_a_store_that_does_not_work_is_a_reason_and_no_exception(uri, figure):
    fault = log_files(Store(uri=uri), [figure], experiment="e", name="n", tags={})
    assert fault
    assert "\n" not in fault
