"""Product of two computed matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding, additions, finite_part
from codegen.graph.ops.op import Op, Shape, require


@dataclass(frozen=True, eq=False)
class MatMul(Op):
    """[..., M, K] times [..., K, N]; the axes before them broadcast."""

    takes_epilogue = True
    row_major = True

    def infer(self, *shapes: Shape) -> Shape:
        a, b = shapes
        require(
            len(a) == len(b) >= 2, f"inputs {list(a)} and {list(b)} should have the same number of axes, at least 2"
        )
        require(
            a[-1] == b[-2], f"inputs {list(a)} and {list(b)}: {a[-1]} columns should meet as many rows, not {b[-2]}"
        )
        require(
            all(m == n or 1 in (m, n) for m, n in zip(a[:-2], b[:-2], strict=True)),
            f"inputs {list(a)} and {list(b)} should have the same axes before the last two, or 1",
        )
        return (*(max(m, n) for m, n in zip(a[:-2], b[:-2], strict=True)), a[-2], b[-1])

    def multiply_adds(self, *shapes: Shape) -> int:
        return math.prod(self.infer(*shapes)) * shapes[0][-1]

    def reference(self, *inputs: Array) -> Array:
        a, b = inputs
        return a @ b

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        a, b = inputs
        terms = a.value.shape[-1]
        sums = a.magnitude @ b.magnitude
        moved = (
            _moved(a.error, b.value)
            + _moved(b.error.swapaxes(-1, -2), a.value.swapaxes(-1, -2)).swapaxes(-1, -2)
            + a.error @ b.error
        )
        # Effect of flushing small operands and products to zero.
        flushed = terms + a.magnitude.sum(axis=-1, keepdims=True) + b.magnitude.sum(axis=-2, keepdims=True)
        bound: Array = rounding.sum_error(additions(terms) + 2, sums) + moved + rounding.tiny * flushed
        return bound


def _moved(error: Array, factor: Array) -> Array:
    """The most that errors of a product's left factor move it: infinite where they meet infinity or NaN."""
    special = ~np.isfinite(factor)
    unknown = (error > 0).astype(np.float64) @ special.astype(np.float64)
    moved: Array = np.where(unknown > 0, np.inf, error @ np.abs(finite_part(factor)))
    return moved
