"""Sorting and top-k along an axis: values or indices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Box, Op, Part, Shape, require

PARTS = ("values", "indices")


@dataclass(frozen=True, eq=False)
class Top(Op):
    """The first ``count`` elements along ``axis`` in falling order, or in rising order unless ``largest``.

    ``part`` is "values" or "indices", which are whole numbers.  Of equal elements the one with the lower index comes
    first, or with ``last`` the one with the higher index.  NaN comes before all numbers, as in numpy's argmax and
    argmin, or with ``nan_last`` after all numbers, as in numpy's sort.
    """

    axis: int
    count: int = 1
    largest: bool = True
    last: bool = False
    part: str = "indices"
    nan_last: bool = False

    takes_epilogue = True
    row_major = True

    def __post_init__(self) -> None:
        require(self.part in PARTS, f"unknown part {self.part!r}; known are {', '.join(PARTS)}")

    @property
    def jumps(self) -> bool:
        return True

    @property
    def title(self) -> str:
        if self.count == 1 and self.part == "indices":
            return "argmax" if self.largest else "argmin"
        return f"top_{self.part}"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(0 <= self.axis < len(x), f"axis {self.axis} should be below the {len(x)} axes of input {list(x)}")
        require(
            1 <= self.count <= x[self.axis],
            f"{self.count} elements should be from 1 to the {x[self.axis]} along axis {self.axis} of input {list(x)}",
        )
        return (*x[: self.axis], self.count, *x[self.axis + 1 :])

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        (x,) = shapes
        if box[self.axis] != (0, self.count):
            return None
        return Part(self, ((*box[: self.axis], (0, x[self.axis]), *box[self.axis + 1 :]),))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        order = self._order(x)
        if self.part == "indices":
            return order.astype(np.float64)
        return np.take_along_axis(x, order, axis=self.axis)

    def _order(self, x: Array) -> NDArray[np.int64]:
        key = -x if self.largest else x
        order = self._sorted(np.flip(key, self.axis) if self.last else key)
        order = np.take(order, range(self.count), axis=self.axis)
        return x.shape[self.axis] - 1 - order if self.last else order

    def _sorted(self, key: Array) -> NDArray[np.int64]:
        """The indices that sort the elements in rising order; equal elements stay in order."""
        order = np.lexsort((key, np.isnan(key) == self.nan_last), axis=self.axis)
        return np.asarray(order, dtype=np.int64)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        worst = x.error.max(axis=self.axis, keepdims=True)
        if self.part == "values":  # an element of the sorted row changes by at most the largest error in the row
            return np.broadcast_to(worst + rounding.tiny, y.shape)
        # If errors can swap two elements, the index may be any.
        rows, errors = (np.moveaxis(a, self.axis, -1) for a in (x.value, x.error))
        chosen = np.moveaxis(self._order(x.value), self.axis, -1)
        free = np.zeros(chosen.shape, dtype=bool)
        for k in range(chosen.shape[-1]):
            at = chosen[..., k : k + 1]
            value, error = (np.take_along_axis(a, at, axis=-1) for a in (rows, errors))
            reach = errors + error
            rival = (np.abs(rows - value) <= reach) & (reach > 0) & (np.arange(rows.shape[-1]) != at)
            free[..., k] = rival.any(axis=-1)
        return np.moveaxis(np.where(free, rows.shape[-1] - 1.0, rounding.tiny), -1, self.axis)
