"""The real vLLM beside our engine: greedy answers, counts and ends are the same for every method."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from pipeline.agents.crowd import Crowd
from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.benchmarks import load_questions
from pipeline.config import ModelConfig, RunConfig
from pipeline.engine import RunningBatch, load_model, running_batch, start_server
from pipeline.graphs import plan_for
from pipeline.runtime.assigning import assign
from tiny import save_tiny_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
]

HEAD = {"head_dim": 32}
"""The smallest that vLLM's attention on CPUs has a kernel for."""
METHODS = {
    "single": {"method": "single"},
    "text_mas": {"method": "text_mas"},
    "latent_mas": {"method": "latent_mas"},
    "chained": {"method": "latent_mas", "graph": "hierarchical", "experts": "chained"},
    "prompts alone": {"method": "latent_mas", "handover": "prompt"},
    "another question's": {"method": "latent_mas", "memory": "shuffled"},
}
MODELS = {
    "llama": HEAD,
    "qwen3": HEAD,
    "gemma3": HEAD,  # scales embeddings, and has a sliding window
}


class Pair:
    """A model in our engine, and vLLM beside it."""

    def __init__(self, model: str, *, split: int = 1, **flat) -> None:
        self.settings = {"temperature": 0.0, "max_new_tokens": 16, "latent_steps": 4, "backend": "vllm", **flat}
        self.model = ModelConfig(model=model, backend="vllm", tensor_parallel_size=split)
        self.lm = load_model(self.model, device="cpu")
        self.served = running_batch(self.lm, start_server(self.model, self.lm, gpus=0.0))

    def answers(self, batch, **flat):
        config = RunConfig.from_flat({**self.settings, **flat})
        plan, asked = plan_for(config.collaboration), load_questions("demo", data_dir=None, limit=8)
        team = build_team(self.lm, config, plan, keep_inputs=batch.served)
        work = assign(asked, memory=config.collaboration.memory, seed=0, trace=0)
        answers = answer_batch(work, team, Crowd(batch))
        return [[(turn.role, turn.text, turn.finish, turn.usage) for turn in one.turns] for one in answers]

    def both(self, **flat):
        """Answers of our engine alone, and of it beside vLLM."""
        return [self.answers(batch, **flat) for batch in (RunningBatch(self.lm), self.served.anew())]


@pytest.fixture(scope="module", params=MODELS)
def tiny(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / request.param
    return Pair(str(save_tiny_model(folder, request.param, **MODELS[request.param])))


@pytest.fixture(scope="module")
def embedded():
    return Pair("embedded")


@pytest.mark.parametrize("method", METHODS)
def test_vllm_answers_as_our_own_engine_does(tiny, method):
    own, served = tiny.both(**METHODS[method])
    assert served == own
    assert len(own) == 8


@pytest.mark.parametrize("method", ["single", "text_mas", "latent_mas"])
def test_vllm_answers_as_our_own_engine_does_with_trained_weights(embedded, method):
    own, served = embedded.both(**METHODS[method], max_new_tokens=24)
    assert served == own
    assert {"stop", "length"} <= {finish for answer in own for *_, finish, _ in answer}


def test_texts_end_with_the_context_as_in_our_own_engine(tmp_path):
    pair = Pair(str(save_tiny_model(tmp_path / "short", **HEAD, max_position_embeddings=700)), max_new_tokens=600)
    own, served = pair.both(method="single")
    assert served == own
    assert "context" in {finish for answer in own for *_, finish, _ in answer}


def test_noise_is_that_of_the_seed_and_the_question(tiny):
    sampled = {"method": "latent_mas", "temperature": 1.0, "top_p": 0.9}
    first, again = (tiny.answers(tiny.served.anew(), **sampled) for _ in range(2))
    other = tiny.answers(tiny.served.anew(), **sampled, seed=1)
    assert first == again
    assert first != other


def test_prompts_with_thoughts_in_them_share_what_they_begin_with(tiny):
    flat = {"method": "latent_mas", "latent_steps": 7}  # nobody else's
    first, again = tiny.served.anew(), tiny.served.anew()
    assert tiny.answers(first, **flat) == tiny.answers(again, **flat)
    assert again.tally.shared > first.tally.shared > 0


def test_a_cache_too_small_for_the_context_makes_the_context_shorter(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    folder = save_tiny_model(tmp_path / "long", head_dim=128, num_key_value_heads=4, max_position_embeddings=1 << 20)
    pair = Pair(str(folder))
    assert pair.lm.context < 1 << 18
    assert "vLLM" in pair.lm.context_note
    own, served = pair.both(method="single")
    assert served == own


def test_a_model_split_over_two_processes_answers_the_same(tmp_path):
    pair = Pair(str(save_tiny_model(tmp_path / "split", "qwen3", **HEAD)), split=2)
    own, served = pair.both(method="latent_mas")
    assert served == own


def test_a_model_that_vllm_can_not_serve_is_refused_in_one_line(tmp_path):
    folder = save_tiny_model(tmp_path / "odd", head_dim=8)
    model = ModelConfig(model=str(folder), backend="vllm")
    with pytest.raises(ValueError, match="--backend vllm can't serve --model .*head_dim=8") as caught:
        start_server(model, load_model(model, device="cpu"), gpus=0.0)
    assert "\n" not in str(caught.value)
