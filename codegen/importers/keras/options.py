"""Typed access to a layer's configuration, as a file may contain anything.

No key is ignored.  :class:`Options` records which keys a translation has read; if another key could affect inference,
:meth:`Options.refuse_unread` refuses the layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.spec.place import Place, show
from codegen.frontend.spec.value_types import LARGEST


class Unsupported(Exception):
    """A layer or an option that a spec cannot express; all of these are reported together."""


# Keys that any layer may have and that do not affect inference, with the reason.
WITHOUT_MEANING: Mapping[str, str] = {
    "name": "is read beside the configuration",
    "trainable": "says whether training changes the weights",
    "dtype": "is checked for every layer by the importer",
    "autocast": "casts inputs to the layer's dtype, which is checked",
    "seed": "starts random numbers, which only training draws",
    "batch_shape": "is the shape of the input, which the importer reads",
    "batch_input_shape": "is the shape of the input, which the importer reads",
}

# The same for endings of keys: how weights are initialised, regularised and constrained in training.
WITHOUT_MEANING_ENDINGS = ("_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True)
class Options:
    """The table ``values``, "config" of the layer at ``place``."""

    place: Place
    values: Mapping[str, Any]
    _read: set[str] = field(default_factory=set)

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default if it is missing or null."""
        self._read.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def require(self, key: str, *known: Any) -> None:
        """Raises Unsupported unless the value is missing, null or one of ``known``."""
        value = self.get(key, known[0])
        if not any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in known):
            raise Unsupported(f"{key} = {show(value)}")

    def pass_over(self, *keys: str) -> None:
        """Marks keys of this layer as irrelevant to inference."""
        self._read.update(keys)

    def refuse_unread(self) -> None:
        """Raises Unsupported for a key that was not read, unless its value is null or it cannot affect inference."""
        for key, value in self.values.items():
            known = key in self._read or key in WITHOUT_MEANING
            if not known and not str(key).endswith(WITHOUT_MEANING_ENDINGS) and value is not None:
                raise Unsupported(f"{key} = {show(value)}, which is not known")

    def text(self, key: str, default: str, known: tuple[str, ...] = ()) -> str:
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        if known and value not in known:
            raise Unsupported(f"{key} = {show(value)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def number(self, key: str, default: float) -> float:
        value = _plain(self.get(key, default))
        if not is_number(value):
            raise self._wrong(key, "a finite number")
        return float(value)

    def numbers(self, key: str, default: float) -> NDArray[np.float64]:
        """A number or an array of nested lists of numbers."""
        value = _plain(self.get(key, default))
        flat = [value]
        while any(isinstance(item, list) for item in flat):
            flat = [inner for item in flat for inner in (item if isinstance(item, list) else [item])]
        try:
            array = np.array(value, np.float64) if flat and all(map(is_number, flat)) else None
        except ValueError:  # lists of different lengths
            array = None
        if array is None:
            raise self._wrong(key, "a finite number, or lists of such")
        return array

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        return self._whole(key, self.get(key, default), least)

    def wholes(self, key: str, rank: int, default: Any = None, least: int = 1) -> list[int]:
        """A whole number for each spatial axis, from one number for all or a list."""
        value = self.get(key, default)
        if isinstance(value, list):
            if len(value) != rank:
                raise self._wrong(key, f"{rank} numbers")
            return [self._whole(key, item, least) for item in value]
        return [self._whole(key, value, least)] * rank

    def pairs(self, key: str, rank: int) -> list[list[int]]:
        """(before, after) for each spatial axis, from one number, one for each axis or a pair for each."""
        value = self.get(key)
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


def _plain(value: Any) -> Any:
    """Converts numpy's scalars and arrays, which Keras 3 writes as tables."""
    if isinstance(value, Mapping) and value.get("class_name") in ("__numpy__", "__tensor__"):
        config = value.get("config")
        return config.get("value") if isinstance(config, Mapping) else None
    return value


def is_number(value: Any) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
