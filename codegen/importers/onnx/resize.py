"""Resize, Upsample and GridSample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from codegen.graph.ops import Resize
from codegen.graph.ops.resize import CROP, Taps
from codegen.graph.ops.sample import BORDERS, SAMPLE_MODES
from codegen.importers.onnx.builder import Builder, collapsed
from codegen.importers.onnx.node import Constant, Live, Node, Refused, shortest

_MAX_SIZE = 2**20  # elements along one axis
_MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


def _resize(node: Node, b: Builder) -> Live:
    x = node.live()
    since_11 = node.opset >= 11
    coordinates = node.get("coordinate_transformation_mode", "half_pixel") if since_11 else "asymmetric"
    rounding = node.get("nearest_mode", "round_prefer_floor") if since_11 else "floor"
    scales, sizes = _scales(node, 2 if since_11 else 1, "scales"), node.whole_numbers(3, "sizes")
    rank = len(x.shape)
    axes = tuple(node.get("axes") or range(rank))
    if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) != len(axes):
        raise Refused(f"axes {list(axes)} are not axes of {list(x.shape)}")
    axes = tuple(a % rank for a in axes)
    given = sizes or scales
    if (sizes and scales) or not given or len(given) != len(axes) or min(given) <= 0:
        raise Refused("it should have one of scales and sizes, with a number for each axis")
    factors, size = [1.0] * rank, list(x.shape)
    for axis, number in zip(axes, given, strict=True):
        n = x.shape[axis]
        factors[axis] = float(number) if scales else number / n
        size[axis] = _scaled(n, number) if scales else int(number)
    if sizes:
        _keep_aspect_ratio(node, x, axes, factors, size)
    more: dict[str, Any] = {}
    mode = node.get("mode", "nearest")
    if node.flag("antialias"):
        if mode == "nearest":
            raise Refused("antialias is for modes linear and cubic only")
        more["antialias"] = any(factors[a] < 1 for a in axes)
    if mode == "cubic":
        more["cubic"] = node.real("cubic_coeff_a", -0.75)
        if not math.isfinite(more["cubic"]):
            raise Refused(f"cubic_coeff_a = {more['cubic']} should be finite")
    if mode == "cubic" or more.get("antialias"):
        more["exclude_outside"] = node.flag("exclude_outside")
    roi = [(0.0, 1.0)] * rank
    if coordinates == CROP:
        more["outside"] = node.real("extrapolation_value", 0.0)
        ends = _scales(node, 1, "roi") or ()
        if len(ends) != 2 * len(axes):
            raise Refused(f"its roi has {len(ends)} numbers instead of {2 * len(axes)}")
        for k, axis in enumerate(axes):
            roi[axis] = (ends[k], ends[len(axes) + k])
    return _resized(x, b, mode, coordinates, rounding, size, factors, roi, more)


def _keep_aspect_ratio(node: Node, x: Live, axes: Sequence[int], factors: list[float], size: list[int]) -> None:
    """Scales all axes by the smallest or the largest of their factors."""
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return
    if policy not in ("not_larger", "not_smaller"):
        raise Refused(f"keep_aspect_ratio_policy {policy} is unknown")
    factor = (min if policy == "not_larger" else max)(factors[a] for a in axes)
    for axis in axes:
        factors[axis] = factor
        size[axis] = int(min(factor * x.shape[axis], _MAX_SIZE) + 0.5)


def _upsample(node: Node, b: Builder) -> Live:
    x = node.live()
    given = _scales(node, 1, "scales") if node.opset >= 9 else tuple(map(shortest, node.get("scales") or ()))
    if given is None or len(given) != len(x.shape) or not all(1 <= s < math.inf for s in given):
        raise Refused("its scales should be a constant with a number >= 1 for each axis")
    size = [_scaled(n, s) for n, s in zip(x.shape, given, strict=True)]
    roi = [(0.0, 1.0)] * len(size)
    return _resized(x, b, node.get("mode", "nearest"), "asymmetric", "floor", size, given, roi, {})


def _scaled(size: int, factor: float) -> int:
    """The scaled size, computed in float32 as in ONNX, where 3 times the float32 nearest to 4/3 is exactly 4."""
    return int(np.floor(min(np.float32(size) * np.float32(factor), np.float32(_MAX_SIZE + 1))))


def _scales(node: Node, i: int, what: str) -> tuple[float, ...] | None:
    """The numbers of a constant input; None if it is absent or empty."""
    constant = node.optional(i, what)
    if constant is None or constant.values.size == 0:
        return None
    if constant.values.ndim != 1 or constant.values.dtype.kind != "f" or not np.isfinite(constant.values).all():
        raise Refused(f"its {what} are not a list of numbers")
    return tuple(shortest(s) for s in constant.values)


def _resized(
    x: Live,
    b: Builder,
    mode: str,
    coordinates: str,
    rounding: str,
    size: Sequence[int],
    factors: Sequence[float],
    roi: Sequence[tuple[float, float]],
    more: dict[str, Any],
) -> Live:
    if not 1 <= min(size) <= max(size) <= _MAX_SIZE:
        raise Refused(f"it makes {list(size)} of {list(x.shape)}{', which has a size of 0' if 0 in size else ''}")
    if mode not in _MODES:
        raise Refused(f"mode {mode} is unknown")
    rank = len(size)
    changed = [a for a in range(rank) if size[a] != x.shape[a] or factors[a] != 1 or roi[a] != (0.0, 1.0)]
    if all(a >= 2 for a in changed) and rank in (3, 4, 5):
        words = (_MODES[mode], coordinates, rounding)
        return _space(x, b, words, size[2:], factors[2:], roi[2:], more) if changed else x
    # One axis after the other, each as the rows of an image with the batch as channels.
    for axis in changed:
        y = b.transpose(x, (1, 0, *range(2, rank)), f"batch_behind_{axis}") if axis == 0 else x
        shape, at = y.shape, max(axis, 1)
        rows = b.reshape(y, (shape[0], math.prod(shape[1:at]), shape[at], math.prod(shape[at + 1 :])), f"rows_{axis}")
        ends = ([size[axis], rows.shape[3]], [factors[axis], 1.0], [roi[axis], (0.0, 1.0)])
        y = _space(rows, b, (_MODES[mode], coordinates, rounding), *ends, more, f"axis_{axis}")
        y = b.reshape(y, (*shape[:at], size[axis], *shape[at + 1 :]), f"resized_{axis}")
        x = b.transpose(y, (1, 0, *range(2, rank)), f"batch_{axis}") if axis == 0 else y
    return x


def _space(
    x: Live,
    b: Builder,
    words: tuple[str, str, str],
    size: Sequence[int],
    factors: Sequence[float],
    roi: Sequence[tuple[float, float]],
    more: dict[str, Any],
    tag: str = "",
) -> Live:
    """Resizes the spatial axes; ``words`` are mode, coordinates and rounding as in a spec."""
    mode, coordinates, rounding = words
    more = {**more, **({"roi": tuple(roi)} if coordinates == CROP else {})}
    space = x.shape[2:]
    # A scale that equals the ratio of the sizes up to float32 rounding is taken as that ratio.
    ratios = all(np.float32(s) == np.float32(m / n) for s, m, n in zip(factors, size, space, strict=True))
    wanted = Resize(tuple(size), mode, coordinates, rounding, **more, scales=None if ratios else tuple(factors))
    # The simplest equivalent words of a spec: for whole scales, nearest is floor(i / scale).
    usual = ("asymmetric", "floor") if mode == "nearest" else ("half_pixel", "floor")
    keys: dict[str, Any] = {"mode": mode} if mode != "nearest" else {}
    known = [(coordinates, rounding)] if coordinates == CROP else [usual, (coordinates, rounding)]
    for chosen in known:
        if _same(wanted, Resize(tuple(size), mode, *chosen, **more), space):
            break
    else:
        keys["scales"] = list(factors)
    if chosen[0] != usual[0]:
        keys["coordinates"] = chosen[0]
    if chosen[1] != "floor" and mode == "nearest":
        keys["rounding"] = chosen[1]
    for key, value in more.items():
        keys[key] = [list(pair) for pair in value] if key == "roi" else value
    whole = [m // n if m % n == 0 else 0 for m, n in zip(size, space, strict=True)]
    where = {"scale": collapsed(whole)} if all(whole) else {"size": list(size)}
    return b.layer("upsample", x, tag, **where, **keys)


def _same(a: Resize, b: Resize, space: Sequence[int]) -> bool:
    """True if both take the same elements with the same weights, up to the rounding of positions in float64."""
    for axis, n in enumerate(space):
        one, other = a.taps(axis, n), b.taps(axis, n)
        near = one.index[:, :1]  # positions are compared relative to this one, however long the axis is
        if not np.allclose(_moments(one, near), _moments(other, near), rtol=0, atol=1e-6):
            return False
    return True


def _moments(taps: Taps, near: Any) -> Any:
    """The sum, mean position and variance of the taps of each output element."""
    distance = (taps.index - near).astype(np.float64)
    return np.stack([(distance**power * taps.weight).sum(axis=1) for power in range(4)])


_SAMPLE_MODES = {**_MODES, **{mode: mode for mode in SAMPLE_MODES}}  # renamed in opset 20


def _grid_sample(node: Node, b: Builder) -> Live:
    x, mode, border = node.live(), node.get("mode", "bilinear"), node.get("padding_mode", "zeros")
    if mode not in _SAMPLE_MODES or border not in BORDERS:
        raise Refused(f"mode {mode} or padding_mode {border} is unknown")
    keys: dict[str, Any] = {"mode": _SAMPLE_MODES[mode], "border": border, "align_corners": node.flag("align_corners")}
    grid = node.input(1)
    if not isinstance(grid, Constant):
        return b.layer("grid_sample", [x, node.live(1)], **keys)
    return b.layer("grid_sample", x, grid=b.tensor(grid), **keys)


RESIZE_OPERATORS = {"GridSample": _grid_sample, "Resize": _resize, "Upsample": _upsample}
