"""Convolutions and pools in numpy, from ONNX's specification, for the check of imports.

``onnx.reference`` computes these in Python loops over the output's elements.  Here loops run over a window's elements,
each of which is a strided view of the padded input.  Nothing is shared with :mod:`codegen.graph`, whose numbers are
compared with these.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = Mapping[str, Any]
Pads = list[tuple[int, int]]


def _window(a: Attributes, space: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int], Pads]:
    """Strides, dilations and the (before, after) padding of each spatial axis."""
    rank = len(space)
    stride, dilation = list(a.get("strides") or [1] * rank), list(a.get("dilations") or [1] * rank)
    word = a.get("auto_pad", "NOTSET")
    if word == "VALID":
        return stride, dilation, [(0, 0)] * rank
    if word == "NOTSET":
        pads = list(a.get("pads") or [0] * 2 * rank)
        return stride, dilation, list(zip(pads[:rank], pads[rank:], strict=True))
    found = []
    for n, k, s, d in zip(space, kernel, stride, dilation, strict=True):
        total = max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if word == "SAME_UPPER" else (more, less))
    return stride, dilation, found


def _taps(kernel: Sequence[int], size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Iterator[Any]:
    """Each tap of the window with the part of a padded input that it reads, for outputs of this size."""
    for tap in itertools.product(*map(range, kernel)):
        places = (
            slice(k * d, k * d + s * (n - 1) + 1, s) for k, n, s, d in zip(tap, size, stride, dilation, strict=True)
        )
        yield tap, (..., *places)


def conv(a: Attributes, x: Array, w: Array, bias: Array | None = None) -> Array:
    """x [N, C, space], w [M, C / group, window], bias [M]."""
    groups, kernel, space = a.get("group", 1), w.shape[2:], x.shape[2:]
    stride, dilation, pads = _window(a, space, kernel)
    size = [
        (n + sum(p) - (k - 1) * d - 1) // s + 1
        for n, p, k, s, d in zip(space, pads, kernel, stride, dilation, strict=True)
    ]
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    batch, outputs, inputs = x.shape[0], w.shape[0] // groups, w.shape[1]
    y = np.zeros((batch, groups, outputs, math.prod(size)))
    for tap, places in _taps(kernel, size, stride, dilation):
        columns = padded[places].reshape(batch, groups, inputs, -1)
        weight = w[(..., *tap)].reshape(groups, outputs, inputs)
        y += weight * columns if inputs == 1 else weight @ columns
    y = y.reshape(batch, w.shape[0], *size)
    return y if bias is None else y + bias.reshape(-1, *[1] * len(size))


def conv_transpose(a: Attributes, x: Array, w: Array, bias: Array | None = None) -> Array:
    """x [N, C, space], w [C, M / group, window], bias [M]."""
    groups, kernel, space = a.get("group", 1), w.shape[2:], x.shape[2:]
    rank = len(space)
    stride, dilation, pads = _window(a, space, kernel)
    extra = list(a.get("output_padding") or [0] * rank)
    reach = [s * (n - 1) + (k - 1) * d + 1 for n, k, s, d in zip(space, kernel, stride, dilation, strict=True)]
    wanted, word = a.get("output_shape"), a.get("auto_pad", "NOTSET")
    if wanted or word.startswith("SAME"):
        size = list(wanted)[-rank:] if wanted else [n * s for n, s in zip(space, stride, strict=True)]
        totals = [max(r + e - n, 0) for r, e, n in zip(reach, extra, size, strict=True)]
        halves = [(t // 2, t - t // 2) for t in totals]
        pads = halves if word == "SAME_UPPER" else [pair[::-1] for pair in halves]
    else:
        size = [r + e - sum(p) for r, e, p in zip(reach, extra, pads, strict=True)]
    batch, outputs, inputs = x.shape[0], w.shape[1], w.shape[0] // groups
    whole = [max(r, n + p[0]) for r, n, p in zip(reach, size, pads, strict=True)]
    y = np.zeros((batch, groups * outputs, *whole))
    rows = x.reshape(batch, groups, inputs, -1)
    for tap, places in _taps(kernel, space, stride, dilation):
        weight = w[(..., *tap)].reshape(groups, inputs, outputs).swapaxes(1, 2)
        y[places] += (weight @ rows).reshape(batch, groups * outputs, *space)
    kept: list[Any] = [slice(p[0], p[0] + n) for p, n in zip(pads, size, strict=True)]
    y = y[(..., *kept)]
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def _pooled(a: Attributes, x: Array, outside: float, start: float, add: Callable[[Array, Array], Array]) -> Any:
    """Combines every window's elements by ``add``; also returns the window, so that elements can be counted."""
    kernel, space = a["kernel_shape"], x.shape[2:]
    stride, dilation, pads = _window(a, space, kernel)
    size, padded = [], []
    for n, p, k, s, d in zip(space, pads, kernel, stride, dilation, strict=True):
        room = n + sum(p) - (k - 1) * d - 1
        count = (math.ceil(room / s) if a.get("ceil_mode") else room // s) + 1
        # A window that begins after the input and its front padding is left out.
        count -= bool(a.get("ceil_mode")) and (count - 1) * s >= n + p[0]
        size.append(count)
        padded.append((p[0], max(p[1], (count - 1) * s + (k - 1) * d + 1 - n - p[0])))
    x = np.pad(x, [(0, 0), (0, 0), *padded], constant_values=outside)
    y = np.full((*x.shape[:2], *size), start)
    for _, places in _taps(kernel, size, stride, dilation):
        y = add(y, x[places])
    return y, (kernel, size, stride, dilation, pads, padded)


def max_pool(a: Attributes, x: Array) -> Array:
    y: Array = _pooled(a, x.astype(np.float64), -math.inf, -math.inf, np.maximum)[0]
    return y


def average_pool(a: Attributes, x: Array) -> Array:
    total, (kernel, size, stride, dilation, pads, padded) = _pooled(a, x, 0.0, 0.0, np.add)
    inside = np.ones(x.shape[2:])
    if a.get("count_include_pad"):
        inside = np.pad(inside, pads, constant_values=1.0)
        padded = [(0, whole[1] - own[1]) for whole, own in zip(padded, pads, strict=True)]
    inside = np.pad(inside, padded)
    count = np.zeros(size)
    for _, places in _taps(kernel, size, stride, dilation):
        count += inside[places]
    y: Array = total / count
    return y


def lp_pool(a: Attributes, x: Array) -> Array:
    p = a.get("p", 2)
    result: Array = _pooled(a, x, 0.0, 0.0, lambda y, x: y + np.abs(x) ** p)[0] ** (1 / p)
    return result
