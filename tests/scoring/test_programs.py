"""Programs as answers: what is run, what is right, and a reason for each that is wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline.config import ScoringConfig
from pipeline.records import Question
from pipeline.scoring import Grader, SandboxError, require_isolation
from pipeline.scoring.sandbox import Isolation, Sandbox

QUESTION = Question(
    id="q",
    text="Write double.",
    kind="code",
    gold="def double(x):\n    return 2 * x",
    tests="""
import numpy as np
def check(candidate):
    assert candidate(2) == 4, 'out of 2'
    assert candidate([1]) == [1, 1]
check(double)""",
    entry_point="double",
)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(ScoringConfig(code_seconds=1)) as grader:
        yield grader


def fenced(code: str, mark: str = "python") -> str:
    return f"So this is it:\n```{mark}\n{code}\n```\nDone."


def test_the_reference_is_right_and_what_locked_it_in_is_said(grader: Grader) -> None:
    score = grader.grade(QUESTION, fenced(QUESTION.gold), truncated=False)
    assert (score.correct, score.correct_lenient, score.reason, score.detail) == (True, True, "correct", "")
    assert score.prediction == score.prediction_lenient == QUESTION.gold
    assert "seccomp" in score.isolation


@pytest.mark.parametrize(
    ("code", "reason", "detail"),
    [
        ("def double(x):\n    pass", "test_failed", "out of 2"),
        ("def double(x):\n    return 4", "test_failed", "AssertionError"),
        ("def double(x):\n    return 2 * y", "runtime_error", "name 'y' is not defined"),
        ("import nothing_of_this_name\ndef double(x):\n    return 2 * x", "runtime_error", "nothing_of_this_name"),
        ("def double(x)\n    return 2 * x", "syntax_error", "line 1"),
        ("def twice(x):\n    return 2 * x", "no_function", "double"),
        ("double = 2", "no_function", "double"),
        ("import sys\nsys.exit()", "runtime_error", "SystemExit"),
        ("import os\nos._exit(0)", "exited", "before its tests"),
        ("def double(x):\n    while True: pass", "timeout", "processor time"),
        ("import ctypes\ndef double(x):\n    return ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("def double(x):\n    return bytearray(1 << 50)", "runtime_error", "MemoryError"),
        ("def double(x):\n    return lambda: x", "test_failed", "out of 2"),
        ("def double():\n    return 4", "runtime_error", "takes 0 positional arguments"),
    ],
)
def test_a_wrong_program_has_its_reason(grader: Grader, code: str, reason: str, detail: str) -> None:
    score = grader.grade(QUESTION, fenced(code), truncated=False)
    assert (score.correct, score.correct_lenient, score.reason) == (False, False, reason)
    assert detail in score.detail


@pytest.mark.parametrize(("truncated", "reason"), [(False, "no_answer"), (True, "truncated")])
@pytest.mark.parametrize("text", [fenced(QUESTION.gold, ""), f"```python\n{QUESTION.gold}", QUESTION.gold])
def test_code_that_is_not_in_a_python_block_counts_leniently_only(
    grader: Grader, text: str, truncated: bool, reason: str
) -> None:
    score = grader.grade(QUESTION, text, truncated=truncated)
    assert (score.correct, score.correct_lenient, score.reason) == (False, True, reason)
    assert (score.prediction, score.prediction_lenient) == ("", QUESTION.gold)


def test_a_text_without_code_is_no_answer(grader: Grader) -> None:
    score = grader.grade(QUESTION, "I think that double is easy.", truncated=False)
    assert (score.correct_lenient, score.reason, score.prediction_lenient) == (False, "no_answer", "")


def test_the_last_python_block_counts(grader: Grader) -> None:
    wrong = fenced("def double(x):\n    return 0")
    assert grader.grade(QUESTION, wrong + fenced(QUESTION.gold), truncated=False).correct
    assert not grader.grade(QUESTION, fenced(QUESTION.gold) + wrong, truncated=False).correct


def test_a_block_left_open_in_the_thoughts_does_not_swallow_the_answer(grader: Grader) -> None:
    thoughts = "<think>Say\n```python\ndef double(x):\n    return 0\nno.\n</think>\n"
    score = grader.grade(QUESTION, thoughts + fenced(QUESTION.gold), truncated=False)
    assert (score.correct, score.prediction) == (True, QUESTION.gold)
    score = grader.grade(QUESTION, thoughts + QUESTION.gold, truncated=False)
    assert (score.correct, score.correct_lenient, score.reason) == (False, True, "no_answer")


def test_code_in_thoughts_that_never_end_counts_leniently_only(grader: Grader) -> None:
    score = grader.grade(QUESTION, "<think>" + fenced(QUESTION.gold), truncated=True)
    assert (score.correct, score.correct_lenient, score.reason) == (False, True, "truncated")


def test_other_kinds_are_graded_without_a_sandbox() -> None:
    with Grader(ScoringConfig()) as grader:
        number = Question(id="n", text="?", kind="number", gold="18")
        assert grader.grade(number, r"\boxed{18}", truncated=False).correct
        assert grader._sandbox is None


def test_what_is_printed_run_as_a_script_or_read_from_a_terminal_does_not_matter(grader: Grader) -> None:
    script = f"print('hello')\n{QUESTION.gold}\nif __name__ == '__main__':\n    print(double(int(input())))"
    assert grader.grade(QUESTION, fenced(script), truncated=False).correct


def test_files_in_the_scratch_folder_threads_and_numpy_may_be_used(grader: Grader) -> None:
    code = """
import concurrent.futures, asyncio, tempfile, numpy
def double(x):
    with open("mine", "w") as file: file.write("2")
    with tempfile.TemporaryFile() as file: file.write(b"x")
    with open("mine") as file: factor = int(file.read())
    with concurrent.futures.ThreadPoolExecutor(4) as pool: list(pool.map(abs, range(9)))
    async def product(): return factor * x
    return asyncio.run(product()) if isinstance(x, list) else int(numpy.int64(factor) * x)"""
    score = grader.grade(QUESTION, fenced(code), truncated=False)
    assert (score.reason, score.detail) == ("correct", "")


def test_each_program_finds_its_folder_and_its_module_clean(grader: Grader) -> None:
    leaves = "open('left', 'w').close()\nimport sys, math\nsys.left = math.left = 1\n" + QUESTION.gold
    looks = "import os, sys, math\nassert not (os.listdir() or hasattr(sys, 'left') or hasattr(math, 'left'))"
    finds = f"{looks}\n{QUESTION.gold}"
    assert grader.grade(QUESTION, fenced(leaves), truncated=False).correct
    assert grader.grade(QUESTION, fenced(finds), truncated=False).correct


def test_an_exception_that_the_tests_expect_is_one(grader: Grader) -> None:
    tests = """
try:
    double('x')
except ValueError as error:
    assert 'no text' in str(error)
else:
    raise AssertionError('no error')
"""
    asks = replace(QUESTION, tests=tests)
    refuses = "class Mine(ValueError): pass\ndef double(x):\n    raise Mine('no text')"
    assert grader.grade(asks, fenced(refuses), truncated=False).correct
    assert not grader.grade(asks, fenced(QUESTION.gold), truncated=False).correct


def test_helpers_of_the_answer_and_functions_named_as_built_in_ones_can_be_called(grader: Grader) -> None:
    asks = replace(QUESTION, tests="assert helper(1) == 2\nassert sum(1, 2) == 'three'", entry_point="sum")
    code = "def helper(x):\n    return x + 1\ndef sum(a, b):\n    return 'three'"
    assert grader.grade(asks, fenced(code), truncated=False).correct


@pytest.mark.parametrize("tests", ["import no_such_module", "assert undefined(1)", "def broken(", "double(print)"])
def test_broken_tests_are_our_fault_and_no_verdict(grader: Grader, tests: str) -> None:
    if tests == "double(print)":  # a function can't cross: the answer gets something else, and is not at fault
        assert grader.grade(replace(QUESTION, tests=tests), fenced("def double(x):\n    pass"), truncated=False).correct
        return
    with pytest.raises(SandboxError, match="its tests are at fault"):
        grader.grade(replace(QUESTION, tests=tests), fenced(QUESTION.gold), truncated=False)


def test_a_program_as_slow_as_the_reference_is_not_called_slow(grader: Grader) -> None:
    slow = """
import time
def double(x):
    end = time.process_time() + 0.7
    while time.process_time() < end: pass
    return 2 * x"""
    asks = replace(QUESTION, gold=slow)
    assert grader.grade(asks, fenced(slow), truncated=False).correct
    assert grader.grade(QUESTION, fenced(slow), truncated=False).reason == "timeout"


def test_strict_refuses_a_machine_without_isolation_and_auto_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Isolation(namespaces=False, landlock=False, seccomp=False)
    monkeypatch.setattr("pipeline.scoring.programs.isolation", lambda: nothing)
    assert require_isolation(ScoringConfig(sandbox="auto")) is nothing
    with pytest.raises(ValueError, match=r"--sandbox strict: this machine can't isolate programs \(it has limits\)"):
        require_isolation(ScoringConfig(sandbox="strict"))


def test_a_machine_that_can_isolate_passes_the_check() -> None:
    assert require_isolation(ScoringConfig(sandbox="strict")).complete


@pytest.mark.parametrize(
    "code", ["def double(x) -> List[int]:\n    return 2 * x", "def double(x: Undefined):\n    return 2 * x"]
)
def test_annotations_are_evaluated_as_in_any_program(grader: Grader, code: str) -> None:
    score = grader.grade(QUESTION, fenced(code), truncated=False)
    assert (score.correct, score.reason) == (False, "runtime_error")
    assert "NameError" in score.detail


def test_tests_that_stumble_over_a_wrong_answer_are_not_at_fault(grader: Grader) -> None:
    asks = replace(QUESTION, tests="try:\n    got = double(2)\nexcept Exception:\n    pass\nassert got == 4")
    score = grader.grade(asks, fenced("def double(x):\n    raise ValueError"), truncated=False)
    assert (score.correct, score.reason) == (False, "test_failed")
    assert grader.grade(asks, fenced(QUESTION.gold), truncated=False).correct


def test_an_answer_cannot_end_the_loops_of_its_tests(grader: Grader) -> None:
    asks = replace(QUESTION, tests="for got, want in zip(map(double, [1, 2]), [2, 4]):\n    assert got == want")
    score = grader.grade(asks, fenced("def double(x):\n    raise StopIteration"), truncated=False)
    assert (score.correct, score.reason) == (False, "runtime_error")
    assert grader.grade(asks, fenced(QUESTION.gold), truncated=False).correct


def test_counters_default_dicts_dates_and_empty_arrays_keep_their_ways(grader: Grader) -> None:
    tests = """
import datetime
counts, lists, day, empty = double(0)
assert counts["missing"] == 0
lists["new"].append(1)
assert day == datetime.date(2026, 1, 2)
assert empty.shape == (0, 3)
"""
    code = """
import collections, datetime, numpy
def double(x):
    return collections.Counter("a"), collections.defaultdict(list), datetime.date(2026, 1, 2), numpy.zeros((0, 3))"""
    score = grader.grade(replace(QUESTION, tests=tests, gold=code), fenced(code), truncated=False)
    assert (score.reason, score.detail) == ("correct", "")


def test_a_sandbox_whose_warden_died_between_two_programs_starts_another() -> None:
    with Sandbox() as box:
        assert box.run("def f(): return 1", "assert f() == 1", "f").reason == "correct"
        assert box._process is not None
        box._process.kill()
        box._process.wait()
        assert box.run("def f(): return 1", "assert f() == 1", "f").reason == "correct"


def test_a_sandbox_outlives_the_thread_that_started_it_and_leaves_no_descriptors() -> None:
    with Sandbox() as box:
        thread = threading.Thread(target=box.run, args=("def f(): return 1", "assert f() == 1", "f"))
        thread.start()
        thread.join()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            assert box.run("def f(): return 1", "assert f() == 1", "f").reason == "correct"
        assert len(os.listdir("/proc/self/fd")) == before
