"""Softmax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding, additions
from codegen.graph.ops.op import Box, Op, Part, Shape, require


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """exp(x) / sum(exp(x)) along ``axis``, computed with the maximum subtracted."""

    axis: int

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
        e = np.exp(x - x.max(axis=self.axis, keepdims=True))
        y: Array = e / e.sum(axis=self.axis, keepdims=True)
        return y

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        below = x.value.max(axis=self.axis, keepdims=True) - x.value
        spread = 2 * x.error.max(axis=self.axis, keepdims=True)
        # The subtraction is off by u |x - max|, which exp turns into a relative error; then additions, exp, division.
        # The denominator's error is the sum of its terms' errors.
        weighted = np.where(y > 0, below * y, 0.0).sum(axis=self.axis, keepdims=True)
        relative = rounding.unit * (below + weighted + additions(x.value.shape[self.axis]) + 24) + spread
        return np.where(spread > 1, 1.0, np.expm1(np.minimum(relative, 700.0)) * y) + 2 * rounding.tiny
