"""Every family, every method, every batch; and those that can't hand over a memory are refused by name."""

import copy
import json
import random

import pytest
import torch
import transformers

from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.config import ModelConfig, RunConfig
from pipeline.engine import build_alignment, load_model, prefill, think, wrap_model
from pipeline.graphs import plan_for
from pipeline.memory import Memory
from pipeline.records import Question
from pipeline.runtime.assigning import assign
from tiny import FAMILIES, SIZES, character_tokenizer, save_tiny_model, tiny_model

QUESTIONS = [
    Question(id=f"q{i}", text=text, kind="number", gold="1")
    for i, text in enumerate(
        ["2+3?", "What is half of a dozen, and of a half of it?", "1", "Nine less four is?", "How many?"]
    )
]
SETTINGS = {
    "single": {"method": "single"},
    "text": {"method": "text_mas"},
    "latent": {"method": "latent_mas"},
    "text parallel": {"method": "text_mas", "graph": "hierarchical"},
    "latent parallel": {"method": "latent_mas", "graph": "hierarchical"},
    "latent chained": {"method": "latent_mas", "graph": "hierarchical", "experts": "chained"},
    "latent thoughts": {"method": "latent_mas", "handover": "thoughts"},
    "latent prompt": {"method": "latent_mas", "graph": "hierarchical", "handover": "prompt"},
    "latent shuffled": {"method": "latent_mas", "memory": "shuffled"},
    "latent none": {"method": "latent_mas", "memory": "none", "alignment": "random"},
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """Two replicas of one model: loaded separately, with the same weights."""
    return tiny_model(request.param), tiny_model(request.param)


def answers(lm, settings, *, size, order=QUESTIONS, temperature=0.0, other=None):
    """All turns' texts by question; with another replica, batches go to the two in turn."""
    values = {"max_new_tokens": 6, "latent_steps": 3, "temperature": temperature, **settings}
    config = RunConfig.from_flat(values)
    teams = [build_team(replica, config, plan_for(config.collaboration)) for replica in (lm, other or lm)]
    work = assign(order, memory=config.collaboration.memory, seed=0, trace=0)
    batches = [work[i : i + size] for i in range(0, len(work), size)]
    answered = [a for i, batch in enumerate(batches) for a in answer_batch(batch, teams[i % 2])]
    return {answer.question_id: [turn.text for turn in answer.turns] for answer in answered}


@pytest.mark.parametrize("name", SETTINGS)
def test_answers_depend_on_the_question_alone(family, name):
    """Not on batch size, order, neighbours, or on how many replicas the questions are spread over."""
    lm, replica = family
    expected = answers(lm, SETTINGS[name], size=1)
    shuffled = random.Random(1).sample(QUESTIONS, len(QUESTIONS))
    assert answers(lm, SETTINGS[name], size=5) == expected
    assert answers(lm, SETTINGS[name], size=2, order=shuffled) == expected
    assert answers(lm, SETTINGS[name], size=2, other=replica) == expected


def test_sampled_answers_depend_on_the_question_alone(family_lm):
    hot = {"temperature": 0.9}
    assert answers(family_lm, SETTINGS["latent parallel"], size=1, **hot) == answers(
        family_lm, SETTINGS["latent parallel"], size=5, **hot
    )


@pytest.mark.parametrize("name", ["single", "latent", "latent parallel"])
def test_a_model_whose_attention_is_its_own_answers_as_one_whose_questions_go_together(family, name):
    one_by_one = tiny_model(family[0].config.model_type.removesuffix("_text"), packs=False)
    settings = {**SETTINGS[name], "temperature": 0.9}
    assert answers(one_by_one, settings, size=5) == answers(family[0], settings, size=5)


def test_a_sliding_window_hides_what_the_model_would_not_see():
    narrow, wide = tiny_model("mistral", sliding_window=8), tiny_model("mistral", sliding_window=500)
    question = {"size": 1, "order": QUESTIONS[:1]}
    assert answers(narrow, SETTINGS["latent"], **question) != answers(wide, SETTINGS["latent"], **question)


@pytest.mark.parametrize(
    ("config", "sizes", "layer"),
    [
        (transformers.MambaConfig, {}, "linear_attention"),
        (transformers.Qwen3NextConfig, {"num_experts": 4, "num_experts_per_tok": 2}, "linear_attention"),
        (transformers.JambaConfig, {}, "linear_attention"),
    ],
)
def test_recurrent_and_linear_attention_layers_are_refused_by_name(config, sizes, layer):
    tokenizer = character_tokenizer()
    made = config(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=2, **{**SIZES, **sizes})
    model = transformers.AutoModelForCausalLM.from_config(made)
    with pytest.raises(ValueError, match=f"can't hand over working memory: it has '{layer}' layers") as caught:
        wrap_model(model, tokenizer, name="hybrid")
    assert "\n" not in str(caught.value)


def test_scaled_inputs_are_measured_and_undone_once():
    """Granite multiplies its inputs inside its forward; what enters layer 0 must be what W_a produced."""
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    config = transformers.GraniteConfig(
        vocab_size=len(tokenizer), embedding_multiplier=12.0, logits_scaling=4.0, **SIZES
    )
    lm = wrap_model(transformers.AutoModelForCausalLM.from_config(config), tokenizer, name="granite")
    assert lm.input_scale == pytest.approx(12.0)
    _enters_layer_0_as_w_a_made_it(lm)


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_scaled_embeddings_are_not_scaled_twice(family):
    lm = tiny_model(family)
    weight = lm.causal_lm.get_input_embeddings().weight
    scale = lm.causal_lm.config.hidden_size**0.5
    torch.testing.assert_close(lm.input_vectors(), weight * scale)  # Gemma: sqrt(D), in the embedding itself
    _enters_layer_0_as_w_a_made_it(lm)


def _enters_layer_0_as_w_a_made_it(lm):
    entered = []
    hook = lm.decoder.layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: entered.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    try:
        slots = lm.open([Memory()], columns=5)
        hidden = prefill(lm, slots, [[5, 6, 7]])
        made = build_alignment(
            "ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors(), input_scale=lm.input_scale
        )
        think(lm, slots, hidden, made, 2)
    finally:
        hook.remove()
    prompt, first = entered[0], entered[1]
    torch.testing.assert_close(prompt[0], lm.input_vectors()[[5, 6, 7]], atol=1e-5, rtol=1e-4)
    expected = hidden.float() @ made.matrix_DD
    expected = expected * lm.input_vectors().float().norm(dim=-1).mean() / expected.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(first[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_code_of_a_model_folder_is_not_run_unless_asked_for(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}'
    )
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="can't be loaded"):
        load_model(ModelConfig(model=str(tmp_path)))
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_lacks_weights_is_refused_naming_one(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 5}))
    with pytest.raises(ValueError, match=r"lacks \d+ of its weights, such as model.layers.3"):
        load_model(ModelConfig(model=str(folder)))


@pytest.mark.parametrize("damage", ["empty", "cut", "unknown type"])
def test_a_damaged_folder_is_one_clear_line(tmp_path, damage):
    folder = save_tiny_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    if damage == "unknown type":
        (folder / "config.json").write_text('{"model_type": "nonsense"}')
    else:
        weights.write_bytes(b"" if damage == "empty" else weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="--model .* can't be loaded: ") as caught:
        load_model(ModelConfig(model=str(folder)))
    assert "\n" not in str(caught.value)


def test_learned_positions_are_no_scaling_and_cannot_be_moved():
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64)
    lm = wrap_model(transformers.AutoModelForCausalLM.from_config(config), tokenizer, name="gpt2")
    assert lm.input_scale == 1.0
    with pytest.raises(ValueError, match="can't be placed at other positions"):
        lm.move(torch.zeros(2, 4, 1, 8), torch.ones(1, dtype=torch.int64))


COUNTING = {
    "biases": transformers.MptConfig(initializer_range=0.3, d_model=32, n_layers=2, n_heads=4),
    "windows": transformers.GPTNeoConfig(
        initializer_range=0.3,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
        bos_token_id=None,
        eos_token_id=None,
    ),
}
"""Models whose own attention counts columns: ALiBi, and layers that see some columns back."""


@pytest.mark.parametrize("what", COUNTING)
def test_a_model_whose_attention_counts_columns_works_where_nothing_moves(what):
    """In a slot the column is the position, so what counts columns counts positions."""
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    made = copy.deepcopy(COUNTING[what])
    made.vocab_size = len(tokenizer)
    lm = wrap_model(transformers.AutoModelForCausalLM.from_config(made), tokenizer, name=what)
    assert not lm.packs  # its attention is its own
    expected = answers(lm, SETTINGS["latent"], size=1)
    assert answers(lm, SETTINGS["latent"], size=5, order=QUESTIONS[::-1]) == expected
    with pytest.raises(ValueError, match="can't be placed at other positions"):
        answers(lm, SETTINGS["latent thoughts"], size=1)


def test_a_model_with_a_text_part_is_read_by_that_part():
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    text = {**SIZES, **FAMILIES["gemma3"].sizes, "vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": 2}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3Config(text_config=text, vision_config={**vision, "image_size": 8, "patch_size": 4})
    lm = wrap_model(transformers.AutoModelForCausalLM.from_config(config), tokenizer, name="gemma3 with vision")
    assert lm.windows == {"sliding_attention": 24, "full_attention": None}
    assert lm.context == 4096
    assert answers(lm, SETTINGS["latent parallel"], size=1) == answers(lm, SETTINGS["latent parallel"], size=5)


def test_a_row_that_reached_the_context_does_not_switch_its_neighbours_frequencies():
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    lm = tiny_model("llama", rope_parameters=rope, max_position_embeddings=400)
    lm.stop_ids = frozenset()
    long = Question(id="long", text="z" * 140, kind="number", gold="1")
    settings = {"method": "single", "max_new_tokens": 60}
    together = answers(lm, settings, size=6, order=[long, *QUESTIONS])
    alone = answers(lm, settings, size=1, order=[long, *QUESTIONS])
    assert len(together["long"][0]) < len(together["q0"][0])
    assert together == alone


def test_memory_that_cannot_be_moved_is_refused_before_the_first_question():
    tokenizer = character_tokenizer()
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=4096)
    lm = wrap_model(transformers.AutoModelForCausalLM.from_config(config), tokenizer, name="gpt2")
    assert answers(lm, SETTINGS["latent"], size=1).keys() == {q.id for q in QUESTIONS}  # in place nothing moves
    for name in ("latent parallel", "latent thoughts"):
        with pytest.raises(ValueError, match="can't be placed at other positions"):
            answers(lm, SETTINGS[name], size=1)
