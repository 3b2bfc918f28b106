"""Normalization with stored or computed statistics, and rescaling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from codegen.frontend.spec.place import show
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Array, Site, Translation

# With stored statistics -----------------------------------------------------------------------------------------------

_BATCH_NORM_WORDS = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}


def _batch_norm(site: Site) -> str:
    o = site.options
    o.require("renorm", False)
    # How the statistics are updated in training.
    o.pass_over("momentum", "synchronized", "renorm_momentum", "renorm_clipping")
    scale, center = o.flag("scale", True), o.flag("center", True)
    words = [*["gamma"] * scale, *["beta"] * center, "moving_mean|running_mean", "moving_variance|running_std"]
    arrays, epsilon = site.arrays(words), o.number("epsilon", 1e-3)
    axis = site.axis(o.get("axis", -1), site.rank)
    if axis == 1:
        named = {key: site.array(word, arrays[word]) for key, word in _BATCH_NORM_WORDS.items() if word in arrays}
        return site.add("batch_norm", site.input, epsilon=epsilon, **named)
    # A spec's batch_norm is for channels only; along another axis it becomes a product and a sum.
    kept = [site.model_axes(o.get("axis"), site.rank)[0]]
    mean, variance = (np.asarray(arrays[word], np.float64) for word in ("moving_mean", "moving_variance"))
    if (variance < 0).any():
        raise o.place.parameter_error("has a negative variance")
    factor = np.asarray(arrays.get("gamma", 1.0), np.float64) / np.sqrt(variance + epsilon)
    shift = np.asarray(arrays.get("beta", 0.0), np.float64) - mean * factor
    return site.affine(site.input, _along(site, factor, kept), _along(site, shift, kept))


def _along(site: Site, array: Array, axes: list[int]) -> Array:
    """The array with exactly these axes of the input, in rising order, broadcast along the others."""
    sizes = site.full_shape(site.input)
    shape = [size if axis in axes else 1 for axis, size in enumerate(sizes)]
    if array.size != math.prod(shape):
        raise site.options.place.key("axis").spec_error(
            f"{axes} want {math.prod(shape)} numbers; the file has {list(array.shape)}"
        )
    return array.reshape(shape)


def _rescaling(site: Site) -> str:
    scale, offset = (site.options.numbers(key, default) for key, default in (("scale", 1.0), ("offset", 0.0)))
    if site.channels_first and any(0 < array.ndim < 3 and array.size > 1 for array in (scale, offset)):
        raise Unsupported("lists of numbers, whose axis depends on the setting image_data_format of Keras")
    for key, array in (("scale", scale), ("offset", offset)):
        if not site.fits(site.input, array):
            raise Unsupported(f"{key} of shape {list(array.shape)} for a tensor of shape {site.full_shape(site.input)}")
    return site.affine(site.input, scale, offset)


def _normalization(site: Site) -> str:
    """(x - mean) / max(sqrt(variance), 1e-7), with Keras' epsilon."""
    o = site.options
    axis = o.get("axis", -1 if "axis" not in o.values else [])
    kept = [] if axis == [] else site.model_axes(axis, site.rank)
    if 0 in kept:
        raise Unsupported(f"axis = {show(axis)}, which is that of the batch")
    if (o.get("mean") is None) != (o.get("variance") is None):
        raise o.place.spec_error("has one of mean and variance; it should have both or none")
    if o.get("mean") is not None:
        mean, variance = o.numbers("mean", 0.0), o.numbers("variance", 1.0)
    else:
        arrays = site.arrays(["mean", "variance", "count"])
        mean, variance = (np.asarray(arrays[key], np.float64) for key in ("mean", "variance"))
    if (variance < 0).any():
        raise site.options.place.parameter_error("has a negative variance")
    mean, variance = (_means(site, key, array, kept) for key, array in (("mean", mean), ("variance", variance)))
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    if o.flag("invert", False):
        return site.affine(site.input, deviation, mean)
    return site.affine(site.input, 1 / deviation, -mean / deviation)


def _means(site: Site, key: str, array: Array, kept: list[int]) -> Array:
    """The layer's means: one number, or the kept axes, perhaps with axes of size 1 in between."""
    sizes = site.full_shape(site.input)
    inner = [sizes[axis] for axis in kept]
    fits = [n for n in array.shape if n != 1] == [n for n in inner if n != 1]
    if array.size != 1 and not fits:
        raise site.options.place.key(key).spec_error(
            f"has the shape {list(array.shape)} for {math.prod(inner) if kept else 1} means"
        )
    return array.reshape(()) if array.size == 1 else _along(site, array, kept)


# With statistics of the input -----------------------------------------------------------------------------------------


def _layer_norm(site: Site) -> str:
    o = site.options
    axes = site.model_axes(o.get("axis", -1), site.rank)
    scale, center, rms = o.flag("scale", True), o.flag("center", True), o.flag("rms_scaling", False)
    arrays = site.arrays([*["gamma"] * (scale or rms), *["beta"] * (center and not rms)])
    return layer_norm(site, axes, o.number("epsilon", 1e-3), arrays.get("gamma"), arrays.get("beta"), rms)


def layer_norm(
    site: Site, axes: list[int], epsilon: float, gamma: Any = None, beta: Any = None, uncentred: bool = False
) -> str:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over axes of the model.

    ``uncentred`` leaves out the subtraction of the mean, except in the variance.
    """
    x, spec = site.input, sorted(site.to_spec(axis, site.rank) for axis in axes)
    centred = site.add("sub", [x, site.add("reduce_mean", x, "mean", axes=spec)], "centred")
    deviation = _root_mean_square(site, centred, spec, epsilon)
    return _finished(site, [x if uncentred else centred, deviation], axes, gamma, beta)


def rms_norm(site: Site, axes: list[int], epsilon: float, scale: Any = None) -> str:
    """x / sqrt(mean(x^2) + epsilon) * scale.  Whatever the axes are, Keras' scale is for the last ones."""
    spec = sorted(site.to_spec(axis, site.rank) for axis in axes)
    quotient = [site.input, _root_mean_square(site, site.input, spec, epsilon)]
    if scale is None:
        return site.add("div", quotient)
    return site.affine(site.add("div", quotient, "normalized"), scale, 0.0)


def _root_mean_square(site: Site, value: str, axes: list[int], epsilon: float) -> str:
    mean = site.add("reduce_mean", site.add("mul", [value, value], "square"), "variance", axes=axes)
    return site.add("sqrt", site.affine(mean, 1.0, epsilon, "shifted"), "deviation")


def _finished(site: Site, quotient: list[str], axes: list[int], gamma: Any, beta: Any) -> str:
    if gamma is None and beta is None:
        return site.add("div", quotient)
    gamma, beta = (
        np.full((), default) if array is None else _along(site, np.asarray(array, np.float64), axes)
        for array, default in ((gamma, 1.0), (beta, 0.0))
    )
    return site.affine(site.add("div", quotient, "normalized"), gamma, beta)


def _rms_norm(site: Site) -> str:
    axes = site.model_axes(site.options.get("axis", -1), site.rank)
    return rms_norm(site, axes, site.options.number("epsilon", 1e-6), site.arrays(["scale"])["scale"])


def _group_norm(site: Site) -> str:
    """Normalizes each group of channels like a sample: [n, groups, channels / groups, space...]."""
    o, x = site.options, site.input
    axis = site.model_axis(o.get("axis", -1), site.rank)
    groups, sizes = o.get("groups", 32), site.full_shape(x)
    if axis == 0:
        raise Unsupported("axis = 0, which is that of the batch")
    groups = sizes[axis] if groups == -1 else o.whole("groups", 32)
    if sizes[axis] % groups:
        raise o.place.key("groups").spec_error(f"{groups} do not divide {sizes[axis]} channels")
    scale, center = o.flag("scale", True), o.flag("center", True)
    arrays = site.arrays([*["gamma"] * scale, *["beta"] * center])
    # Channels first and space as one axis: the spec's order, whatever the model's.
    where = site.to_spec(axis, site.rank)
    rest = [a for a in range(1, site.rank) if a != where]
    moved = where != 1
    front = site.add("transpose", x, "channels", axes=[0, where, *rest]) if moved else x
    shape = site.document.shape(front)
    grouped = site.add("reshape", front, "groups", full_shape=[shape[0], groups, math.prod(shape[1:]) // groups])
    centred = site.add("sub", [grouped, site.add("reduce_mean", grouped, "mean", axes=[2])], "centred")
    deviation = _root_mean_square(site, centred, [2], o.number("epsilon", 1e-3))
    normal = site.add("div", [centred, deviation], "normalized")
    last = "" if not arrays and not moved else "joined"
    normal = site.add("reshape", normal, last, full_shape=list(shape))
    if moved:
        back = [0, *(1 + [where, *rest].index(a) for a in range(1, site.rank))]
        normal = site.add("transpose", normal, "" if not arrays else "back", axes=back)
    if not arrays:
        return normal
    gamma, beta = (
        _along(site, np.asarray(arrays[word], np.float64), [axis]) if word in arrays else np.full((), default)
        for word, default in (("gamma", 1.0), ("beta", 0.0))
    )
    return site.affine(normal, gamma, beta)


def _unit_norm(site: Site) -> str:
    return normalized(site, site.model_axes(site.options.get("axis", -1), site.rank), 2, 1e-12)


def normalized(site: Site, axes: list[int], order: int, epsilon: float, part: str = "") -> str:
    """x / max(norm, epsilon), with the sum of absolute values (order 1) or the Euclidean norm (order 2)."""
    x, spec = site.input, sorted(site.to_spec(axis, site.rank) for axis in axes)
    if order not in (1, 2):
        raise Unsupported(f"order = {order}")
    name = f"{part}_" if part else ""
    terms = site.add("abs", x, f"{name}abs") if order == 1 else site.add("mul", [x, x], f"{name}square")
    total = site.add("reduce_sum", terms, f"{name}sum", axes=spec)
    least = site.add("clip", total, f"{name}least", min=epsilon**order)
    norm = least if order == 1 else site.add("sqrt", least, f"{name}norm")
    return site.add("div", [x, norm], part)


def _given(site: Site, position: int) -> Any:
    value = site.operands[position]
    if value is not None and not isinstance(value, np.ndarray):
        raise Unsupported("parameters that are no constants")
    return value


def layer_norm_function(site: Site) -> str:
    gamma, beta = _given(site, 1), _given(site, 2)
    site = site.reading(site.operands[0])
    o = site.options
    axes = site.model_axes(o.get("axis", -1), site.rank)
    return layer_norm(site, axes, o.number("epsilon", 1e-7), gamma, beta, o.flag("rms_scaling", False))


def rms_norm_function(site: Site) -> str:
    scale = _given(site, 1)
    site = site.reading(site.operands[0])
    return rms_norm(
        site, site.model_axes(site.options.get("axis", -1), site.rank), site.options.number("epsilon", 1e-7), scale
    )


def normalize_function(site: Site) -> str:
    o = site.options
    axes = site.model_axes(o.get("axis", -1), site.rank)
    return normalized(site, axes, o.whole("order", 2), o.number("epsilon", 1e-7))


NORMALIZATIONS: Mapping[str, Translation] = {
    "BatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "RMSNormalization": _rms_norm,
    "UnitNormalization": _unit_norm,
}
