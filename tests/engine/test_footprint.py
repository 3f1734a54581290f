"""Sizes of a model from its config alone: what the loaded model has, to the byte."""

from dataclasses import replace

import pytest
import torch
from transformers import MambaConfig, Qwen3Config

from pipeline.checkpoints import ModelFiles
from pipeline.config import ModelConfig
from pipeline.engine.footprint import footprint_of, footprint_of_loaded, measure

QWEN3 = {
    "Qwen3-4B": ((2560, 9728, 36, 32, True), 4_022_468_096, 147_456),
    "Qwen3-8B": ((4096, 12288, 36, 32, False), 8_190_735_360, 147_456),
    "Qwen3-14B": ((5120, 17408, 40, 40, False), 14_768_307_200, 163_840),
}
"""Width, inner width, layers, heads, tied; published number of weights; 2 x layers x 8 heads x 128 x 2 bytes."""


def test_a_config_tells_what_the_loaded_model_has(family_lm):
    size = footprint_of(family_lm.causal_lm.config, torch.float32)
    weights = list(family_lm.causal_lm.parameters())
    assert size.weight_bytes == sum(weight.nbytes for weight in weights)
    assert size.shape.sizes == family_lm.shape.sizes
    assert size.shape.bytes_per_position == family_lm.shape.bytes_per_position
    assert (size.context, size.context_note) == (family_lm.context, family_lm.context_note)
    assert size.vocabulary == family_lm.head.weight.shape[0]


@pytest.mark.parametrize("name", QWEN3)
def test_the_papers_models_have_their_published_sizes(name):
    (hidden, inner, layers, heads, tied), parameters, bytes_per_position = QWEN3[name]
    config = Qwen3Config(
        vocab_size=151936,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=tied,
    )
    size = footprint_of(config, torch.bfloat16)
    assert (size.parameters, size.weight_bytes) == (parameters, 2 * parameters)
    assert size.shape.bytes_per_position == bytes_per_position
    assert size.context == 40960


def test_the_alignment_keeps_a_square_matrix_and_the_identity_none(llama):
    size = footprint_of(llama.causal_lm.config, torch.float32)
    assert {name: size.alignment_bytes(name)[0] for name in ("ridge", "random", "identity")} == {
        "ridge": 4 * 32**2,
        "random": 4 * 32**2,
        "identity": 0,
    }


def test_a_forward_takes_more_with_more_rows_positions_and_columns(llama):
    size = footprint_of(llama.causal_lm.config, torch.float32)
    few = size.working_bytes(50, 1, 100)
    assert few < min(size.working_bytes(60, 1, 100), size.working_bytes(50, 100, 100), size.working_bytes(50, 1, 110))


def test_a_loaded_model_has_the_sizes_that_its_config_tells(family_lm):
    told = footprint_of(family_lm.causal_lm.config, torch.float32)
    assert footprint_of_loaded(family_lm) == replace(told, shape=family_lm.shape)


def test_a_model_without_keys_and_values_is_refused_in_one_line(tmp_path):
    MambaConfig(num_hidden_layers=2, hidden_size=32).save_pretrained(tmp_path)
    files = ModelFiles(name="m", place="", weight_bytes=0, source={"pretrained_model_name_or_path": str(tmp_path)})
    with pytest.raises(ValueError, match="--model 'm' can't hand over working memory: ") as caught:
        measure(ModelConfig(model="m"), files, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_config_that_cant_be_read_is_refused_in_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    files = ModelFiles(name="m", place="", weight_bytes=0, source={"pretrained_model_name_or_path": str(tmp_path)})
    with pytest.raises(ValueError, match="--model 'm' can't be loaded: ") as caught:
        measure(ModelConfig(model="m"), files, device="cpu")
    assert "\n" not in str(caught.value)
