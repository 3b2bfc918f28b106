"""Upsampling of the spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape, require
from codegen.graph.ops.window import Ints


@dataclass(frozen=True, eq=False)
class Resize(Op):
    """[N, C, H, W] -> [N, C, *size] by "nearest" (floor of the scaled coordinate) or "bilinear" interpolation.

    ``coordinates`` says where output element d lies in the input, of n elements, for an output of m:
    "half_pixel" (d + 1/2) n/m - 1/2, "align_corners" d (n-1)/(m-1), "asymmetric" d n/m.
    """

    size: Ints
    mode: str
    coordinates: str

    def __post_init__(self) -> None:
        require(self.mode in ("nearest", "bilinear"), f"unknown mode {self.mode!r}")
        require(
            self.coordinates in ("half_pixel", "align_corners", "asymmetric"),
            f"unknown coordinates {self.coordinates!r}",
        )
        require(
            self.mode != "nearest" or self.coordinates == "asymmetric",
            'mode "nearest" takes coordinates "asymmetric" only',
        )
        require(
            len(self.size) == 2 and min(self.size) >= 1,
            f"size {list(self.size)} should be [height, width], each >= 1",
        )

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(len(x) == 4, f"input {list(x)} should have 4 axes (batch, channels, height, width)")
        return (*x[:2], *self.size)

    def reference(self, *inputs: Array) -> Array:
        (y,) = inputs
        for axis in (2, 3):
            n, m = y.shape[axis], self.size[axis - 2]
            position = self._positions(n, m)
            if self.mode == "nearest":
                y = y.take(np.floor(position).astype(int), axis=axis)
                continue
            low = np.floor(position).astype(int)
            high = np.minimum(low + 1, n - 1)
            weight = (position - low).reshape((-1,) + (1,) * (3 - axis))
            y = y.take(low, axis=axis) * (1 - weight) + y.take(high, axis=axis) * weight
        return y

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        return self.reference(x.error) + rounding.gamma(12) * self.reference(x.magnitude) + 4 * rounding.tiny

    def _positions(self, n: int, m: int) -> Array:
        d = np.arange(m, dtype=np.float64)
        if self.coordinates == "half_pixel":
            position = (d + 0.5) * n / m - 0.5
        elif self.coordinates == "align_corners":
            position = d * (n - 1) / max(m - 1, 1)
        else:
            # Multiplied before divided: exact where the quotient is a whole number.
            position = d * n / m
        return np.clip(position, 0, n - 1)
