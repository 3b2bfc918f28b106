"""Resize, Upsample and GridSample in numpy, from ONNX's specification, for the check of imports.

``onnx.reference`` computes these in Python loops, and GridSample's positions in float32.  Nothing is shared with
:mod:`codegen.graph`, whose numbers are compared with these.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = Mapping[str, Any]


def _shape_and_scales(
    a: Attributes, x: Array, scales: Array | None, sizes: Array | None
) -> tuple[list[int], list[float], list[int]]:
    """The output's shape, a scale for each axis, and the axes, in the order of the given numbers."""
    rank = x.ndim
    axes = [axis % rank for axis in a.get("axes") or range(rank)]
    size, factors = list(x.shape), [1.0] * rank
    if sizes is None or sizes.size == 0:
        assert scales is not None
        for axis, factor in zip(axes, scales.reshape(-1), strict=True):
            factors[axis] = float(factor)
            # In float32, the type of scales: 3 times the float32 nearest to 4/3 is exactly 4.
            size[axis] = int(np.floor(np.float32(factor) * np.float32(x.shape[axis])))
        return size, factors, axes
    wanted = [int(n) for n in sizes.reshape(-1)]
    policy = a.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        for axis, n in zip(axes, wanted, strict=True):
            size[axis], factors[axis] = n, n / x.shape[axis]
        return size, factors, axes
    choose = min if policy == "not_larger" else max
    factor = choose(n / x.shape[axis] for axis, n in zip(axes, wanted, strict=True))
    for axis in axes:
        size[axis], factors[axis] = math.floor(factor * x.shape[axis] + 0.5), factor
    return size, factors, axes


def _places(mode: str, n: int, m: int, scale: float, roi: tuple[float, float]) -> Array:
    """The positions of m output elements among n input elements."""
    i = np.arange(m, dtype=np.float64)
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * ((n - 1) / (m - 1)) if m > 1 else 0 * i
    if mode == "tf_crop_and_resize":
        first, last = roi
        return (
            first * (n - 1) + i * (last - first) * (n - 1) / (m - 1) if m > 1 else 0 * i + (first + last) * (n - 1) / 2
        )
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "pytorch_half_pixel" and m == 1:
        return 0 * i
    places = (i + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        places += n / 2 * (1 - m / (scale * n))
    return places


def _nearest(places: Array, mode: str) -> Array:
    if mode == "round_prefer_floor":
        return np.ceil(places - 0.5)
    if mode == "round_prefer_ceil":
        return np.floor(places + 0.5)
    return np.floor(places) if mode == "floor" else np.ceil(places)


def _cubic(distance: Array, a: float) -> Array:
    """The weight of an element at this distance (Keys, 1981)."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _along(a: Attributes, x: Array, axis: int, places: Array, scale: float) -> Array:
    """The elements at these positions of one axis."""
    n, mode = x.shape[axis], a.get("mode", "nearest")
    if mode == "nearest":
        chosen = _nearest(places, a.get("nearest_mode", "round_prefer_floor"))
        return np.take(x, np.clip(chosen, 0, n - 1).astype(int), axis)
    narrow = min(scale, 1.0) if a.get("antialias") else 1.0
    reach = math.ceil((1 if mode == "linear" else 2) / narrow)
    index = np.floor(places)[:, None] + np.arange(1 - reach, reach + 1)
    distance = (places[:, None] - index) * narrow
    if mode == "linear":
        weight = np.clip(1 - np.abs(distance), 0, 1)
    else:
        weight = _cubic(distance, a.get("cubic_coeff_a", -0.75))
    if a.get("exclude_outside"):
        weight = np.where((index < 0) | (index >= n), 0.0, weight)
    if a.get("antialias") or a.get("exclude_outside"):
        weight = weight / weight.sum(axis=1, keepdims=True)
    index = np.clip(index, 0, n - 1).astype(int)
    shape = [-1 if k == axis else 1 for k in range(x.ndim)]
    y = 0.0
    for t in range(index.shape[1]):
        y = y + np.take(x, index[:, t], axis) * weight[:, t].reshape(shape)
    return np.asarray(y)


def resize(
    a: Attributes, x: Array, roi: Array | None, scales: Array | None = None, sizes: Array | None = None
) -> Array:
    """x of any rank; ``scales`` or ``sizes`` for each axis or for each of the attribute ``axes``."""
    if a["opset"] < 11:
        return upsample(a, x, roi)
    size, factors, axes = _shape_and_scales(a, x, scales, sizes)
    mode = a.get("coordinate_transformation_mode", "half_pixel")
    outside = []
    y = x
    for k, axis in enumerate(axes):
        ends = (0.0, 1.0)
        if mode == "tf_crop_and_resize" and roi is not None:
            ends = (float(roi[k]), float(roi[len(axes) + k]))
        n, m = x.shape[axis], size[axis]
        if (n, factors[axis], ends) == (m, 1.0, (0.0, 1.0)):
            continue
        places = _places(mode, n, m, factors[axis], ends)
        y = _along(a, y, axis, places, factors[axis])
        outside.append((axis, (places < 0) | (places > n - 1)))
    if mode == "tf_crop_and_resize":
        for axis, beyond in outside:
            shape = [-1 if k == axis else 1 for k in range(x.ndim)]
            y = np.where(beyond.reshape(shape), a.get("extrapolation_value", 0.0), y)
    return y


def upsample(a: Attributes, x: Array, scales: Array | None = None) -> Array:
    """Upsample, and Resize of opset 10, whose second input holds the scales too."""
    given = np.asarray(a["scales"]) if scales is None else scales
    old = {
        "opset": 11,
        "mode": a.get("mode", "nearest"),
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    return resize(old, x, None, given)


# GridSample -----------------------------------------------------------------------------------------------------------


def _reflected(places: Array, low: float, high: float) -> Array:
    """The position mirrored at both borders until it is inside."""
    if high == low:
        return 0 * places
    period = 2 * (high - low)
    rest = np.mod(places - low, period)
    return low + np.where(rest > high - low, period - rest, rest)


def grid_sample(a: Attributes, x: Array, grid: Array) -> Array:
    """x [N, C, space], grid [N, output space, axes of space in reverse order].

    As in PyTorch, the border's mode is applied to each element of a cubic window beyond the border.
    """
    space, mode = (
        x.shape[2:],
        {"bilinear": "linear", "bicubic": "cubic"}.get(a.get("mode", ""), a.get("mode", "linear")),
    )
    border, corners = a.get("padding_mode", "zeros"), a.get("align_corners", 0)

    def inside(places: Array, n: int) -> Array:
        if border == "border":
            return np.clip(places, 0, n - 1)
        if border == "reflection":
            low, high = (0.0, n - 1.0) if corners else (-0.5, n - 0.5)
            return np.clip(_reflected(places, low, high), 0, n - 1)
        return places

    taps = []  # for each axis: positions and weights of the window's elements
    for axis, n in enumerate(space):
        given = grid[..., len(space) - 1 - axis]
        places = (given + 1) / 2 * (n - 1) if corners else ((given + 1) * n - 1) / 2
        if mode != "cubic":
            places = inside(places, n)
        if mode == "nearest":
            taps.append([(np.rint(places), np.ones_like(places))])
            continue
        first = np.floor(places)
        steps = (0, 1) if mode == "linear" else (-1, 0, 1, 2)
        found = []
        for step in steps:
            at = first + step
            distance = places - at
            weight = 1 - np.abs(distance) if mode == "linear" else _cubic(distance, -0.75)
            found.append((inside(at, n) if mode == "cubic" else at, weight))
        taps.append(found)
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for chosen in itertools.product(*taps):
        weight, known = 1.0, np.ones(grid.shape[:-1], dtype=bool)
        index: list[Any] = []
        for (at, w), n in zip(chosen, space, strict=True):
            known &= (at >= 0) & (at <= n - 1)
            index.append(np.clip(np.nan_to_num(at), 0, n - 1).astype(int))
            weight = weight * w
        for sample in range(x.shape[0]):
            values = x[sample][(slice(None), *(i[sample] for i in index))]
            y[sample] += np.where(known[sample], values * np.asarray(weight)[sample], 0.0)
    return y
