"""Comparisons, conditions and casts: bools are the floats 0 and 1, whole numbers the floats -1, 2, ....

Remainders and casts of whole numbers are exact as long as float32 holds the numbers: up to 2^24.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from codegen.importers.onnx.builder import Builder
from codegen.importers.onnx.node import Constant, Live, Node, Refused, Value, number_type_of
from codegen.importers.onnx.number_types import converted, number_type_of_array, number_type_of_element, type_name


def _comparison(op: str) -> Callable[[Node, Builder], Live]:
    def compare(node: Node, b: Builder) -> Live:
        return b.layer(op, b.aligned(node.inputs))

    return compare


def _and(node: Node, b: Builder) -> Live:
    return b.layer("mul", b.aligned(node.inputs))


def _or(node: Node, b: Builder) -> Live:
    return b.layer("max", b.aligned(node.inputs))


def _xor(node: Node, b: Builder) -> Live:
    return b.layer("abs", b.layer("sub", b.aligned(node.inputs), "difference"))


def _not(node: Node, b: Builder) -> Live:
    return b.affine(node.live(), -1, 1)


def _where(node: Node, b: Builder) -> Live:
    """Selection by masks: the other values may be infinite, so they must not be multiplied by 0."""
    condition, *values = node.inputs
    true: Value = condition
    false: Value
    if isinstance(condition, Constant):
        false = Constant(f"{condition.name}.false", ~condition.values.astype(bool))
    else:
        false = b.affine(node.live(), -1, 1, "false")
    parts: list[Value] = []
    for what, value, where in zip(("chosen", "other"), values, (true, false), strict=True):
        if isinstance(value, Constant) and isinstance(where, Constant):
            # A known condition: elements that are not selected become 0.
            masked = np.where(where.values.astype(bool), value.values, np.zeros_like(value.values))
            parts.append(b.derived(value, what, masked))
        elif not isinstance(value, Constant) or value.values.any():
            parts.append(b.layer("mask", b.aligned([value, where], what), what))
    if not parts:
        return b.layer("mask", b.aligned([values[0], true]))
    y = b.layer("add", b.aligned(parts)) if len(parts) == 2 else parts[0]
    assert isinstance(y, Live)
    return b.expand(y, np.broadcast_shapes(*(value.shape for value in node.inputs if value)), "expanded")


def _cast(node: Node, b: Builder) -> Live:
    number_type = number_type_of_element(node.get("to"))
    if number_type is None:
        raise Refused(f"it makes numbers of type {type_name(node.get('to'))} of a tensor that the network computes")
    return converted(node.live(), number_type, b)


def _cast_like(node: Node, b: Builder) -> Live:
    like = node.input(1)
    number_type = number_type_of_array(like.values) if isinstance(like, Constant) else number_type_of(like)
    if number_type is None:
        assert isinstance(like, Constant)
        raise Refused(f"it makes numbers of type {like.values.dtype} of a tensor that the network computes")
    return converted(node.live(), number_type, b)


def _mod(node: Node, b: Builder) -> Live:
    x, y = b.aligned(node.inputs)
    rest = b.layer("fmod", [x, y], "rest")
    if node.flag("fmod"):
        return rest
    # The remainder with the divisor's sign: add the divisor if the signs differ.
    signs = b.layer("mul", b.aligned([b.layer("sign", rest, "sign"), b.layer("sign", y, "divisor_sign")]), "signs")
    differ = b.layer("less", [signs, b.number(0, signs)], "differ")
    return b.layer("add", b.aligned([rest, b.layer("mask", b.aligned([y, differ]), "more")]))


def quotient(x: Live, y: Live, b: Builder) -> Live:
    """The quotient of whole numbers, rounded towards zero: exact after the remainder is subtracted."""
    whole = b.layer("sub", b.aligned([x, b.layer("fmod", [x, y], "rest")]), "whole")
    return b.layer("round", b.layer("div", b.aligned([whole, y]), "quotient"))


def _is_inf(node: Node, b: Builder) -> Live:
    x = node.live()
    negative, positive = node.flag("detect_negative", 1), node.flag("detect_positive", 1)
    if negative and positive:
        return b.layer("is_inf", x)
    if not (negative or positive):
        return b.layer("less", [x, x])  # always false
    return b.layer("is_inf", b.layer("relu", x if positive else b.layer("neg", x, "negative"), "side"))


def _is_nan(node: Node, b: Builder) -> Live:
    return b.layer("is_nan", node.live())


# Places ---------------------------------------------------------------------------------------------------------------


def _arg(op: str) -> Callable[[Node, Builder], Live]:
    def arg(node: Node, b: Builder) -> Live:
        x = node.live()
        axis = node.axis(0, len(x.shape))
        last: dict[str, Any] = {"last": True} if node.flag("select_last_index") else {}
        y = b.layer(op, x, axis=axis, **last)
        return y if node.flag("keepdims", 1) else b.reshape(y, (*x.shape[:axis], *x.shape[axis + 1 :]), "reduced")

    return arg


def hardmax(x: Live, b: Builder, axis: int) -> Live:
    """1 at the first of the largest elements, 0 elsewhere."""
    size = x.shape[axis]
    shape = [size if a == axis else 1 for a in range(len(x.shape))]
    places = Constant(f"places_{size}", np.arange(size, dtype=np.float32).reshape(shape))
    return b.layer("equal", [b.stored(places), b.layer("argmax", x, "largest", axis=axis)])


def _top_k(node: Node, b: Builder) -> list[Live]:
    x = node.live()
    axis = node.axis(-1, len(x.shape))
    given = (node.get("k", 0),) if node.opset < 10 else node.whole_numbers(1, "k")
    if given is None or len(given) != 1 or not 1 <= given[0] <= x.shape[axis]:
        raise Refused(f"k = {list(given or ())} should be one number from 1 to the {x.shape[axis]} of axis {axis}")
    keys: dict[str, Any] = {"axis": axis, "count": given[0], **({} if node.flag("largest", 1) else {"largest": False})}
    values = b.layer("top_k", x, **keys) if node.outputs[0] else x
    if len(node.outputs) < 2 or not node.outputs[1]:
        return [values, x]
    places = b.layer("top_k", x, "places", **keys, part="indices")
    return [values, places]


def _trilu(node: Node, b: Builder) -> Live:
    x = node.live(least=2)
    k = node.whole_numbers(1, "k") or (0,)
    ones = np.ones(x.shape[-2:], dtype=np.float32)
    offset = int(np.clip(k[0], -ones.shape[0], ones.shape[1]))
    kept = np.triu(ones, offset) if node.flag("upper", 1) else np.tril(ones, offset)
    return b.layer("mask", [x, b.stored(Constant(f"{b.wanted}.kept", kept), len(x.shape))])


LOGIC_OPERATORS: Mapping[str, Callable[[Node, Builder], Live | list[Live]]] = {
    "And": _and,
    "ArgMax": _arg("argmax"),
    "ArgMin": _arg("argmin"),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Equal": _comparison("equal"),
    "Greater": _comparison("greater"),
    "GreaterOrEqual": _comparison("greater_equal"),
    "IsInf": _is_inf,
    "IsNaN": _is_nan,
    "Less": _comparison("less"),
    "LessOrEqual": _comparison("less_equal"),
    "Mod": _mod,
    "Not": _not,
    "Or": _or,
    "TopK": _top_k,
    "Trilu": _trilu,
    "Where": _where,
    "Xor": _xor,
}
