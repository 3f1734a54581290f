"""Where a model's files are and how large they are, without reading or fetching the large ones."""

from types import SimpleNamespace

import pytest

from pipeline.checkpoints import model_files
from pipeline.checkpoints.embedded import converted_dir, find_gguf
from pipeline.checkpoints.inventory import weights_in


def test_a_folders_weights_are_counted_in_the_format_that_would_be_loaded(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x" * 7)
    assert weights_in(tmp_path) == 7
    for part in (1, 2):
        (tmp_path / f"model-{part}.safetensors").write_bytes(b"x" * 100)
    assert weights_in(tmp_path) == 200
    files = model_files(str(tmp_path))
    assert (files.place, files.weight_bytes) == (str(tmp_path), 200)


def test_the_embedded_model_is_read_from_its_package_until_it_has_been_converted(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTMAS_CACHE", str(tmp_path))
    files = model_files("embedded")
    assert files.source["gguf_file"] == find_gguf().name
    assert files.weight_bytes == find_gguf().stat().st_size
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("pipeline.checkpoints.inventory.is_whole", lambda folder: True)
    converted_dir().mkdir()
    (converted_dir() / "model.safetensors").write_bytes(b"x" * 50)
    files = model_files("embedded")
    assert (files.place, files.weight_bytes) == (str(converted_dir()), 50)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub of which only a config is in the local cache."""
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(tmp_path / "config.json"))
    sizes = {"model-1.safetensors": 30, "model-2.safetensors": 40, "model.bin": 1000, "config.json": 2}
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
    monkeypatch.setattr("huggingface_hub.model_info", lambda *_, **__: SimpleNamespace(siblings=siblings))
    return tmp_path


def test_the_hub_is_asked_for_sizes_and_for_no_weights(hub):
    files = model_files("someone/model")
    assert files.weight_bytes == 70
    assert "downloaded on first use" in files.place


def test_weights_in_the_local_cache_are_used(hub):
    (hub / "model.safetensors").write_bytes(b"x" * 9)
    files = model_files("someone/model")
    assert files.weight_bytes == 9
    assert "local cache" in files.place


def test_a_hub_that_does_not_answer_leaves_the_size_open(hub, monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.model_info", offline)
    assert model_files("someone/model").weight_bytes is None
