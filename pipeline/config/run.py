"""All settings of a run: one flat list in YAML and on the command line, composed of the parts.

Shown to users, every field of every part has a name of its own, which is the key in a YAML file and, with dashes, the
flag of `jobs/eval.py`.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.backends import BACKENDS
from pipeline.config.parts import (
    CollaborationConfig,
    DataConfig,
    DecodingConfig,
    ExecutionConfig,
    ModelConfig,
    ScoringConfig,
    TrackingConfig,
)
from pipeline.validation import fits_type, require, type_name


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of one run."""

    collaboration: CollaborationConfig = field(default_factory=CollaborationConfig)
    """Who works together."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which questions."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Which model."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """How text is written."""
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    """Where it is computed."""
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    """How answers are graded."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where it is recorded."""

    def __post_init__(self) -> None:
        if self.execution.transport == "reencode":  # what is signed are keys and values, which it does not carry
            require(not self.collaboration.verify_memory, "verify_memory", True, "false, with --transport reencode")
            one = len({self.model.model, *(self.model.of_role(role) for role in self.model.roles)}) == 1
            require(one, "roles", self.model.roles, "no checkpoints of their own, with --transport reencode")
        split, gpus = self.model.tensor_parallel_size, self.execution.gpus_per_replica
        fits = split == 1 or (gpus is not None and gpus >= split)
        require(fits, "tensor_parallel_size", split, "1, or no more than --gpus-per-replica")
        if BACKENDS[self.model.backend].prompts_only and self.collaboration.method == "latent_mas":
            self._check_prompts_only()

    def _check_prompts_only(self) -> None:
        """Refuses what can't be handed to an engine that reads prompts and no working memory."""
        with_it = f"with --backend {self.model.backend} and --method latent_mas"
        handover, verify = self.collaboration.handover, self.collaboration.verify_memory
        # thoughts alone were made after a prompt that is not handed over, and no prompt has them without it
        require(handover != "thoughts", "handover", handover, f"full or prompt, {with_it}")
        require(not verify, "verify_memory", verify, f"false, {with_it}: what is signed is not what it reads")
        require(not self.model.roles, "roles", self.model.roles, f"no checkpoints of their own, {with_it}")
        if self.execution.placement == "spread":
            transport = self.execution.transport
            require(transport == "reencode", "transport", transport, f"reencode, {with_it} and --placement spread")

    @property
    def own_share(self) -> float:
        """Share of a replica's GPU memory that our own engine has."""
        beside = BACKENDS[self.model.backend].prompts_only
        return 1 - self.model.gpu_memory_utilization if beside else 1.0

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> RunConfig:
        """Builds the config from flat settings; those that are absent keep their defaults.

        Raises:
            ValueError: A setting is unknown or its value is not allowed.
        """
        known = {setting.name: setting for setting in settings()}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"unknown setting {name!r}; known settings: {', '.join(sorted(known))}")
            require(fits_type(value, known[name].type), name, value, type_name(known[name].type))
        chosen: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            chosen.setdefault(known[name].part, {})[name] = value
        return cls(**{part: part_type(**chosen.get(part, {})) for part, part_type in _part_types().items()})

    def flat(self) -> dict[str, Any]:
        """All settings by name, in the order in which the parts declare them."""
        return {s.name: getattr(getattr(self, s.part), s.name) for s in settings()}

    def to_yaml(self) -> str:
        """The settings as YAML; `--config` reads it again and gives the same run."""
        return yaml.safe_dump(self.flat(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, path: Path) -> RunConfig:
        """Reads what `to_yaml` wrote.

        Raises:
            ValueError: The file is not a mapping of settings with allowed values; the message names it.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"{path} can't be read as YAML: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} holds no settings (expected lines of the form `name: value`)")
        try:
            return cls.from_flat(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting as the command line presents it."""

    name: str
    """Key in YAML; the flag is the same with dashes."""
    part: str
    """The part of `RunConfig` that it belongs to."""
    type: Any
    """Its type, with names resolved."""
    default: Any
    """Its value when nobody sets it."""
    help: str
    """What it does, from the line under the field."""


def _part_types() -> dict[str, Any]:
    return typing.get_type_hints(RunConfig)


def settings() -> Iterator[Setting]:
    """Yields every setting of every part, with the line of documentation under its field."""
    for part, part_type in _part_types().items():
        types, helps, defaults = typing.get_type_hints(part_type), field_docs(part_type), part_type()
        for f in fields(part_type):
            yield Setting(
                name=f.name, part=part, type=types[f.name], default=getattr(defaults, f.name), help=helps[f.name]
            )


@cache
def field_docs(part_type: type) -> dict[str, str]:
    """The string literal under each field; Python itself drops it, so it is read from the source."""
    source = inspect.getsource(part_type)
    return {m[1]: m[2] for m in re.finditer(r'^    (\w+): [^\n]+\n    """(.+?)"""$', source, re.MULTILINE | re.DOTALL)}
