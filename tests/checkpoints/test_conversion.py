"""The embedded model's converted folder: who makes it, where, and what becomes of a damaged one. No model is loaded."""

import json
import os
import struct
import threading
import time

import pytest

from pipeline.checkpoints import embedded, embedded_model_dir, model_files
from pipeline.checkpoints.embedded import ABANDONED_SECONDS, OTHER_FILES, WORKING, converted_dir, is_whole

BYTES = 40


def write_model(folder, mark=b"w"):
    """What a conversion leaves, but for its size."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [BYTES], "data_offsets": [0, BYTES]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + mark * BYTES)
    for name in OTHER_FILES:
        (folder / name).write_text("{}")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The folders that were converted into; cache and folder of temporary files are those of the test."""
    folders = []

    def convert(gguf, target):
        folders.append(target)
        write_model(target)

    monkeypatch.setattr(embedded, "_convert", convert)
    monkeypatch.setenv("LATENTMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return folders


def test_a_whole_folder_is_used_as_it_is(made, tmp_path):
    folder = embedded_model_dir()
    assert embedded_model_dir() == folder == converted_dir()
    assert folder.parent == tmp_path / "cache"
    assert len(made) == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("damage", ["short", "long", "empty", "no header", "no object", "without a tokenizer"])
def test_a_damaged_folder_is_made_anew(made, damage):
    folder = embedded_model_dir()
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    if damage == "without a tokenizer":
        (folder / "tokenizer.json").unlink()
    else:
        listed = struct.pack("<Q", 2) + b"[]"
        contents = {"short": whole[:-1], "long": whole + b"w", "empty": b"", "no header": b"\xff" * 99}
        weights.write_bytes(contents.get(damage, listed))
    assert not is_whole(folder)
    again = embedded_model_dir()
    assert is_whole(again)
    assert len(made) == 2
    assert embedded_model_dir() == again == folder


def test_of_several_that_convert_at_once_all_get_one_whole_folder(made, monkeypatch):
    together = threading.Barrier(4)

    def convert(gguf, target):
        write_model(target, mark=str(threading.get_ident() % 10).encode())
        together.wait(timeout=30)
        made.append(target)

    monkeypatch.setattr(embedded, "_convert", convert)
    found = []
    threads = [threading.Thread(target=lambda: found.append(embedded_model_dir())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert set(found) == {converted_dir()}
    assert is_whole(found[0])
    assert [path.name for path in found[0].parent.iterdir()] == [found[0].name]


def test_a_cache_that_cant_be_written_leaves_it_to_the_temporary_files(made, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    folder = embedded_model_dir()
    assert folder.is_relative_to(tmp_path / "tmp")
    assert (folder.parent.stat().st_mode & 0o777) == 0o700
    assert embedded_model_dir() == folder
    assert len(made) == 1
    assert model_files("embedded").place == str(folder)


def test_a_folder_of_temporary_files_that_somebody_else_made_is_not_trusted(made, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    folder = embedded_model_dir()
    mine = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: mine + 1)
    folder.parent.rename(folder.parent.parent / f"latentmas-ray-{mine + 1}")
    with pytest.raises(ValueError, match="--model embedded can't be unpacked .* LATENTMAS_CACHE"):
        embedded_model_dir()


def test_where_nothing_can_be_written_the_line_says_what_to_set(made, tmp_path, monkeypatch):
    def full(gguf, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded, "_convert", full)
    with pytest.raises(ValueError, match="LATENTMAS_CACHE.*No space left on device") as caught:
        embedded_model_dir()
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away_and_what_is_worked_on_is_not(made, tmp_path):
    old, new = (tmp_path / "cache" / f"{WORKING}{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    long_ago = time.time() - 2 * ABANDONED_SECONDS
    os.utime(old, (long_ago, long_ago))
    embedded_model_dir()
    assert (old.exists(), new.exists()) == (False, True)


def test_looking_for_it_writes_nothing(made, tmp_path):
    converted_dir()
    model_files("embedded")
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]
