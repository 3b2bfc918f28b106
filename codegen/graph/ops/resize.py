"""Resampling of the spatial axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array, Bounded, Rounding, additions
from codegen.graph.ops.op import Box, Op, Part, Shape, extents, require
from codegen.graph.ops.window import Ints

MODES = ("nearest", "bilinear", "bicubic")
CROP = "tf_crop_and_resize"
COORDINATES = (
    *("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"),
    *("tf_half_pixel_for_nn", CROP),
)
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


@dataclass(frozen=True)
class Taps:
    """Weights of an axis: output element d is the sum over t of ``weight[d, t]`` times input element ``index[d, t]``.

    If ``inside[d]`` is false, output element d lies outside the input and is a constant.
    """

    index: NDArray[np.int64]
    weight: Array
    inside: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Resize(Op):
    """[N, C, *space] -> [N, C, *size], as ONNX defines Resize, in one to three dimensions.

    ``mode`` names interpolation as people do in two dimensions: "bilinear" is linear along every axis.

    ``coordinates`` says where element d of m output elements lies in the input, of n elements: "half_pixel"
    (d + 1/2)/s - 1/2, "tf_half_pixel_for_nn" (d + 1/2)/s, "align_corners" d (n-1)/(m-1), "asymmetric" d/s,
    "pytorch_half_pixel" as half_pixel but 0 where m = 1, "half_pixel_symmetric" as half_pixel about the centre,
    "tf_crop_and_resize" as align_corners between the two ends that ``roi`` gives for each axis as parts of n-1; what
    lies outside the input then is ``outside``.  ``scales`` (s of every axis) is m/n unless it is given.

    ``rounding`` chooses the element in mode "nearest"; ``cubic`` is the coefficient a of mode "bicubic" (Keys 1981).
    ``antialias`` widens the filter by 1/s where s < 1; ``exclude_outside`` drops taps beyond the edge.
    """

    size: Ints
    mode: str
    coordinates: str
    rounding: str = "floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    scales: tuple[float, ...] | None = None
    antialias: bool = False
    roi: tuple[tuple[float, float], ...] | None = None
    outside: float = 0.0

    takes_epilogue = True

    def __post_init__(self) -> None:
        for what, value, known in (
            ("mode", self.mode, MODES),
            ("coordinates", self.coordinates, COORDINATES),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            require(value in known, f"unknown {what} {value!r}; known are {', '.join(known)}")
        rank = len(self.size)
        require(
            1 <= rank <= 3 and min(self.size) >= 1,
            f"size {list(self.size)} should have a number >= 1 for each spatial axis, three at most",
        )
        require(
            self.scales is None or (len(self.scales) == rank and min(self.scales) > 0),
            f"scales {list(self.scales or ())} should have a positive number for each spatial axis",
        )
        require(
            self.roi is None or len(self.roi) == rank,
            f"roi {self.roi} should have a [start, end] pair for each spatial axis",
        )
        require(self.roi is None or self.coordinates == CROP, f"roi is for coordinates {CROP!r} only")
        require(not (self.antialias and self.mode == "nearest"), "antialias is not for mode 'nearest'")

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(
            len(x) == len(self.size) + 2,
            f"input {list(x)} should have {len(self.size) + 2} axes (batch, channels, {len(self.size)} of space)",
        )
        # Else the filter would be stretched far beyond the input.
        require(
            not self.antialias
            or self.scales is None
            or all(s * n >= 0.5 for s, n in zip(self.scales, x[2:], strict=True)),
            f"scales {list(self.scales or ())} make less than half an element of input {list(x)}",
        )
        return (*x[:2], *self.size)

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        space, parts = [], []
        for axis, ((start, stop), n) in enumerate(zip(box[2:], shapes[0][2:], strict=True)):
            taps = self.taps(axis, n)
            index = taps.index[start:stop]
            first, last = int(index.min()), int(index.max())
            space.append((first, last + 1))
            parts.append(Taps(index - first, taps.weight[start:stop], taps.inside[start:stop]))
        attributes = {f.name: getattr(self, f.name) for f in fields(Resize)}
        op = _ResizePart(**{**attributes, "size": extents(box[2:])}, parts=tuple(parts))
        return Part(op, ((*box[:2], *space),))

    def taps(self, axis: int, n: int) -> Taps:
        """The taps along a spatial axis, for an input of ``n`` elements there."""
        m = self.size[axis]
        scale = None if self.scales is None else self.scales[axis]
        position = self._positions(axis, n, m, scale)
        inside = np.ones(m, dtype=bool)
        if self.coordinates == CROP:
            inside = (position >= 0) & (position <= n - 1)
        # A filter of 1 or 2 elements to either side; antialiasing stretches it if there are fewer outputs than inputs.
        narrow = min(m / n if scale is None else scale, 1.0) if self.antialias else 1.0
        reach = int(np.ceil((2 if self.mode == "bicubic" else 1) / narrow))
        position = np.clip(position, -reach - 1, n + reach)  # positions further away give the same result
        if self.mode == "nearest":
            return Taps(np.clip(self._rounded(position), 0, n - 1)[:, None], inside[:, None].astype(np.float64), inside)
        if self.mode == "bilinear" and not self.antialias:
            position = np.clip(position, 0, n - 1)
            low = np.floor(position).astype(np.int64)
            part = position - low
            index = np.stack([low, np.minimum(low + 1, n - 1)], axis=1)
            return Taps(index, np.stack([1 - part, part], axis=1) * inside[:, None], inside)
        low = np.floor(position).astype(np.int64)
        index = low[:, None] + np.arange(1 - reach, reach + 1)
        distance = np.abs(position[:, None] - index) * narrow
        weight = np.fmax(1 - distance, 0.0) if self.mode == "bilinear" else self._cubic(distance)
        if self.exclude_outside:
            weight = np.where((index >= 0) & (index < n), weight, 0.0)
        if self.exclude_outside or self.antialias:
            total = weight.sum(axis=1, keepdims=True)
            weight = weight / np.where(total == 0, 1.0, total)
        return Taps(np.clip(index, 0, n - 1), weight * inside[:, None], inside)

    def reference(self, *inputs: Array) -> Array:
        return self._with_outside(self._apply(inputs[0], False), inputs[0].shape, self.outside)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        if self.mode == "nearest":
            error = self._apply(x.error, False)
        else:
            terms = math.prod(self.taps(axis, n).index.shape[1] for axis, n in enumerate(x.value.shape[2:]))
            sums = self._apply(x.magnitude, True)
            error = self._apply(x.error, True) + rounding.sum_error(additions(terms) + 8, sums)
            error = error + rounding.tiny * (2 * terms + sums)
        return self._with_outside(error, x.value.shape, rounding.unit * abs(self.outside)) + rounding.tiny

    def _apply(self, y: Array, absolute: bool) -> Array:
        rank = len(self.size)
        for axis in range(rank):
            taps = self.taps(axis, y.shape[2 + axis])
            weight = np.abs(taps.weight) if absolute else taps.weight
            shape = (-1,) + (1,) * (rank - 1 - axis)
            y = sum(
                (y.take(taps.index[:, t], axis=2 + axis) * weight[:, t].reshape(shape) for t in range(weight.shape[1])),
                np.zeros(1),
            )
        return y

    def _with_outside(self, y: Array, shape: Shape, value: float) -> Array:
        """The result with the outside value at elements that lie outside the input along any axis."""
        for axis, n in enumerate(shape[2:]):
            inside = self.taps(axis, n).inside
            y = np.where(inside.reshape((-1,) + (1,) * (len(self.size) - 1 - axis)), y, value)
        return y

    def _positions(self, axis: int, n: int, m: int, scale: float | None) -> Array:
        d = np.arange(m, dtype=np.float64)
        if self.coordinates in ("align_corners", CROP):
            start, end = self.roi[axis] if self.roi else (0.0, 1.0)
            if m == 1:
                return np.full(m, (start + end) * (n - 1) / 2) if self.coordinates == CROP else np.zeros(m)
            return start * (n - 1) + d * ((end - start) * (n - 1)) / (m - 1)
        if self.coordinates == "pytorch_half_pixel" and m == 1:
            return np.zeros(1)
        # Multiplying before dividing is exact if the quotient is a whole number.
        top, below = (n, m) if scale is None else (1, scale)
        if self.coordinates == "asymmetric":
            return d * top / below
        if self.coordinates == "tf_half_pixel_for_nn":
            return (d + 0.5) * top / below
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


@dataclass(frozen=True, eq=False)
class _ResizePart(Resize):
    """A part of another resize's output, computed with the taps of the whole."""

    parts: tuple[Taps, ...] = ()

    def infer(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:2], *self.size)

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        return None

    def taps(self, axis: int, n: int) -> Taps:
        return self.parts[axis]
