"""Values of a layer's configuration, each of the type that it must have: a file may hold anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codegen.frontend.kinds import LARGEST
from codegen.frontend.place import Place, show


class Unsupported(Exception):
    """The network has a layer, or an option of one, that no spec says; all of them are reported together."""


@dataclass(frozen=True)
class Options:
    """``values`` is the table "config" of the layer at ``place``."""

    place: Place
    values: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def text(self, key: str, default: str, known: tuple[str, ...] = ()) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        if known and value not in known:
            raise Unsupported(f"{key} = {show(value)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def number(self, key: str, default: float) -> float:
        return self.as_number(key, self.values.get(key, default))

    def as_number(self, key: str, value: Any) -> float:
        # Keras 3 writes numpy's scalars as tables.
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
            value = value["config"].get("value")
        if not is_number(value):
            raise self._wrong(key, "a finite number")
        return float(value)

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        return self._whole(key, self.values.get(key, default), least)

    def wholes(self, key: str, rank: int, default: Any = None, least: int = 1) -> list[int]:
        """A number for each spatial axis, from one for all or a list."""
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, list):
            if len(value) != rank:
                raise self._wrong(key, f"{rank} numbers")
            return [self._whole(key, item, least) for item in value]
        return [self._whole(key, value, least)] * rank

    def pairs(self, key: str, rank: int) -> list[list[int]]:
        """(before, after) of each spatial axis, from one number, one for each axis or a pair for each."""
        value = self.values.get(key)
        if isinstance(value, list) and rank == 1 and len(value) == 2 and not any(isinstance(v, list) for v in value):
            value = [value]
        items = value if isinstance(value, list) else [value] * rank
        if len(items) != rank:
            raise self._wrong(key, f"{rank} numbers or pairs")
        pairs = [item if isinstance(item, list) else [item, item] for item in items]
        if any(len(pair) != 2 for pair in pairs):
            raise self._wrong(key, f"{rank} numbers or pairs")
        return [[self._whole(key, item, 0) for item in pair] for pair in pairs]

    def _whole(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
            raise self._wrong(key, f"a whole number >= {least}")
        return value

    def _wrong(self, key: str, wanted: str) -> Exception:
        return self.place.key(key).spec_error(f"{show(self.values.get(key))} should be {wanted}")


def is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
