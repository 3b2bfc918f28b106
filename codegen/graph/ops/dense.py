"""Fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding, additions
from codegen.graph.ops.op import Shape, require
from codegen.graph.ops.weighted import Weighted


@dataclass(frozen=True, eq=False)
class Dense(Weighted):
    """``weight`` [O, I] times the input, flattened to [N, I] in row-major order, plus ``bias`` [O]."""

    def __post_init__(self) -> None:
        require(self.weight.ndim == 2, f"weight {self.weight.shape} should be [out, in]")
        require(
            self.bias.shape == self.weight.shape[:1],
            f"bias {self.bias.shape} should have one value for each of {self.weight.shape[0]} outputs",
        )

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(len(x) >= 2, f"input {list(x)} should have a batch axis and at least one more")
        features = int(np.prod(x[1:]))
        require(
            features == self.weight.shape[1],
            f"input {list(x)} has {features} features, weight {list(self.weight.shape)} takes {self.weight.shape[1]}",
        )
        return (x[0], self.weight.shape[0])

    def along_outputs(self, values: Array) -> Array:
        return values.reshape(-1, 1)

    def along_inputs(self, values: Array, shape: Shape) -> Array:
        """The input may have spatial axes, which the layer flattens."""
        return np.repeat(values, int(np.prod(shape[2:])))[None, :]

    def takes_input_map(self, shifts: bool) -> bool:
        return True

    def multiply_adds(self, *shapes: Shape) -> int:
        return shapes[0][0] * self.weight.size

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        return x.reshape(len(x), -1) @ self.weight.T + self.bias

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        weight = np.abs(self.weight).T
        terms = self.weight.shape[1]
        magnitude = x.magnitude.reshape(len(y), -1)
        sums = magnitude @ weight + np.abs(self.bias)
        # Effect of flushing small inputs, weights and products to zero.
        flushed = rounding.tiny * (terms + weight.sum(axis=0)) + magnitude @ np.where(weight < rounding.tiny, weight, 0)
        bound: Array = rounding.sum_error(additions(terms) + 4, sums) + x.error.reshape(len(y), -1) @ weight + flushed
        return bound
