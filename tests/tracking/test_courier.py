"""Work done in order by somebody else: what waits, what is passed over, and what is tried again."""

import threading

from pipeline.tracking.courier import Courier, attempt


def failing():
    raise OSError("no way\nat all")


def test_jobs_are_done_in_order_and_nobody_waits_for_them():
    done, gate = [], threading.Event()
    courier = Courier(lambda error: None)
    courier.put(gate.wait)
    for number in range(5):
        courier.put(lambda number=number: done.append(number))
    assert done == []
    gate.set()
    assert courier.attempt(lambda: None, 10)
    assert done == [0, 1, 2, 3, 4]
    courier.close()


def test_after_a_failure_nothing_is_done_until_something_that_is_tried_again_succeeds():
    done, faults = [], []
    courier = Courier(lambda error: faults.append(str(error)))
    courier.put(failing)
    courier.put(lambda: done.append("passed over")).wait(10)
    assert courier.stopped
    assert not courier.attempt(failing, 10)
    assert courier.attempt(lambda: done.append("again"), 10)
    courier.put(lambda: done.append("after")).wait(10)
    assert (done, len(faults)) == (["again", "after"], 2)
    courier.close()


def test_what_hangs_is_left_alone_after_the_time_it_has():
    gate = threading.Event()
    courier = Courier(lambda error: None)
    courier.put(gate.wait)
    assert not courier.attempt(lambda: None, 0.05)
    gate.set()
    courier.close()


def test_what_is_forgotten_is_not_done():
    done, gate, begun = [], threading.Event(), threading.Event()
    courier = Courier(lambda error: None)
    courier.put(lambda: (begun.set(), gate.wait()))
    courier.put(lambda: done.append("forgotten"))
    begun.wait(10)
    courier.forget()
    gate.set()
    assert courier.attempt(lambda: done.append("new"), 10)
    assert done == ["new"]
    courier.close()


def test_an_attempt_says_what_has_gone_wrong():
    gate = threading.Event()
    assert attempt(lambda: None, 10) == ""
    assert attempt(failing, 10) == "no way"
    assert attempt(gate.wait, 0.05) == "no answer in 0 s"
    gate.set()
