"""The structure that the architecture promises: imports point one way, Ray and MLflow stay where they belong."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RANKS = [
    {"validation"},
    {"records", "config"},
    {"benchmarks", "checkpoints", "presets", "prompts", "graphs", "scoring", "memory", "tracking", "reports"},
    {"engine"},
    {"agents"},
    {"runtime"},
    {"jobs"},
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
FILES = [path for folder in ("pipeline", "jobs", "cluster") for path in sorted((ROOT / folder).rglob("*.py"))]
RAY_ALLOWED = ("pipeline/memory/transport.py", "pipeline/agents/actor.py", "pipeline/runtime/", "jobs/")


def part_of(module: str) -> str | None:
    """The ranked part that a module belongs to: `pipeline.engine.model` -> engine."""
    names = module.split(".")
    if names[0] == "jobs":
        return "jobs"
    return names[1] if names[0] == "pipeline" and len(names) > 1 else None


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def test_every_part_has_a_rank():
    parts = {part_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in FILES}
    assert parts - {"__init__", None} <= RANK.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_to_lower_ranks_only(path):
    own = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for module in imports(path):
        other = part_of(module)
        if other in RANK and own in RANK and other != own:
            assert RANK[other] < RANK[own], f"{own} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_and_mlflow_stay_behind_their_adapters(path):
    name = str(path.relative_to(ROOT))
    roots = {module.split(".")[0] for module in imports(path)}
    assert "ray" not in roots or name.startswith(RAY_ALLOWED)
    assert "mlflow" not in roots or name.startswith("pipeline/tracking/")
    assert "vllm" not in roots or name == "pipeline/engine/vllm.py"
    assert not any(module.startswith("ray._private") for module in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 255
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno >= 60] == []
