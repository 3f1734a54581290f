import mlflow
import pytest

from pipeline.config import RunConfig
from pipeline.tracking import TrackedRun, open_run
from pipeline.tracking.tracker import run_name


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def client_of(store):
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")


def test_a_run_has_parameters_metrics_and_files(store, tmp_path):
    config = RunConfig.from_flat({"task": "gsm8k", "latent_steps": 3})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    (tmp_path / "predictions.parquet").write_bytes(b"rows")
    with open_run(config, store=store) as tracked:
        tracked.log_progress({"accuracy_so_far": 0.5}, step=8)
        tracked.log_result({"accuracy": 0.25, "method": "latent_mas", "seconds_per_agent": {"solver": 2.0}}, tmp_path)
    run = client_of(store).get_run(tracked.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["latent_steps"] == "3"
    assert run.data.tags["method"] == "latent_mas"
    assert run.data.metrics == {"accuracy": 0.25, "seconds_per_agent/solver": 2.0, "accuracy_so_far": 0.5}
    artifacts = {file.path for file in client_of(store).list_artifacts(tracked.run_id)}
    assert artifacts == {"config.yaml", "predictions.parquet"}
    assert client_of(store).get_experiment(run.info.experiment_id).name == "latentmas/gsm8k"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_a_run_that_breaks_off_says_so(store, error, status):
    with pytest.raises(error), open_run(RunConfig(), store=store) as tracked:
        raise error
    assert client_of(store).get_run(tracked.run_id).info.status == status


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(store):
    with open_run(RunConfig(), store=store) as first:
        pass
    with open_run(RunConfig(), store=store, run_id=first.run_id) as second:
        assert client_of(store).get_run(first.run_id).info.status == "RUNNING"
    assert second.run_id == first.run_id


def test_the_environment_names_the_server_where_no_flag_does(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
    with open_run(RunConfig(), store=tmp_path) as tracked:
        tracked.log_notice("replica r0 died")
        tracked.log_notice("replica r0 is back")
    assert client_of(store).get_run(tracked.run_id).data.tags["notice"] == "replica r0 died\nreplica r0 is back"
    assert not (tmp_path / "mlflow.db").exists()


def test_names_tell_runs_apart():
    names = [run_name(RunConfig.from_flat({"method": m, "model": "Qwen/Qwen3-4B"})) for m in ("single", "latent_mas")]
    assert names == ["single-Qwen3-4B", "latent_mas-sequential-Qwen3-4B-m10"]
    control = RunConfig.from_flat({"model": "/m/tiny", "graph": "my/team.yaml", "memory": "shuffled"})
    assert run_name(control) == "latent_mas-team-tiny-m10-shuffled"


def test_a_store_that_cannot_be_used_is_one_clear_line(store):
    config = RunConfig.from_flat({"tracking_uri": "nonsense://here"})
    with (
        pytest.raises(ValueError, match="--tracking-uri 'nonsense://here' can't be used") as caught,
        open_run(config, store=store),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_run_that_its_store_does_not_know_is_begun_anew(store):
    with open_run(RunConfig(), store=store, run_id="0" * 32) as tracked:
        pass
    assert tracked.run_id != "0" * 32
    assert client_of(store).get_run(tracked.run_id).info.status == "FINISHED"


def test_a_tracker_that_fails_in_mid_run_costs_a_warning_and_no_results(store, caplog, tmp_path):
    with open_run(RunConfig(), store=store) as tracked:
        broken = TrackedRun(None, tracked.run_id)
        broken.log_progress({"accuracy_so_far": 1.0}, step=1)
        broken.log_result({"accuracy": 1.0}, tmp_path)
    assert caplog.text.count("the MLflow run is incomplete") == 2


def test_a_damaged_store_is_one_clear_line(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database, whatever its name says" * 100)
    with pytest.raises(ValueError, match="can't be used"), open_run(RunConfig(), store=tmp_path):
        pass
