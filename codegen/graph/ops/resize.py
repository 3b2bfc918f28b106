"""Resampling of the spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape, require
from codegen.graph.ops.window import Ints

MODES = ("nearest", "bilinear", "bicubic")
COORDINATES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


@dataclass(frozen=True)
class Taps:
    """Output element d of an axis is the sum over t of ``weight[d, t]`` times input element ``index[d, t]``."""

    index: NDArray[np.int64]
    weight: Array


@dataclass(frozen=True, eq=False)
class Resize(Op):
    """[N, C, H, W] -> [N, C, *size], as ONNX defines Resize.

    ``coordinates`` says where output element d lies in the input, of n elements, for an output of m = s n:
    "half_pixel" (d + 1/2)/s - 1/2, "align_corners" d (n-1)/(m-1), "asymmetric" d/s, "pytorch_half_pixel" as half_pixel
    but 0 where m = 1, "half_pixel_symmetric" as half_pixel about the centre of the input.  ``scales`` (s of both axes)
    is m/n unless it is given.  ``rounding`` chooses the element in mode "nearest"; ``cubic`` is the coefficient a of
    mode "bicubic" (Keys 1981), and ``exclude_outside`` drops its taps beyond the edge.
    """

    size: Ints
    mode: str
    coordinates: str
    rounding: str = "floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    scales: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("mode", self.mode, MODES),
            ("coordinates", self.coordinates, COORDINATES),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            require(value in known, f"unknown {what} {value!r}; known are {', '.join(known)}")
        require(
            len(self.size) == 2 and min(self.size) >= 1, f"size {list(self.size)} should be [height, width], each >= 1"
        )
        require(self.scales is None or min(self.scales) > 0, f"scales {self.scales} should be positive")

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(len(x) == 4, f"input {list(x)} should have 4 axes (batch, channels, height, width)")
        return (*x[:2], *self.size)

    def taps(self, axis: int, n: int) -> Taps:
        """The taps along spatial axis 0 or 1, for an input of ``n`` elements there."""
        m = self.size[axis]
        position = self._positions(n, m, None if self.scales is None else self.scales[axis])
        if self.mode == "nearest":
            return Taps(np.clip(self._rounded(position), 0, n - 1)[:, None], np.ones((m, 1)))
        if self.mode == "bilinear":
            position = np.clip(position, 0, n - 1)
            low = np.floor(position).astype(np.int64)
            part = position - low
            index = np.stack([low, np.minimum(low + 1, n - 1)], axis=1)
            return Taps(index, np.stack([1 - part, part], axis=1))
        low = np.floor(position).astype(np.int64)
        index = low[:, None] + np.arange(-1, 3)
        weight = self._cubic(np.abs(position[:, None] - index))
        if self.exclude_outside:
            weight = np.where((index >= 0) & (index < n), weight, 0.0)
            weight = weight / weight.sum(axis=1, keepdims=True)
        return Taps(np.clip(index, 0, n - 1), weight)

    def reference(self, *inputs: Array) -> Array:
        return self._apply(inputs[0], False)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        if self.mode == "nearest":
            return self._apply(x.error, False) + rounding.tiny
        return self._apply(x.error, True) + rounding.gamma(24) * self._apply(x.magnitude, True) + 32 * rounding.tiny

    def _apply(self, y: Array, absolute: bool) -> Array:
        for axis in (0, 1):
            taps = self.taps(axis, y.shape[2 + axis])
            weight = np.abs(taps.weight) if absolute else taps.weight
            shape = (-1,) + (1,) * (1 - axis)
            y = sum(
                (y.take(taps.index[:, t], axis=2 + axis) * weight[:, t].reshape(shape) for t in range(weight.shape[1])),
                np.zeros(1),
            )
        return y

    def _positions(self, n: int, m: int, scale: float | None) -> Array:
        d = np.arange(m, dtype=np.float64)
        if self.coordinates == "align_corners":
            return d * (n - 1) / max(m - 1, 1)
        if self.coordinates == "pytorch_half_pixel" and m == 1:
            return np.zeros(1)
        # Multiplied before divided: exact where the quotient is a whole number.
        top, below = (n, m) if scale is None else (1, scale)
        if self.coordinates == "asymmetric":
            return d * top / below
        position = (d + 0.5) * top / below - 0.5
        if self.coordinates == "half_pixel_symmetric" and scale is not None:
            position += n / 2 * (1 - m / (n * scale))
        return position

    def _rounded(self, position: Array) -> NDArray[np.int64]:
        rounded = {
            "floor": np.floor(position),
            "ceil": np.ceil(position),
            "round_prefer_floor": np.ceil(position - 0.5),
            "round_prefer_ceil": np.floor(position + 0.5),
        }[self.rounding]
        return rounded.astype(np.int64)

    def _cubic(self, distance: Array) -> Array:
        a, x = self.cubic, distance
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
