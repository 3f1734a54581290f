"""What people see: the runs of a sweep in MLflow's pages and the report of a comparison, in a real browser."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from evaluations import evaluate, rows
from jobs.compare import main as compare
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
    parent: str
    """The name of the run that they are children of."""

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
    [parent] = [run.info.run_name for run in found if run.data.tags.get("kind") == "sweep"]
    runs = {run.data.tags["method"]: run for run in found if run.info.run_name != parent}
    with served(database) as address:
        pages = f"{address}/#/experiments/{experiment_id}"
        yield Swept(sweep_folder / "sweep", address, pages, runs, parent)


@pytest.fixture
def seen(swept, browser, shots, request):
    with watched(browser, swept.address, shots) as page:
        yield page
        page.shot(f"{request.node.name}-at-its-end")  # where a test fails, what was seen then


def show_runs(page, swept):
    """Opens the experiment's list of runs, where the children of a sweep are folded away at first."""
    page.goto(f"{swept.experiment}/runs")
    close_assistant(page)
    parent = page.get_by_role("gridcell").filter(has=page.get_by_role("link", name=swept.parent, exact=True))
    parent.get_by_role("button").first.click()
    expect_texts(page, [run.info.run_name for run in swept.runs.values()])


def close_assistant(page):
    """Puts away what MLflow opens beside its pages the first time."""
    page.locator('[data-component-id="mlflow.assistant.chat_panel.close"]').click()


def expect_texts(page, texts):
    """Waits until every text is seen."""
    for text in texts:
        page.get_by_text(text).locator("visible=true").first.wait_for()


def compared_values(page, metric):
    """What stands beside a metric: names and values are grids of their own, which share the height of a line."""
    section = page.locator(".du-bois-light-collapse-item").filter(has=page.get_by_label("Metrics - Show diff only"))
    name = section.get_by_text(metric, exact=True)
    name.wait_for()
    line = name.bounding_box()
    middle = line["y"] + line["height"] / 2
    cells = [(cell.bounding_box(), cell.inner_text()) for cell in section.get_by_role("rowgroup").locator("> *").all()]
    level = [(box["x"], text) for box, text in cells if box and box["y"] < middle < box["y"] + box["height"]]
    return [text for _, text in sorted(level)][1:]


def test_a_page_that_fails_or_asks_outside_is_noticed(browser, shots, tmp_path):
    (tmp_path / "page.html").write_text("""<!doctype html><meta charset="utf-8"><title>faults</title>
        <img src="https://example.org/pixel.png"><script src="missing.js"></script>
        <script>console.error("oh dear"); nobody.knows()</script>""")
    opened = (tmp_path / "page.html").as_uri()
    with (
        pytest.raises(AssertionError) as caught,
        watched(browser, tmp_path.as_uri(), shots) as seen,
    ):
        seen.page.goto(opened)
    told = str(caught.value)
    for fault in ("asked outside: https://example.org", "missing.js", "console: oh dear", "script failed: nobody"):
        assert fault in told


def test_a_sweep_is_shown_as_a_run_with_its_runs_below_it(seen, swept):
    show_runs(seen.page, swept)
    seen.shot("runs")
    seen.page.get_by_role("link", name=swept.parent, exact=True).click()
    seen.page.get_by_role("tab", name="Artifacts").click()
    seen.page.get_by_text("tables").click()
    seen.page.get_by_text("cells.json").click()
    expect_texts(seen.page, ["FINISHED", *METHODS])
    seen.shot("sweep")


def test_runs_are_selected_and_compared(seen, swept):
    page = seen.page
    show_runs(page, swept)
    for run in swept.runs.values():
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=run.info.run_name, exact=True))
        row.get_by_label("toggle row selection").check()
    seen.shot("selected")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_role("heading", name="Comparing 3 Runs from 1 Experiment").wait_for()
    page.locator(".js-plotly-plot").get_by_text("latent_mas").first.wait_for()
    seen.shot("compared")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="method", exact=True)).first
    assert sorted(row.get_by_role("cell").all_inner_texts()) == sorted(METHODS)
    page.get_by_label("Metrics - Show diff only").click()  # leaves so few that they are seen at once
    wanted = sorted(f"{run.data.metrics['handover_bytes']:.0f}" for run in swept.runs.values())
    assert sorted(compared_values(page, "handover_bytes")) == wanted
    assert wanted[:2] == ["0", "0"]
    page.get_by_label("Metrics - Show diff only").scroll_into_view_if_needed()
    seen.shot("compared-metrics")


@pytest.mark.parametrize("method", METHODS)
def test_a_trace_shows_what_each_agent_read_and_what_came_of_it(seen, swept, method):
    page, run = seen.page, swept.runs[method]
    first, second, *others = swept.rows(method)
    page.goto(f"{swept.experiment}/runs/{run.info.run_id}/traces")
    close_assistant(page)
    asked = page.get_by_text(first["question"].split("\n")[0])
    asked.first.wait_for()
    expect_texts(page, [second["question"].split("\n")[0], "Expectations", "gold", "correct"])
    seen.shot(f"traces-{method}")
    assert not any(page.get_by_text(row["question"].split("\n")[0]).count() for row in others)
    asked.first.click()
    page.get_by_text(f"{method} {first['question_id']}").first.wait_for()
    expect_texts(page, [turn["role"] for turn in first["turns"]])
    for turn in first["turns"]:
        page.get_by_text(turn["role"], exact=True).first.click()
        expect_texts(page, ["prompt", "memory_bytes" if method == "latent_mas" else "text"])
        opening = " ".join(turn["prompt"].removeprefix("<|im_start|>system\n").split()[:8])
        expect_texts(page, [opening])
        if turn["thoughts"]:
            expect_texts(page, ["most_likely", "nearest", "cosine"])
        seen.shot(f"trace-{method}-{turn['role']}")
    page.get_by_label("Show execution timeline").click()
    expect_texts(page, [turn["role"] for turn in first["turns"]])
    seen.shot(f"timeline-{method}")


def test_a_runs_page_shows_its_numbers_its_files_and_its_figure(seen, swept):
    page, run = seen.page, swept.runs["latent_mas"]
    page.goto(f"{swept.experiment}/runs/{run.info.run_id}")
    close_assistant(page)
    page.get_by_placeholder("Search metrics").fill("output_tokens")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="output_tokens", exact=True))
    assert row.inner_text().split() == ["output_tokens", f"{run.data.metrics['output_tokens']:.0f}"]
    expect_texts(page, ["latent_steps", "latent_mas", "Parent run", swept.parent, "Finished"])
    seen.shot("run")
    page.get_by_role("tab", name="Model metrics").click()
    written = run.data.metrics["output_tokens_per_agent/solver"]
    expect_texts(page, ["output_tokens_per_agent", *AGENTS, f"{written:.2f}"])
    seen.shot("run-charts")
    page.get_by_role("tab", name="Artifacts").click()
    expect_texts(page, ["config.yaml", "graph.yaml", "metrics.json", "predictions.parquet"])
    page.get_by_text("figures").click()
    page.get_by_text("agents.png").click()
    figure = page.locator("img[src^='blob:'], img[src*='agents.png'], img[src^='data:']").first
    figure.wait_for()
    assert figure.evaluate("picture => picture.complete && picture.naturalWidth") > 300
    seen.shot("run-figure")


def test_predictions_are_a_table_with_every_question(seen, swept):
    page, run = seen.page, swept.runs["text_mas"]
    page.goto(f"{swept.experiment}/runs/{run.info.run_id}/artifacts")
    close_assistant(page)
    page.get_by_text("tables").click()
    page.get_by_text("predictions.json").click()
    expect_texts(page, [row["question_id"] for row in swept.rows("text_mas")])
    seen.shot("predictions")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_of_a_comparison_stands_alone(swept, browser, shots, tmp_path, scheme):
    report = tmp_path / "report.html"
    code = compare([str(swept.folder), "--html", str(report)])
    assert code == 0
    alone = tmp_path / "alone"  # nothing lies beside it that it could ask for
    alone.mkdir()
    page_file = report.rename(alone / "report.html")
    with watched(browser, page_file.as_uri(), shots, scheme=scheme) as seen:
        page = seen.page
        page.goto(page_file.as_uri())
        page.get_by_role("heading", name="LatentMAS").wait_for()
        expect_texts(page, ["Single", "TextMAS", "LatentMAS", "Improve", "Acc.", "Token", "Speed"])
        seen.shot(f"report-{scheme}")
        pictures = page.locator("figure svg").all()
        assert pictures
        for number, picture in enumerate(pictures):
            picture.scroll_into_view_if_needed()
            box = picture.bounding_box()
            assert box["width"] > 200
            assert box["height"] > 80
            seen.shot(f"report-{scheme}-figure-{number}")
        assert all(page.locator("table").nth(n).is_visible() for n in range(page.locator("table").count()))
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")  # no part is cut off
