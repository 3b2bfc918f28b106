"""Running sums along an axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding, additions
from codegen.graph.ops.op import Box, Op, Part, Shape, require


@dataclass(frozen=True, eq=False)
class RunningSum(Op):
    """Output element i along ``axis`` is the sum of input elements 0 to i.

    With ``exclusive`` the sum leaves out element i itself; with ``reverse`` sums begin at the last element.
    """

    axis: int
    exclusive: bool = False
    reverse: bool = False

    takes_epilogue = True
    row_major = True

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(0 <= self.axis < len(x), f"axis {self.axis} should be below the {len(x)} axes of input {list(x)}")
        return x

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        (x,) = shapes
        return Part(self, (box,)) if box[self.axis] == (0, x[self.axis]) else None

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        y = np.cumsum(np.flip(x, self.axis) if self.reverse else x, axis=self.axis)
        if self.exclusive:
            nothing = np.zeros_like(np.take(y, [0], axis=self.axis))
            y = np.concatenate([nothing, np.take(y, range(x.shape[self.axis] - 1), axis=self.axis)], axis=self.axis)
        return np.flip(y, self.axis) if self.reverse else y

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        terms = x.value.shape[self.axis]
        rounded = rounding.sum_error(additions(terms), self.reference(x.magnitude))
        bound: Array = rounded + self.reference(x.error) + terms * rounding.tiny
        return bound
