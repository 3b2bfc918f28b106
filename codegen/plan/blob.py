"""The array of all constants, the artefact's weights, with each tensor once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from codegen.graph.bounded import Array
from codegen.plan.layout import Layout, up
from codegen.plan.plan import Floats
from codegen.plan.target import ALIGNMENT_BYTES

ALIGNMENT = ALIGNMENT_BYTES // 4


class Blob:
    """The array under construction.  Launches share constants if their layers name the same tensor."""

    def __init__(self) -> None:
        self.at = 0
        self._parts: list[Floats] = []
        self._places: dict[tuple[bytes, ...], tuple[int, ...]] = {}

    def place(self, constants: Sequence[Floats]) -> tuple[int, ...]:
        """The offsets of a launch's constants, which follow each other, except that the first may be there already.

        The first one is usually the largest, a layer's weight.  The other constants are stored together after it.
        """
        key = tuple(map(digest, constants))
        if key not in self._places:
            starts = [*self._places.get(key[:1], ())]
            starts += [self._append(values) for values in constants[len(starts) :]]
            self._align(ALIGNMENT)
            self._places[key] = tuple(starts)
            self._places.setdefault(key[:1], tuple(starts[:1]))
        return self._places[key]

    def whole(self) -> Floats:
        return np.concatenate(self._parts)

    def _append(self, values: Floats) -> int:
        start = self.at
        self._add(values)
        self._align(16)
        return start

    def _align(self, multiple: int) -> None:
        self._add(np.zeros(up(self.at, multiple) - self.at, dtype=np.float32))

    def _add(self, values: Floats) -> None:
        self._parts.append(values)
        self.at += values.size


def packed(values: Array, layout: Layout) -> Floats:
    """The values in this layout, with padding lanes zero, each rounded once to float32."""
    floats = np.zeros(layout.span, dtype=np.float32)
    with np.errstate(over="ignore"):
        floats[layout.offsets()] = values
    return floats


class Constants:
    """The distinct constants of all launches; ``floats`` is their total number of elements."""

    def __init__(self) -> None:
        self.floats = 0
        self._known: dict[bytes, Floats] = {}

    def shared(self, values: Floats) -> Floats:
        """The array itself, or an equal one that was seen before."""
        key = digest(values)
        if key not in self._known:
            self._known[key] = values
            self.floats += values.size
        return self._known[key]


def digest(values: Floats) -> bytes:
    """A hash that is the same for equal arrays only."""
    return hashlib.sha256(np.ascontiguousarray(values).data).digest()


def follow_each_other(starts: Sequence[int], constants: Sequence[Floats]) -> bool:
    """True if the constants are stored one after the other."""
    return all(
        behind == start + up(values.size, 16)
        for start, behind, values in zip(starts[:-1], starts[1:], constants, strict=False)
    )
