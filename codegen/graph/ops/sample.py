"""Sampling at positions that another tensor holds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape, require

SAMPLE_MODES = ("bilinear", "nearest", "bicubic")
BORDERS = ("zeros", "border", "reflection")
CUBIC = -0.75  # Keys' coefficient a, as in PyTorch and ONNX


@dataclass(frozen=True)
class _Axis:
    """The taps along one spatial axis, each an array [taps, N, *output's space].

    ``around`` are the taps with one more neighbour on either side; errors of weights are relative to ``magnitude``.
    ``error`` is the error of the position, in elements; ``torn`` is true where the error may carry it across a jump.
    """

    index: NDArray[np.int64]
    around: NDArray[np.int64]
    weight: Array
    magnitude: Array
    error: Array
    torn: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class GridSample(Op):
    """[N, C, *space] and a grid [N, *output's space, axes] -> [N, C, *output's space], as ONNX defines GridSample.

    The grid has positions (x, y) or (x, y, z) from -1 to 1: centres of the outer elements with ``align_corners``, else
    their outer edges.  ``border`` says which values lie beyond the edge: "zeros", the "border", or its "reflection".
    ``mode`` "bilinear" is linear along every axis, "bicubic" is that of Keys 1981 with a = -0.75.  A constant ``grid``,
    whose batch may be 1, takes the place of the second input.
    """

    mode: str
    border: str
    align_corners: bool
    grid: Array | None = None

    takes_epilogue = True

    def __post_init__(self) -> None:
        for what, value, known in (("mode", self.mode, SAMPLE_MODES), ("border", self.border, BORDERS)):
            require(value in known, f"unknown {what} {value!r}; known are {', '.join(known)}")

    def infer(self, *shapes: Shape) -> Shape:
        x = shapes[0]
        require(
            len(shapes) == (2 if self.grid is None else 1),
            "should read a tensor and a grid, one of which may be constant: the grid",
        )
        grid = shapes[1] if self.grid is None else self.grid.shape
        rank = len(x) - 2
        require(rank in (2, 3), f"input {list(x)} should have two or three spatial axes after batch and channels")
        require(rank == 2 or self.mode != "bicubic", "bicubic takes two spatial axes only")
        batches = (x[0],) if self.grid is None else (1, x[0])
        require(
            len(grid) == rank + 2 and grid[0] in batches and grid[-1] == rank,
            f"grid {list(grid)} should be [{x[0]}, {rank} sizes, {rank}] for input {list(x)}",
        )
        return (*x[:2], *grid[1:-1])

    def reference(self, *inputs: Array) -> Array:
        grid = self._grid(inputs)
        axes = self._axes(inputs[0].shape, grid, np.zeros_like(grid), Rounding(0.0, 0.0, np.inf))
        return self._gather(inputs[0], [(axis.index, axis.weight) for axis in axes])

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        """The error bound: a position that is off by d changes the value by at most d times the steepest slope."""
        x = inputs[0]
        if self.grid is None:
            grid, error = inputs[1].value, inputs[1].error
        else:
            grid = self._grid((x.value,))
            error = rounding.unit * np.abs(grid)
        axes = self._axes(x.value.shape, grid, error, rounding)
        terms = int(np.prod([len(axis.index) for axis in axes]))
        # Each weight of a linear tap is one rounding, of a cubic one twelve; then products, and sums of all.
        operations = terms + {"nearest": 0, "bilinear": 3, "bicubic": 13}[self.mode] * len(axes)
        taps = [(axis.index, axis.magnitude) for axis in axes]
        computed = rounding.gamma(operations) * self._gather(x.magnitude, taps)
        carried = self._gather(x.error, [(axis.index, np.abs(axis.weight)) for axis in axes])
        highest = x.magnitude.max(axis=tuple(range(2, x.value.ndim)))
        highest = highest.reshape(*highest.shape, *(1,) * (y.ndim - 2))
        near = np.logical_and.reduce([axis.error <= 1 for axis in axes])[:, None]
        steep = np.where(near, self._largest(x.magnitude, [axis.around for axis in axes]), highest)
        # Slopes of linear and cubic taps with values up to 1, times the other axes' weights, which sum to 1.4 at most.
        slope = {"nearest": 0.0, "bilinear": 2.0, "bicubic": 3.0 * 1.4}[self.mode]
        moved = slope * steep * sum((axis.error for axis in axes), np.zeros(1))[:, None]
        torn = np.logical_or.reduce([axis.torn for axis in axes])[:, None]
        return computed + carried + moved + np.where(torn, 4 * highest, 0.0) + (terms + 1) * rounding.tiny

    def _grid(self, inputs: tuple[Array, ...]) -> Array:
        if self.grid is None:
            return inputs[1]
        return np.broadcast_to(self.grid, (inputs[0].shape[0], *self.grid.shape[1:]))

    def _axes(self, shape: Shape, grid: Array, error: Array, rounding: Rounding) -> list[_Axis]:
        """The taps of each spatial axis, outermost axis first; the grid's last axis has the innermost one first."""
        return [self._axis(n, grid[..., -1 - k], error[..., -1 - k], rounding) for k, n in enumerate(shape[2:])]

    @np.errstate(invalid="ignore")  # a NaN position is moved to an end
    def _axis(self, n: int, place: Array, error: Array, rounding: Rounding) -> _Axis:
        low, high = (0.0, n - 1.0) if self.align_corners else (-0.5, n - 0.5)
        at = (place + 1) * (n - 1) / 2 if self.align_corners else ((place + 1) * n - 1) / 2
        error = error * n / 2 + rounding.gamma(3) * (np.abs(at) + 1)
        if self.border == "reflection":
            error = error + rounding.gamma(4) * (np.abs(at) + 2 * n)  # multiples of the size are subtracted
        torn = np.zeros(at.shape, dtype=bool)
        if self.mode == "nearest":
            torn = (np.abs(at - np.floor(at) - 0.5) <= error) & (error > 0)
            at = np.rint(at)
        if self.border == "zeros" or (self.border, self.mode) == ("border", "bicubic"):
            # As in PyTorch, each tap is checked against the border, not the position.
            at = np.fmin(np.fmax(at, -3.0), n + 2.0)
        elif self.border == "reflection":
            at = _reflected(at, low, high)
        else:
            at = np.fmin(np.fmax(at, 0.0), n - 1.0)
        first = np.floor(at).astype(np.int64)
        part = at - first
        if self.mode == "nearest":
            weight = magnitude = np.ones((1, *at.shape))
        elif self.mode == "bilinear":
            weight = magnitude = np.stack([1 - part, part])
        else:
            first = first - 1
            weight = _cubic(part)
            magnitude = np.stack([np.abs(weight[0]), np.ones_like(part), np.ones_like(part), np.abs(weight[3])])
        around = first + np.arange(-1, len(weight) + 1).reshape(-1, *(1,) * at.ndim)
        if self.border == "zeros":
            inside = (around >= 0) & (around < n)
            weight, magnitude = weight * inside[1:-1], magnitude * inside[1:-1]
        elif self.border == "reflection":
            around = _reflected(around.astype(np.float64), low, high).astype(np.int64)
        around = np.clip(around, 0, n - 1)
        return _Axis(around[1:-1], around, weight, magnitude, error, torn)

    @staticmethod
    def _gather(x: Array, axes: list[tuple[NDArray[np.int64], Array]]) -> Array:
        """The weighted sum over all combinations of taps: [N, C, *output's space]."""
        total = np.zeros(1)
        for taps in itertools.product(*(zip(index, weight, strict=True) for index, weight in axes)):
            weight = np.ones(1)
            for _, one in taps:
                weight = weight * one
            total = total + _picked(x, [index for index, _ in taps]) * weight[:, None]
        return total

    @staticmethod
    def _largest(x: Array, axes: list[NDArray[np.int64]]) -> Array:
        """The largest element over all combinations of indices."""
        y: Array = np.maximum.reduce([_picked(x, list(taps)) for taps in itertools.product(*axes)])
        return y


def _picked(x: Array, at: list[NDArray[np.int64]]) -> Array:
    """The elements [N, C, *output's space] at indices [N, *output's space] along each spatial axis."""
    batch: Any = np.arange(x.shape[0]).reshape(-1, *(1,) * (at[0].ndim - 1))
    return np.moveaxis(x[(batch, slice(None), *at)], -1, 1)


def _reflected(at: Array, low: float, high: float) -> Array:
    """The position mirrored at both ends until it lies between them: a triangle wave."""
    span = high - low
    if span == 0:
        return np.full_like(at, low)
    with np.errstate(invalid="ignore"):
        far = np.abs(at - low)
        turns = np.floor(far / span)
        rest = far - turns * span
        return np.fmin(np.fmax(np.where(turns % 2 == 0, low + rest, high - rest), low), high)


def _cubic(part: Array) -> Array:
    """The weights of the four elements around a position that is ``part`` of an element after the second."""
    rest = 1 - part
    return np.stack(
        [
            CUBIC * part * rest * rest,
            ((CUBIC + 2) * part - (CUBIC + 3)) * part * part + 1,
            ((CUBIC + 2) * rest - (CUBIC + 3)) * rest * rest + 1,
            CUBIC * rest * part * part,
        ]
    )
