"""Elementwise functions: arithmetic of tensors, numbers and constants, comparisons, logic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Array, Operand, Site, Translation, bounded

# Operands -------------------------------------------------------------------------------------------------------------


def _known(operand: Operand) -> Array | None:
    """The values of an operand that is not a tensor."""
    if isinstance(operand, (int, float, np.ndarray)):
        return np.asarray(operand, np.float64)
    if isinstance(operand, str):
        return None
    raise Unsupported("an operand that is neither tensor nor number")


def _rank(site: Site, operand: Operand) -> int:
    return len(site.document.shape(operand)) if isinstance(operand, str) else np.ndim(operand)  # type: ignore[arg-type]


def aligned(site: Site, *operands: Operand) -> list[str]:
    """The operands as values with the same number of axes, as numpy broadcasts: missing axes have size 1."""
    rank = max(_rank(site, operand) for operand in operands)
    found = []
    for i, operand in enumerate(operands):
        known = _known(operand)
        if known is not None:
            found.append(site.constant(f"operand_{i + 1}", known, rank))
        else:
            found.append(site.widen(str(operand), rank, f"wide_{i + 1}"))
    return found


# Arithmetic -----------------------------------------------------------------------------------------------------------


def binary(op: str) -> Translation:
    """A function of two tensors, numbers or constants.  With a constant it becomes a scale, which can be folded."""

    def translate(site: Site) -> str:
        a, b = site.operands
        x, y = _known(a), _known(b)
        if x is None and y is not None and site.fits(str(a), y):
            made = _with_known(site, op, str(a), y)
        elif y is None and x is not None and site.fits(str(b), x):
            made = _known_first(site, op, x, str(b))
        else:
            made = None
        return made or site.add(op, aligned(site, a, b))

    return translate


def _with_known(site: Site, op: str, x: str, y: Array) -> str | None:
    if op == "pow" and y.ndim == 0:
        return _power(site, x, float(y))
    rules: Mapping[str, Callable[[], str]] = {
        "add": lambda: site.affine(x, 1.0, y),
        "sub": lambda: site.affine(x, 1.0, -y),
        "mul": lambda: site.affine(x, y, 0.0),
        "div": lambda: site.divided(x, y),
        "min": lambda: site.add("clip", x, max=float(y)),
        "max": lambda: site.add("clip", x, min=float(y)),
    }
    if op not in rules or (op in ("min", "max") and y.ndim) or not np.isfinite(y).all():
        return None
    return rules[op]()


def _known_first(site: Site, op: str, x: Array, y: str) -> str | None:
    if op in ("add", "mul", "min", "max"):
        return _with_known(site, op, y, x)
    if op == "sub" and np.isfinite(x).all():
        return site.affine(y, -1.0, x)
    if op == "div" and x.ndim == 0 and x == 1:
        return site.add("reciprocal", y)
    return None


def _power(site: Site, x: str, exponent: float) -> str | None:
    if exponent == 1:
        return x
    if exponent == 2:
        return site.add("mul", [x, x])
    if exponent == 0.5:
        return site.add("sqrt", x)
    return site.add("reciprocal", x) if exponent == -1 else None


def _mod(site: Site) -> str:
    """The remainder of a division that rounds down, which has the divisor's sign."""
    x, y = aligned(site, *site.operands)
    rest = site.add("fmod", [x, y], "rest")
    signs = site.add("mul", [site.add("sign", rest, "sign_1"), site.add("sign", y, "sign_2")], "signs")
    rank = len(site.document.shape(x))
    differ = site.add("less", [signs, site.constant("zero", 0.0, rank)], "differ")
    return site.add("add", [rest, site.add("mask", [y, differ], "turned")])


def _negative(site: Site) -> str:
    return site.affine(site.input, -1.0, 0.0)


def _square(site: Site) -> str:
    return site.add("mul", [site.input, site.input])


def _rsqrt(site: Site) -> str:
    return site.add("reciprocal", site.add("sqrt", site.input, "root"))


def _shifted_log(site: Site) -> str:
    return site.add("log", site.affine(site.input, 1.0, 1.0, "shifted"))


def _exp_less_one(site: Site) -> str:
    return site.affine(site.add("exp", site.input, "exp"), 1.0, -1.0)


def _log_of(base: float) -> Translation:
    return lambda site: site.affine(site.add("log", site.input, "log"), 1 / math.log(base), 0.0)


def _exp2(site: Site) -> str:
    return site.add("exp", site.affine(site.input, math.log(2), 0.0, "scaled"))


def _round(site: Site) -> str:
    site.options.require("decimals", 0)
    return site.add("round", site.input)


def _logaddexp(site: Site) -> str:
    """max + log(1 + exp(-|a - b|))."""
    a, b = aligned(site, *site.operands)
    apart = site.add("abs", site.add("sub", [a, b], "difference"), "apart")
    small = site.add("softplus", site.affine(apart, -1.0, 0.0, "negative"), "small")
    return site.add("add", [site.add("max", [a, b], "larger"), small])


def _clip(site: Site) -> str:
    """Clip, whose bounds may be constant arrays."""
    least, most = (site.options.numbers(key, 0.0) for key in ("x_min", "x_max"))
    return _clipped(site, least, most)


def tf_clip(site: Site) -> str:
    return _clipped(site, *(site.options.numbers(key, 0.0) for key in ("clip_value_min", "clip_value_max")))


def _clipped(site: Site, least: Array, most: Array) -> str:
    x = site.input
    if not least.ndim and not most.ndim:
        return site.add("clip", x, min=float(least), max=float(most))
    lower = site.add("max", aligned(site, x, least), "lower")
    return site.add("min", aligned(site, lower, most))


# Comparisons and logic ------------------------------------------------------------------------------------------------


def _compare(op: str) -> Translation:
    return lambda site: site.add(op, aligned(site, *site.operands))


def _not_equal(site: Site) -> str:
    return _inverted(site, site.add("equal", aligned(site, *site.operands), "equal"))


def _inverted(site: Site, value: str, part: str = "") -> str:
    """1 - value, for a value that is 0 or 1."""
    return site.affine(value, -1.0, 1.0, part)


def truth(site: Site, operand: Operand, part: str) -> str:
    """1 where the operand is not 0, else 0; truth values are returned unchanged."""
    value = aligned(site, operand)[0]
    if isinstance(operand, str) and site.types.get(operand) == "bool":
        return value
    zero = site.constant("zero", 0.0, len(site.document.shape(value)))
    return _inverted(site, site.add("equal", [value, zero], f"{part}_is_0"), part)


def _truths(site: Site) -> list[str]:
    """The operands as truth values with the same number of axes; constant operands are evaluated."""
    found: list[Operand] = []
    for i, operand in enumerate(site.operands, 1):
        known = _known(operand)
        found.append(truth(site, operand, f"truth_{i}") if known is None else (known != 0).astype(np.float64))
    return aligned(site, *found)


def _logical(op: str) -> Translation:
    return lambda site: site.add(op, _truths(site))


def _logical_xor(site: Site) -> str:
    return _inverted(site, site.add("equal", _truths(site), "equal"))


def _logical_not(site: Site) -> str:
    return _inverted(site, truth(site, site.input, "truth"))


def _is_finite(site: Site) -> str:
    neither = site.add("add", [site.add("is_nan", site.input, "nan"), site.add("is_inf", site.input, "inf")], "sum")
    return _inverted(site, neither)


def _where(site: Site) -> str:
    """Selects x1 if the condition holds, else x2: the sum of both, each set to 0 where it is not selected."""
    condition, x1, x2 = site.operands
    if x1 is None or x2 is None:
        raise Unsupported("a condition alone")
    (holds,) = _truths(site.reading(condition))
    holds, first, second = aligned(site, holds, x1, x2)
    taken = site.add("mask", [first, holds], "first")
    return site.add("add", [taken, site.add("mask", [second, _inverted(site, holds, "not")], "second")])


def _cast(site: Site) -> str:
    """Converts to truth values by comparing with 0, and to whole numbers by truncation."""
    wanted, before = site.options.text("dtype", "float32"), site.types.get(site.input, "float32")
    if wanted == "bool":
        return truth(site, site.input, "")
    if "int" in wanted and "int" not in before and before != "bool":
        return site.add("trunc", site.input)
    return site.input


def _one_hot(site: Site) -> str:
    """1 at the class index along a new axis, 0 elsewhere."""
    o, shape = site.options, site.full_shape(site.input)
    o.require("sparse", False)
    count, axis = o.whole("num_classes"), site.model_axis(o.get("axis", -1), len(shape) + 1)
    bounded(count)
    wide = site.reshape(site.input, [*shape[:axis], 1, *shape[axis:]], "wide")
    classes = np.arange(count, dtype=np.float64).reshape([-1 if a == axis else 1 for a in range(len(shape) + 1)])
    return site.add("equal", [wide, site.constant("classes", classes)])


def _triangle(upper: bool) -> Translation:
    def translate(site: Site) -> str:
        k, shape = site.options.get("k", 0), site.full_shape(site.input)
        if not isinstance(k, int) or isinstance(k, bool) or len(shape) < 2:
            raise Unsupported(f"k = {k} of a tensor of shape {shape}")
        kept = np.triu(np.ones(shape[-2:]), k) if upper else np.tril(np.ones(shape[-2:]), k)
        return site.add("mask", [site.input, site.constant("kept", kept, len(shape))])

    return translate


def _like(value: float | None) -> Translation:
    """A constant of the input's shape, filled with ``value`` or the second operand."""

    def translate(site: Site) -> str:
        fill: Any = site.operands[1] if value is None else value
        if isinstance(fill, str) or fill is None:
            raise Unsupported("a number that is computed")
        shape = site.full_shape(str(site.operands[0]))
        return site.constant("value", np.broadcast_to(np.asarray(fill, np.float64), shape))

    return translate


def _unary(op: str) -> Translation:
    return lambda site: site.add(op, site.input)


_SAME_NAME = ("abs", "exp", "log", "sqrt", "reciprocal", "erf", "floor", "ceil", "trunc", "sign", "sin", "cos", "tan")
_ARC = ("sin", "cos", "tan", "sinh", "cosh", "tanh")

UNARY: Mapping[str, Translation] = {
    **{name.title(): _unary(name) for name in (*_SAME_NAME, "sinh", "cosh")},
    **{f"Arc{name}": _unary(f"a{name}") for name in _ARC},
    "Absolute": _unary("abs"),
    "Exp2": _exp2,
    "Expm1": _exp_less_one,
    "Log10": _log_of(10),
    "Log1p": _shifted_log,
    "Log2": _log_of(2),
    "Negative": _negative,
    "Round": _round,
    "Rsqrt": _rsqrt,
    "Square": _square,
    "Clip": _clip,
    "Tril": _triangle(False),
    "Triu": _triangle(True),
}

BINARY: Mapping[str, Translation] = {
    "Add": binary("add"),
    "Divide": binary("div"),
    "Logaddexp": _logaddexp,
    "Maximum": binary("max"),
    "Minimum": binary("min"),
    "Mod": _mod,
    "Multiply": binary("mul"),
    "Power": binary("pow"),
    "Subtract": binary("sub"),
    "TrueDivide": binary("div"),
}

TRUTHS: Mapping[str, Translation] = {
    "Equal": _compare("equal"),
    "Greater": _compare("greater"),
    "GreaterEqual": _compare("greater_equal"),
    "Isfinite": _is_finite,
    "Isinf": _unary("is_inf"),
    "Isnan": _unary("is_nan"),
    "Less": _compare("less"),
    "LessEqual": _compare("less_equal"),
    "LogicalAnd": _logical("mul"),
    "LogicalNot": _logical_not,
    "LogicalOr": _logical("max"),
    "LogicalXor": _logical_xor,
    "NotEqual": _not_equal,
}

CHOICES: Mapping[str, Translation] = {
    "Cast": _cast,
    "FullLike": _like(None),
    "OneHot": _one_hot,
    "OnesLike": _like(1.0),
    "Where": _where,
    "ZerosLike": _like(0.0),
}
