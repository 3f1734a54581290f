"""How much memory there is: the machine's, or that of the container around this process."""

from types import SimpleNamespace

import pytest

from pipeline.agents.spare import Spare, spare_memory


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 1000 bytes, 800 of them free, with files of groups of processes."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=800, total=1000))

    def made(groups, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return made


def test_without_any_limit_it_is_the_machines(machine, tmp_path):
    assert spare_memory(tmp_path) == Spare(free_bytes=800, total_bytes=1000)
    root = machine("0::/job\n", {"job/memory.max": "max\n", "job/memory.current": "5\n", "job/memory.stat": ""})
    assert spare_memory(root).share == 0.8


def test_a_containers_limit_counts_without_what_are_copies_of_files(machine):
    stat = "anon 100\ninactive_file 60\nactive_file 40\nslab 3\n"
    files = {"job/memory.max": "500\n", "job/memory.current": "250\n", "job/memory.stat": stat}
    assert spare_memory(machine("0::/job\n", files)) == Spare(free_bytes=350, total_bytes=500)


def test_a_limit_of_a_group_further_out_counts_too(machine):
    files = {"memory.max": "400\n", "memory.current": "390\n", "memory.stat": "", "a/b/memory.max": "max"}
    assert spare_memory(machine("0::/a/b\n", files)) == Spare(free_bytes=10, total_bytes=400)


def test_groups_of_the_first_version_are_understood(machine):
    stat = "inactive_file 1\nactive_file 1\ntotal_inactive_file 10\ntotal_active_file 0\n"
    name = "memory/job/memory"
    files = {f"{name}.limit_in_bytes": "300", f"{name}.usage_in_bytes": "200", f"{name}.stat": stat}
    unlimited = {"memory/memory.limit_in_bytes": str((1 << 63) - 4096), "memory/memory.usage_in_bytes": "900"}
    assert spare_memory(machine("4:memory:/job\n1:cpu:/\n", files | unlimited)).free_bytes in (110, 112)


def test_a_group_that_is_over_its_limit_has_nothing_to_give(machine):
    files = {"memory.max": "400\n", "memory.current": "600\n", "memory.stat": ""}
    assert spare_memory(machine("0::/\n", files)).free_bytes == 0
