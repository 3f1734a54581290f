"""cluster/README.md: few commands, whose jobs our own command line takes and whose edits leave nothing to fill in."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli

from jobs.cli import config_of, config_parser, parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "cluster/README.md").read_text("utf-8")
PLATFORMS = ("AWS", "Google Cloud", "Machines of your own", "Kubernetes")
PLACEHOLDER = re.compile(r"YOUR-|ami-0{17}|192\.0\.2\.")


def blocks(text: str) -> list[list[str]]:
    """The commands of each sh block: one a line, more where `&&` or `;` joins them."""
    return [
        [command for line in block.splitlines() for command in commands_of(line)]
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    ]


def commands_of(line: str) -> list[str]:
    words = shlex.shlex(line, posix=True, punctuation_chars=";&")
    words.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set(";&"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [shlex.join(command) for command in commands if command]


def first_block(platform: str) -> list[str]:
    return blocks(README.split(f"\n## {platform}\n")[1].split("\n## ")[0])[0]


def jobs(commands: list[str]) -> list[list[str]]:
    """The arguments of every `python jobs/eval.py`."""
    words = [shlex.split(command) for command in commands]
    return [each[each.index("jobs/eval.py") + 1 :] for each in words if "jobs/eval.py" in each]


COMMANDS = [command for block in blocks(README) for command in block]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_it_takes_fewer_than_ten_commands(platform):
    commands = first_block(platform)
    assert 5 < len(commands) < 10
    assert any("rayjob.yaml" in each or "jobs/eval.py" in each for each in commands)
    assert any("5000" in each for each in commands)


def test_commands_that_are_joined_are_counted():
    assert blocks("```sh\nmake setup && ray up\n\n# no command\nsed 's/a/b/; s/c/d/'    # nor this\n```\n") == [
        ["make setup", "ray up", "sed 's/a/b/; s/c/d/'"]
    ]


@pytest.mark.parametrize("flags", jobs(COMMANDS), ids=" ".join)
def test_every_submitted_job_is_one_that_eval_takes(flags):
    config_of(parse(config_parser("eval.py", ""), flags))
    with pytest.raises(ValueError, match="--replica"):
        parse(config_parser("eval.py", ""), [*flags, "--replica", "4"])


def test_there_is_a_job_for_every_platform():
    assert len(jobs(COMMANDS)) == len(PLATFORMS)


def ray_commands() -> list[list[str]]:
    words = [shlex.split(command) for command in COMMANDS]
    return [each[each.index("ray") + 1 :] for each in words if "ray" in each]


def unknown_options(words: list[str]) -> list[str]:
    """Options of a `ray` command that its own --help does not name."""
    subcommand = words[: 2 if words[0] == "job" else 1]
    known = CliRunner().invoke(cli, [*subcommand, "--help"]).output
    own = words[: words.index("--")] if "--" in words else words
    return [word for word in own if word.startswith("-") and not re.search(rf"(?<!\S){word}\b", known)]


def test_rays_command_line_knows_the_options():
    assert len(ray_commands()) > 8
    assert [unknown_options(words) for words in ray_commands() if unknown_options(words)] == []
    assert unknown_options(["up", "--sure", "cluster/aws.yaml"]) == ["--sure"]


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"cluster/[\w./-]*\w", README))
    assert len(named) > 6
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.fixture
def edited(tmp_path) -> Path:
    """The files after the commands that edit them, with clouds' command lines that answer at once."""
    shutil.copytree(ROOT / "cluster", tmp_path / "cluster")
    for tool, answer in (("aws", "ami-0123456789abcdef0"), ("gcloud", "my-project")):
        (tmp_path / tool).write_text(f"#!/bin/sh\necho {answer}\n")
        (tmp_path / tool).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "USER": "me"}
    for command in (each for each in README.splitlines() if each.startswith("sed ")):
        subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=True)
    return tmp_path / "cluster"


def test_the_edits_leave_nothing_to_fill_in_and_the_autoscaler_takes_the_result(edited):
    paths = [*edited.glob("*.yaml"), *edited.glob("kuberay/*.yaml")]
    assert len(paths) == 7
    assert [path.name for path in paths if PLACEHOLDER.search(path.read_text())] == []
    assert any(PLACEHOLDER.search(path.read_text()) for path in (ROOT / "cluster").glob("*.yaml"))
    for path in edited.glob("*.yaml"):
        validate_config(prepare_config(yaml.safe_load(path.read_text())))


def test_the_image_that_is_pushed_is_the_one_that_the_pods_pull(edited):
    (tag,) = re.findall(r"docker build .*-t (\S+)", README)
    assert f"docker push {tag}\n" in README
    images = re.findall(r"image: (\S+)", "".join(path.read_text() for path in edited.glob("kuberay/*.yaml")))
    assert set(images) == {tag}
