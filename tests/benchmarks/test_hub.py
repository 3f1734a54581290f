"""The Hub: what it holds, what is said when it can't be had, and that nobody waits for it in vain."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from pipeline.benchmarks import load_questions

SUM = {"question": "What is 1 + 1?", "answer": "1 + 1 = 2\n#### 2"}
ROOT = Path(__file__).parent.parent.parent


class Table(list[dict[str, Any]]):
    """Rows as a data set of the Hub holds them."""

    @property
    def column_names(self) -> list[str]:
        return list(self[0])


class Hub:
    """Stands for both clients: the one that asks whether the Hub is there, and the one that reads data sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any], *faults: Exception) -> None:
        self.asked, self.offline, self._load, self._faults = [], [], load, list(faults)
        self._config = SimpleNamespace(HF_HUB_OFFLINE=False)
        fake = SimpleNamespace(load_dataset=self._load_dataset, config=self._config)
        monkeypatch.setitem(sys.modules, "datasets", fake)
        monkeypatch.setattr(huggingface_hub, "auth_check", self._check)
        monkeypatch.setattr("pipeline.benchmarks.hub._PAUSE_S", 0)

    def _check(self, repo: str, repo_type: str) -> None:
        assert repo_type == "dataset"
        if self._faults:
            raise self._faults.pop(0)

    def _load_dataset(self, *args: Any, **options: Any) -> Any:
        self.asked.append((*args, options))
        self.offline.append(self._config.HF_HUB_OFFLINE)
        return self._load()


class ReadTimeout(Exception):
    """As an HTTP client names it."""


def fail(error: Exception) -> Callable[[], Any]:
    def load() -> Any:
        raise error

    return load


def complaint(task: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        load_questions(task, data_dir=None, limit=None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_folder_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, lambda: Table([SUM, SUM]))
    questions = load_questions("gsm8k", data_dir=None, limit=1)
    assert hub.asked == [("openai/gsm8k", "main", {"split": "test"})]
    assert hub.offline == [False]
    assert [question.id for question in questions] == ["gsm8k/0000"]


def test_a_hub_data_set_without_the_columns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, lambda: Table([SUM]))
    assert "no column 'id', 'choices', 'answerKey'" in complaint("arc_easy")


def test_an_unreachable_hub_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [ConnectionError("no route\nto host")] * 2
    hub = Hub(monkeypatch, fail(ConnectionError("offline mode")), *faults)
    message = complaint("gsm8k")
    for hint in ("openai/gsm8k", "no route to host", "--data-dir with gsm8k.parquet", "HF_HOME"):
        assert hint in message
    assert hub.offline == [True]


def test_an_unreachable_hub_is_no_matter_where_the_cache_has_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, lambda: Table([SUM]), ConnectionError("no route"), ConnectionError("no route"))
    assert len(load_questions("gsm8k", data_dir=None, limit=None)) == 1
    assert hub.offline == [True]
    load_questions("gsm8k", data_dir=None, limit=None)
    assert hub.offline == [True, False], "the next data set is asked for anew"


@pytest.mark.parametrize("fault", [ConnectionError("just waking up"), ReadTimeout("slow")])
def test_a_network_that_is_slow_or_fails_once_is_used(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    hub = Hub(monkeypatch, lambda: Table([SUM]), fault)
    load_questions("gsm8k", data_dir=None, limit=None)
    assert hub.offline == [False]


@pytest.fixture
def gate() -> Iterator[str]:
    """A Hub that knows every data set and lets nobody read it; gives its address."""

    class Gate(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("X-Error-Message", "Access to this data set is restricted.")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Gate)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def tell(task: str, endpoint: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Loads a task in a process of its own, with the real clients."""
    program = (
        "from pipeline.benchmarks import load_questions\n"
        f"try: load_questions({task!r}, data_dir=None, limit=None)\n"
        "except ValueError as error: print(error)\n"
    )
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "", "NO_PROXY": "*"}
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)


def test_the_real_clients_give_up_at_once_and_quietly_where_nobody_answers(tmp_path: Path) -> None:
    told = tell("gsm8k", "http://127.0.0.1:1", tmp_path)
    assert told.stdout.startswith("openai/gsm8k can't be loaded from the Hugging Face Hub: ")
    assert "refused" in told.stdout
    assert told.stdout.count("\n") == 1
    assert told.stderr == ""


def test_a_gated_data_set_is_one_line_that_names_the_page_and_the_login(gate: str, tmp_path: Path) -> None:
    told = tell("gpqa_diamond", gate, tmp_path)
    assert told.stdout == (
        "fingertap/GPQA-Diamond is gated: accept its terms at https://huggingface.co/datasets/fingertap/GPQA-Diamond "
        "and run hf auth login, or give --data-dir with gpqa_diamond.parquet\n"
    )
    assert told.stderr == ""
