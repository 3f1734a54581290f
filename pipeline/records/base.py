"""What all records share: they travel as JSON."""

from __future__ import annotations

import json
import pickle
from typing import Any, ClassVar, Self


class Record:
    """A frozen dataclass that travels as one JSON object."""

    parts: ClassVar[dict[str, type[Record]]] = {}
    """Fields that are records, or tuples of records, themselves."""

    def to_json(self) -> str:
        """Returns the record as one line of JSON."""
        return json.dumps(self, default=vars, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Reads what `to_json` wrote."""
        return cls.from_dict(json.loads(line))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Builds the record from its fields; lists become tuples, and the parts that are records themselves records."""
        return cls(**{name: _revive(v, cls.parts.get(name)) for name, v in values.items()})


class Shipment(Record):
    """A record that goes to actors and back: pickled in one piece, as Ray's pickler stops at every object in it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (type(self), pickle.dumps(vars(self), pickle.HIGHEST_PROTOCOL))


def _unpacked(kind: type[Shipment], fields: bytes) -> Shipment:
    return kind(**pickle.loads(fields))


def _revive(value: Any, part: type[Record] | None) -> Any:
    if isinstance(value, list):
        return tuple(_revive(item, part) for item in value)
    return part.from_dict(value) if part and value is not None else value
