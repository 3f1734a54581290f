"""vLLM as a server of texts: the only module that imports it. Stock vLLM, used through `LLMEngine`; nothing is patched.

The engine is in this process, so one step is one call and embeddings are handed over as they are. It decides by itself
how many texts it writes at once (continuous batching), and keeps what prompts have in common (prefix caching, which it
does for embeddings as well).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch

from pipeline.checkpoints import model_source
from pipeline.config import ModelConfig
from pipeline.engine.loading import first_line
from pipeline.engine.model import LanguageModel
from pipeline.engine.rollout import prefill
from pipeline.engine.rows import Writing
from pipeline.engine.served import Piece, Prompt
from pipeline.memory import Memory

if TYPE_CHECKING:
    from vllm import LLMEngine

SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
"""What vLLM reads from the environment, where nobody has set it: in this process, on no cores of its own, on a CPU with
2 GiB of cache; the last token of a text may lie one position after the context, as it is never read; and it tells
nobody outside that it is used."""
GIB = 1 << 30
SURE = 0.8
"""Share of the memory after weights that is taken to be its cache on a GPU; it finds out itself what is left."""
BLOCKS = 512
"""Positions of its cache that can't be counted on: it is made of whole blocks, of which one is nobody's."""
TOLERANCE = {torch.float32: 1e-2}
"""How far log-probabilities of tokens may be from ours, by number format."""
COARSE = 0.5
"""That of all others."""
LIKELIEST = 5
"""Tokens whose log-probabilities are compared."""


def start_vllm(config: ModelConfig, lm: LanguageModel, *, gpus: float) -> VllmServer:
    """Starts vLLM on the checkpoint of a model that is loaded, and checks that both compute the same.

    The model's context becomes what vLLM's cache has room for, where that is less.

    Args:
        config: The checkpoint, and vLLM's settings.
        lm: The model.
        gpus: What the replica has of the GPUs; of a part of one, vLLM gets its share of that part.

    Raises:
        ValueError: vLLM can't serve the model, or computes something else; one line.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    set_threads = torch.set_num_threads
    try:
        server = VllmServer(_engine(config, lm, gpus), lm)
        check_same(server, lm)
    except Exception as error:  # vLLM and what it is built of raise all kinds; for the user it is one thing
        raise ValueError(
            f"--backend vllm can't serve --model {config.model!r} (--gpu-memory-utilization "
            f"{config.gpu_memory_utilization}): {first_line(error)}"
        ) from error
    finally:
        torch.set_num_threads = set_threads  # on a CPU it takes this away from all others in the process
    return server


class VllmServer:
    """Writes texts with vLLM."""

    def __init__(self, engine: LLMEngine, lm: LanguageModel) -> None:
        self._engine, self._stop_ids = engine, sorted(lm.stop_ids)

    def write(self, key: str, prompt: Prompt, goal: Writing) -> None:
        """Begins a text; tokens come one by one where somebody watches, else all at its end."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        decoding = goal.config
        params = SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seed=seed_of(decoding.seed, *goal.noise_key) if decoding.temperature else None,
            max_tokens=goal.limit,
            stop_token_ids=self._stop_ids,
            ignore_eos=True,  # all tokens that end a text are named above
            detokenize=False,
            output_kind=RequestOutputKind.DELTA if goal.watch else RequestOutputKind.FINAL_ONLY,
        )
        self._engine.add_request(key, _request(prompt), params)

    def step(self) -> list[Piece]:
        """Computes one step for all texts that it has taken up."""
        return [
            Piece(
                key=output.request_id,
                token_ids=list(output.outputs[0].token_ids),
                done=output.finished,
                shared=(output.num_cached_tokens or 0) if output.finished else 0,
            )
            for output in self._engine.step()
        ]

    def drop(self, keys: Collection[str]) -> None:
        """Gives texts up."""
        self._engine.abort_request(list(keys))

    def forget(self) -> None:
        """Lets go of all keys and values that it keeps of earlier prompts; no texts are under way."""
        self._engine.reset_prefix_cache()

    def likeliest(self, prompt: Prompt) -> dict[int, float]:
        """Log-probabilities of the likeliest tokens after a prompt, by token id; no texts may be under way."""
        from vllm import SamplingParams

        params = SamplingParams(temperature=0.0, max_tokens=1, logprobs=LIKELIEST, detokenize=False, ignore_eos=True)
        self._engine.add_request("check", _request(prompt), params)
        found: dict[int, float] = {}
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                for told in output.outputs[0].logprobs or ():
                    found = {token: one.logprob for token, one in told.items()}
        return found


def check_same(server: VllmServer, lm: LanguageModel) -> None:
    """Refuses a model of which vLLM makes something else than we do, from token ids or from embeddings.

    Args:
        server: Has no texts under way.
        lm: The model.

    Raises:
        ValueError: The likeliest tokens after a prompt differ in their probability by more than number formats do.
    """
    vocabulary = lm.head.weight.shape[0]
    ids = [(7 * i) % (vocabulary - 4) + 3 for i in range(40)]
    slot = lm.open([Memory()], columns=len(ids))
    ours_V = lm.logits(prefill(lm, slot, [ids]))[0].float().log_softmax(dim=-1)
    embedded_TD = lm.embed(torch.tensor(ids, device=lm.device)) * lm.input_scale
    prompts: dict[str, Prompt] = {"token ids": ids, "embeddings": embedded_TD.cpu()}
    for kind, prompt in prompts.items():
        theirs = server.likeliest(prompt)
        apart = max((abs(float(ours_V[token]) - value) for token, value in theirs.items()), default=float("inf"))
        if not apart <= TOLERANCE.get(lm.shape.dtype, COARSE):
            raise ValueError(f"from {kind} it computes other probabilities than transformers (apart by {apart:.2g})")


def seed_of(seed: int, question_id: str, role: str) -> int:
    """The seed of one text: vLLM's own noise, which neither batches nor other questions change."""
    key = hashlib.blake2b(f"{seed}\x1f{question_id}\x1f{role}".encode(), digest_size=7).digest()
    return int.from_bytes(key, "little")


def _request(prompt: Prompt) -> Any:
    return {"prompt_token_ids": prompt} if isinstance(prompt, list) else {"prompt_embeds": prompt}


def _engine(config: ModelConfig, lm: LanguageModel, gpus: float) -> LLMEngine:
    from vllm import EngineArgs, LLMEngine
    from vllm.platforms import current_platform

    if current_platform.device_type != lm.device.type:
        raise ValueError(f"it was built for {current_platform.device_type}, and the replica is on {lm.device.type}")
    on_gpu = lm.device.type == "cuda"
    share = config.gpu_memory_utilization * (min(gpus, 1.0) if on_gpu else 1.0)
    room = _room(lm, share, config.tensor_parallel_size) if on_gpu else int(os.environ["VLLM_CPU_KVCACHE_SPACE"]) * GIB
    fitting = room // lm.shape.bytes_per_position - BLOCKS
    if fitting < 1:
        raise ValueError("there is no room for its cache beside the weights; give it a larger share")
    if fitting < lm.context:
        lm.context, lm.context_note = fitting, f"{lm.context_note} (what vLLM's cache has room for)"
    return LLMEngine.from_engine_args(
        EngineArgs(
            model=model_source(config.model),
            trust_remote_code=config.trust_remote_code,
            dtype=str(lm.shape.dtype).removeprefix("torch."),
            max_model_len=lm.context + 1,
            gpu_memory_utilization=share,
            tensor_parallel_size=config.tensor_parallel_size,
            distributed_executor_backend="mp" if config.tensor_parallel_size > 1 else None,
            enforce_eager=not on_gpu,
            enable_prompt_embeds=True,
            enable_prefix_caching=True,
            skip_tokenizer_init=True,
            generation_config="vllm",
            disable_log_stats=True,
            seed=0,
        )
    )


def _room(lm: LanguageModel, share: float, split: int) -> int:
    """Bytes that its cache is sure to have on GPUs, for the keys and values of whole positions."""
    weights = sum(weight.nbytes for weight in lm.causal_lm.parameters())
    total = torch.cuda.get_device_properties(lm.device).total_memory
    return max(0, int(SURE * (share * total * split - weights)))
