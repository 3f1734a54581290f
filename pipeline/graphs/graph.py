"""A role graph: who works, in which order, and whose work each agent reads.

`reads` names the roles whose own segments (or texts) an agent gets, in the order in which they are placed. The answer
is the last role's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True, kw_only=True)
class Role:
    """One agent's place in a graph."""

    name: str
    """Its role, which selects its prompt."""
    reads: tuple[str, ...] = ()
    """Roles whose work it gets, in the order in which it is placed."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Roles in an order in which everybody works after those whose work they read; the last one answers."""

    name: str
    """What users call it."""
    roles: tuple[Role, ...]
    """In working order."""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for role in self.roles:
            missing = [name for name in role.reads if name not in seen]
            if missing:
                raise ValueError(
                    f"graph {self.name!r}: {role.name!r} reads {missing[0]!r}, which does not work before it"
                )
            if role.name in seen:
                raise ValueError(f"graph {self.name!r} has two roles named {role.name!r}")
            seen.add(role.name)
        if not self.roles:
            raise ValueError(f"graph {self.name!r} has no roles")

    @property
    def answering(self) -> Role:
        """The role whose text is the answer."""
        return self.roles[-1]

    @classmethod
    def from_mapping(cls, name: str, values: Mapping[str, Any]) -> Graph:
        """Builds a graph from its YAML."""
        roles = [Role(name=role["name"], reads=tuple(role.get("reads", ()))) for role in values["roles"]]
        return cls(name=name, roles=tuple(roles))


def load_graph(name: str) -> Graph:
    """Loads one of the graphs that come with the package."""
    text = files("pipeline.graphs").joinpath(f"{name}.yaml").read_text("utf-8")
    return Graph.from_mapping(name, yaml.safe_load(text))
