"""Operators that become several layers: reductions of functions, normalizations, LogSoftmax, GlobalLpPool."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codegen.frontend.spec.value_types import FLOAT32_MAX
from codegen.importers.onnx.builder import Builder
from codegen.importers.onnx.node import Constant, Live, Node, Refused

# Reductions -----------------------------------------------------------------------------------------------------------


def _axes(node: Node, rank: int) -> tuple[int, ...]:
    """The axes to reduce, which may be none."""
    given = node.get("axes") if "axes" in node.attributes else node.whole_numbers(1, "axes")
    if not given and node.flag("noop_with_empty_axes"):
        return ()
    return node.axes(given or range(rank), rank)


def _reduced(kind: str, node: Node, b: Builder, x: Live) -> Live:
    axes = _axes(node, len(x.shape))
    keep = node.flag("keepdims", 1)
    space = axes == tuple(range(2, len(x.shape)))
    if not axes:
        return x
    if kind == "mean" and x.number_type == "int":
        # Divided by the number of elements, not multiplied by its reciprocal: then the mean of equal numbers is exact.
        count = np.array(math.prod(x.shape[a] for a in axes), dtype=np.float32)
        total = b.layer("reduce_sum", x, "sum", axes=list(axes))
        y = b.quotient(total, Constant(f"count_{count:g}", count), "mean")
    elif space and kind in ("mean", "max"):
        y = b.layer(f"global_{'max' if kind == 'max' else 'average'}_pool", x)
    else:
        y = b.layer(f"reduce_{kind}", x, axes=list(axes))
    if keep:
        return y
    return b.reshape(y, tuple(n for a, n in enumerate(y.shape) if a not in axes), "reduced")


def _reduce(
    kind: str,
    before: Callable[[Live, Builder], Live] | None = None,
    behind: Callable[[Live, Builder], Live] | None = None,
) -> Callable[[Node, Builder], Live]:
    """Applies a function before and a function after the reduction of x."""

    def reduce(node: Node, b: Builder) -> Live:
        x = node.live()
        y = _reduced(kind, node, b, before(x, b) if before else x)
        return behind(y, b) if behind else y

    return reduce


def _abs(x: Live, b: Builder) -> Live:
    return b.layer("abs", x, "abs")


def _square(x: Live, b: Builder) -> Live:
    return b.layer("mul", [x, x], "square")


def _sqrt(x: Live, b: Builder) -> Live:
    return b.layer("sqrt", x, "sqrt")


def _log(x: Live, b: Builder) -> Live:
    return b.layer("log", x, "log")


def _log_sum_exp(node: Node, b: Builder) -> Live:
    """max + log(sum(exp(x - max))), which does not overflow."""
    x = node.live()
    axes = _axes(node, len(x.shape))
    if not axes:
        return x
    y = _log_sum(x, b, axes)
    if node.flag("keepdims", 1):
        return y
    return b.reshape(y, tuple(n for a, n in enumerate(y.shape) if a not in axes), "reduced")


def _log_sum(x: Live, b: Builder, axes: Sequence[int]) -> Live:
    # An infinite maximum becomes the nearest finite number, as infinity minus infinity would be NaN.
    highest = b.layer("reduce_max", x, "max", axes=list(axes))
    highest = b.layer("clip", highest, "finite", min=-FLOAT32_MAX, max=FLOAT32_MAX)
    below = b.layer("exp", b.layer("sub", [x, highest], "below"), "exp")
    total = b.layer("reduce_sum", below, "sum", axes=list(axes))
    return b.layer("add", [b.layer("log", total, "log"), highest], "log_sum")


def log_softmax(x: Live, b: Builder, axis: int) -> Live:
    """x - max - log(sum(exp(x - max))), which is NaN if an element is infinite, as in PyTorch."""
    below = b.layer("sub", [x, b.layer("reduce_max", x, "max", axes=[axis])], "below")
    total = b.layer("reduce_sum", b.layer("exp", below, "exp"), "sum", axes=[axis])
    return b.layer("sub", [below, b.layer("log", total, "log")])


# Normalizations -------------------------------------------------------------------------------------------------------


def _centred(x: Live, b: Builder, axes: Sequence[int]) -> Live:
    return b.layer("sub", [x, b.layer("reduce_mean", x, "mean", axes=list(axes))], "centred")


def _rms(x: Live, b: Builder, axes: Sequence[int], epsilon: float) -> Live:
    """sqrt(mean(x^2) + epsilon)."""
    power = b.layer("reduce_mean", _square(x, b), "variance", axes=list(axes))
    return _sqrt(b.shifted(power, epsilon, "epsilon"), b)


def _normalized(x: Live, b: Builder, axes: Sequence[int], epsilon: float) -> Live:
    centred = _centred(x, b, axes)
    return b.layer("div", [centred, _rms(centred, b, axes, epsilon)], "normalized")


def _scaled(y: Live, node: Node, b: Builder, repeat: int = 1, trailing: bool = False) -> Live:
    """x times input 1 plus input 2, per channel, or with ``trailing`` broadcast to the last axes."""

    for i, what, op, tag in ((1, "scale", "mul", "scaled"), (2, "bias", "add", "")):
        value = node.input(i)
        if value is None:
            continue
        if not trailing:
            if len(value.shape) != 1 or value.shape[0] * repeat != y.shape[1]:
                raise Refused(f"its {what} {list(value.shape)} does not fit the {y.shape[1]} channels")
            if isinstance(value, Live):
                each = b.reshape(value, (value.shape[0], 1), f"{what}.column")
                value = b.channels(b.reshape(b.repeat(each, (1, repeat), what), (y.shape[1],), f"{what}.row"), y, what)
            else:
                values = np.repeat(value.values, repeat).reshape(-1, *[1] * (len(y.shape) - 2))
                value = Constant(value.name, values) if repeat == 1 else b.derived(value, "channels", values)
        y = b.combined(op, y, value, tag) if isinstance(value, Constant) else b.layer(op, b.aligned([y, value]), tag)
    return y


def _instance_norm(node: Node, b: Builder) -> Live:
    x = node.live()
    if len(x.shape) < 3:
        raise Refused(f"its input {list(x.shape)} has no spatial axes")
    return _scaled(_normalized(x, b, range(2, len(x.shape)), node.real("epsilon", 1e-5)), node, b)


def _layer_norm(node: Node, b: Builder) -> list[Live]:
    """The normalized tensor, followed by mean and reciprocal deviation if the model uses them."""
    x = node.live()
    axes = list(range(node.axis(-1, len(x.shape)), len(x.shape)))
    mean = b.layer("reduce_mean", x, "mean", axes=axes)
    centred = b.layer("sub", [x, mean], "centred")
    deviation = _rms(centred, b, axes, node.real("epsilon", 1e-5))
    y = _scaled(b.layer("div", [centred, deviation], "normalized"), node, b, trailing=True)
    if any(node.outputs[2:]):
        deviation = b.layer("reciprocal", deviation, "reciprocal")
    return [y, mean, deviation][: len(node.outputs)]


def _rms_norm(node: Node, b: Builder) -> Live:
    x = node.live()
    axes = range(node.axis(-1, len(x.shape)), len(x.shape))
    y = b.layer("div", [x, _rms(x, b, axes, node.real("epsilon", 1e-5))], "normalized")
    return _scaled(y, node, b, trailing=True)


def _group_norm(node: Node, b: Builder) -> Live:
    x = node.live(least=2)
    groups = node.get("num_groups", 0)
    if groups < 1 or x.shape[1] % groups:
        raise Refused(f"num_groups {groups} does not divide the {x.shape[1]} channels")
    rows = b.reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups), "groups")
    y = b.reshape(_normalized(rows, b, [2], node.real("epsilon", 1e-5)), x.shape, "channels")
    return _scaled(y, node, b, 1 if node.opset >= 21 else x.shape[1] // groups)


def _mean_variance(node: Node, b: Builder) -> Live:
    x = node.live()
    axes = node.axes(node.get("axes") or (0, 2, 3), len(x.shape))
    centred = _centred(x, b, axes)
    power = b.layer("reduce_mean", _square(centred, b), "variance", axes=list(axes))
    return b.layer("div", [centred, b.shifted(_sqrt(power, b), 1e-9, "epsilon")])


def _lp_norm(node: Node, b: Builder) -> Live:
    x = node.live()
    axis, p = node.axis(-1, len(x.shape)), node.get("p", 2)
    if p not in (1, 2):
        raise Refused(f"p = {p} should be 1 or 2")
    total = b.layer("reduce_sum", _square(x, b) if p == 2 else _abs(x, b), "sum", axes=[axis])
    length = _sqrt(total, b) if p == 2 else total
    nothing = b.layer("equal", [length, b.number(0, length)], "nothing")  # 1 where the norm is 0, to avoid 0 / 0
    return b.layer("div", [x, b.layer("add", [length, nothing], "divisor")])


def _cumulative_sum(node: Node, b: Builder) -> Live:
    x, given = node.live(), node.whole_numbers(1, "axis")
    if given is None or len(given) != 1:
        raise Refused("its axis should be one number")
    (axis,) = node.axes(given, len(x.shape))
    flags: dict[str, Any] = {key: True for key in ("exclusive", "reverse") if node.flag(key)}
    return b.layer("running_sum", x, axis=axis, **flags)


def _lrn(node: Node, b: Builder) -> Live:
    """x / (bias + alpha / size * sum of squares of neighbouring channels) ^ beta."""
    x = node.live(least=2)
    size = node.get("size", 0)
    if size < 1:
        raise Refused(f"size {size} should be at least 1")
    squares = b.reshape(_square(x, b), (x.shape[0], 1, x.shape[1], math.prod(x.shape[2:])), "channels")
    pads = [[(size - 1) // 2, size - 1 - (size - 1) // 2], [0, 0]]
    mean = b.layer("average_pool", squares, "around", kernel=[size, 1], stride=1, padding=pads, count_include_pad=True)
    alpha, shift = node.real("alpha", 1e-4), node.real("bias", 1.0)
    base = b.affine(b.reshape(mean, x.shape, "mean"), alpha, shift, "base")
    return b.layer("div", [x, b.power(base, node.real("beta", 0.75))])


def _global_lp_pool(node: Node, b: Builder) -> Live:
    x = node.live()
    if len(x.shape) < 3:
        raise Refused(f"its input {list(x.shape)} has no spatial axes")
    p = node.get("p", 2)
    if p < 1:
        raise Refused(f"p = {p} should be at least 1")
    powers = _square(x, b) if p == 2 else _abs(x, b) if p == 1 else b.power(_abs(x, b), float(p))
    total = b.layer("reduce_sum", powers, "sum", axes=list(range(2, len(x.shape))))
    return total if p == 1 else _sqrt(total, b) if p == 2 else b.power(total, 1 / p)


COMPOSITE_OPERATORS: Mapping[str, Callable[[Node, Builder], Live | list[Live]]] = {
    "CumSum": _cumulative_sum,
    "GlobalLpPool": _global_lp_pool,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _lp_norm,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms_norm,
    "ReduceL1": _reduce("sum", _abs),
    "ReduceL2": _reduce("sum", _square, _sqrt),
    "ReduceLogSum": _reduce("sum", None, _log),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("min"),
    "ReduceProd": _reduce("prod"),
    "ReduceSum": _reduce("sum"),
    "ReduceSumSquare": _reduce("sum", _square),
}
