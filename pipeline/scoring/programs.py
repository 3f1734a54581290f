"""Grades programs: the code of an answer is run against its question's tests, in the sandbox."""

from __future__ import annotations

import math
from typing import Self

from pipeline.config import ScoringConfig
from pipeline.records import Question, Score
from pipeline.scoring.extract import final_part
from pipeline.scoring.fences import last_code_block, last_python_block
from pipeline.scoring.grade import grade
from pipeline.scoring.sandbox import BrokenTestsError, CodeRun, Isolation, Limits, Sandbox, isolation
from pipeline.scoring.sandbox.sandbox import HELP

FAIR_SHARE = 4
"""An answer may compute so many times as long as the question's reference does on this machine."""
REFERENCE_SECONDS = 180
"""Processor time that the reference itself may take."""


def require_isolation(config: ScoringConfig) -> Isolation:
    """What this machine locks programs in with.

    Raises:
        ValueError: Isolation is asked for and this machine has none.
    """
    found = isolation()
    if config.sandbox == "strict" and not found.complete:
        raise ValueError(f"--sandbox strict: this machine can't isolate programs (it has {found.name}); {HELP}")
    return found


def _guess(text: str, entry_point: str) -> str | None:
    """The code that a text without a closed Python block most likely means; the text itself where it is a program."""
    return last_code_block(text) or (text if f"def {entry_point}(" in text else None)


class Grader:
    """Grades answers of every kind; starts a sandbox when the first program comes, and ends it with its block."""

    def __init__(self, config: ScoringConfig) -> None:
        self._config = config
        self._sandbox: Sandbox | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._sandbox:
            self._sandbox.close()

    def grade(self, question: Question, text: str, *, truncated: bool) -> Score:
        """Grades the last agent's text.

        Args:
            question: The question.
            text: What the last agent wrote, any string.
            truncated: Whether the text ended at the token budget.

        Raises:
            SandboxError: There is no verdict: the sandbox or the question's tests are at fault.
        """
        if question.kind != "code":
            return grade(question, text, truncated=truncated)
        said = final_part(text)
        program = last_python_block(said)
        if program is not None:
            run = self._run(question, program)
            return self._score(run, program, strict=True, reason=run.reason)
        guess = _guess(said, question.entry_point) or _guess(text, question.entry_point)
        reason = "truncated" if truncated else "no_answer"
        if guess is None:
            return Score(correct=False, correct_lenient=False, prediction="", prediction_lenient="", reason=reason)
        return self._score(self._run(question, guess), guess, strict=False, reason=reason)

    def _score(self, run: CodeRun, program: str, *, strict: bool, reason: str) -> Score:
        passed = run.reason == "correct"
        return Score(
            correct=passed and strict,
            correct_lenient=passed,
            prediction=program if strict else "",
            prediction_lenient=program,
            reason=reason,
            detail=run.detail,
            isolation=self._box.isolation.name,
        )

    @property
    def _box(self) -> Sandbox:
        if self._sandbox is None:
            limits = Limits(cpu_seconds=self._config.code_seconds)
            self._sandbox = Sandbox(limits, strict=self._config.sandbox == "strict")
        return self._sandbox

    def _run(self, question: Question, program: str) -> CodeRun:
        """Runs a program; what may be the fault of the tests or of this machine is held against the reference."""
        run = self._tried(question, program)
        if run.waited:
            run = self._tried(question, program)
        if run.reason != "timeout" or run.waited:
            return run
        reference = self._reference(question)
        fair = math.ceil(FAIR_SHARE * reference.cpu_seconds)
        if reference.reason != "correct" or fair <= self._config.code_seconds:
            return run
        return self._tried(question, program, cpu_seconds=fair)

    def _tried(self, question: Question, program: str, *, cpu_seconds: int | None = None) -> CodeRun:
        try:
            return self._box.run(program, question.tests, question.entry_point, cpu_seconds=cpu_seconds)
        except BrokenTestsError as error:  # if the reference breaks them too
            if self._reference(question).reason != "correct":
                raise
            return CodeRun(reason="test_failed", detail=str(error))

    def _reference(self, question: Question) -> CodeRun:
        return self._box.run(question.gold, question.tests, question.entry_point, cpu_seconds=REFERENCE_SECONDS)
