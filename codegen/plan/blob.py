"""The array of all constants, the artefact's weights, with each tensor once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from codegen.graph.bounded import Array
from codegen.plan.dtype import DType
from codegen.plan.layout import Layout, up
from codegen.plan.plan import Values
from codegen.plan.target import ALIGNMENT_BYTES, LINE_BYTES


class Blob:
    """The array under construction, of elements of ``dtype``.

    Launches share constants if their layers name the same tensor.  ``at`` and ``alignment`` count elements.
    """

    def __init__(self, dtype: DType) -> None:
        self.at = 0
        self.alignment = dtype.count(ALIGNMENT_BYTES)
        self._line = dtype.count(LINE_BYTES)
        self._dtype = dtype
        self._parts: list[Values] = []
        self._places: dict[tuple[bytes, ...], tuple[int, ...]] = {}

    def place(self, constants: Sequence[Values]) -> tuple[int, ...]:
        """The offsets of a launch's constants, which follow each other, except that the first may be there already.

        The first one is usually the largest, a layer's weight.  The other constants are stored together after it.
        """
        key = tuple(map(digest, constants))
        if key not in self._places:
            starts = [*self._places.get(key[:1], ())]
            starts += [self._append(values) for values in constants[len(starts) :]]
            self._align(self.alignment)
            self._places[key] = tuple(starts)
            self._places.setdefault(key[:1], tuple(starts[:1]))
        return self._places[key]

    def whole(self) -> Values:
        return np.concatenate(self._parts)

    def follow_each_other(self, starts: Sequence[int], constants: Sequence[Values]) -> bool:
        """True if the constants are stored one after the other."""
        return all(
            behind == start + up(values.size, self._line)
            for start, behind, values in zip(starts[:-1], starts[1:], constants, strict=False)
        )

    def _append(self, values: Values) -> int:
        start = self.at
        self._add(values)
        self._align(self._line)
        return start

    def _align(self, multiple: int) -> None:
        self._add(np.zeros(up(self.at, multiple) - self.at, self._dtype.name))

    def _add(self, values: Values) -> None:
        self._parts.append(values)
        self.at += values.size


def packed(values: Array, layout: Layout) -> Values:
    """The values in this layout, with padding lanes zero, each rounded once."""
    whole = np.zeros(layout.span, layout.dtype.name)
    whole[layout.offsets()] = layout.dtype.rounded(values)
    return whole


class Constants:
    """The distinct constants of all launches; ``count`` is their total number of elements."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[bytes, Values] = {}

    def shared(self, values: Values) -> Values:
        """The array itself, or an equal one that was seen before."""
        key = digest(values)
        if key not in self._known:
            self._known[key] = values
            self.count += values.size
        return self._known[key]


def digest(values: Values) -> bytes:
    """A hash that is the same for equal arrays only."""
    return hashlib.sha256(np.ascontiguousarray(values).data).digest()
