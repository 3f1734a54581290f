"""run.json: what is noted of a run, by whoever notes it."""

import os
import socket
import subprocess
import threading

import pytest

from pipeline.config import DataConfig, RunConfig
from pipeline.graphs import plan_for
from pipeline.runtime import facts
from pipeline.runtime.facts import FolderLedger, git_commit, note, note_begin, question_set, read_facts
from pipeline.runtime.results import RunFolder
from trackers import asked


@pytest.fixture
def folder(tmp_path):
    config = RunConfig()
    return RunFolder.create(tmp_path / "run", config, plan_for(config.collaboration))


def git(path, *words):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "-C", str(path), *identity, *words], check=True, capture_output=True)


def test_the_commit_is_that_of_the_code_and_changes_to_it_are_told(tmp_path):
    code = tmp_path / "pipeline"
    code.mkdir()
    (tmp_path / "jobs").mkdir()
    (code / "__init__.py").write_text("")
    assert git_commit(code) == ("", False)
    git(tmp_path, "init")
    assert git_commit(code) == ("", False)  # somebody's repository, which the code is no part of
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "m")
    commit, dirty = git_commit(code)
    assert (len(commit), dirty) == (40, False)
    (tmp_path / "notes.txt").write_text("no code")
    assert git_commit(code) == (commit, False)
    (code / "new.py").write_text("")
    assert git_commit(code) == (commit, True)


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(facts.CODE) == ("", False)


def test_what_cannot_be_known_later_is_noted_and_the_first_start_stays(folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["jobs/eval.py", "--tracking-uri", "http://me:secret@lab", "--out", "a b"])
    note_begin(folder, DataConfig(task="gsm8k"), asked(2))
    told = read_facts(folder)
    assert told["command"] == "python jobs/eval.py --tracking-uri http://***@lab --out 'a b'"
    assert (told["status"], told["tracked"], told["backend"]) == ("RUNNING", False, "hf")
    assert told["versions"]["torch"]
    assert (told["pid"], told["host"]) == (os.getpid(), socket.gethostname())
    assert told["pid_since"] <= told["started"]
    assert told["questions"]["place"] == {"path": "openai/gsm8k", "config_name": "main", "split": "test"}
    note(folder, notices=["lost"], status="KILLED")
    note_begin(folder, DataConfig(task="gsm8k"), asked(2))
    again = read_facts(folder)
    assert (again["started"], again["notices"], again["status"]) == (told["started"], ["lost"], "RUNNING")


def test_the_first_run_of_a_process_has_been_awaited_since_that_began_and_others_since_their_own_beginning(folder):
    note_begin(folder, DataConfig(task="demo"), asked(1))
    first = read_facts(folder)
    assert first["awaited_since"] == first["pid_since"]
    note_begin(folder, DataConfig(task="demo"), asked(1), first=False)
    assert read_facts(folder)["awaited_since"] >= first["started"]


def test_what_writes_texts_is_noted_with_its_version(folder, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name} of now")
    note_begin(folder, DataConfig(task="demo"), asked(1), backend="vllm")
    told = read_facts(folder)
    assert (told["backend"], told["versions"]["vllm"]) == ("vllm", "vllm of now")


@pytest.mark.parametrize(
    ("data", "source", "uri"),
    [
        (DataConfig(task="demo"), "code", "demo, which comes with latentmas-ray"),
        (DataConfig(task="gsm8k", data_dir="/data"), "local", "/data/gsm8k.parquet"),
        (DataConfig(task="/my/quiz.jsonl"), "local", "/my/quiz.jsonl"),
    ],
)
def test_questions_say_where_they_come_from(data, source, uri):
    told = question_set(data, asked(2))
    assert (told.source, told.place["uri"], told.count) == (source, uri, 2)


def test_a_digest_tells_questions_apart_and_their_order():
    two = asked(2)
    digests = {question_set(DataConfig(), some).digest for some in (two, two[::-1], asked(3), two[:1])}
    assert len(digests) == 4
    assert question_set(DataConfig(), asked(2)).digest in digests
    assert {len(digest) for digest in digests} == {32}


def test_a_ledger_knows_a_run_in_every_store_and_what_was_traced_there(folder):
    ledger = FolderLedger(folder)
    assert ledger.run_ids("http://a") == []
    ledger.opened("http://u:p@a", "1")
    ledger.opened("http://b", "2")
    assert (ledger.run_ids("http://u:q@a"), ledger.run_ids("http://b")) == (["1", "2"], ["2", "1"])
    assert ledger.run_ids("http://unheard-of") == ["2", "1"]  # perhaps one of these stores under another name
    ledger.add_traced("1", ["q0"])
    ledger.add_traced("1", ["q1"])
    assert (ledger.traced("1"), ledger.traced("2")) == ({"q0", "q1"}, frozenset())
    assert "p@" not in (folder.path / "run.json").read_text()


def test_a_run_has_one_key_from_the_first_attempt_to_begin_it(folder):
    ledger = FolderLedger(folder)
    assert ledger.run_key() == ""
    key = ledger.new_key()
    assert key
    assert FolderLedger(folder).run_key() == key


def test_notes_of_several_threads_do_not_lose_each_other(folder):
    threads = [threading.Thread(target=lambda n=n: note(folder, **{f"fact{n}": n})) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_facts(folder) == {f"fact{n}": n for n in range(20)}
