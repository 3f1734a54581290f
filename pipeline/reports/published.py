"""What the paper reports, as tables here take it, and where it stands beside our own numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the paper reports of one method on one task with one model and graph."""

    task: str
    model: str
    """Hub id."""
    graph: str
    """Also of a single agent: the graph of the table that it stands in."""
    method: str
    accuracy: float
    """Per cent."""
    output_tokens_per_question: float
    seconds: float
    """Of the whole run, on the authors' machine."""


@dataclass(frozen=True)
class Literature:
    """The paper's numbers by where they stand."""

    results: tuple[Published, ...] = ()
    _places: dict[tuple[str, str, str, str], Published] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {(_last(one.model), one.graph, one.task, one.method): one for one in self.results}
        object.__setattr__(self, "_places", places)

    @classmethod
    def of(cls, results: Iterable[Published]) -> Literature:
        """The numbers of some results."""
        return cls(tuple(results))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The paper's tasks, in its order."""
        return tuple(dict.fromkeys(one.task for one in self.results))

    def find(self, *, model: str, graph: str, task: str, method: str) -> Published | None:
        """What the paper has in a place, if it has.

        A folder whose name is that of the paper's model counts as it; another owner's model of that name does not.
        """
        found = self._places.get((_last(model), graph, task, method))
        is_hub_id = model.count("/") == 1 and not model.startswith("/")
        return found if found and (found.model == model or not is_hub_id) else None


def _last(model: str) -> str:
    return model.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
