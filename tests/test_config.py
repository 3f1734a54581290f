import typing

import pytest

from pipeline.config import BACKENDS, BackendKind, ExecutionConfig, RunConfig, replica_counts, settings


def test_a_config_survives_yaml(tmp_path):
    config = RunConfig.from_flat({"latent_steps": 0, "chat_options": {"enable_thinking": False}, "limit": 3})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert RunConfig.from_yaml(tmp_path / "config.yaml") == config


def test_every_setting_is_documented_and_named_once():
    found = list(settings())
    assert all(s.help for s in found)
    names = [s.name for s in found]
    assert len(names) == len(set(names))


def test_defaults_follow_the_paper():
    flat = RunConfig().flat()
    expected = {"latent_steps": 10, "temperature": 0.6, "top_p": 0.95, "alignment": "ridge", "max_new_tokens": None}
    assert {name: flat[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_steps", -1),
        ("limit", 0),
        ("max_new_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("seed", -1),
        ("replicas", 0),
        ("batch_size", 0),
        ("trace", -1),
        ("latent_steps", None),
        ("latent_steps", "3"),
        ("latent_steps", True),
        ("method", "foo"),
        ("limit", 1.5),
        ("chat_options", "x"),
        ("backend", "sglang"),
        ("gpu_memory_utilization", 1.0),
        ("tensor_parallel_size", 0),
    ],
)
def test_impossible_values_name_the_flag_what_was_got_and_what_is_allowed(name, value):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} is {value!r}; allowed: ") as caught:
        RunConfig.from_flat({name: value})
    assert "\n" not in str(caught.value)


def test_unknown_settings_are_errors():
    with pytest.raises(ValueError, match="unknown setting 'latent_step'"):
        RunConfig.from_flat({"latent_step": 3})


def test_choices_are_types():
    choices = {s.name for s in settings() if typing.get_origin(s.type) is typing.Literal}
    assert {"method", "experts", "handover", "memory", "alignment", "dtype"} <= choices


def test_a_broken_config_file_is_one_clear_line(tmp_path):
    (tmp_path / "config.yaml").write_text("task: {")
    with pytest.raises(ValueError, match="can't be read as YAML") as caught:
        RunConfig.from_yaml(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("auto", None),
        (3, 3),
        ("3", 3),
        ("planner=1,solver=12", {"planner": 1, "solver": 12}),
        ("solver=2", {"solver": 2}),
        ("fact checker=2,solver=1", {"fact checker": 2, "solver": 1}),
    ],
)
def test_replicas_are_a_number_or_one_for_each_role_or_left_open(text, counts):
    assert replica_counts(text) == counts


@pytest.mark.parametrize(
    "text",
    [
        0,
        -1,
        "0",
        "-1",
        "1.5",
        "",
        "all",
        "²",
        "solver",
        "solver=",
        "=2",
        "solver=0",
        "solver=-1",
        "solver=1.5",
        "a=1,b=0",
    ]
    + ["a=1,", ",a=1", "a=1,,b=2", "a=1 b=2", "a=1,a=2", "a=1,b", "a==1", "auto,a=1"],
)
def test_other_numbers_of_replicas_are_refused(text):
    with pytest.raises(ValueError, match=r"--replicas is .*; allowed: ") as caught:
        replica_counts(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gpus", [None, 0, 0.25, 1, 1.0, 2, 8.0])
def test_a_replica_gets_a_part_of_a_gpu_or_whole_ones(gpus):
    assert ExecutionConfig(gpus_per_replica=gpus).gpus_per_replica == gpus


@pytest.mark.parametrize("gpus", [-1, -0.5, 1.5, float("nan"), float("inf")])
def test_other_parts_of_gpus_are_refused(gpus):
    with pytest.raises(ValueError, match="--gpus-per-replica is .*; allowed: 0 or more, and above 1 a whole number"):
        ExecutionConfig(gpus_per_replica=gpus)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"replicas": "solver=2"}, "--replicas is 'solver=2'; allowed: a number or auto, with --placement colocated"),
        ({"transport": "reencode"}, "--transport is 'reencode'; allowed: object_store, with --placement colocated"),
        ({"lookup_tokens": -1}, "--lookup-tokens is -1; allowed: 0 to 15"),
        ({"lookup_tokens": 16}, "--lookup-tokens is 16; allowed: 0 to 15"),
        ({"max_crashes": 0}, "--max-crashes is 0; allowed: 1 or more"),
        ({"placement": "scattered"}, "--placement is 'scattered'; allowed: colocated, spread"),
        (
            {"placement": "spread", "transport": "reencode", "verify_memory": True},
            "--verify-memory is True; allowed: false, with --transport reencode",
        ),
        (
            {"placement": "spread", "transport": "reencode", "roles": {"solver": {"model": "other"}}},
            "--roles is .*; allowed: no checkpoints of their own, with --transport reencode",
        ),
        ({"roles": {"solver": "other"}}, "--roles is .*; allowed: {ROLE: {model: HUB_ID or DIR}}"),
        ({"roles": {"solver": {"model": "other", "dtype": "float32"}}}, "--roles is .*; allowed: "),
    ],
)
def test_settings_without_effect_or_sense_together_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        RunConfig.from_flat(settings)


def test_a_role_is_played_by_its_own_checkpoint_or_the_runs():
    model = RunConfig.from_flat({"model": "small", "roles": {"solver": {"model": "large"}}}).model
    assert [model.of_role(role) for role in ("planner", "solver")] == ["small", "large"]


def test_roles_may_name_the_runs_checkpoint_where_all_have_to_be_one():
    flat = {"placement": "spread", "transport": "reencode", "model": "small", "roles": {"solver": {"model": "small"}}}
    assert RunConfig.from_flat(flat).flat()["roles"] == {"solver": {"model": "small"}}


@pytest.mark.parametrize(
    ("flat", "line"),
    [
        ({"handover": "thoughts"}, "--handover is 'thoughts'; allowed: full or prompt"),
        ({"verify_memory": True}, "--verify-memory is True; allowed: false"),
        ({"roles": {"solver": {"model": "x/y"}}}, "--roles is .*; allowed: no checkpoints of their own"),
        ({"placement": "spread", "replicas": 4}, "--transport is 'object_store'; allowed: reencode"),
    ],
)
def test_what_can_not_be_handed_over_as_a_prompt_is_refused_where_memory_is(flat, line):
    with pytest.raises(ValueError, match=f"{line}, with --backend vllm and --method latent_mas"):
        RunConfig.from_flat({"backend": "vllm", **flat})
    RunConfig.from_flat({"backend": "vllm", "method": "text_mas", **flat})


def test_what_is_refused_follows_from_what_a_backend_can_do_and_not_from_its_name(monkeypatch):
    own = RunConfig.from_flat({"handover": "thoughts"})
    monkeypatch.setitem(BACKENDS, "hf", BackendKind(name="hf", prompts_only=True))
    with pytest.raises(ValueError, match="--handover is .*, with --backend hf and --method latent_mas"):
        RunConfig.from_flat({"handover": "thoughts"})
    assert own.own_share == 0.5
    monkeypatch.undo()
    assert own.own_share == 1.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("gpus", "fits"), [(None, False), (1, False), (2, True), (4, True)])
def test_a_model_is_split_over_no_more_gpus_than_its_replica_has(backend, gpus, fits):
    flat = {"backend": backend, "tensor_parallel_size": 2, "gpus_per_replica": gpus}
    if fits:
        assert RunConfig.from_flat(flat).model.tensor_parallel_size == 2
    else:
        with pytest.raises(ValueError, match="--tensor-parallel-size is 2; allowed: 1, or no more than --gpus-per-rep"):
            RunConfig.from_flat(flat)


def test_a_backend_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr("pipeline.config.backends.find_spec", lambda name: None)
    BACKENDS["hf"].check_installed()
    with pytest.raises(ValueError, match=r"--backend vllm needs the package vllm: pip install .*\[vllm\]") as caught:
        BACKENDS["vllm"].check_installed()
    assert "\n" not in str(caught.value)
