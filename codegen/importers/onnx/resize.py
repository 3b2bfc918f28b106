"""Resize and Upsample: whatever mode and coordinates a node says, it is supported if they come to those of a spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.importers.onnx.builder import Builder, collapsed
from codegen.importers.onnx.node import Live, Node, Refused

_MAX_SIZE = 2**20  # of one axis


def _positions(kind: str, n: int, m: int, scale: float) -> NDArray[np.float64]:
    """Where the m output elements lie in an input of n, as ONNX says; ``scale`` is m/n or what was rounded to it."""
    d = np.arange(m, dtype=np.float64)
    if kind == "half_pixel":
        return (d + 0.5) / scale - 0.5
    if kind == "pytorch_half_pixel":
        return (d + 0.5) / scale - 0.5 if m > 1 else d * 0
    if kind == "half_pixel_symmetric":
        return n / 2 * (1 - m / (n * scale)) + (d + 0.5) / scale - 0.5
    if kind == "align_corners":
        return d * (n - 1) / max(m - 1, 1)
    if kind == "asymmetric":
        return d / scale
    raise Refused(f"coordinate_transformation_mode {kind} is not supported")


_NEAREST: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _spec_positions(kind: str, n: int, m: int) -> NDArray[np.float64]:
    """As a spec says."""
    d = np.arange(m, dtype=np.float64)
    if kind == "half_pixel":
        position = (d + 0.5) * n / m - 0.5
    else:
        position = d * (n - 1) / max(m - 1, 1) if kind == "align_corners" else d * n / m
    return np.clip(position, 0, n - 1)


def _resize(node: Node, b: Builder) -> Live:
    x = node.live()
    kind = node.get("coordinate_transformation_mode", "half_pixel") if node.opset >= 11 else "asymmetric"
    nearest = node.get("nearest_mode", "round_prefer_floor") if node.opset >= 11 else "floor"
    if node.flag("antialias"):
        raise Refused("antialias is not supported")
    if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refused("keep_aspect_ratio_policy should be stretch")
    scales, sizes = _scales(node), node.whole_numbers(3, "sizes")
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
        size[axis] = int(np.floor(n * factors[axis])) if scales else int(number)
        if not 1 <= size[axis] <= _MAX_SIZE:
            raise Refused(f"it makes an axis of {size[axis]} elements")
    return _resized(x, b, node.get("mode", "nearest"), kind, nearest, tuple(size), factors)


def _upsample(node: Node, b: Builder) -> Live:
    x = node.live()
    scales = _floats(node, 1) if node.opset >= 9 else tuple(node.get("scales") or ())
    if scales is None or len(scales) != len(x.shape) or min(scales) < 1:
        raise Refused("its scales should be a constant with a number >= 1 for each axis")
    size = tuple(min(int(np.floor(n * s)), _MAX_SIZE) for n, s in zip(x.shape, scales, strict=True))
    return _resized(x, b, node.get("mode", "nearest"), "asymmetric", "floor", size, list(scales))


def _scales(node: Node) -> tuple[float, ...] | None:
    return _floats(node, 1 if node.opset < 11 else 2)


def _floats(node: Node, i: int) -> tuple[float, ...] | None:
    """The numbers of a constant input; None where it is absent or empty."""
    constant = node.optional(i, "scales")
    if constant is None or constant.values.size == 0:
        return None
    if constant.values.ndim != 1 or constant.values.dtype.kind != "f" or not np.isfinite(constant.values).all():
        raise Refused("its scales are not a list of numbers")
    return tuple(float(s) for s in constant.values)


def _resized(
    x: Live, b: Builder, mode: str, kind: str, nearest: str, size: tuple[int, ...], scales: list[float]
) -> Live:
    if size == x.shape and all(s == 1 for s in scales):
        return x
    if len(x.shape) not in (3, 4) or size[:2] != x.shape[:2] or scales[:2] != [1, 1]:
        raise Refused(f"it makes {list(size)} of {list(x.shape)}; one or two axes of space can be resized")
    if mode not in ("nearest", "linear"):
        raise Refused(f"mode {mode} is not supported; nearest and linear are")
    axes = range(2, len(x.shape))
    wanted = {a: _positions(kind, x.shape[a], size[a], scales[a]) for a in axes}
    if mode == "nearest":
        if nearest not in _NEAREST:
            raise Refused(f"nearest_mode {nearest} is unknown")
        for a in axes:
            elements = np.clip(_NEAREST[nearest](wanted[a]), 0, x.shape[a] - 1)
            if (elements != np.floor(_spec_positions("asymmetric", x.shape[a], size[a]))).any():
                raise Refused(f"nearest with {kind} and {nearest} takes other elements than floor(i * input / output)")
        keys: dict[str, Any] = {}
    else:
        for coordinates in ("half_pixel", "align_corners", "asymmetric"):
            if all(_fits(wanted[a], _spec_positions(coordinates, x.shape[a], size[a]), x.shape[a]) for a in axes):
                break
        else:
            raise Refused(f"linear with {kind} and scales {scales[2:]} lies elsewhere than a spec can say")
        keys = {"mode": "bilinear", **({} if coordinates == "half_pixel" else {"coordinates": coordinates})}
    factors = [m // n if m % n == 0 else 0 for m, n in zip(size[2:], x.shape[2:], strict=True)]
    if len(x.shape) == 3:
        plane = b.reshape(x, (*x.shape[:2], 1, x.shape[2]), "plane")
        return b.reshape(b.layer("upsample", plane, "resized", size=[1, size[2]], **keys), size)
    where = {"scale": collapsed(factors)} if all(factors) else {"size": list(size[2:])}
    return b.layer("upsample", x, **where, **keys)


def _fits(wanted: NDArray[np.float64], have: NDArray[np.float64], n: int) -> bool:
    return bool(np.allclose(np.clip(wanted, 0, n - 1), have, rtol=0, atol=1e-6 * n))


RESIZE_OPERATORS = {"Resize": _resize, "Upsample": _upsample}
