"""The `ray up` files, judged by the autoscaler's own validation; a broken copy of each is refused."""

import copy
import importlib.metadata
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click import ClickException
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
FILES = ("aws", "gcp", "onprem")
CLOUDS = ("aws", "gcp")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


def read(name: str) -> dict:
    return yaml.safe_load((CLUSTER / f"{name}.yaml").read_text("utf-8"))


def validated(config: dict) -> dict:
    """The config as `ray up` sees it, or an exception."""
    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("name", FILES)
def test_the_autoscaler_takes_the_file(name):
    validated(read(name))


def unknown_field(config: dict) -> None:
    config["ideal_timeout_minutes"] = 3


def wrong_type(config: dict) -> None:
    config["setup_commands"] = [{"make": "packages"}]


def no_head(config: dict) -> None:
    del config["provider"]["head_ip"]


def head_type_missing(config: dict) -> None:
    config["head_node_type"] = "heads"


def fewer_workers_than_the_fewest(config: dict) -> None:
    config["available_node_types"]["gpu"]["min_workers"] = 9


BREAKS = [(name, harm) for name in FILES for harm in (unknown_field, wrong_type)]
BREAKS += [("onprem", no_head)]
BREAKS += [(name, harm) for name in CLOUDS for harm in (head_type_missing, fewer_workers_than_the_fewest)]


@pytest.mark.parametrize(("name", "harm"), BREAKS)
def test_a_broken_copy_is_refused(name, harm: Callable[[dict], None]):
    config = read(name)
    harm(config)
    with pytest.raises((ValidationError, ValueError, ClickException)):
        validated(config)


@pytest.mark.parametrize("name", CLOUDS)
def test_gpu_workers_come_and_go_and_spot_is_a_switch_away(name):
    config = validated(read(name))
    types = config["available_node_types"]
    assert types["head"]["max_workers"] == 0
    assert [(types[kind]["min_workers"], types[kind]["max_workers"]) for kind in ("gpu", "gpu_spot")] == [
        (0, 8),
        (0, 0),
    ]
    assert config["max_workers"] == 8
    assert config["idle_timeout_minutes"] > 0
    spot, usual = types["gpu_spot"]["node_config"], types["gpu"]["node_config"]
    changed = {key for key in spot if spot[key] != usual.get(key)}
    assert changed == {"aws": {"InstanceMarketOptions"}, "gcp": {"scheduling"}}[name]


@pytest.mark.parametrize("name", FILES)
def test_every_start_of_ray_is_authenticated_and_has_the_packages(name):
    config = validated(read(name))
    for command in (each for part in STARTS for each in config[part] if re.search(r"\bray (start|stop)\b", each)):
        assert command.startswith(". ~/latentmas-env/node.env &&")
    assert "export RAY_AUTH_MODE=token" in (CLUSTER / "node.env").read_text()
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert "--dashboard-host" not in str(config[STARTS[0]])  # the dashboard and MLflow answer on the head alone
    assert "mlflow server --host 127.0.0.1" in str(config[STARTS[0]])


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_to_the_nodes_exists_and_makes_their_packages(name):
    config = read(name)
    local = [Path(source) for source in config["file_mounts"].values() if not source.startswith("~")]
    assert [path for path in local if not (ROOT / path).is_file()] == []
    assert "make -C ~/latentmas-env packages" in config["setup_commands"]
    assert re.search(r"^packages: ", (ROOT / "Makefile").read_text(), re.M)


def test_the_clouds_files_differ_only_where_the_clouds_do():
    aws, gcp = (copy.deepcopy(read(name)) for name in CLOUDS)
    for config in (aws, gcp):
        for key in ("provider", "available_node_types"):
            del config[key]
        config["head_setup_commands"] = config["head_setup_commands"][1:]  # the cloud's Python client
    assert aws == gcp


def test_ray_is_pinned_to_the_locked_version():
    locked = re.search(r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), re.M)
    assert locked
    assert locked[1] == importlib.metadata.version("ray")


# --- what only the clouds' own libraries know: `pip install boto3 moto google-api-python-client` to run these


def test_aws_node_configs_fit_the_api_and_give_gpus(monkeypatch):
    moto = pytest.importorskip("moto")
    from botocore.exceptions import ParamValidationError
    from botocore.session import Session
    from botocore.validate import validate_parameters
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    with moto.mock_aws():
        config = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(read("aws")))
    validate_config(config)
    types = config["available_node_types"]
    assert "GPU" not in types["head"]["resources"]
    assert types["gpu"]["resources"]["GPU"] == types["gpu_spot"]["resources"]["GPU"] == 1
    shape = Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for node_type in types.values():
        request = {**node_type["node_config"], "MinCount": 1, "MaxCount": 1}
        validate_parameters(request, shape)
        with pytest.raises(ParamValidationError):
            validate_parameters({**request, "InstanceTypo": "x"}, shape)


def test_gcp_node_configs_fit_the_api():
    documents = pytest.importorskip("googleapiclient.discovery_cache.documents")
    text = (Path(next(iter(documents.__path__))) / "compute.v1.json").read_text("utf-8")
    schemas = json.loads(text)["schemas"]
    types = validated(read("gcp"))["available_node_types"]
    for node_type in types.values():
        assert unknown_to_google(node_type["node_config"], schemas["Instance"], schemas) == []
    assert unknown_to_google({"machineTypo": "x"}, schemas["Instance"], schemas) == ["machineTypo"]
    assert unknown_to_google({"scheduling": [{}]}, schemas["Instance"], schemas) == ["scheduling"]
    assert types["gpu"]["resources"]["GPU"] == 1


def unknown_to_google(value: dict, schema: dict, schemas: dict) -> list[str]:
    """Keys that the API's discovery document does not have, or whose value has another form or is not in the enum."""
    wrong = []
    for key, item in value.items():
        known = schema["properties"].get(key)
        if known is None:
            wrong.append(key)
            continue
        items, known = (item, known["items"]) if known.get("type") == "array" else ([item], known)
        for each in items:
            if "$ref" in known:
                inner = unknown_to_google(each, schemas[known["$ref"]], schemas) if isinstance(each, dict) else [key]
                wrong += inner
            elif "enum" in known and each not in known["enum"]:
                wrong.append(f"{key}={each}")
    return wrong
