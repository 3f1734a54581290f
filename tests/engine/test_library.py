"""The engine and the memory as a library; the README's example runs here."""

import re
from pathlib import Path

import pytest
import torch

from pipeline.engine import LatentModel
from pipeline.memory import Memory
from tiny import tiny_model

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def model(lm):
    return LatentModel(lm)


def test_memory_changes_the_answer_and_grows_by_prompt_and_thoughts(model):
    plan = model.think("Plan: 2+2?", latent_steps=4)
    none = model.think("Plan: 2+2?", latent_steps=0)
    assert len(plan) == len(none) + 4
    assert plan.nbytes == len(plan) * model.lm.shape.bytes_per_position
    assert model.answer("2+2?", memory=plan, max_new_tokens=8) != model.answer("2+2?", max_new_tokens=8)


def test_a_chain_of_thinkers_leaves_segments_that_add_up(model):
    plan = model.think("Plan it.", latent_steps=2, role="planner")
    critique = model.think("Check it.", latent_steps=3, memory=plan, role="critic")
    both = plan + critique
    assert [segment.role for segment in both] == ["planner", "critic"]
    assert len(both) == len(plan) + len(critique)
    assert critique.segments[0].positions_T[0] == len(plan)


def test_memories_of_independent_agents_are_placed_one_after_another(model):
    a, b = (model.think(text, latent_steps=2) for text in ("one", "another one"))
    assert b.segments[0].positions_T[0] == 0
    assert model.answer("?", memory=a + b, max_new_tokens=4) is not None
    [slot] = model.lm.open([a + b], columns=1)
    assert slot.length == len(a) + len(b)


def test_a_saved_memory_answers_like_the_one_in_hand(model, tmp_path):
    plan = model.think("Plan it.", latent_steps=3)
    plan.save(tmp_path / "plan.safetensors")
    loaded = model.load_memory(tmp_path / "plan.safetensors")
    assert isinstance(loaded, Memory)
    assert model.answer("Go.", memory=loaded, max_new_tokens=9) == model.answer("Go.", memory=plan, max_new_tokens=9)


def test_memory_of_another_model_is_refused(model, tmp_path):
    other = LatentModel(tiny_model("llama", seed=5))
    memory = other.think("hello", latent_steps=1)
    for use in (model.answer, model.think):
        with pytest.raises(ValueError, match=f"made by model {other.lm.fingerprint}"):
            use("hello", memory=memory)
    memory.save(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=f"made by model {other.lm.fingerprint}"):
        model.load_memory(tmp_path / "other.safetensors")


def test_alignment_and_chat_options_count(lm):
    plain = LatentModel(lm).think("hello").segments[0]
    rotated = LatentModel(lm, alignment="random").think("hello").segments[0]
    assert not torch.equal(plain.keys_LNTH, rotated.keys_LNTH)
    assert len(LatentModel(lm, chat_options={"enable_thinking": False}).think("hello")) > len(plain)


def test_answering_leaves_the_memory_and_its_storage_as_they_were(model):
    memory = model.think("hello", latent_steps=2)
    before, keys = memory.segments[0].content_digest(), memory.segments[0].keys_LNTH
    first = model.answer("Go on.", memory=memory, max_new_tokens=300)
    assert memory.segments[0].content_digest() == before
    assert model.answer("Go on.", memory=memory, max_new_tokens=300) == first
    assert memory.segments[0].home.length == len(memory)
    assert memory.segments[0].keys_LNTH is keys


def test_impossible_inputs_are_one_clear_line(model):
    with pytest.raises(ValueError, match="--latent-steps is -1"):
        model.think("hello", latent_steps=-1)
    with pytest.raises(ValueError, match="a message has `role` and `content`"):
        model.answer([{"role": "user", "text": "hello"}])


def test_messages_are_a_string_or_a_chat(model):
    assert torch.equal(
        model.think("hello").segments[0].keys_LNTH,
        model.think([{"role": "user", "content": "hello"}]).segments[0].keys_LNTH,
    )


def test_what_does_not_fit_the_context_is_one_clear_line(model):
    with pytest.raises(ValueError, match=r"positions are needed .* the model's context is 4096"):
        model.think("x" * 5000)


def test_the_readmes_example_runs_and_has_at_most_15_lines(monkeypatch, tmp_path, llama, capsys):
    block = re.search(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)[1]
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LatentModel, "load", classmethod(lambda cls, name: cls(llama)))
    exec(compile(block, "README.md", "exec"), {})
    assert "positions" in capsys.readouterr().out
