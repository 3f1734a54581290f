"""Peak memory of a process, run by run."""

import resource
from pathlib import Path

from pipeline.agents.actor import Briefing, Replica
from pipeline.agents.resident import forget_peak, peak_resident_bytes
from pipeline.agents.team import Alignments
from pipeline.config import RunConfig
from pipeline.graphs import plan_for

MIB = 2**20


def test_a_peak_of_an_earlier_run_is_forgotten_where_the_kernel_can_forget():
    load = bytearray(b"x") * (300 * MIB)
    high = peak_resident_bytes()
    assert high > len(load)
    del load
    forget_peak()
    assert (peak_resident_bytes() < high - 200 * MIB) == Path("/proc/self/clear_refs").exists()


def test_a_briefed_replica_tells_the_peak_of_its_new_run(llama, monkeypatch):
    replica = Replica.__new__(Replica)  # as it is once its model is loaded
    replica._lm, replica._alignments, replica._threads = llama, Alignments(llama), 1
    forgotten = []
    monkeypatch.setattr("pipeline.agents.actor.forget_peak", lambda: forgotten.append(True))
    monkeypatch.setattr("pipeline.agents.actor.peak_resident_bytes", lambda: 7 if forgotten else 9)
    assert replica._peak_bytes() == 9
    config = RunConfig()
    replica._gather(Briefing(config=config, plan=plan_for(config.collaboration)))
    assert replica._peak_bytes() == 7


def test_the_kernels_own_mark_is_read_and_reset(tmp_path):
    (tmp_path / "status").write_text("VmPeak:\t   99 kB\nVmHWM:\t    5 kB\nVmRSS:\t    4 kB\n")
    (tmp_path / "clear_refs").write_text("")
    assert peak_resident_bytes(tmp_path) == 5 * 1024
    forget_peak(tmp_path)
    assert (tmp_path / "clear_refs").read_text() == "5"


def test_without_such_a_mark_the_peak_is_that_of_the_whole_life(tmp_path):
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    forget_peak(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert peak_resident_bytes(tmp_path) >= whole > 0
    (tmp_path / "status").write_text("Name:\tpython\n")
    assert peak_resident_bytes(tmp_path) >= whole
