"""A role graph: who works, in which order, and whose work each agent reads.

`reads` names the roles whose own segments (or texts) an agent gets, in the order in which they are placed. One role
answers. Users write their own graphs as YAML files of the same form as those beside this module.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

FORM = "a mapping with `roles`, a list of mappings with `name` and, where needed, `reads`, `answers`, ..."


@dataclass(frozen=True, kw_only=True)
class Role:
    """One agent's place in a graph."""

    name: str
    """Its role, which selects its prompt unless it brings its own."""
    reads: tuple[str, ...] = ()
    """Roles whose work it gets, in the order in which it is placed."""
    answers: bool = False
    """Whether its text is the answer."""
    latent_steps: int | None = None
    """Its own number of latent steps; without it the run's."""
    system: str | None = None
    """Its own system message: who it is."""
    duty: str | None = None
    """Its own duty: what it does."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Roles in an order in which everybody works after those whose work they read."""

    name: str
    """What users call it."""
    roles: tuple[Role, ...]
    """In working order."""
    experts: tuple[str, ...] = ()
    """Roles that work independently and may be chained instead."""

    @property
    def answering(self) -> Role:
        """The role whose text is the answer."""
        return next(role for role in self.roles if role.answers)

    def chained(self) -> Graph:
        """The same graph, with every expert also reading the experts before it.

        Raises:
            ValueError: The graph names no experts.
        """
        if not self.experts:
            raise ValueError(f"--experts chained needs a graph with `experts`; {self.name!r} has none")
        before = {name: self.experts[:index] for index, name in enumerate(self.experts)}
        roles = [replace(r, reads=tuple(dict.fromkeys((*r.reads, *before.get(r.name, ()))))) for r in self.roles]
        return make_graph(f"{self.name}-chained", roles, self.experts)

    def to_yaml(self) -> str:
        """The graph as a file that `parse_graph` reads."""
        unset = vars(Role(name=""))
        roles = [{key: value for key, value in vars(role).items() if value != unset[key]} for role in self.roles]
        plain = [{**role, "reads": list(role["reads"])} if "reads" in role else role for role in roles]
        return yaml.safe_dump({"experts": list(self.experts), "roles": plain}, sort_keys=False, allow_unicode=True)

    def check_prompts(self, known: Collection[str]) -> None:
        """Refuses roles that neither have a prompt nor bring one.

        Raises:
            ValueError: The message names the role and those that have prompts.
        """
        for role in self.roles:
            if role.name not in known and not (role.system and role.duty):
                raise ValueError(
                    f"graph {self.name!r}: no prompt for role {role.name!r}; give it `system` and `duty`, "
                    f"or use one of {', '.join(known)}"
                )


def make_graph(name: str, roles: Collection[Role], experts: Collection[str] = ()) -> Graph:
    """Checks roles and puts them into working order.

    Raises:
        ValueError: Roles are missing, named twice, unknown, in a circle, or without a way to the one that answers.
    """
    by_name = {role.name: role for role in roles}
    answering = [role.name for role in roles if role.answers]
    _require(len(by_name) == len(roles), name, f"two roles have the same name: {', '.join(r.name for r in roles)}")
    _require(len(answering) == 1, name, f"exactly one role has `answers: true`; here {answering or 'none'}")
    for role in roles:
        unknown = [read for read in role.reads if read not in by_name]
        _require(not unknown, name, f"{role.name!r} reads {unknown[:1]}, which is no role of it")
        _require(role.latent_steps is None or role.latent_steps >= 0, name, f"{role.name!r} has latent_steps below 0")
    strangers = [expert for expert in experts if expert not in by_name]
    _require(not strangers, name, f"`experts` names {strangers[:1]}, which is no role of it")
    _require(answering[0] not in experts, name, f"{answering[0]!r} answers and can't be one of the `experts`")
    try:
        order = list(TopologicalSorter({role.name: role.reads for role in roles}).static_order())
    except CycleError as error:
        raise ValueError(f"graph {name!r}: roles read each other in a circle: {' <- '.join(error.args[1])}") from error
    needed = _ancestors(answering[0], by_name)
    lost = [role.name for role in roles if role.name not in needed]
    _require(not lost, name, f"the work of {lost[:1]} never reaches {answering[0]!r}, which answers")
    # The file's own order is kept where it is a working order: it is the order that users expect to see.
    given = list(by_name)
    if all(given.index(read) < given.index(role.name) for role in roles for read in role.reads):
        order = given
    return Graph(name=name, roles=tuple(by_name[role] for role in order), experts=tuple(experts))


def load_graph(name: str) -> Graph:
    """Loads a graph that comes with the package, or a YAML file of the user's.

    Args:
        name: `single`, `sequential`, `hierarchical`, or a path that ends in .yaml or .yml.

    Raises:
        ValueError: There is no such graph, or it can't be; one line.
    """
    if name.endswith((".yaml", ".yml")):
        try:
            return parse_graph(Path(name).stem, Path(name).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--graph {name!r} can't be read: {error}") from error
    known = sorted(path.name.removesuffix(".yaml") for path in files(__package__).iterdir() if ".yaml" in path.name)
    if name not in known:
        raise ValueError(f"--graph {name!r} is unknown; allowed: {', '.join(known)}, or a file that ends in .yaml")
    return parse_graph(name, files(__package__).joinpath(f"{name}.yaml").read_text("utf-8"))


def parse_graph(name: str, text: str) -> Graph:
    """Reads a graph's YAML.

    Raises:
        ValueError: It does not have the form of a graph; one line.
    """
    try:
        values = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a safe loader that also refuses repeated keys
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"graph {name!r} is no YAML: {' '.join(str(error).split())[:200]}") from error
    is_graph = isinstance(values, dict) and isinstance(values.get("roles"), list) and values["roles"]
    _require(bool(is_graph), name, f"expected {FORM}")
    unknown = [key for key in values if key not in ("roles", "experts")]
    _require(not unknown, name, f"unknown key {unknown[:1]}; known: roles, experts")
    experts = _names(name, "experts", values.get("experts", []))
    return make_graph(name, [_role(name, role) for role in values["roles"]], experts)


def _role(graph: str, values: Any) -> Role:
    _require(isinstance(values, dict) and "name" in values, graph, f"a role without `name`: {values}")
    _names(graph, "name", [values["name"]])
    known = [f.name for f in fields(Role)]
    unknown = [key for key in values if key not in known]
    _require(not unknown, graph, f"role {values['name']!r} has unknown key {unknown[:1]}; known: {', '.join(known)}")
    for key, kind in {"answers": bool, "latent_steps": int, "system": str, "duty": str}.items():
        fits = key not in values or type(values[key]) is kind
        _require(fits, graph, f"role {values['name']!r}: `{key}` is {values.get(key)!r}, expected a {kind.__name__}")
    reads = _names(graph, f"role {values['name']!r}: `reads`", values.get("reads", []))
    role = Role(**{**values, "reads": reads})
    thinks = role.latent_steps is None or not role.answers
    _require(thinks, graph, f"role {role.name!r} answers and takes no latent steps; leave `latent_steps` out")
    return role


def _names(graph: str, what: str, values: Any) -> tuple[str, ...]:
    """Role names, each a word of one line, none twice."""
    is_list = isinstance(values, list) and all(
        isinstance(value, str) and value.isprintable() and value for value in values
    )
    _require(is_list, graph, f"{what} is {values!r}, expected a list of role names")
    _require(len(set(values)) == len(values), graph, f"{what} names a role twice: {values}")
    return tuple(values)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping with a repeated key, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds a mapping whose keys differ."""
        keys = [key.value for key, _ in node.value]
        repeated = [key for key in keys if keys.count(key) > 1]
        if repeated:
            raise ValueError(f"key {repeated[0]!r} is given twice")
        return super().construct_mapping(node, deep=deep)


def _ancestors(name: str, by_name: dict[str, Role]) -> set[str]:
    found, todo = {name}, [name]
    while todo:
        new = [read for read in by_name[todo.pop()].reads if read not in found]
        found.update(new)
        todo += new
    return found


def _require(ok: bool, graph: str, message: str) -> None:
    if not ok:
        raise ValueError(f"graph {graph!r}: {message}")
