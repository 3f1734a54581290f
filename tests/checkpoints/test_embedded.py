import pytest

from pipeline.checkpoints import check_model, embedded_model_dir
from pipeline.engine import LatentModel


@pytest.mark.slow
def test_the_embedded_model_is_converted_once_and_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTMAS_CACHE", str(tmp_path))
    assert check_model("embedded") == "embedded"
    folder = embedded_model_dir()
    assert folder.parent == tmp_path
    weights = folder / "model.safetensors"
    written = weights.stat().st_mtime_ns
    assert embedded_model_dir() == folder
    assert weights.stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]  # nothing half-made is left behind

    model = LatentModel.load("embedded")
    assert model.lm.tied
    memory = model.think("Which country is this about? France.", latent_steps=3)
    assert len(memory) > 3
    assert "Paris" in model.answer("What is the capital of France?", max_new_tokens=20)


def test_a_relative_folder_becomes_absolute(model_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(model_dir.parent)
    assert check_model(model_dir.name) == str(model_dir)
