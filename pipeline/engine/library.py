"""Latent collaboration as a library: think, hand the memory on, answer. Without Ray, one conversation at a time.

model = LatentModel.load("Qwen/Qwen3-4B")
memory = model.think("Plan how to solve this: ...", latent_steps=20)
print(model.answer("Solve this: ...", memory=memory))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from pipeline.config import AlignmentName, DecodingConfig, DType, ModelConfig
from pipeline.engine.alignment import Alignment, build_alignment
from pipeline.engine.chat import chat_ids
from pipeline.engine.loading import load_model
from pipeline.engine.model import LanguageModel
from pipeline.engine.rollout import decode, prefill, think
from pipeline.memory import Memory, Slot
from pipeline.prompts import Message
from pipeline.validation import require

Messages = str | Sequence[Message | Mapping[str, str]]
"""A chat: one user message as a string, or messages with `role` and `content`."""


class LatentModel:
    """A model that can hand its working memory on, and read another agent's.

    Memories of independent agents add up (`a + b`): their keys are moved to where they come to lie.
    """

    def __init__(
        self, lm: LanguageModel, *, alignment: AlignmentName = "ridge", chat_options: Mapping[str, Any] | None = None
    ) -> None:
        self.lm = lm
        self._chat_options = chat_options or {}
        self._alignment_name = alignment
        self._alignment: Alignment | None = None

    @classmethod
    def load(
        cls,
        model: str,
        *,
        dtype: DType = "auto",
        device: str | None = None,
        gpus: int = 1,
        alignment: AlignmentName = "ridge",
        chat_options: Mapping[str, Any] | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """Loads a model.

        Args:
            model: Hub id, folder, or `embedded`.
            dtype: Number format; a memory is valid for one of them. auto is bfloat16 on a GPU and float32 on a CPU.
            device: By default a GPU where there is one.
            gpus: Over how many GPUs to spread its layers.
            alignment: How hidden states become inputs.
            chat_options: Settings of the chat template, such as `{"enable_thinking": False}`.
            trust_remote_code: Let a model folder bring Python code of its own.

        Raises:
            ValueError: It can't be loaded, or its memory can't be handed over.
        """
        config = ModelConfig(model=model, dtype=dtype, trust_remote_code=trust_remote_code)
        return cls(load_model(config, device=device, gpus=gpus), alignment=alignment, chat_options=chat_options)

    @torch.inference_mode()
    def think(
        self, messages: Messages, *, latent_steps: int = 10, memory: Memory | None = None, role: str = "agent"
    ) -> Memory:
        """Reads a prompt on top of a memory, thinks, and returns what that added; `memory + result` is all of it.

        Args:
            messages: The prompt.
            latent_steps: How many latent steps to take; 0 gives the prompt's memory.
            memory: What was known before.
            role: Who thinks, for the record.

        Raises:
            ValueError: The memory belongs to another model, or does not fit the model's context.
        """
        require(latent_steps >= 0, "latent_steps", latent_steps, "0 or more")
        slot, start, hidden_BD = self._read(messages, memory, room=latent_steps)
        think(self.lm, [slot], hidden_BD, self.alignment, latent_steps)
        fingerprint = self.lm.fingerprint
        made = slot.cut(start, role=role, question_id="", fingerprint=fingerprint, latent_steps=latent_steps)
        return Memory.of([made])

    @torch.inference_mode()
    def answer(
        self,
        messages: Messages,
        *,
        memory: Memory | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int = 0,
    ) -> str:
        """Reads a prompt on top of a memory and writes the answer.

        Args:
            messages: The prompt.
            memory: What was known before.
            max_new_tokens: Most tokens written.
            temperature: Sampling temperature; 0 is greedy.
            top_p: The nucleus that is sampled from.
            seed: Of the sampling noise.

        Raises:
            ValueError: A setting is not allowed, the memory belongs to another model, or the context is too small.
        """
        config = DecodingConfig(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
        slot, start, hidden_BD = self._read(messages, memory, room=0)
        written = decode(
            self.lm, [slot], hidden_BD, noise_keys=[("", "answer")], budgets=[max_new_tokens], config=config
        )[0]
        slot.length = start  # so that the memory can be gone on from in place
        text: str = self.lm.tokenizer.decode(written.token_ids, skip_special_tokens=True)
        return text.strip()

    def load_memory(self, path: str | Path) -> Memory:
        """Reads a memory that `Memory.save` wrote with this model.

        Raises:
            ValueError: The file is no memory, is damaged, or belongs to another model.
        """
        return Memory.load(path, fingerprint=self.lm.fingerprint)

    @property
    def alignment(self) -> Alignment:
        """From hidden state to next input; computed when it is first needed."""
        if self._alignment is None:
            self._alignment = build_alignment(
                self._alignment_name,
                input_VD=self.lm.input_vectors(),
                output_VD=self.lm.output_vectors(),
                input_scale=self.lm.input_scale,
            )
        return self._alignment

    def _read(self, messages: Messages, memory: Memory | None, *, room: int) -> tuple[Slot, int, Tensor]:
        known = memory or Memory()
        prompt = chat_ids(self.lm.tokenizer, _as_messages(messages), self._chat_options)
        needed = len(known) + len(prompt) + room
        if needed > self.lm.context:
            raise ValueError(
                f"{needed} positions are needed (memory {len(known)}, prompt {len(prompt)}, latent steps {room}), but "
                f"the model's context is {self.lm.context}{self.lm.context_note}"
            )
        slot = self.lm.open([known], columns=len(prompt) + room)[0]
        start = slot.length
        return slot, start, prefill(self.lm, [slot], [prompt])


def _as_messages(messages: Messages) -> list[Message]:
    if isinstance(messages, str):
        return [Message(role="user", content=messages)]
    for message in messages:
        if not isinstance(message, Message) and set(message) != {"role", "content"}:
            raise ValueError(f"a message has `role` and `content`, got {sorted(message)}")
    return [m if isinstance(m, Message) else Message(**m) for m in messages]  # type: ignore[arg-type]
