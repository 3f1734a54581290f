"""Hostile programs: no verdict is forged, nothing outside is changed, and no process is left."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from hostile import ATTACKS, BEYOND, EXHAUSTING, FORGERIES
from pipeline.scoring.sandbox import Isolation, Limits, Sandbox, SandboxError, isolation

SET_CHILD_SUBREAPER = 36
PROJECT = Path(__file__).parents[2]
SECRET = "a-secret-of-the-neighbours"
TESTS = """
import statistics
right = statistics.mean([42, 42])
def check(candidate):
    assert candidate() == right
    assert candidate() == right
check(f)"""
FILTERS = Isolation(namespaces=False, landlock=True, seccomp=True)
WAYS = {way.name: way for way in (FILTERS, isolation(), replace(isolation(), landlock=not isolation().namespaces))}
BEST = pytest.param(isolation().name, marks=pytest.mark.slow)
IN_ALL_WAYS = pytest.mark.parametrize("world", WAYS, indirect=True)
IN_ALL_WAYS_SLOWLY = pytest.mark.parametrize("world", [FILTERS.name, *([BEST] if len(WAYS) > 1 else [])], indirect=True)


@dataclass(frozen=True)
class World:
    """What lies outside, and the sandbox."""

    box: Sandbox
    outside: Path
    server: socket.socket
    neighbour: subprocess.Popen[bytes]
    own: frozenset[psutil.Process]
    """Its processes between two programs."""

    def fill(self, program: str) -> str:
        """The program with what it is to attack."""
        return program.format(
            outside=self.outside,
            file=self.outside / "precious",
            project=PROJECT,
            port=self.server.getsockname()[1],
            pid=self.neighbour.pid,
            secret=SECRET,
        )

    def is_whole(self) -> bool:
        """Whether nothing outside was changed or reached."""
        precious = self.outside / "precious"
        self.server.setblocking(False)
        try:
            self.server.accept()
            return False
        except BlockingIOError:
            pass
        return (
            sorted(path.name for path in self.outside.iterdir()) == ["precious", "socket"]
            and precious.read_text() == "precious"
            and precious.stat().st_mtime == 1_000_000
            and self.neighbour.poll() is None
        )

    def left(self) -> set[psutil.Process]:
        """What still runs, and does not belong to the sandbox itself."""
        return set(psutil.Process().children(recursive=True)) - self.own


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    way = WAYS.get(request.param, request.param)
    outside = tmp_path_factory.mktemp("outside")
    (outside / "precious").write_text("precious")
    os.utime(outside / "precious", (1_000_000, 1_000_000))
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(outside)  # a path of a local socket has to be short
    listener.bind("socket")
    os.chdir(here)
    listener.listen()
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what daemons leave behind becomes ours, and is seen
    neighbour = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10000)"], env={"SECRET": SECRET})
    os.environ["SECRET"] = SECRET
    with socket.create_server(("127.0.0.1", 0)) as server, listener:
        with Sandbox(Limits(cpu_seconds=1, memory_bytes=1 << 30), use=way) as box:
            assert box.run("def f(): return 42", TESTS, "f").reason == "correct"
            yield World(box, outside, server, neighbour, frozenset(psutil.Process().children(recursive=True)))
        neighbour.kill()
        neighbour.wait()
    del os.environ["SECRET"]


def test_this_machine_can_isolate() -> None:
    assert isolation().complete


@IN_ALL_WAYS
@pytest.mark.parametrize("name", FORGERIES)
def test_no_verdict_is_forged(world: World, name: str) -> None:
    run = world.box.run(FORGERIES[name], TESTS, "f")
    assert run.reason != "correct"
    assert world.box.run("def f(): return 42", TESTS, "f").reason == "correct"
    assert world.left() == set()


@IN_ALL_WAYS_SLOWLY
@pytest.mark.parametrize("name", EXHAUSTING)
def test_who_takes_too_much_is_stopped_and_costs_no_other(world: World, name: str) -> None:
    run = world.box.run(EXHAUSTING[name], TESTS, "f")
    assert run.reason != "correct"
    assert world.box.run("def f(): return 42", TESTS, "f").reason == "correct"
    assert world.left() == set()
    assert world.is_whole()


@IN_ALL_WAYS_SLOWLY
@pytest.mark.parametrize("name", BEYOND)
def test_a_program_that_is_right_but_goes_beyond_a_limit_is_stopped_for_that(world: World, name: str) -> None:
    reason, program = BEYOND[name]
    assert world.box.run(program, TESTS, "f").reason == reason
    assert world.box.run("def f(): return 42", TESTS, "f").reason == "correct"


@IN_ALL_WAYS
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_outside_is_reached(world: World, name: str) -> None:
    run = world.box.run(world.fill(ATTACKS[name]), "assert f() == 'done'", "f")
    assert run.reason != "correct"
    assert world.left() == set()
    assert world.is_whole()


def test_without_landlock_no_signal_reaches_a_neighbour_either() -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10000)"])
    try:
        with Sandbox(use=Isolation(namespaces=False, landlock=False, seccomp=True)) as box:
            for name in ("has the kernel kill its neighbours", "kills its neighbours", "traces another process"):
                program = ATTACKS[name].format(pid=neighbour.pid)
                assert box.run(program, "assert f() == 'done'", "f").reason != "correct"
                assert neighbour.poll() is None
    finally:
        neighbour.kill()
        neighbour.wait()


WORKS = [
    "forks", "starts a program", "writes outside", "empties a file outside", "reads a file outside",
    "connects to this machine", "opens a server",
]  # fmt: skip
"""Attacks that are harmless enough to be let loose."""


@pytest.mark.parametrize("world", [Isolation(namespaces=False, landlock=False, seccomp=False)], indirect=True)
@pytest.mark.parametrize("name", WORKS)
def test_the_attacks_are_real_and_do_their_harm_where_nothing_but_limits_holds_them(world: World, name: str) -> None:
    (world.outside / "precious").write_text("precious")
    assert world.box.run(world.fill(ATTACKS[name]), "assert f() == 'done'", "f").reason == "correct"


@pytest.mark.parametrize("world", [Isolation(namespaces=False, landlock=False, seccomp=False)], indirect=True)
def test_a_daemon_would_be_seen(world: World) -> None:
    assert world.box.run(ATTACKS["leaves a daemon behind"], "assert f() == 'done'", "f").reason == "correct"
    (daemon,) = [process for process in world.left() if process.status() != psutil.STATUS_ZOMBIE]
    daemon.kill()
    daemon.wait()


def test_a_strict_sandbox_refuses_a_machine_without_isolation() -> None:
    with pytest.raises(SandboxError, match=r"can't isolate code \(it has limits\); install bubblewrap"):
        Sandbox(strict=True, use=Isolation(namespaces=False, landlock=False, seccomp=False))


def test_nothing_is_left_when_it_is_closed() -> None:
    before, others = set(Path(tempfile.gettempdir()).glob("latentmas-code-*")), set(psutil.Process().children())
    with Sandbox(use=FILTERS) as box:
        assert box.run("open('mine', 'w').write('x')\ndef f(): return 42", TESTS, "f").reason == "correct"
        mine = set(psutil.Process().children(recursive=True)) - others
    assert mine
    assert not any(child.is_running() for child in mine)
    assert set(Path(tempfile.gettempdir()).glob("latentmas-code-*")) == before


def test_a_sandbox_whose_owner_is_killed_ends_with_it(tmp_path: Path) -> None:
    owner = f"""
import sys
sys.path[:0] = {[str(PROJECT)]!r}
from pipeline.scoring.sandbox import *
box = Sandbox()
box.run("def f(): return 42", "assert f() == 42", "f")
print("started", flush=True)
box.run("def f():\\n    while True: pass", "assert f() == 42", "f", cpu_seconds=3000)
"""
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        everybody = psutil.Process(process.pid).children(recursive=True)
        assert everybody
        process.kill()
    gone, alive = psutil.wait_procs(everybody, timeout=20)
    assert alive == []
