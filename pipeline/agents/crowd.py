"""The questions of a replica: as many at once as there is room for, the others wait until one is done.

Several callers may bring questions, each from a thread of its own, and all go through the same running batch. There is
no thread besides: of the callers that wait, one at a time computes the next step, for everyone's questions.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from traceback import clear_frames
from typing import Protocol

import torch

from pipeline.agents.room import Room
from pipeline.agents.spare import spare_memory
from pipeline.engine import Row, RunningBatch

log = logging.getLogger(__name__)

MANY = 1 << 30
"""Questions at once where there is no limit."""
SPARE = 0.06
"""Share of a machine's memory that is left alone: Ray ends processes above 95 %, and the kernel soon after."""
GRAIN = 1 << 26
"""Bytes by which a cache grows before it is looked again how much memory there is."""


class Question(Protocol):
    """What a crowd is made of."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""

    @property
    def row(self) -> Row | None:
        """Its row in the running batch, if it has one."""

    def go_on(self, batch: RunningBatch) -> None:
        """Does what can be done without the model, and enters the running batch for what can't.

        Raises:
            Exception: It can't go on; unless memory ran out, which others may have used up, it is to fail.
        """

    def restart(self) -> None:
        """Begins anew, or ends if it can't; nothing of it is in the running batch any more."""

    def fail(self, error: Exception) -> None:
        """Ends."""


class Crowd:
    """Questions on one running batch.

    Attributes:
        batch: The running batch.
        notices: What users should know of how it went.
    """

    def __init__(self, batch: RunningBatch, *, at_once: int | None = None) -> None:
        self.batch, self._room = batch, Room(at_once)
        self.notices: list[str] = []
        self._looked = 0  # what the cache took when it was looked how much memory there is
        self._told = 0  # notices that have been handed out
        self._waiting: deque[Question] = deque()
        self._active: list[Question] = []
        self._stepping = False
        self._wanted = 0  # callers who wait to have the batch alone
        self._changed = threading.Condition()

    @property
    def at_once(self) -> int | None:
        """How many questions are worked on at once; none is all. Fewer once memory has run out, until it suffices."""
        return self._room.at_once

    @at_once.setter
    def at_once(self, count: int | None) -> None:
        self._room = Room(count)

    def answer(self, questions: Sequence[Question]) -> None:
        """Works on questions until all of them are done; those that fail carry their error."""
        with self._changed:
            self._waiting.extend(questions)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._free or all(one.done for one in questions))
                if all(one.done for one in questions):
                    return
                self._stepping = True
            try:
                self._step_until(questions)
            finally:
                self._release()

    def _step_until(self, questions: Sequence[Question]) -> None:
        """Steps until some questions are done, or a caller waits to have the batch alone and may have it.

        Others' are done meanwhile. A thread that goes on keeps its helpers in matrix products awake; handing every step
        to whoever comes first would wake all of them for each.
        """
        while not all(one.done for one in questions) and (self._active or not self._wanted):
            if self._step():  # somebody may be waiting for what has just been done
                with self._changed:
                    self._changed.notify_all()

    def news(self) -> tuple[str, ...]:
        """The notices that nobody has been given yet."""
        with self._changed:
            begin, self._told = self._told, len(self.notices)
            return tuple(self.notices[begin:])

    def answer_alone(self, question: Question) -> None:
        """Works on one question while no other is worked on."""
        with self.exclusive():
            while not question.done:
                self._active = [question]
                self._step(admit=False)

    @contextmanager
    def exclusive(self) -> Iterator[RunningBatch]:
        """The running batch without anyone's questions in it; they wait until it is given back."""
        with self._changed:
            self._wanted += 1
            self._changed.wait_for(lambda: not self._stepping and not self._active)
            self._stepping = True
        try:
            yield self.batch
        finally:
            with self._changed:
                self._wanted -= 1
            self._release()

    @property
    def _free(self) -> bool:
        """Whether a step may be computed: nobody does, and there is something to do or nobody wants the batch alone."""
        return not self._stepping and (bool(self._active) or not self._wanted)

    def _release(self) -> None:
        with self._changed:
            self._stepping = False
            self._changed.notify_all()

    @torch.inference_mode()
    def _step(self, *, admit: bool = True) -> bool:
        """Lets questions in for which there is room, and computes one step; returns whether any have left."""
        while admit and not self._wanted and self._waiting and (self.at_once or MANY) > len(self._active):
            self._active.append(self._waiting.popleft())
        entered = len(self._active)
        try:
            self._go_on()
            if self._active:
                self._look()
                self.batch.step()
                self._go_on()
        except Exception as error:  # of the model, of its device or ours: everyone who is in the batch is hit
            self._hit(released(error))
        return len(self._active) < entered

    def _go_on(self) -> None:
        """Lets questions do what they can without the model; those that are done leave.

        Raises:
            Exception: Memory ran out, which no question is to blame for.
        """
        for question in self._active:
            try:
                question.go_on(self.batch)
            except Exception as error:  # whatever it is, it costs this question and no other
                if ran_out_of_memory(error):
                    raise
                question.fail(released(error))
        left = [question for question in self._active if not question.done]
        self._tell(self._room.ended(len(self._active) - len(left)))
        self._active = left

    def _tell(self, notice: str) -> None:
        if notice:
            log.warning(notice)
            self.notices.append(notice)

    def _look(self) -> None:
        """Refuses a step on a machine that is about to run out of memory: it would not refuse, but end this process.

        One question alone is always tried.

        Raises:
            MemoryError: There is too little memory left.
        """
        if self.batch.lm.device.type != "cpu" or len(self._active) == 1:
            return
        taken = self.batch.cache.nbytes
        if abs(taken - self._looked) < GRAIN:
            return
        self._looked = taken
        if spare_memory().share < SPARE:
            raise MemoryError(f"less than {SPARE:.0%} of the machine's memory is free")

    def _hit(self, error: Exception) -> None:
        """After a step that failed: with fewer questions at once where memory ran out, else it is everyone's fault."""
        hit, self._active = [question for question in self._active if not question.done], []
        try:
            self.batch = self.batch.anew()
        except Exception as broken:  # of another engine that does not even give its texts up: nobody can go on then
            error = released(broken)
        if ran_out_of_memory(error) and len(hit) > 1:
            self._tell(self._room.ran_out(len(hit)))
            for question in hit:
                question.restart()
            self._waiting.extendleft(question for question in reversed(hit) if not question.done)
        else:
            self._room.failed()
            for question in hit:
                question.fail(error)
        gc.collect()
        if torch.cuda.is_available():
            with suppress(RuntimeError):  # a fault may have left the device unusable; whoever uses it next finds out
                torch.cuda.empty_cache()


def released(error: Exception) -> Exception:
    """An error whose frames hold nothing any more: slots, caches, the question that it becomes a part of."""
    one: BaseException | None = error
    while one is not None:
        clear_frames(one.__traceback__)
        one = one.__cause__ or one.__context__
    here = error.__traceback__  # the frame of whoever caught it is still running
    return error.with_traceback(here.tb_next if here else None)


def ran_out_of_memory(error: Exception) -> bool:
    """Whether an error says that a device or the machine had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
