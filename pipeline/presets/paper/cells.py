"""The table that the presets are made from: nine tasks x three models x two graphs, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

FOLDER = Path(__file__).parent
"""Where the presets lie."""

CAPS = {
    "arc_easy": 2048,
    "arc_challenge": 2048,
    "gsm8k": 2048,
    "medqa": 4096,
    "mbppplus": 4096,
    "humanevalplus": 4096,
    "gpqa_diamond": 8192,
    "aime24": 20000,
    "aime25": 20000,
}
"""The paper's most new tokens by task; each writing agent has so many of its own."""

MODELS = ("Qwen/Qwen3-4B", "Qwen/Qwen3-8B", "Qwen/Qwen3-14B")
"""The paper's models by Hub id."""

GRAPHS = ("sequential", "hierarchical")
"""The paper's two systems."""

OURS_STEPS = 10
"""Latent steps where the authors published none: what they published for most of the cells that they did."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Latent steps of a cell, and who says so."""

    number: int
    """m, of each thinking agent."""
    told: str
    """Where it is published, or that it is not."""
    caution: str = ""
    """What else one has to know to compare with the authors' number."""


OURS = Steps(number=OURS_STEPS, told="ours: the authors published no m for this cell")
_COMMAND = Steps(
    number=10,
    told="published: the authors' command for this cell",
    caution="The authors' command leaves their alignment switched off; --alignment identity comes nearest to that.",
)
PUBLISHED: dict[tuple[str, str, str], Steps] = {
    ("aime25", "Qwen/Qwen3-14B", "sequential"): _COMMAND,
    ("aime25", "Qwen/Qwen3-14B", "hierarchical"): _COMMAND,
    ("gsm8k", "Qwen/Qwen3-14B", "sequential"): Steps(
        number=20, told="published: the example in the authors' README, which asks the first 100 questions"
    ),
    ("mbppplus", "Qwen/Qwen3-14B", "sequential"): Steps(
        number=0,
        told="published: the authors' example log of this cell, as quoted in issue 12 of their repository",
        caution="With m = 0 the authors' code drops the memory; here the prompts' memory is still handed over "
        "(--memory none drops it).",
    ),
    ("humanevalplus", "Qwen/Qwen3-14B", "hierarchical"): Steps(
        number=10, told="published: the authors' example log of this cell, as quoted in issue 12 of their repository"
    ),
}
"""Latent steps by task, model and graph, where the authors published them."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the paper's tables: a task, a model and a graph."""

    task: str
    """Benchmark."""
    model: str
    """Hub id."""
    graph: str
    """Role graph."""

    @property
    def cap(self) -> int:
        """Most new tokens of each writing agent."""
        return CAPS[self.task]

    @property
    def steps(self) -> Steps:
        """Its latent steps."""
        return PUBLISHED.get((self.task, self.model, self.graph), OURS)

    @property
    def path(self) -> Path:
        """Its preset."""
        return FOLDER / self.task / f"{self.model.rpartition('/')[2].lower()}-{self.graph}.yaml"


CELLS = tuple(Cell(task=task, model=model, graph=graph) for task, model, graph in product(CAPS, MODELS, GRAPHS))
"""All cells, those included of which the paper gives no number."""
