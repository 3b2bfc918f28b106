"""ONNX operators in numpy, from ONNX's specification, for which ``onnx.reference`` is unsuitable.

``onnx.reference`` has no GlobalLpPool and no Scatter.  It decomposes Gelu, HardSwish, Mish, GroupNormalization and
MeanVarianceNormalization into nodes with float32 constants.  It computes Softmax, LogSoftmax and Hardmax of old opsets
like those from opset 13 on, LRN for four axes only and with the wrong channels, LpNormalization with p = 1 without
absolute values, CumSum only if its axis is a scalar, and BatchNormalization before opset 9 as in training.  Its global
pools lose an axis if there is one spatial axis, its Pad does not crop, its ReduceLogSumExp of infinity is NaN, and its
ScatterElements drops some NaN.  Two further modules have windows and samples, for their speed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.importers.onnx import reference_samples as samples
from codegen.importers.onnx import reference_windows as windows

Array = NDArray[Any]
Attributes = Mapping[str, Any]
Operator = Callable[..., Array | tuple[Array, ...]]
"""A function of attributes by name and inputs (None if absent), which returns the output or outputs."""

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _channels(values: Array, rank: int) -> Array:
    return values.reshape(-1, *[1] * (rank - 2))


def _normalized(x: Array, axes: Sequence[int], epsilon: float) -> Array:
    mean = x.mean(axis=tuple(axes), keepdims=True)
    variance = np.square(x - mean).mean(axis=tuple(axes), keepdims=True)
    y: Array = (x - mean) / np.sqrt(variance + epsilon)
    return y


def _batch_norm(a: Attributes, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> Array:
    gamma, beta, mean, variance = (_channels(v, x.ndim) for v in (gamma, beta, mean, variance))
    y: Array = gamma * (x - mean) / np.sqrt(variance + a.get("epsilon", 1e-5)) + beta
    return y


def _group_norm(a: Attributes, x: Array, gamma: Array, beta: Array) -> Array:
    groups = a["num_groups"]
    rows = x.reshape(x.shape[0], groups, -1)
    y = _normalized(rows, [2], a.get("epsilon", 1e-5)).reshape(x.shape)
    if a["opset"] < 21:
        gamma, beta = (np.repeat(v, x.shape[1] // groups) for v in (gamma, beta))
    return y * _channels(gamma, x.ndim) + _channels(beta, x.ndim)


def _instance_norm(a: Attributes, x: Array, gamma: Array, beta: Array) -> Array:
    y = _normalized(x, range(2, x.ndim), a.get("epsilon", 1e-5))
    return y * _channels(gamma, x.ndim) + _channels(beta, x.ndim)


def _layer_norm(a: Attributes, x: Array, gamma: Array, beta: Array | None = None) -> tuple[Array, ...]:
    axes = tuple(range(a.get("axis", -1) % x.ndim, x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt(np.square(x - mean).mean(axis=axes, keepdims=True) + a.get("epsilon", 1e-5))
    y = (x - mean) / deviation * gamma
    return (y if beta is None else y + beta), mean, 1 / deviation


def _rms_norm(a: Attributes, x: Array, gamma: Array) -> Array:
    axes = tuple(range(a.get("axis", -1) % x.ndim, x.ndim))
    y: Array = x / np.sqrt(np.square(x).mean(axis=axes, keepdims=True) + a.get("epsilon", 1e-5)) * gamma
    return y


def _mean_variance_norm(a: Attributes, x: Array) -> Array:
    axes = tuple(a.get("axes") or (0, 2, 3))
    centred = x - x.mean(axis=axes, keepdims=True)
    y: Array = centred / (np.sqrt(np.square(centred).mean(axis=axes, keepdims=True)) + 1e-9)
    return y


def _lp_norm(a: Attributes, x: Array) -> Array:
    p = a.get("p", 2)
    length = (np.abs(x) ** p).sum(axis=a.get("axis", -1), keepdims=True) ** (1 / p)
    return np.where(length == 0, 0.0, x / np.where(length == 0, 1.0, length))


def _lrn(a: Attributes, x: Array) -> Array:
    size, channels = a["size"], x.shape[1]
    squares = np.zeros_like(x)
    for c in range(channels):
        around = slice(max(0, c - (size - 1) // 2), min(channels, c + size // 2 + 1))
        squares[:, c] = np.square(x[:, around]).sum(axis=1)
    y: Array = x / (a.get("bias", 1.0) + a.get("alpha", 1e-4) / size * squares) ** a.get("beta", 0.75)
    return y


def _global_max_pool(a: Attributes, x: Array) -> Array:
    y: Array = np.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)
    return y


def _global_average_pool(a: Attributes, x: Array) -> Array:
    y: Array = np.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)
    return y


def _global_lp_pool(a: Attributes, x: Array) -> Array:
    p = a.get("p", 2)
    y: Array = (np.abs(x) ** p).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p)
    return y


def _rows(compute: Callable[[Array], Array]) -> Operator:
    """Applies a function along one axis; before opset 13 along all axes from ``axis`` on, flattened."""

    def along(a: Attributes, x: Array) -> Array:
        if a["opset"] >= 13:
            axis = a.get("axis", -1)
            return np.moveaxis(compute(np.moveaxis(x, axis, -1)), -1, axis)
        axis = a.get("axis", 1) % x.ndim if x.ndim > 1 else 0
        return compute(x.reshape(*x.shape[:axis], -1)).reshape(x.shape)

    return along


def _softmax(x: Array) -> Array:
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = y / y.sum(axis=-1, keepdims=True)
    return result


def _log_softmax(x: Array) -> Array:
    y = x - x.max(axis=-1, keepdims=True)
    result: Array = y - np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return result


def _hardmax(x: Array) -> Array:
    y: Array = (np.arange(x.shape[-1]) == x.argmax(axis=-1)[..., None]).astype(x.dtype)
    return y


def _log_sum_exp(a: Attributes, x: Array, axes: Array | None = None) -> Array:
    given = a.get("axes") if axes is None else axes.tolist()
    if not given and a.get("noop_with_empty_axes"):
        return x
    chosen = tuple(given) if given else tuple(range(x.ndim))
    highest = x.max(axis=chosen, keepdims=True)
    highest = np.where(np.isinf(highest), 0.0, highest)
    y = np.log(np.exp(x - highest).sum(axis=chosen, keepdims=True)) + highest
    result: Array = y if a.get("keepdims", 1) else np.squeeze(y, axis=chosen)
    return result


def _cum_sum(a: Attributes, x: Array, axis: Array) -> Array:
    moved = np.moveaxis(x, int(axis.reshape(-1)[0]), -1)
    moved = moved[..., ::-1] if a.get("reverse") else moved
    y = np.cumsum(moved, axis=-1)
    if a.get("exclusive"):
        y = np.concatenate([np.zeros_like(y[..., :1]), y[..., :-1]], axis=-1)
    y = y[..., ::-1] if a.get("reverse") else y
    return np.moveaxis(y, -1, int(axis.reshape(-1)[0]))


def _gelu(a: Attributes, x: Array) -> Array:
    if a.get("approximate", "none") == "tanh":
        y: Array = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return y
    y = x / 2 * (1 + _erf(x / math.sqrt(2)))
    return y


def _hard_swish(a: Attributes, x: Array) -> Array:
    return x * np.clip(x / 6 + 0.5, 0, 1)


def _mish(a: Attributes, x: Array) -> Array:
    return x * np.tanh(np.logaddexp(0, x))


def _swi_glu(a: Attributes, x: Array, gate: Array) -> Array:
    y: Array = x / (1 + np.exp(-a.get("alpha", 1.0) * x)) * gate
    return y


def _swish(a: Attributes, x: Array) -> Array:
    y: Array = x / (1 + np.exp(-a.get("alpha", 1.0) * x))
    return y


def _erf_of(a: Attributes, x: Array) -> Array:
    y: Array = _erf(x)
    return y


_REDUCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "none": lambda old, new: new,
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def _scatter(a: Attributes, x: Array, indices: Array, updates: Array) -> Array:
    y, axis = x.copy(), a.get("axis", 0)
    combine = _REDUCTIONS[a.get("reduction", "none")]
    for place in itertools.product(*map(range, indices.shape)):
        at = list(place)
        at[axis] = int(indices[place])
        y[tuple(at)] = combine(y[tuple(at)], updates[place])
    return y


def _pad(
    a: Attributes, x: Array, pads: Array | None = None, value: Array | None = None, axes: Array | None = None
) -> Array:
    mode, given = a.get("mode", "constant"), a["pads"] if pads is None else pads.tolist()
    fill = a.get("value", 0.0) if value is None else value.reshape(-1)[0]
    chosen = range(x.ndim) if axes is None else [int(axis) for axis in axes]
    around = [(0, 0)] * x.ndim
    for k, axis in enumerate(chosen):
        before, behind = int(given[k]), int(given[len(chosen) + k])
        around[axis] = max(before, 0), max(behind, 0)
        kept = slice(max(-before, 0), x.shape[axis] - max(-behind, 0))
        x = np.moveaxis(np.moveaxis(x, axis, 0)[kept], 0, axis)
    return np.pad(x, around, constant_values=fill) if mode == "constant" else np.pad(x, around, mode=mode)


OWN: Mapping[str, Operator] = {
    "AveragePool": windows.average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "CumSum": _cum_sum,
    "Erf": _erf_of,
    "Gelu": _gelu,
    "GlobalAveragePool": _global_average_pool,
    "GlobalLpPool": _global_lp_pool,
    "GlobalMaxPool": _global_max_pool,
    "GridSample": samples.grid_sample,
    "GroupNormalization": _group_norm,
    "HardSwish": _hard_swish,
    "Hardmax": _rows(_hardmax),
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _rows(_log_softmax),
    "LpNormalization": _lp_norm,
    "LpPool": windows.lp_pool,
    "MaxPool": windows.max_pool,
    "MeanVarianceNormalization": _mean_variance_norm,
    "Mish": _mish,
    "Pad": _pad,
    "RMSNormalization": _rms_norm,
    "ReduceLogSumExp": _log_sum_exp,
    "Resize": samples.resize,
    "Scatter": _scatter,
    "ScatterElements": _scatter,
    "Softmax": _rows(_softmax),
    "SwiGLU": _swi_glu,
    "Swish": _swish,
    "Upsample": samples.upsample,
}
