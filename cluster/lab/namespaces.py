"""Two network namespaces joined by a link of limited speed, and everything in them ended and removed afterwards.

What is made here bears a name of `lmnet`, the maker's process id and a letter, so that what a killed run left behind is
found by its name. A process is ended here for one reason only: it lives in a namespace of ours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PREFIX = "lmnet"
ADDRESSES = ("10.213.0.1", "10.213.0.2")
MTU = 9000
BURST_SECONDS = 0.004
"""How much of its rate a link may send at once: the kernel's timers need some room at gigabits."""
GRACE_SECONDS = 5
"""How long processes have to end by themselves."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
UNITS = {"kbit": 1e-6, "mbit": 1e-3, "gbit": 1.0}


class NotAllowedError(Exception):
    """Network namespaces or traffic control can't be used here."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One end of the link."""

    namespace: str
    device: str
    address: str
    home: Path
    """Where its processes may write; short, because Ray's socket paths have a limit."""

    def command(self, *words: str) -> list[str]:
        """A command line that runs `words` inside the namespace."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def link_bytes(self) -> LinkBytes:
        """What has crossed the link so far, as the device counted it."""
        folder = f"/sys/class/net/{self.device}/statistics"
        told = _checked(self.command("cat", f"{folder}/tx_bytes", f"{folder}/rx_bytes"))
        sent, received = map(int, told.split())
        return LinkBytes(sent, received)


@dataclass(frozen=True)
class LinkBytes:
    """Bytes over the link, headers included, seen from one node."""

    sent: int
    received: int

    def __sub__(self, other: LinkBytes) -> LinkBytes:
        return LinkBytes(self.sent - other.sent, self.received - other.received)


def gbit_of(rate: str) -> float:
    """The Gbit/s of a rate as `tc` writes it, such as 2gbit or 500mbit.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit)", rate)
    if not match or not float(match[1]):
        raise ValueError(f"--rate is {rate!r}; allowed: a number above 0 and kbit, mbit or gbit, such as 2gbit")
    return float(match[1]) * UNITS[match[2]]


@contextmanager
def linked_nodes(*, rate: str, delay_ms: float) -> Iterator[tuple[Node, Node]]:
    """Two nodes with a network of their own, joined by one link; ends what runs in them and removes them.

    Args:
        rate: Speed of the link in each direction.
        delay_ms: Added one-way delay; needs the kernel's netem.

    Raises:
        NotAllowedError: This user or this kernel can't do that.
    """
    base = Path("/tmp") / f"{PREFIX}{os.getpid()}"
    nodes = tuple(
        Node(namespace=f"{base.name}{letter}", device=f"link-{letter}", address=address, home=base / letter)
        for letter, address in zip("ab", ADDRESSES, strict=True)
    )
    for tool in ("ip", "tc"):
        if not shutil.which(tool):
            raise NotAllowedError(f"there is no `{tool}` here (on Debian: apt-get install iproute2)")
    try:
        for node in nodes:
            node.home.mkdir(parents=True)
            _set_up(["ip", "netns", "add", node.namespace])
        _join(*nodes)
        for node in nodes:
            _shape(node, rate, delay_ms)
        yield nodes[0], nodes[1]
    finally:
        with _uninterrupted():
            _remove([node.namespace for node in nodes], base)


def remove_leftovers() -> list[str]:
    """Removes what runs that were killed left behind; returns their names.

    Raises:
        NotAllowedError: Namespaces can't even be listed.
    """
    names = [entry["name"] for entry in json.loads(_set_up(["ip", "-json", "netns", "list"]) or "[]")]
    names += [path.name for path in Path("/tmp").glob(f"{PREFIX}*")]
    owners = {match[1] for name in names if (match := re.fullmatch(rf"{PREFIX}(\d+)[ab]?", name))}
    left = [PREFIX + owner for owner in sorted(owners) if not _alive(int(owner))]
    for lab in left:
        _remove([name for name in (f"{lab}a", f"{lab}b") if name in names], Path("/tmp") / lab)
    return left


def _alive(owner: int) -> bool:
    """Whether a lab of this process id is at work; our own is only about to begin."""
    try:
        return owner != os.getpid() and b"netlab" in Path(f"/proc/{owner}/cmdline").read_bytes()
    except OSError:
        return False


def _join(one: Node, other: Node) -> None:
    """Puts a pair of virtual network cards between two namespaces, and addresses on them."""
    here = ["name", one.device, "mtu", str(MTU), "netns", one.namespace]
    there = ["name", other.device, "mtu", str(MTU), "netns", other.namespace]
    _set_up(["ip", "link", "add", *here, "type", "veth", "peer", *there])
    for node in (one, other):
        inside = ["ip", "-netns", node.namespace]
        _set_up([*inside, "address", "add", f"{node.address}/30", "dev", node.device])
        for device in ("lo", node.device):
            _set_up([*inside, "link", "set", device, "up"])


def _shape(node: Node, rate: str, delay_ms: float) -> None:
    """Limits what a node sends: token bucket, and under it the delay."""
    burst = max(2 * MTU, int(gbit_of(rate) * 1e9 / 8 * BURST_SECONDS))
    add = ["tc", "-netns", node.namespace, "qdisc", "add", "dev", node.device]
    _set_up([*add, "root", "handle", "1:", "tbf", "rate", rate, "burst", str(burst), "latency", "50ms"])
    if delay_ms:
        _set_up([*add, "parent", "1:1", "handle", "10:", "netem", "delay", f"{delay_ms:g}ms", "limit", "100000"])


def _set_up(command: list[str]) -> str:
    try:
        return _checked(command)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", "") or str(error)
        raise NotAllowedError(f"`{' '.join(command)}` failed: {' '.join(told.split())}") from error


def _checked(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _pids(namespaces: list[str]) -> list[int]:
    """The processes that live in these namespaces."""
    commands = [["ip", "netns", "pids", name] for name in namespaces]
    told = [subprocess.run(words, capture_output=True, text=True, check=False).stdout for words in commands]
    return [int(word) for text in told for word in text.split()]


def _remove(namespaces: list[str], base: Path) -> None:
    """Ends every process in the namespaces, asked first and then killed; removes them and the folder."""
    end = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()
    while (pids := _pids(namespaces)) and time.monotonic() < end + GRACE_SECONDS:
        late = time.monotonic() > end
        for pid in pids if late else set(pids) - asked:
            _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked.update(pids)
        time.sleep(0.1)
    for name in namespaces:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    shutil.rmtree(base, ignore_errors=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it was quicker
        os.kill(pid, number)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Lets a second Ctrl-C not stop the cleaning up."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
