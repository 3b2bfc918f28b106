"""Reductions along axes: sums, means, extremes, arg-max, sorting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from codegen.importers.keras.arithmetic import truth
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Site, Translation


def _reduced(site: Site, kind: str, value: str, key: str = "axis", part: str = "") -> str:
    """``kind`` along the axes of the option, which are kept with size 1 if the option says so."""
    rank = len(site.document.shape(value))
    axes = site.model_axes(site.options.get(key), rank)
    made = _kept(site, kind, value, axes, part)
    return _without(site, made, axes)


def _kept(site: Site, kind: str, value: str, axes: list[int], part: str = "") -> str:
    """``kind`` along axes of the model, which are kept with size 1."""
    rank = len(site.document.shape(value))
    spec = sorted(site.to_spec(axis, rank) for axis in axes)
    if not spec:
        return value
    if rank > 2 and spec == list(range(2, rank)) and kind in ("mean", "max"):
        return site.add("global_average_pool" if kind == "mean" else "global_max_pool", value, part)
    return site.add(f"reduce_{kind}", value, part, axes=spec)


def _without(site: Site, value: str, axes: list[int]) -> str:
    """The value without axes of size 1, unless the option says to keep them."""
    if site.options.flag("keepdims", site.options.flag("keep_dims", False)):
        return value
    return site.reshape(value, [n for axis, n in enumerate(site.full_shape(value)) if axis not in axes], "reduced")


def _reduce(kind: str) -> Translation:
    def translate(site: Site) -> str:
        if site.options.get("initial") is not None:
            raise Unsupported("initial")
        return _reduced(site, kind, site.input)

    return translate


def _of_truth(kind: str) -> Translation:
    return lambda site: _reduced(site, kind, truth(site, site.input, "truth"))


def _variance(site: Site) -> str:
    return _reduced(site, "mean", _squared_distance(site))


def _squared_distance(site: Site) -> str:
    axes = site.model_axes(site.options.get("axis"), site.rank)
    centred = site.add("sub", [site.input, _kept(site, "mean", site.input, axes, "mean")], "centred")
    return site.add("mul", [centred, centred], "square")


def _deviation(site: Site) -> str:
    axes = site.model_axes(site.options.get("axis"), site.rank)
    return _without(site, site.add("sqrt", _kept(site, "mean", _squared_distance(site), axes, "variance")), axes)


def _log_sum_exp(site: Site) -> str:
    """max + log(sum(exp(x - max))), which does not overflow."""
    axes = site.model_axes(site.options.get("axis"), site.rank)
    highest = _kept(site, "max", site.input, axes, "max")
    power = site.add("exp", site.add("sub", [site.input, highest], "below"), "exp")
    total = site.add("log", _kept(site, "sum", power, axes, "sum"), "log")
    return _without(site, site.add("add", [total, highest]), axes)


def _average(site: Site) -> str:
    """sum(x * w) / sum(w) with constant weights, along one axis or of the input's shape."""
    weights = site.operands[1]
    site = site.reading(site.operands[0])
    if weights is None:
        return _reduced(site, "mean", site.input)
    if isinstance(weights, str):
        raise Unsupported("weights that are computed")
    array, axes = np.asarray(weights, np.float64), site.model_axes(site.options.get("axis"), site.rank)
    shape = site.full_shape(site.input)
    if array.ndim == 1 and len(axes) == 1:
        array = array.reshape([-1 if axis == axes[0] else 1 for axis in range(site.rank)])
    if array.ndim != site.rank or any(n not in (1, m) for n, m in zip(array.shape, shape, strict=True)):
        raise Unsupported(f"weights of shape {list(array.shape)}")
    total = np.broadcast_to(array, shape).sum(axis=tuple(axes), keepdims=True)
    if (total == 0).any():
        raise Unsupported("weights that sum up to 0")
    return _reduced(site, "sum", site.affine(site.input, array / total, 0.0, "weighted"))


def _norm(site: Site) -> str:
    o = site.options
    order, axis = o.get("ord", 2), o.get("axis")
    if order not in (1, 2) or (isinstance(axis, list) and len(axis) > 1) or (axis is None and o.get("ord") is not None):
        raise Unsupported(f"ord = {order}")
    axes, x = site.model_axes(axis, site.rank), site.input
    if order == 1:
        return _reduced(site, "sum", site.add("abs", x, "abs"))
    total = _kept(site, "sum", site.add("mul", [x, x], "square"), axes, "sum")
    return _without(site, site.add("sqrt", total), axes)


def _place(op: str) -> Translation:
    def translate(site: Site) -> str:
        if site.options.get("axis") is None:
            raise Unsupported("axis = null")
        axes = site.model_axes(site.options.get("axis"), site.rank)
        return _without(site, site.add(op, site.input, axis=site.axis(axes[0], site.rank)), axes)

    return translate


def _cumsum(site: Site) -> str:
    if site.options.get("axis") is None:
        raise Unsupported("axis = null")
    return site.add("running_sum", site.input, axis=site.axis(site.options.get("axis"), site.rank))


def _sorted(part: str | None) -> Translation:
    """All elements in rising order, or their indices."""

    def translate(site: Site) -> str:
        axis = site.axis(site.options.get("axis", -1), site.rank)
        return _ordered(site, axis, site.document.shape(site.input)[axis], False, part)

    return translate


def _ordered(site: Site, axis: int, count: int, largest: bool, part: str | None, name: str = "") -> str:
    options: dict[str, Any] = {"axis": axis, "count": count}
    options |= {"largest": None if largest else False, "part": part}
    given = {key: value for key, value in options.items() if value is not None}
    return site.document.add(f"{site.name}.{name}" if name else site.name, "top_k", [site.input], given)


REDUCTIONS: Mapping[str, Translation] = {
    "Amax": _reduce("max"),
    "Amin": _reduce("min"),
    "Average": _average,
    "Cumsum": _cumsum,
    "Logsumexp": _log_sum_exp,
    "Max": _reduce("max"),
    "Mean": _reduce("mean"),
    "Min": _reduce("min"),
    "Norm": _norm,
    "Prod": _reduce("prod"),
    "Sort": _sorted(None),
    "Std": _deviation,
    "Sum": _reduce("sum"),
    "Var": _variance,
}

OF_TRUTHS: Mapping[str, Translation] = {
    "All": _of_truth("min"),
    "Any": _of_truth("max"),
}

PLACES: Mapping[str, Translation] = {
    "Argmax": _place("argmax"),
    "Argmin": _place("argmin"),
    "Argsort": _sorted("indices"),
    "CountNonzero": _of_truth("sum"),
}


def top_k(site: Site) -> list[str]:
    """The largest elements of the last axis in falling order, and their indices."""
    o = site.options
    o.pass_over("sorted")  # if the order does not matter, falling order will do
    axis, count = site.to_spec(site.rank - 1, site.rank), o.whole("k")
    return [_ordered(site, axis, count, True, None), _ordered(site, axis, count, True, "indices", "indices")]
