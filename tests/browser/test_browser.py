"""What people see: the runs of a sweep in MLflow's pages and the report of a comparison, in a real browser."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from evaluations import evaluate, rows
from served import served
from watched import CHROMIUM, shots_folder, watched

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright: pip install playwright"),
]
METHODS = ("single", "text_mas", "latent_mas")
AGENTS = ("planner", "critic", "refiner", "solver")
SETTINGS = ["--limit", "4", "--batch-size", "2", "--max-new-tokens", "24", "--latent-steps", "3", "--trace", "2"]


@dataclass(frozen=True)
class Swept:
    """A sweep over the three methods, and where MLflow's pages show it."""

    folder: Path
    address: str
    experiment: str
    """Where the experiment's pages are."""
    runs: dict[str, mlflow.entities.Run]
    """By method."""
    parents: tuple[str, ...]
    """Names of the runs that the others are children of."""

    def rows(self, method: str) -> list[dict]:
        return rows(self.folder / method)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=str(CHROMIUM))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    return shots_folder(tmp_path_factory.mktemp("screenshots"))


@pytest.fixture(scope="module")
def sweep_folder(ray_head, model_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    grid = ["--grid", f"{{method: [{', '.join(METHODS)}]}}", "--out", str(folder / "sweep")]
    where = ["--address", ray_head.address, "--tracking-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where MLflow puts the files of runs whose store is named
        code, _, told = evaluate("--model", str(model_dir), *SETTINGS, *grid, *where, job="sweep.py")
    assert code == 0, told
    return folder


@pytest.fixture(scope="module")
def swept(sweep_folder):
    database = sweep_folder / "mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{database}")
    experiment_id = client.get_experiment_by_name("latentmas/demo").experiment_id
    found = client.search_runs([experiment_id])
    parents = tuple(run.info.run_name for run in found if run.data.tags.get("kind") == "sweep")
    runs = {run.data.tags["method"]: run for run in found if run.info.run_name not in parents}
    with served(database) as address:
        pages = f"{address}/#/experiments/{experiment_id}"
        yield Swept(sweep_folder / "sweep", address, pages, runs, parents)


@pytest.fixture
def seen(swept, browser, shots):
    with watched(browser, swept.address, shots) as page:
        yield page


def show_runs(page, swept):
    """Opens the experiment's list of runs; children of a sweep are folded away at first."""
    page.goto(f"{swept.experiment}/runs")
    close_assistant(page)
    page.get_by_text("matching run").wait_for()
    for parent in swept.parents:
        page.get_by_role("gridcell").filter(has_text=parent).get_by_role("button").first.click()
    for run in swept.runs.values():
        page.get_by_role("link", name=run.info.run_name).first.wait_for()


def close_assistant(page):
    """Puts away what MLflow opens beside its pages the first time."""
    page.locator('[data-component-id="mlflow.assistant.chat_panel.close"]').click()


def expect_texts(page, texts):
    """Waits until every text is seen."""
    for text in texts:
        page.get_by_text(text).locator("visible=true").first.wait_for()


def test_the_experiment_shows_the_runs_of_the_sweep(seen, swept):
    show_runs(seen.page, swept)
    expect_texts(seen.page, [*swept.parents, *(run.info.run_name for run in swept.runs.values())])
    seen.shot("runs")
    assert set(swept.runs) == set(METHODS)


def test_runs_are_selected_and_compared(seen, swept):
    page = seen.page
    show_runs(page, swept)
    for run in swept.runs.values():
        page.get_by_role("row").filter(has_text=run.info.run_name).get_by_label("toggle row selection").check()
    seen.shot("selected")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_role("heading", name="Comparing 3 Runs from 1 Experiment").wait_for()
    seen.shot("compared")
    for name, values in {
        "method": METHODS,
        "max_new_tokens": ("24",) * 3,
        "output_tokens": [f"{run.data.metrics['output_tokens']:g}" for run in swept.runs.values()],
    }.items():
        row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True)).first
        row.scroll_into_view_if_needed()
        for value in values:
            assert value in row.inner_text()
    seen.shot("compared-metrics")
