"""Fast search for tensors with almost equal numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph.ops import Shape
from codegen.importers import compare

Array = NDArray[Any]
TOLERANCE = compare.FLOAT32_TOLERANCE


class Known:
    """A searchable set of tensors.

    Each tensor has a key: a sum of some of its elements with factors from -1 to 1.  Similar tensors have similar keys.
    Tensors with an infinity or NaN among these elements have no key and are always compared.
    """

    def __init__(self, tensors: Iterable[Array]) -> None:
        by_shape: dict[Shape, list[tuple[float, int, Array]]] = {}
        self._without_key: dict[Shape, list[Array]] = {}
        for k, x in enumerate(tensors):
            key = _key(x)
            if np.isfinite(key):
                by_shape.setdefault(x.shape, []).append((key, k, x))
            else:
                self._without_key.setdefault(x.shape, []).append(x)
        ordered = {shape: sorted(found, key=lambda entry: entry[:2]) for shape, found in by_shape.items()}
        self._keys = {shape: [key for key, _, _ in found] for shape, found in ordered.items()}
        self._tensors = {shape: [x for _, _, x in found] for shape, found in ordered.items()}

    def like(self, y: Array) -> list[Array]:
        """The tensors that equal ``y`` within TOLERANCE times their largest number."""
        return [x for x in self._candidates(y) if not compare.difference(y, x, TOLERANCE)]

    def _candidates(self, y: Array) -> list[Array]:
        keys, tensors, key = self._keys.get(y.shape, []), self._tensors.get(y.shape, []), _key(y)
        if np.isfinite(key):
            # The factor leaves room for the difference between the largest numbers of the two tensors.
            reach = 1.01 * TOLERANCE * compare.largest(y) * _few(y).size
            tensors = tensors[bisect_left(keys, key - reach) : bisect_right(keys, key + reach)]
        return [*tensors, *self._without_key.get(y.shape, [])]


def _few(x: Array) -> Array:
    """A few of the elements, which tell most tensors apart."""
    return x.reshape(-1)[:: max(1, x.size // 64)].astype(np.float64)


def _key(x: Array) -> float:
    few = _few(x)
    with np.errstate(all="ignore"):
        return float(few @ np.cos(np.arange(few.size)))
