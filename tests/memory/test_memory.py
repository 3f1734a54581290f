import json
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pipeline.memory import KVCache, KVShape, Memory, Segment

SHAPE = KVShape(layers=2, heads=3, key_size=4, value_size=5, dtype=torch.float32, device=torch.device("cpu"))


def segment(length: int = 6, *, fingerprint: str = "f", latent_steps: int = 2, dtype=torch.float32) -> Segment:
    return Segment(
        keys_LNTH=torch.randn(2, 3, length, 4).to(dtype),
        values_LNTH=torch.randn(2, 3, length, 5).to(dtype),
        positions_T=torch.arange(10, 10 + length),
        role="planner",
        question_id="q",
        fingerprint=fingerprint,
        latent_steps=latent_steps,
    )


def test_parts_are_the_thoughts_and_the_prompt_and_together_the_whole():
    whole = segment()
    thoughts, prompt = whole.part("thoughts"), whole.part("prompt")
    assert (len(thoughts), thoughts.latent_steps, thoughts.positions_T.tolist()) == (2, 2, [14, 15])
    assert (len(prompt), prompt.latent_steps, prompt.positions_T.tolist()) == (4, 0, [10, 11, 12, 13])
    assert torch.equal(torch.cat([prompt.keys_LNTH, thoughts.keys_LNTH], dim=2), whole.keys_LNTH)
    assert whole.part("full") is whole
    assert len(Memory.of([segment(latent_steps=0)]).part("thoughts").segments) == 0


@pytest.mark.parametrize(
    ("wrong", "both"),
    [
        (segment(fingerprint="mine"), "mine.*f"),
        (segment(dtype=torch.bfloat16), "bfloat16.*float32"),
        (
            Segment(
                keys_LNTH=torch.zeros(2, 9, 1, 4),
                values_LNTH=torch.zeros(2, 9, 1, 5),
                positions_T=torch.zeros(1, dtype=torch.int64),
                role="planner",
                question_id="q",
                fingerprint="f",
            ),
            r"\(2, 9, 4, 5\).*\(2, 3, 4, 5\)",
        ),
    ],
)
def test_memory_that_does_not_fit_is_refused_naming_both_sides(wrong, both):
    with pytest.raises(ValueError, match=both):
        Memory.of([wrong]).check(shape=SHAPE, fingerprints={"f"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("where", ["keys_LNTH", "values_LNTH", "positions_T"])
def test_a_flipped_bit_is_caught(where, dtype):
    signed = segment(dtype=dtype).signed()
    Memory.of([signed]).verify()
    content = getattr(signed, where)
    content.view(torch.uint8).flatten()[7] ^= 1
    with pytest.raises(ValueError, match="'planner' for question 'q' was changed on its way"):
        Memory.of([signed]).verify()


def test_unsigned_memory_is_not_verified():
    Memory.of([segment()]).verify()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_memory_survives_its_file(tmp_path, dtype):
    memory = Memory.of([segment(dtype=dtype).signed(), segment(3, latent_steps=3, dtype=dtype)])
    memory.save(tmp_path / "memory.safetensors")
    loaded = Memory.load(tmp_path / "memory.safetensors", fingerprint="f")
    loaded.verify()
    assert len(loaded) == len(memory)
    assert loaded.nbytes == memory.nbytes
    for a, b in zip(loaded, memory, strict=True):
        assert torch.equal(a.keys_LNTH, b.keys_LNTH)
        assert torch.equal(a.values_LNTH, b.values_LNTH)
        assert (a.positions_T.tolist(), a.role, a.latent_steps) == (b.positions_T.tolist(), b.role, b.latent_steps)
    with safe_open(tmp_path / "memory.safetensors", framework="pt") as file:
        assert file.metadata()["fingerprint"] == "f"


def test_a_file_for_another_model_is_refused_naming_both(tmp_path):
    Memory.of([segment()]).save(tmp_path / "memory.safetensors")
    with pytest.raises(ValueError, match="made by model f, but this model is g"):
        Memory.load(tmp_path / "memory.safetensors", fingerprint="g")


def test_files_that_are_no_memory_are_refused(tmp_path):
    path = tmp_path / "memory.safetensors"
    with pytest.raises(ValueError, match="can't be read"):
        Memory.load(path, fingerprint="f")
    path.write_bytes(b"\x80\x04nothing")  # the head of a pickle
    with pytest.raises(ValueError, match="can't be read"):
        Memory.load(path, fingerprint="f")
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="is no memory file"):
        Memory.load(path, fingerprint="f")
    header = {"format": "latentmas-memory-1", "fingerprint": "f", "segments": json.dumps([{"role": "x"}])}
    save_file({"a": torch.zeros(1)}, path, metadata=header)
    with pytest.raises(ValueError, match="can't be read"):
        Memory.load(path, fingerprint="f")


def test_memory_of_two_models_cannot_be_one_file(tmp_path):
    with pytest.raises(ValueError, match=r"memory of one model; this one has \['f', 'g'\]"):
        Memory.of([segment(), segment(fingerprint="g")]).save(tmp_path / "memory.safetensors")
    with pytest.raises(ValueError, match="one model"):
        Memory().save(tmp_path / "memory.safetensors")


def test_memory_used_twice_can_be_saved(tmp_path):
    once = segment()
    twice = Memory.of([once, once, once.part("thoughts")])
    twice.save(tmp_path / "memory.safetensors")
    assert len(Memory.load(tmp_path / "memory.safetensors", fingerprint="f")) == 14


def test_a_file_whose_content_was_changed_is_refused(tmp_path):
    signed = segment().signed()
    signed.values_LNTH[0, 0, 0, 0] += 1
    Memory.of([signed]).save(tmp_path / "memory.safetensors")
    with pytest.raises(ValueError, match="was changed on its way"):
        Memory.load(tmp_path / "memory.safetensors", fingerprint="f")


def test_a_path_that_cannot_be_written_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="can't be written"):
        Memory.of([segment()]).save(tmp_path / "nowhere/memory.safetensors")


GOOD = {"role": "planner", "question_id": "q", "latent_steps": 2, "digest": ""}


@pytest.mark.parametrize(
    ("makers", "tensors"),
    [
        (None, {}),
        (5, {}),
        (["x"], {}),
        ([{**GOOD, "latent_steps": "2"}], {}),
        ([{**GOOD, "latent_steps": 9}], {}),
        ([GOOD], {"keys_LNTH": torch.zeros(2, 3, 6)}),
        ([GOOD], {"values_LNTH": torch.zeros(2, 3, 6, 5, dtype=torch.float16)}),
        ([GOOD], {"positions_T": torch.zeros(6, dtype=torch.int64)}),
        ([GOOD], {"positions_T": torch.arange(6.0)}),
        ([GOOD], {"positions_T": torch.arange(6) - 3}),
    ],
)
def test_files_with_impossible_content_are_refused(tmp_path, makers, tensors):
    content = {
        "keys_LNTH": torch.zeros(2, 3, 6, 4),
        "values_LNTH": torch.zeros(2, 3, 6, 5),
        "positions_T": torch.arange(6),
    }
    header = {"format": "latentmas-memory-1", "fingerprint": "f", "segments": json.dumps(makers)}
    path = tmp_path / "memory.safetensors"
    save_file({f"0.{name}": tensor for name, tensor in {**content, **tensors}.items()}, path, metadata=header)
    with pytest.raises(ValueError, match="can't be read as a memory file"):
        Memory.load(path, fingerprint="f")


def test_a_segment_travels_to_another_process_without_its_cache():
    slot = KVCache(SHAPE, rows=1, columns=4).slot()
    slot.length = 3
    cut = slot.cut(0, role="r", question_id="q", fingerprint="f", latent_steps=0)
    copy = pickle.loads(pickle.dumps(cut))
    assert copy.home is None
    assert torch.equal(copy.keys_LNTH, cut.keys_LNTH)
