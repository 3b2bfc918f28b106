"""Resize and Upsample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from codegen.graph.ops import Resize
from codegen.importers.onnx.builder import Builder, collapsed
from codegen.importers.onnx.node import Live, Node, Refused

_MAX_SIZE = 2**20  # of one axis
_MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


def _resize(node: Node, b: Builder) -> Live:
    x = node.live()
    since_11 = node.opset >= 11
    coordinates = node.get("coordinate_transformation_mode", "half_pixel") if since_11 else "asymmetric"
    rounding = node.get("nearest_mode", "round_prefer_floor") if since_11 else "floor"
    if node.flag("antialias"):
        raise Refused("antialias is not supported")
    if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refused("keep_aspect_ratio_policy should be stretch")
    scales, sizes = _scales(node, 2 if since_11 else 1), node.whole_numbers(3, "sizes")
    rank = len(x.shape)
    axes = tuple(node.get("axes") or range(rank))
    if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) != len(axes):
        raise Refused(f"axes {list(axes)} are not axes of {list(x.shape)}")
    given = sizes or scales
    if (sizes and scales) or not given or len(given) != len(axes) or min(given) <= 0:
        raise Refused("it should have one of scales and sizes, with a number for each axis")
    factors, size = [1.0] * rank, list(x.shape)
    for axis, number in zip(axes, given, strict=True):
        n = x.shape[axis]
        factors[axis] = float(number) if scales else number / n
        size[axis] = int(np.floor(min(n * factors[axis], _MAX_SIZE + 1))) if scales else int(number)
    more: dict[str, Any] = {}
    if node.get("mode") == "cubic":
        more = {"cubic": node.real("cubic_coeff_a", -0.75), "exclude_outside": node.flag("exclude_outside")}
    return _resized(x, b, node.get("mode", "nearest"), coordinates, rounding, size, factors, more)


def _upsample(node: Node, b: Builder) -> Live:
    x = node.live()
    scales = _scales(node, 1) if node.opset >= 9 else tuple(node.get("scales") or ())
    if scales is None or len(scales) != len(x.shape) or min(scales) < 1:
        raise Refused("its scales should be a constant with a number >= 1 for each axis")
    size = [int(np.floor(min(n * s, _MAX_SIZE + 1))) for n, s in zip(x.shape, scales, strict=True)]
    return _resized(x, b, node.get("mode", "nearest"), "asymmetric", "floor", size, scales, {})


def _scales(node: Node, i: int) -> tuple[float, ...] | None:
    """The numbers of a constant input; None where it is absent or empty."""
    constant = node.optional(i, "scales")
    if constant is None or constant.values.size == 0:
        return None
    if constant.values.ndim != 1 or constant.values.dtype.kind != "f" or not np.isfinite(constant.values).all():
        raise Refused("its scales are not a list of numbers")
    return tuple(float(s) for s in constant.values)


def _resized(
    x: Live,
    b: Builder,
    mode: str,
    coordinates: str,
    rounding: str,
    size: Sequence[int],
    scales: Sequence[float],
    more: dict[str, Any],
) -> Live:
    if not 1 <= min(size) <= max(size) <= _MAX_SIZE:
        raise Refused(f"it makes {list(size)} of {list(x.shape)}")
    if tuple(size) == x.shape and all(s == 1 for s in scales):
        return x
    if len(x.shape) not in (3, 4) or tuple(size[:2]) != x.shape[:2] or any(s != 1 for s in scales[:2]):
        raise Refused(f"it makes {list(size)} of {list(x.shape)}; one or two axes of space can be resized")
    if mode not in _MODES:
        raise Refused(f"mode {mode} is unknown")
    plane = x if len(x.shape) == 4 else b.reshape(x, (*x.shape[:2], 1, x.shape[2]), "plane")
    space, factors = ((1, size[2]), (1.0, scales[2])) if len(size) == 3 else (tuple(size[2:]), tuple(scales[2:]))
    wanted = Resize(space, _MODES[mode], coordinates, rounding, **more, scales=(factors[0], factors[1]))
    # The plainest words of a spec that give the same: where scales are whole, nearest is floor(i / scale).
    usual = ("asymmetric", "floor") if mode == "nearest" else ("half_pixel", "floor")
    for words in (usual, (coordinates, rounding)):
        if _same(wanted, Resize(space, _MODES[mode], *words, **more), plane.shape[2:]):
            break
    else:
        raise Refused(f"scales {list(scales)} are not sizes of output to input, so that positions differ")
    keys: dict[str, Any] = {"mode": _MODES[mode]} if mode != "nearest" else {}
    if words[0] != usual[0]:
        keys["coordinates"] = words[0]
    if words[1] != "floor" and mode == "nearest":
        keys["rounding"] = words[1]
    whole = [m // n if m % n == 0 else 0 for m, n in zip(space, plane.shape[2:], strict=True)]
    where = {"scale": collapsed(whole)} if all(whole) else {"size": list(space)}
    y = b.layer("upsample", plane, "" if plane is x else "resized", **where, **keys, **more)
    return b.reshape(y, tuple(size))


def _same(a: Resize, b: Resize, space: Sequence[int]) -> bool:
    """Whether both take the same elements, with the same weights but for the rounding of a scale to float32."""
    for axis, n in enumerate(space):
        one, other = (_dense(op, axis, n) for op in (a, b))
        if not np.allclose(one, other, rtol=0, atol=1e-5):
            return False
    return True


def _dense(op: Resize, axis: int, n: int) -> Any:
    """The first and last moment of the taps of each output element: the position itself, and the spread about it."""
    taps = op.taps(axis, n)
    first = (taps.index * taps.weight).sum(axis=1) / n
    second = (taps.index**2 * taps.weight).sum(axis=1) / n**2
    return np.stack([first, second])


RESIZE_OPERATORS = {"Resize": _resize, "Upsample": _upsample}
