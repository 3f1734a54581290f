"""`ray up cluster/onprem.yaml` for real: over ssh to this machine, then a submitted job and its run in MLflow."""

import getpass
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import yaml

from clusters import RAY, authentication, free_ports

ROOT = Path(__file__).parents[2]
SSHD = Path("/usr/sbin/sshd")
MARK = "LATENTMAS_TEST"
HEAD_IP, WORKER_IP = "127.0.0.1", "127.0.0.2"  # two addresses of this machine
TOKEN = uuid.uuid4().hex
NODES = """
import ray
ray.init(logging_level="ERROR")
print(*(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]))
"""
NEEDED = [tool for tool in ("ssh", "ssh-keygen", "rsync", "nc", "make") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not SSHD.exists(), reason="no /usr/sbin/sshd: apt-get install openssh-server"),
    pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}"),
]


@dataclass(frozen=True)
class Upped:
    """What `ray up` left running, and where it answers."""

    gcs: str
    dashboard: str
    mlflow_port: int
    home: Path

    def monitor_logs(self) -> list[Path]:
        return sorted(self.home.parent.glob("head/session_2*/logs/monitor.*"))


def marked_processes(mark: str) -> list[int]:
    """Every process that came out of the test's own sshd: they all inherit the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def end_marked(mark: str) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked_processes(mark):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        end = time.monotonic() + 5
        while marked_processes(mark) and time.monotonic() < end:
            time.sleep(0.2)
    assert marked_processes(mark) == []


@contextmanager
def running_sshd(folder: Path, home: Path, mark: str) -> Iterator[int]:
    """An sshd of the test's own on a free port, whose logins get `home` as home; yields the port."""
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd separates its privileges
    (port,) = free_ports(1)
    give_the_head_ssh(home, port)
    settings = [f"ListenAddress 127.0.0.1:{port}", f"HostKey {folder}/host", f"PidFile {folder}/sshd.pid"]
    settings += [f"AuthorizedKeysFile {folder}/user.pub", "StrictModes no", "UsePAM no", "PasswordAuthentication no"]
    settings += [f'SetEnv HOME={home} {MARK}={mark} PATH="{os.environ["PATH"]}"', "PermitRootLogin prohibit-password"]
    (folder / "sshd_config").write_text("\n".join([*settings, "MaxStartups 50", ""]))
    command = [str(SSHD), "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        time.sleep(1)
        assert process.poll() is None, (folder / "sshd.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(10)


def give_the_head_ssh(home: Path, port: int) -> None:
    """The head's way to its worker: an `ssh` that goes to the test's sshd, and finds the key in the test's home."""
    shim = home / "bin/ssh"
    shim.parent.mkdir()
    proxy = f'-o ProxyCommand="nc 127.0.0.1 {port}"'
    shim.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -i {home}/ray_bootstrap_key.pem {proxy} "$@"\n')
    shim.chmod(0o755)
    (home / ".bash_profile").write_text("export PATH=$HOME/bin:$PATH\n")


def packages_installed(home: Path) -> None:
    """The packages of the running interpreter as those of ~/latentmas-env: `make packages` finds nothing to do."""
    environment = home / "latentmas-env/.venv"
    environment.mkdir(parents=True)
    for entry in Path(sys.prefix).iterdir():
        (environment / entry.name).symlink_to(entry)
    ready = environment / ".packages"
    ready.unlink(missing_ok=True)
    ready.touch()
    os.utime(ready, (time.time() + 3600, time.time() + 3600))  # newer than the lock file, which is copied with its date


def filled_in(folder: Path, ssh_port: int, ports: dict[str, int]) -> dict:
    """onprem.yaml with this machine's address, and with ports and temporary files that clash with no other Ray here."""
    config = yaml.safe_load((ROOT / "cluster/onprem.yaml").read_text())
    config["cluster_name"] = folder.name
    config["provider"] |= {"head_ip": HEAD_IP, "worker_ips": [WORKER_IP]}
    config["auth"] = {
        "ssh_user": getpass.getuser(),
        "ssh_private_key": str(folder / "user"),
        "ssh_proxy_command": f"nc 127.0.0.1 {ssh_port}",
    }
    config["file_mounts"]["~/.ray/auth_token"] = str(folder / "token")
    for part, ip in (("head_start_ray_commands", HEAD_IP), ("worker_start_ray_commands", WORKER_IP)):
        own = f"ray start --node-ip-address={ip} --num-cpus=1 --object-store-memory=300000000"
        own += f" --temp-dir={folder}/{part[:4]}"  # nodes that share one unpack a job's files over each other's
        own += "".join(
            f" --{name}={port}" for name, port in zip(AGENT_PORTS, free_ports(len(AGENT_PORTS)), strict=True)
        )
        own += f" --ray-client-server-port={free_ports(1)[0]}" if ip == HEAD_IP else ""
        # `ray stop` would end every other Ray on this machine
        commands = [each.replace("ray start", own) for each in config[part] if "ray stop" not in each]
        for usual, port in ports.items():
            commands = [each.replace(usual, str(port)) for each in commands]
        config[part] = commands
    return config


AGENT_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


@pytest.fixture(scope="module")
def upped() -> Iterator[Upped]:
    folder = Path(tempfile.mkdtemp(prefix="lm-up-", dir="/tmp"))
    home, mark = folder / "home", uuid.uuid4().hex
    home.mkdir()
    packages_installed(home)
    (folder / "token").write_text(TOKEN)
    ports = dict(zip(("6379", "8265", "5000"), free_ports(3), strict=True))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(lambda: [path.unlink() for path in Path("/tmp/ray").glob(f"cluster-{folder.name}.*")])
        stack.callback(end_marked, mark)
        ssh_port = stack.enter_context(running_sshd(folder, home, mark))
        (folder / "onprem.yaml").write_text(yaml.safe_dump(filled_in(folder, ssh_port, ports)))
        command = [str(RAY), "up", "-y", "--no-config-cache", str(folder / "onprem.yaml")]
        environment = {**os.environ, **authentication(TOKEN)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + (folder / "sshd.log").read_text()
        yield Upped(f"{HEAD_IP}:{ports['6379']}", f"http://{HEAD_IP}:{ports['8265']}", ports["5000"], home)


def submit(upped: Upped, entry: list[str], token: str | None) -> subprocess.CompletedProcess[str]:
    command = [str(RAY), "job", "submit", "--address", upped.dashboard, "--working-dir", ".", "--", *entry]
    environment = {**os.environ, **authentication(token)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_the_files_of_the_environment_are_on_the_node_and_the_token_is_its_owners_alone(upped):
    for name, source in (("Makefile", "Makefile"), ("requirements.lock", "requirements.lock")):
        assert (upped.home / "latentmas-env" / name).read_bytes() == (ROOT / source).read_bytes()
    token = upped.home / ".ray/auth_token"
    assert token.read_text() == TOKEN
    assert token.stat().st_mode & 0o077 == 0


def test_the_worker_joins(upped):
    environment = {**os.environ, **authentication(TOKEN), "RAY_ADDRESS": upped.gcs}
    end = time.monotonic() + 180
    alive: list[str] = []
    while len(alive) < 2 and time.monotonic() < end:
        time.sleep(2)
        done = subprocess.run(
            [sys.executable, "-c", NODES], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        alive = done.stdout.split()
    assert WORKER_IP in alive, "".join(path.read_text() for path in upped.monitor_logs())


def test_a_job_without_the_token_is_refused(upped):
    assert submit(upped, ["true"], None).returncode != 0


def test_a_submitted_evaluation_ends_up_in_the_mlflow_server_of_the_head(upped, model_dir):
    uri = f"http://127.0.0.1:{upped.mlflow_port}"
    entry = ["python", "jobs/eval.py", "--model", str(model_dir), "--task", "demo", "--limit", "2"]
    done = submit(upped, [*entry, "--max-new-tokens", "5", "--tracking-uri", uri], TOKEN)
    assert done.returncode == 0, done.stdout + (upped.home / "latentmas-ray/mlflow.log").read_text()
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("latentmas/demo")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["num_questions"] == 2
    assert "predictions.parquet" in {item.path for item in client.list_artifacts(run.info.run_id)}
    assert len(list((upped.home / "latentmas-ray/runs").iterdir())) == 1
