"""What commands import before they need it: users wait for every package. Each case is a process of its own."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "mlflow", "pandas", "datasets", "scipy", "statsmodels", "matplotlib", "math_verify"}
CLUSTER = {"ray", "numpy", "pyarrow"}


def imported_by(program, tmp_path):
    """The modules that a program has imported by its end, parents included."""
    code = f"import sys\n{program}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("job", ["eval", "sweep", "compare", "analyze", "ask", "bench"])
def test_a_command_imports_nothing_heavy_before_it_knows_what_to_do(job, tmp_path):
    assert not imported_by(f"import jobs.{job}", tmp_path) & (HEAVY | CLUSTER)


def test_a_refused_run_has_not_waited_for_a_heavy_package(tmp_path):
    program = "import jobs.eval\nassert jobs.eval.main(['--model', './nothing']) == 2"
    assert not imported_by(program, tmp_path) & (HEAVY | {"ray"})


def test_a_checked_run_has_waited_for_ray_at_most(tmp_path):
    program = "import jobs.eval\njobs.eval.prepare(['--task', 'demo', '--limit', '2', '--out', 'run'])"
    modules = imported_by(program, tmp_path)
    assert not modules & (HEAVY | {"ray.data"})
    assert "pipeline.runtime.evaluate" in modules


def test_a_known_store_is_looked_at_without_mlflow(tmp_path):
    make = "import sqlite3\nsqlite3.connect('mlflow.db').execute('CREATE TABLE alembic_version (version_num)')"
    look = "from pipeline.tracking import Store\nStore(uri='sqlite:///mlflow.db').glance()"
    assert "mlflow" not in imported_by(f"{make}\n{look}", tmp_path)
