import typing

import pytest

from pipeline.config import RunConfig, settings


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
    expected = {"latent_steps": 10, "temperature": 0.6, "top_p": 0.95, "alignment": "ridge", "max_new_tokens": 2048}
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
