"""Sums, means, products and extremes along axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding, additions
from codegen.graph.ops.op import Box, Op, Part, Shape, require
from codegen.graph.ops.window import Ints


@dataclass(frozen=True, eq=False)
class Reduce(Op):
    """``kind`` is "sum", "mean", "max", "min" or "prod"; the ``axes`` stay, with size 1."""

    kind: str
    axes: Ints

    takes_prologue = True
    takes_epilogue = True
    row_major = True

    def __post_init__(self) -> None:
        require(self.kind in ("sum", "mean", "max", "min", "prod"), f"unknown reduction {self.kind!r}")
        require(len(set(self.axes)) == len(self.axes), f"axes {list(self.axes)} should be different")

    @property
    def title(self) -> str:
        return f"reduce_{self.kind}"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(
            all(0 <= a < len(x) for a in self.axes),
            f"axes {list(self.axes)} should be below the {len(x)} axes of input {list(x)}",
        )
        return tuple(1 if a in self.axes else n for a, n in enumerate(x))

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        (x,) = shapes
        return Part(self, (tuple((0, n) if a in self.axes else box[a] for a, n in enumerate(x)),))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.asarray(getattr(np, self.kind)(x, axis=self.axes, keepdims=True), dtype=np.float64)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        terms = int(np.prod([x.value.shape[a] for a in self.axes]))
        if self.kind in ("max", "min"):
            bound: Array = x.error.max(axis=self.axes, keepdims=True) + rounding.tiny
            return bound
        if self.kind == "prod":
            largest = np.prod(x.magnitude, axis=self.axes, keepdims=True)
            moved = largest - np.prod(np.abs(x.value), axis=self.axes, keepdims=True)
            # A partial product may be out of range, or be flushed to zero before large factors follow.
            partial = np.prod(np.maximum(x.magnitude, 1.0), axis=self.axes, keepdims=True)
            rounded = np.where(partial > rounding.largest, np.inf, rounding.gamma(2 * terms) * largest)
            bound = moved + rounded + rounding.tiny * partial
            return bound
        share = terms if self.kind == "mean" else 1
        sums, error = (a.sum(axis=self.axes, keepdims=True) for a in (x.magnitude, x.error))
        bound = (rounding.sum_error(additions(terms) + 4, sums) + error) / share + terms * rounding.tiny
        return bound
