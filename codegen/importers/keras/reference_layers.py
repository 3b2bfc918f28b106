"""Reference of all other layers in numpy, from Keras' documentation, and the table of all layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codegen.importers.keras.reference import ACTIVATION_LAYERS, Array, Given, softmax
from codegen.importers.keras.reference_windows import WINDOW_LAYERS

# Sizes ----------------------------------------------------------------------------------------------------------------


def zero_padding(g: Given) -> Array:
    return g.back(np.pad(g.last, [(0, 0), *g.pairs("padding"), (0, 0)]))


def cropping(g: Given) -> Array:
    x, cuts = g.last, g.pairs("cropping")
    kept = [slice(before, n - behind) for (before, behind), n in zip(cuts, x.shape[1:-1], strict=True)]
    return g.back(x[(slice(None), *kept)])


def _triangle(t: Array) -> Array:
    return np.maximum(1 - t, 0)


def _cubic(t: Array) -> Array:
    """Keys' kernel with a = -1/2."""
    return np.select([t < 1, t < 2], [1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2], 0.0)


def resized(x: Array, axis: int, size: int, mode: str, antialias: bool = False) -> Array:
    """Resampling with pixel centres at half-integers.

    Output i is at (i + 1/2) n / size - 1/2 of the input, and pixels outside have no weight.  With antialiasing the
    kernel is as wide as an output pixel.
    """
    n = x.shape[axis]
    if mode == "nearest":
        return np.take(x, [(2 * i + 1) * n // (2 * size) for i in range(size)], axis)
    wide = max(n / size, 1.0) if antialias else 1.0
    at = (np.arange(size) + 0.5) * n / size - 0.5
    if not wide > 1:
        at = np.clip(at, 0, n - 1) if mode == "bilinear" else at
    distance = np.abs(at[:, None] - np.arange(n)[None, :]) / wide
    weights = (_triangle if mode == "bilinear" else _cubic)(distance)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)


def resized_image(
    x: Array,
    size: Sequence[int],
    mode: str,
    antialias: bool = False,
    crop: bool = False,
    pad: bool = False,
    fill: float = 0.0,
) -> Array:
    """Resampling of a channels-last image.

    With ``crop`` or ``pad`` its sides are first brought to the new aspect ratio.
    """
    height, width = x.shape[1:3]
    if crop:
        h = max(min(height, int(width * size[0] / size[1])), 1)
        w = max(min(width, int(height * size[1] / size[0])), 1)
        top, left = int((height - h) / 2), int((width - w) / 2)
        x = x[:, top : top + h, left : left + w]
    if pad:
        top = int((max(height, int(width * size[0] / size[1])) - height) / 2)
        left = 0 if top else int((max(width, int(height * size[1] / size[0])) - width) / 2)
        x = np.pad(x, [(0, 0), (top, top), (left, left), (0, 0)], constant_values=fill)
    for axis, n in enumerate(size, 1):
        x = resized(x, axis, n, mode, antialias) if n != x.shape[axis] else x
    return x


def upsampling(g: Given) -> Array:
    x, mode = g.last, g.get("interpolation", "nearest")
    for axis, factor in enumerate(g.each("size", 2), 1):
        x = np.repeat(x, factor, axis) if mode == "nearest" else resized(x, axis, x.shape[axis] * factor, mode)
    return g.back(x)


def resizing(g: Given) -> Array:
    anti, crop, pad = (g.get(key, False) for key in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio"))
    size, mode = [g.config["height"], g.config["width"]], g.get("interpolation", "bilinear")
    return g.back(resized_image(g.last, size, mode, anti, crop, pad, g.get("fill_value", 0.0)))


def center_crop(g: Given) -> Array:
    x, size = g.last, [g.config["height"], g.config["width"]]
    if x.shape[1] >= size[0] and x.shape[2] >= size[1]:
        top, left = ((n - m) // 2 for n, m in zip(x.shape[1:3], size, strict=True))
        return g.back(x[:, top : top + size[0], left : left + size[1]])
    return g.back(resized_image(x, size, "bilinear", crop=True))


def random_crop(g: Given) -> Array:
    size = [g.config["height"], g.config["width"]]
    return g.inputs if g.major > 2 else g.back(resized_image(g.last, size, "bilinear", crop=True))


def flatten(g: Given) -> Array:
    return g.last.reshape(len(g.inputs), -1)


def reshape(g: Given) -> Array:
    return np.reshape(g.inputs, (len(g.inputs), *g.config["target_shape"]))


def permute(g: Given) -> Array:
    return np.transpose(g.inputs, (0, *g.config["dims"]))


# Numbers for each channel ---------------------------------------------------------------------------------------------


def batch_normalization(g: Given) -> Array:
    axis = g.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) else axis
    shape = [-1 if a == axis % g.inputs.ndim else 1 for a in range(g.inputs.ndim)]
    arrays = [array.reshape(shape) for array in g.arrays]
    gamma = arrays.pop(0) if g.get("scale", True) else 1.0
    beta = arrays.pop(0) if g.get("center", True) else 0.0
    mean, variance = arrays
    return np.asarray((g.inputs - mean) / np.sqrt(variance + g.get("epsilon", 1e-3)) * gamma + beta)


def rescaling(g: Given) -> Array:
    scale, offset = (np.asarray(g.get(key, default), np.float64) for key, default in (("scale", 1.0), ("offset", 0.0)))
    return np.asarray(g.inputs * scale + offset)


def normalization(g: Given) -> Array:
    """Normalization layer; ``mean`` and ``variance`` have the kept axes, in order."""
    x, axis = g.inputs, g.config.get("axis", -1)
    kept = sorted(a % x.ndim for a in (axis if isinstance(axis, list) else [] if axis is None else [axis]))
    option = [g.get(key, None) for key in ("mean", "variance")]
    shape = [x.shape[a] if a in kept else 1 for a in range(x.ndim)]
    if None in option:
        mean, variance = (np.reshape(array, shape) for array in g.arrays[:2])
    else:
        mean, variance = (np.broadcast_to(np.asarray(value, np.float64), shape) for value in option)
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    return np.asarray(x * deviation + mean if g.get("invert", False) else (x - mean) / deviation)


# Statistics of the input ----------------------------------------------------------------------------------------------


def _axes(g: Given) -> tuple[int, ...]:
    axis = g.get("axis", -1)
    return tuple(a % g.inputs.ndim for a in (axis if isinstance(axis, list) else [axis]))


def _wide(g: Given, array: Array, axes: Sequence[int]) -> Array:
    return np.reshape(array, [n if a in axes else 1 for a, n in enumerate(g.inputs.shape)])


def layer_normalization(g: Given) -> Array:
    arrays, axes = list(g.arrays), _axes(g)
    rms = bool(g.get("rms_scaling", False))
    gamma = _wide(g, arrays.pop(0), axes) if g.get("scale", True) or rms else 1.0
    beta = _wide(g, arrays.pop(0), axes) if g.get("center", True) and not rms else 0.0
    mean, variance = g.inputs.mean(axes, keepdims=True), g.inputs.var(axes, keepdims=True)
    return np.asarray((g.inputs - (0.0 if rms else mean)) / np.sqrt(variance + g.get("epsilon", 1e-3)) * gamma + beta)


def group_normalization(g: Given) -> Array:
    (axis,), arrays = _axes(g), list(g.arrays)
    x = np.moveaxis(g.inputs, axis, 1)
    groups = g.get("groups", 32)
    parts = np.split(x, x.shape[1] if groups == -1 else groups, axis=1)
    rest = tuple(range(1, x.ndim))
    normal = [
        (p - p.mean(rest, keepdims=True)) / np.sqrt(p.var(rest, keepdims=True) + g.get("epsilon", 1e-3)) for p in parts
    ]
    y = np.moveaxis(np.concatenate(normal, 1), 1, axis)
    if g.get("scale", True):
        y = y * _wide(g, arrays.pop(0), [axis])
    return y + _wide(g, arrays.pop(0), [axis]) if g.get("center", True) else y


def rms_normalization(g: Given) -> Array:
    power = np.mean(g.inputs**2, axis=_axes(g), keepdims=True)
    return np.asarray(g.inputs / np.sqrt(power + g.get("epsilon", 1e-6)) * g.arrays[0])


def unit_normalization(g: Given) -> Array:
    norm = np.sqrt(np.sum(g.inputs**2, axis=_axes(g), keepdims=True))
    return np.asarray(g.inputs / np.maximum(norm, 1e-12))


# Several inputs -------------------------------------------------------------------------------------------------------


def _merged(compute: Callable[[list[Array]], Any]) -> Callable[[Given], Array]:
    def merge(g: Given) -> Array:
        arrays = g.inputs if isinstance(g.inputs, list) else [g.inputs]
        rank = max(array.ndim for array in arrays)
        # Inserts axes of size 1 after the batch.
        wide = [array.reshape(len(array), *[1] * (rank - array.ndim), *array.shape[1:]) for array in arrays]
        return np.asarray(compute(wide))

    return merge


def concatenate(g: Given) -> Array:
    return np.concatenate(g.inputs if isinstance(g.inputs, list) else [g.inputs], g.get("axis", -1))


def dot(g: Given) -> Array:
    """The layer Dot, per sample."""
    a, b = g.inputs
    option = g.config["axes"]
    i, j = option if isinstance(option, list) else (option, option)
    if g.get("normalize", False):
        a, b = (x / np.maximum(np.sqrt(np.sum(x * x, axis=k, keepdims=True)), 1e-7) for x, k in ((a, i), (b, j)))
    i, j = i % a.ndim - 1, j % b.ndim - 1
    made = np.stack([np.tensordot(x, y, (i, j)) for x, y in zip(a, b, strict=True)])
    return made if made.ndim > 1 else made[:, None]


def einsum_dense(g: Given) -> Array:
    y = np.einsum(g.config["equation"], g.inputs, g.arrays[0])
    return g.activated(y + g.arrays[1] if g.get("bias_axes", None) is not None else y)


def attended(query: Array, key: Array, value: Array, scale: float, causal: bool) -> Array:
    """Attention of tensors [batch, positions, heads, size]; ``causal`` hides later positions."""
    scores = np.einsum("bthd,bshd->bhts", query, key) * scale
    if causal:
        scores = np.where(np.tri(scores.shape[2], scores.shape[3]) == 1, scores, -np.inf)
    y: Array = np.einsum("bhts,bshd->bthd", softmax(scores), value)
    return y


def attention(g: Given) -> Array:
    query, value, *rest = g.inputs
    key = rest[0] if rest else value
    scale = float(g.arrays[0]) if g.get("use_scale", False) else 1.0
    one = [x[:, :, None] for x in (query, key, value)]
    return attended(one[0], one[1], one[2], scale, bool(g.options.get("use_causal_mask", False)))[:, :, 0]


def multi_head_attention(g: Given) -> Array:
    query, value, *rest = g.inputs
    key = rest[0] if rest else value

    def projected(x: Array, name: str, equation: str) -> Array:
        kernel, *bias = next(g.parts[key] for key in (f"{name}_dense", name, f"attention_{name}") if key in g.parts)
        return np.asarray(np.einsum(equation, x, kernel) + (bias[0] if bias else 0.0))

    heads = [projected(x, n, "btc,chd->bthd") for x, n in ((query, "query"), (key, "key"), (value, "value"))]
    causal = bool(g.options.get("use_causal_mask", False))
    made = attended(heads[0], heads[1], heads[2], 1 / math.sqrt(g.config["key_dim"]), causal)
    return projected(made, "output", "bthd,hdc->btc")


LAYERS: Mapping[str, Callable[[Given], Array]] = {
    **WINDOW_LAYERS,
    **ACTIVATION_LAYERS,
    **{f"ZeroPadding{n}D": zero_padding for n in (1, 2, 3)},
    **{f"Cropping{n}D": cropping for n in (1, 2, 3)},
    **{f"UpSampling{n}D": upsampling for n in (1, 2, 3)},
    "Resizing": resizing,
    "CenterCrop": center_crop,
    "RandomCrop": random_crop,
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "GroupNormalization": group_normalization,
    "RMSNormalization": rms_normalization,
    "UnitNormalization": unit_normalization,
    "Rescaling": rescaling,
    "Normalization": normalization,
    "Add": _merged(sum),
    "Subtract": _merged(lambda arrays: arrays[0] - arrays[1]),
    "Multiply": _merged(lambda arrays: math.prod(arrays[1:], start=arrays[0])),
    "Maximum": _merged(lambda arrays: np.maximum.reduce(np.broadcast_arrays(*arrays))),
    "Minimum": _merged(lambda arrays: np.minimum.reduce(np.broadcast_arrays(*arrays))),
    "Average": _merged(lambda arrays: sum(arrays) / len(arrays)),
    "Concatenate": concatenate,
    "Dot": dot,
    "EinsumDense": einsum_dense,
    "Attention": attention,
    "MultiHeadAttention": multi_head_attention,
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "RepeatVector": lambda g: np.repeat(g.inputs[:, None], g.config["n"], axis=1),
}

WITH_ARRAYS = frozenset(
    {name for name in LAYERS if "Conv" in name or name.endswith("Normalization")}
    | {"Dense", "EinsumDense", "PReLU", "Attention"}
)
"""Layers whose arrays are passed in :class:`Given`."""
