"""KubeRay's manifests and the image: resources as Ray's own autoscaler derives them, and that the parts fit each other.

Nothing here was ever given to a Kubernetes cluster, and the image was never built: there was neither.
"""

import copy
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr as derive

from jobs.cli import config_of, config_parser, parse

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "cluster/kuberay"
DOCKERFILE = ROOT / "cluster/Dockerfile"
FIELDS = {
    "RayCluster": "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs",
    "RayJob": "clusterSelector submissionMode backoffLimit entrypoint",
    "head": "rayStartParams template",
    "worker": "groupName replicas minReplicas maxReplicas rayStartParams template",
}
"""Of the fields that KubeRay's ray.io/v1 has (v1.6), those in use here: a misspelt one would silently do nothing."""


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((KUBERAY / f"{name}.yaml").read_text("utf-8")))


def manifests() -> list[dict]:
    return [each for path in sorted(KUBERAY.glob("*.yaml")) for each in documents(path.stem)]


@pytest.fixture
def cluster() -> dict:
    (document,) = documents("raycluster")
    return document


@pytest.fixture
def job() -> dict:
    (document,) = documents("rayjob")
    return document


def groups(cluster: dict) -> list[dict]:
    return [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]


def pods() -> list[dict]:
    """The spec of every pod that the manifests ask for."""
    (mlflow,) = (each for each in manifests() if each["kind"] == "Deployment")
    (cluster,) = documents("raycluster")
    return [mlflow["spec"]["template"]["spec"], *(group["template"]["spec"] for group in groups(cluster))]


def test_ray_derives_a_cpu_head_and_gpu_workers_from_none_to_eight(cluster):
    config = derive(cluster)
    types = config["available_node_types"]
    assert types["headgroup"]["resources"] == {"CPU": 4, "memory": 16 * 2**30}
    gpu = {"CPU": 6, "GPU": 1, "memory": 48 * 2**30}
    assert [types[name]["resources"] for name in ("gpu", "gpu-spot")] == [gpu, gpu]
    assert [(types[n]["min_workers"], types[n]["max_workers"]) for n in ("gpu", "gpu-spot")] == [(0, 8), (0, 0)]
    assert config["idle_timeout_minutes"] == 10


def no_cpu(cluster: dict) -> None:
    container = cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"nvidia.com/gpu": "1"}}


def misspelt_limit(cluster: dict) -> None:
    del cluster["spec"]["workerGroupSpecs"][0]["maxReplicas"]


def odd_memory(cluster: dict) -> None:
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "16 gigs"


@pytest.mark.parametrize("harm", [no_cpu, misspelt_limit, odd_memory])
def test_ray_refuses_a_broken_copy(cluster, harm: Callable[[dict], None]):
    broken = copy.deepcopy(cluster)
    harm(broken)
    with pytest.raises((ValueError, KeyError, ArithmeticError)):
        derive(broken)


def unknown_fields(cluster: dict, job: dict) -> list[str]:
    head, *workers = groups(cluster)
    parts = [("RayCluster", cluster["spec"]), ("RayJob", job["spec"]), ("head", head)]
    parts += [("worker", each) for each in workers]
    return [key for kind, part in parts for key in part if key not in FIELDS[kind].split()]


def test_only_fields_that_kuberay_knows_are_used(cluster, job):
    assert unknown_fields(cluster, job) == []
    cluster["spec"]["authOption"] = cluster["spec"].pop("authOptions")
    assert unknown_fields(cluster, job) == ["authOption"]


def test_authentication_is_on_and_ray_is_the_locked_one(cluster):
    assert cluster["spec"]["authOptions"] == {"mode": "token", "secretName": "latentmas-token"}
    assert f"ray=={cluster['spec']['rayVersion']}\n" in (ROOT / "requirements.lock").read_text()


def test_all_pods_run_one_image_as_its_user():
    text = DOCKERFILE.read_text()
    (uid,) = re.findall(r"useradd .*--uid (\d+)", text)
    assert re.findall(r"^USER (\w+)", text, re.M)[-1] == "ray"
    assert len({container["image"] for pod in pods() for container in pod["containers"]}) == 1
    for pod in pods():
        context = pod["securityContext"]
        assert context["runAsNonRoot"]
        assert (context["runAsUser"], context["fsGroup"]) == (int(uid), int(uid))


def test_every_volume_is_a_claim_that_is_made_and_every_mount_a_volume():
    claims = {each["metadata"]["name"] for each in manifests() if each["kind"] == "PersistentVolumeClaim"}
    for pod in pods():
        volumes = {each["name"]: each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"]}
        assert set(volumes.values()) <= claims
        assert {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]} == volumes.keys()


def test_weights_and_results_are_where_the_image_and_the_job_look(cluster):
    for group in groups(cluster):
        (container,) = group["template"]["spec"]["containers"]
        paths = {mount["subPath"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert f"HF_HOME={paths['models']}\n" in DOCKERFILE.read_text()
        assert paths["results"] == "/home/ray/latentmas-ray"  # runtime.cluster.base_dir inside a job


def test_mlflow_answers_under_the_name_that_the_job_calls(job):
    by_kind = {each["kind"]: each for each in manifests()}
    service, policy = by_kind["Service"], by_kind["NetworkPolicy"]
    (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    host = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    (allowed,) = (arg for arg in container["command"] if arg.startswith("--allowed-hosts="))
    assert f"--tracking-uri http://{host}" in job["spec"]["entrypoint"]
    assert {host, "localhost:5000"} <= set(allowed.removeprefix("--allowed-hosts=").split(","))
    assert service["spec"]["selector"] == by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    ((source,),) = (rule["from"] for rule in policy["spec"]["ingress"])
    assert source["podSelector"]["matchLabels"] == job["spec"]["clusterSelector"]


def test_the_job_runs_on_that_cluster_with_flags_that_eval_takes(cluster, job):
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert job["metadata"]["namespace"] == cluster["metadata"]["namespace"]
    program, script, *flags = shlex.split(job["spec"]["entrypoint"])
    workdir = re.findall(r"^WORKDIR (\S+)", DOCKERFILE.read_text(), re.M)[1]
    assert (program, script) == ("python", f"{workdir}/jobs/eval.py")
    config_of(parse(config_parser("eval.py", ""), flags))
    with pytest.raises(ValueError, match="--latent-stops"):
        parse(config_parser("eval.py", ""), [*flags, "--latent-stops", "3"])


def missing_sources(dockerfile: str) -> list[str]:
    """What is copied into the image from the repository but is not there, or is kept out of the build's context."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.M)
    kept = (ROOT / "cluster/Dockerfile.dockerignore").read_text().splitlines()
    sources = [source for line in copied for source in line.split()]
    return [source for source in sources if not (ROOT / source).exists() or f"!{source}" not in kept]


def test_the_image_is_made_of_files_that_are_there_and_of_arguments_that_are_declared():
    text = DOCKERFILE.read_text()
    assert missing_sources(text) == []
    assert missing_sources(text + "COPY weights weights\n") == ["weights"]
    instructions = re.findall(r"^([A-Z]+) ", text, re.M)
    assert set(instructions) <= {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER"}
    declared = set(re.findall(r"^ARG (\w+)", text, re.M)) | set(re.findall(r"^ENV (\w+)", text, re.M))
    assert set(re.findall(r"\$\{?(\w+)", text)) <= declared | {"PATH"}
    assert set(re.findall(r"TORCH|PIP_INSTALL_ARGS", text)) <= set(
        re.findall(r"^(\w+) \?=", (ROOT / "Makefile").read_text(), re.M)
    )
