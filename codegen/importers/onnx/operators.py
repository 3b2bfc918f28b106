"""One small function for each ONNX operator, which translates a node or says why it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.importers.onnx.algebra import ALGEBRA_OPERATORS
from codegen.importers.onnx.builder import Builder
from codegen.importers.onnx.composite import COMPOSITE_OPERATORS, log_softmax
from codegen.importers.onnx.indexing import INDEXING_OPERATORS
from codegen.importers.onnx.logic import LOGIC_OPERATORS, hardmax, quotient
from codegen.importers.onnx.node import Constant, Live, Node, Refused, Results, Value, number_type_of, shortest
from codegen.importers.onnx.resize import RESIZE_OPERATORS
from codegen.importers.onnx.selection import SELECTION_OPERATORS
from codegen.importers.onnx.windows import WINDOW_OPERATORS

Operator = Callable[[Node, Builder], Results]
One = Callable[[Node, Builder], Live]

_MOST_FACTORS = 24  # largest exponent of a whole number's power: 2^24 is the largest exact one

# Elementwise ----------------------------------------------------------------------------------------------------------


def _batch_norm(node: Node, b: Builder) -> Live:
    if node.flag("training_mode") or any(node.outputs[1:]):
        raise Refused("it is in training mode: export the model for inference")
    if not node.flag("spatial", 1):
        raise Refused("spatial = 0, statistics for each element, is not supported")
    x, epsilon = node.live(least=2), node.real("epsilon", 1e-5)
    names = ("gamma", "beta", "mean", "variance")
    given = {name: node.input(i) for i, name in enumerate(names, 1)}
    constants = {name: value for name, value in given.items() if isinstance(value, Constant)}
    if len(constants) == len(given):
        return b.layer("batch_norm", x, epsilon=epsilon, **{key: b.tensor(c) for key, c in constants.items()})
    gamma, beta, mean, variance = (b.channels(node.live(i), x, name) for i, name in enumerate(names, 1))
    deviation = b.layer("sqrt", b.shifted(variance, epsilon, "epsilon"), "deviation")
    normalized = b.layer("div", [b.layer("sub", [x, mean], "centred"), deviation], "normalized")
    return b.layer("add", [b.layer("mul", [normalized, gamma], "scaled"), beta])


def _add(node: Node, b: Builder) -> Live:
    x, constant = _with_constant(node)
    if constant is None:
        return _together("add", node, b)
    return b.combined("add", x, constant)


def _sub(node: Node, b: Builder) -> Live:
    x, constant = _with_constant(node)
    if constant is None:
        return _together("sub", node, b)
    if isinstance(node.input(0), Live):
        values = constant.values
        constant = b.derived(constant, "negative", -(values if values.dtype.kind == "f" else values.astype(np.float64)))
    else:
        x = b.layer("neg", x, "negative")
    return b.combined("add", x, constant)


def _mul(node: Node, b: Builder) -> Live:
    x, constant = _with_constant(node)
    if constant is None:
        return _together("mul", node, b)
    return b.combined("mul", x, constant)


def _div(node: Node, b: Builder) -> Live:
    divisor = node.input(1)
    if number_type_of(node.input(0)) != "float":
        x, y = b.aligned(node.inputs)
        return quotient(x, y, b)
    if not isinstance(divisor, Constant):
        return _binary("div")(node, b)
    return b.quotient(node.live(), divisor)


def _binary(op: str) -> One:
    """A binary operator of any two inputs."""

    def binary(node: Node, b: Builder) -> Live:
        return _joined(op, b.aligned(node.inputs), b)

    return binary


def _with_constant(node: Node) -> tuple[Live, Constant | None]:
    """The live input, and the other input if it is constant."""
    first, second = node.input(0), node.input(1)
    if isinstance(first, Constant):
        return node.live(1), first
    return node.live(0), second if isinstance(second, Constant) else None


def _together(op: str, node: Node, b: Builder) -> Live:
    return _joined(op, [node.live(i) for i in range(len(node.inputs))], b)


def _joined(op: str, values: list[Live], b: Builder) -> Live:
    values = b.aligned(values)
    return values[0] if len(values) == 1 else b.layer(op, values)


def _sum(node: Node, b: Builder) -> Live:
    return _add(node, b) if len(node.inputs) == 2 else _binary("add")(node, b)


def _mean(node: Node, b: Builder) -> Live:
    count = np.array(len(node.inputs), dtype=np.float32)
    return b.quotient(_binary("add")(node, b), Constant(f"count_{count:g}", count), "mean")


def _pow(node: Node, b: Builder) -> Live:
    exponent = node.input(1)
    if isinstance(exponent, Constant) and exponent.values.size == 1 and exponent.values.ndim <= len(node.live().shape):
        value = shortest(exponent.values.reshape(-1)[0])
        x = node.live()
        if value == 1:
            return x
        if value in (2, 3) or (x.number_type == "int" and value in range(2, _MOST_FACTORS + 1)):
            return b.layer("mul", [x] * int(value))
        if value in (0.5, -1):
            return b.layer("sqrt" if value == 0.5 else "reciprocal", x)
        return b.power(x, value)
    y = _binary("pow")(node, b)
    if all(number_type_of(value) == "int" for value in node.inputs):
        # The result is whole, or at most 1/2 for a negative exponent, so rounding corrects a small error of pow().
        return Live(b.layer("round", y, "whole").name, y.shape, "int")
    return y


def _bound(kind: str) -> Operator:
    """Max and Min."""

    def bound(node: Node, b: Builder) -> Live:
        constants = [value for value in node.inputs if isinstance(value, Constant)]
        if len(node.inputs) == 2 and len(constants) == 1 and constants[0].values.size == 1:
            x, constant = _with_constant(node)
            assert constant is not None
            if constant.values.ndim <= len(x.shape):
                value = shortest(constant.values.reshape(-1)[0])
                return _clipped(x, b, value if kind == "max" else -math.inf, value if kind == "min" else math.inf)
        return _binary(kind)(node, b)

    return bound


def _clip(node: Node, b: Builder) -> Live:
    x = node.live()
    if node.opset < 11:
        return _clipped(x, b, node.real("min", -math.inf), node.real("max", math.inf))
    bounds = node.input(1), node.input(2)
    if not any(isinstance(bound, Live) for bound in bounds):
        return _clipped(x, b, node.number(1, "minimum", -math.inf), node.number(2, "maximum", math.inf))
    for op, bound in zip(("max", "min"), bounds, strict=True):
        if bound is not None:
            if math.prod(bound.shape) != 1:
                raise Refused(f"its bound {list(bound.shape)} is not one number")
            x = b.layer(op, b.aligned([x, bound]), "at_least" if op == "max" else "")
    return x


def _clipped(x: Live, b: Builder, low: float, high: float) -> Live:
    if math.isnan(low) or math.isnan(high):
        raise Refused("a bound is NaN")
    low = min(low, high)  # the upper bound goes before the lower
    if (low, high) == (-math.inf, math.inf):
        return x
    if low == 0 and high in (6, math.inf):
        return b.layer("relu6" if high == 6 else "relu", x)
    if math.inf in (low, -high):
        raise Refused(f"its bounds {low} and {high} leave nothing but an infinity")
    bounds: dict[str, Any] = {"min": low, "max": high}
    return b.layer("clip", x, **{key: value for key, value in bounds.items() if math.isfinite(value)})


def _activation(op: str, **defaults: float) -> Operator:
    """The activation of this name in a spec; ``defaults`` are ONNX's for its attributes."""

    def activation(node: Node, b: Builder) -> Live:
        numbers: dict[str, Any] = {key: node.real(key, value) for key, value in defaults.items()}
        return b.layer(op, node.live(), **numbers)

    return activation


def _gelu(node: Node, b: Builder) -> Live:
    kind = node.get("approximate", "none")
    if kind not in ("none", "tanh"):
        raise Refused(f"approximate = {kind} is unknown")
    return b.layer("gelu_tanh" if kind == "tanh" else "gelu", node.live())


def _swish(node: Node, b: Builder) -> Live:
    return _silu(node.live(), node.real("alpha", 1.0), b)


def _silu(x: Live, alpha: float, b: Builder) -> Live:
    """x sigmoid(alpha x)."""
    if alpha == 1:
        return b.layer("silu", x)
    return b.layer("mul", [x, b.layer("sigmoid", b.affine(x, alpha, tag="scaled"), "gate")])


def _swiglu(node: Node, b: Builder) -> Live:
    x, gate = b.aligned(node.inputs)
    return b.layer("mul", b.aligned([_silu(x, node.real("alpha", 1.0), b), gate]))


def _prelu(node: Node, b: Builder) -> Live:
    slope = node.input(1)
    if isinstance(slope, Constant):
        return b.combined("prelu", node.live(), slope)
    return b.layer("prelu", b.aligned([node.live(), slope]))


def _softmax(compute: Callable[[Live, Builder, int], Live]) -> Operator:
    def softmax(node: Node, b: Builder) -> Live:
        x = node.live()
        rank = len(x.shape)
        if node.opset >= 13:
            return compute(x, b, node.axis(-1, rank))
        # Before opset 13 all axes from `axis` on are flattened into one.
        axis = node.axis(min(1, rank - 1), rank)
        count = math.prod(x.shape[axis:])
        if count == x.shape[axis]:
            return compute(x, b, axis)
        row = (x.shape[0], math.prod(x.shape[1:axis]), count) if axis > 1 else (math.prod(x.shape[:axis]), count)
        return b.reshape(compute(b.reshape(x, row, "row"), b, len(row) - 1), x.shape)

    return softmax


def _plain_softmax(x: Live, b: Builder, axis: int) -> Live:
    return b.layer("softmax", x, **_axis(axis))


def _axis(axis: int) -> dict[str, Any]:
    return {} if axis == 1 else {"axis": axis}


def _same(node: Node, b: Builder) -> Live:
    return node.live()


def _dropout(node: Node, b: Builder) -> Live:
    training = node.optional(2, "training_mode")
    if training is not None and training.values.any():
        raise Refused("it is in training mode: export the model for inference")
    if any(node.outputs[1:]):
        raise Refused("its mask is used")
    return node.live()


# Linear ---------------------------------------------------------------------------------------------------------------


def _gemm(node: Node, b: Builder) -> Live:
    x, weight, shift = node.live(), node.input(1), node.input(2)
    if len(x.shape) != 2:
        raise Refused(f"its input {list(x.shape)} should be a matrix")
    if node.flag("transA"):
        x = b.transpose(x, (1, 0), "transposed")
    alpha, beta, transposed = node.real("alpha", 1.0), node.real("beta", 1.0), node.flag("transB")
    if isinstance(weight, Live):
        y = b.layer("matmul", [x, b.transpose(weight, (1, 0), "weight") if transposed else weight], "product")
        return _gemm_sum(y if alpha == 1 else b.affine(y, alpha, tag="alpha"), shift, beta, b)
    if weight is None or weight.values.ndim != 2:
        raise Refused("its second matrix should have two axes")
    if alpha != 1:
        weight = b.derived(weight, "alpha", weight.values.astype(np.float64) * alpha)
    keys: dict[str, Any] = {
        "weight": b.tensor(weight),
        "bias": False,
        **({} if transposed else {"weight_layout": "IO"}),
    }
    if isinstance(shift, Constant) and beta != 0:
        count = weight.values.shape[0 if transposed else 1]
        if shift.values.shape == (count,) and beta == 1:
            keys["bias"], shift = b.tensor(shift), None
        elif shift.values.ndim < 2 or shift.values.shape[0] == 1:
            keys["bias"], shift = b.tensor(b.derived(shift, "row", _row(shift.values, count) * beta)), None
    return _gemm_sum(b.layer("dense", x, **keys), shift, beta, b)


def _gemm_sum(y: Live, shift: Value, beta: float, b: Builder) -> Live:
    if shift is None or beta == 0:
        return y
    if isinstance(shift, Live):
        return b.layer("add", b.aligned([y, shift if beta == 1 else b.affine(shift, beta, tag="beta")]))
    shift = b.derived(shift, "beta", shift.values * np.float64(beta))
    return b.combined("add", y, shift)


def _row(values: NDArray[Any], count: int) -> NDArray[np.float64]:
    """The constant that is added to each row of a product."""
    try:
        row: NDArray[np.float64] = np.broadcast_to(values, (1, count)).astype(np.float64)[0]
        return row
    except ValueError:
        raise Refused(f"its third matrix {list(values.shape)} does not fit {count} columns") from None


def _matmul(node: Node, b: Builder) -> Live:
    x, weight = node.inputs
    if isinstance(x, Live) and isinstance(weight, Constant) and 2 <= len(x.shape) <= 5 and weight.values.ndim == 2:
        return _by_constant(x, weight, b)
    a, c = node.live(0), node.live(1)
    # A vector is a row as first operand, a column as second operand.
    ranks = len(a.shape), len(c.shape)
    a = b.reshape(a, (1, *a.shape), "row") if ranks[0] == 1 else a
    c = b.reshape(c, (*c.shape, 1), "column") if ranks[1] == 1 else c
    y = b.layer("matmul", b.aligned([a, c]))
    kept = (*y.shape[:-2], *(y.shape[-2:-1] if ranks[0] > 1 else ()), *(y.shape[-1:] if ranks[1] > 1 else ()))
    return b.reshape(y, kept, "product")


def _by_constant(x: Live, weight: Constant, b: Builder) -> Live:
    if weight.values.shape[0] != x.shape[-1]:
        raise Refused(f"its second matrix {list(weight.values.shape)} should be [{x.shape[-1]}, outputs]")
    rank = len(x.shape)
    if rank == 2:
        return b.layer("dense", x, weight=b.tensor(weight), bias=False, weight_layout="IO")
    # A product over the last axis: a 1x1 convolution, after moving that axis to the channels.
    kernel = b.tensor(
        b.derived(weight, "kernel", weight.values.T.reshape(*weight.values.shape[::-1], *[1] * (rank - 2)))
    )
    y = b.transpose(x, (0, rank - 1, *range(1, rank - 1)), "channels_first")
    y = b.layer("conv", y, "product", weight=kernel, bias=False)
    return b.transpose(y, (0, *range(2, rank), 1))


# Shapes ---------------------------------------------------------------------------------------------------------------


def _concat(node: Node, b: Builder) -> Live:
    filled = [i for i, value in enumerate(node.inputs) if value is None or 0 not in value.shape]
    values = [node.live(i) for i in filled or [0]]
    if "axis" not in node.attributes:
        raise Refused("it has no axis")
    axis = node.axis(0, len(values[0].shape))
    return values[0] if len(values) == 1 else b.layer("concat", values, **_axis(axis))


def _flatten(node: Node, b: Builder) -> Live:
    x = node.live()
    rank = len(x.shape)
    given = node.get("axis", 1)
    axis = rank if given == rank else node.axis(1, rank)
    return b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _reshape(node: Node, b: Builder) -> Live:
    x = node.live()
    wanted = node.get("shape") if "shape" in node.attributes else node.whole_numbers(1, "shape")
    if wanted is None:
        raise Refused("its shape is absent")
    if any(n == 0 and (i >= len(x.shape) or node.flag("allowzero")) for i, n in enumerate(wanted)):
        raise Refused(f"its shape {list(wanted)} has a size of 0")
    sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) > 1 or min(sizes, default=1) < -1 or math.prod(x.shape) % known:
        raise Refused(f"shape {list(wanted)} does not hold the elements of {list(x.shape)}")
    return b.reshape(x, tuple(math.prod(x.shape) // known if n == -1 else n for n in sizes))


def _squeeze(node: Node, b: Builder) -> Live:
    x = node.live()
    rank = len(x.shape)
    given = node.get("axes") if node.opset < 13 else node.whole_numbers(1, "axes")
    axes = node.axes(given, rank) if given else tuple(a for a, n in enumerate(x.shape) if n == 1)
    if any(x.shape[a] != 1 for a in axes):
        raise Refused(f"axes {list(axes)} of {list(x.shape)} are not of size 1")
    return b.reshape(x, tuple(n for a, n in enumerate(x.shape) if a not in axes))


def _unsqueeze(node: Node, b: Builder) -> Live:
    x = node.live()
    given = node.get("axes") if node.opset < 13 else node.whole_numbers(1, "axes")
    if not given:
        raise Refused("it has no axes")
    rank = len(x.shape) + len(given)
    axes, rest = node.axes(given, rank), iter(x.shape)
    return b.reshape(x, tuple(1 if a in axes else next(rest) for a in range(rank)))


def _transpose(node: Node, b: Builder) -> Live:
    x = node.live()
    rank = len(x.shape)
    axes = tuple(node.get("perm") or range(rank)[::-1])
    if sorted(axes) != list(range(rank)):
        raise Refused(f"perm {list(axes)} should name each axis of {list(x.shape)} once")
    return b.transpose(x, axes)


def _depth_to_space(node: Node, b: Builder) -> Live:
    x = node.live()
    size, mode = node.get("blocksize", 0), node.get("mode", "DCR")
    if len(x.shape) != 4 or size < 1 or x.shape[1] % size**2 or mode not in ("DCR", "CRD"):
        raise Refused(f"blocksize {size} does not divide the channels of {list(x.shape)}")
    n, c, h, w = x.shape
    c //= size**2
    blocks = (n, size, size, c, h, w) if mode == "DCR" else (n, c, size, size, h, w)
    y = b.reshape(x, blocks, "blocks")
    y = b.transpose(y, (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3), "spread")
    return b.reshape(y, (n, c, h * size, w * size))


def _space_to_depth(node: Node, b: Builder) -> Live:
    x = node.live()
    size, mode = node.get("blocksize", 0), node.get("mode", "DCR")
    if len(x.shape) != 4 or size < 1 or x.shape[2] % size or x.shape[3] % size or mode not in ("DCR", "CRD"):
        raise Refused(f"blocksize {size} does not divide height and width of {list(x.shape)}")
    n, c, h, w = x.shape
    y = b.reshape(x, (n, c, h // size, size, w // size, size), "blocks")
    axes = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return b.reshape(b.transpose(y, axes, "gathered"), (n, c * size**2, h // size, w // size))


# Elementwise functions that have the same name, in lower case, in a spec.
_UNARY = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Log"),
    *("Neg", "Reciprocal", "Round", "Sign", "Sin", "Sinh", "Softsign", "Sqrt", "Tan"),
)

OPERATORS: Mapping[str, Operator] = {
    **{op: _activation(op.lower()) for op in _UNARY},
    "Add": _add,
    "BatchNormalization": _batch_norm,
    "Celu": _activation("celu", alpha=1.0),
    "Clip": _clip,
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": _activation("elu", alpha=1.0),
    "Flatten": _flatten,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _activation("hard_sigmoid", alpha=0.2, beta=0.5),
    "Hardmax": _softmax(hardmax),
    "HardSwish": _activation("hard_swish"),
    "Identity": _same,
    "LeakyRelu": _activation("leaky_relu", alpha=0.01),
    "MatMul": _matmul,
    "LogSoftmax": _softmax(log_softmax),
    "Max": _bound("max"),
    "Mean": _mean,
    "Min": _bound("min"),
    "Mish": _activation("mish"),
    "Mul": _mul,
    "PRelu": _prelu,
    "Pow": _pow,
    "Relu": _activation("relu"),
    "Reshape": _reshape,
    "Selu": _activation("selu", alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Sigmoid": _activation("sigmoid"),
    "Shrink": _activation("shrink", lambd=0.5, bias=0.0),
    "Softmax": _softmax(_plain_softmax),
    "Softplus": _activation("softplus"),
    "SpaceToDepth": _space_to_depth,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Sum": _sum,
    "SwiGLU": _swiglu,
    "Swish": _swish,
    "Tanh": _activation("tanh"),
    "ThresholdedRelu": _activation("thresholded_relu", alpha=1.0),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    **ALGEBRA_OPERATORS,
    **COMPOSITE_OPERATORS,
    **INDEXING_OPERATORS,
    **LOGIC_OPERATORS,
    **RESIZE_OPERATORS,
    **SELECTION_OPERATORS,
    **WINDOW_OPERATORS,
}

BY_LAYERS = frozenset(
    [
        *COMPOSITE_OPERATORS,
        *RESIZE_OPERATORS,
        *WINDOW_OPERATORS,
        *("BatchNormalization", "Hardmax", "LogSoftmax", "Pad", "Scatter", "ScatterElements", "ScatterND", "Softmax"),
    ]
)
"""Floating-point operators that are evaluated through their layers if all inputs are constant.

The onnx package's own evaluator differs from engines in some cases of each.
"""

FRACTIONAL = frozenset(
    [
        *("Gemm", "GridSample", "Pow", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "Resize", "Shrink"),
        "Upsample",
    ]
)
"""Operators that ONNX has for integers too, although their layers return fractions."""
