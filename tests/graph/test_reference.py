"""The float64 references against onnxruntime and against loops.

Operators that only multiply and add are compared on small whole numbers, where float32 is exact, hence exactly.  The
rest must lie within the operator's own bound for float32.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codegen.graph.bounded import FLOAT32, FLOAT64, Bounded
from codegen.graph.ops import (
    Activation,
    Affine,
    BatchNorm,
    Binary,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Fused,
    GlobalPool,
    GridSample,
    MatMul,
    Op,
    Pad,
    Pool,
    PRelu,
    Reduce,
    Reshape,
    Resize,
    Select,
    ShapeError,
    Softmax,
    Stage,
    Take,
    Top,
    Transpose,
)
from codegen.graph.ops.activation import ACTIVATIONS
from codegen.graph.ops.elementwise import COMPARISONS
from codegen.graph.ops.window import same_pads, window_count
from tests.support.needs import missing
from tests.support.values import DOMAIN, f32, normal, whole, worst

Floats = NDArray[np.float32]
OPSET = 21

exactly = settings(max_examples=60, deadline=None, derandomize=True)


def onnxruntime(kind: str, inputs: Sequence[Any], outputs: int = 1, **attributes: Any) -> Floats:
    """One ONNX node on onnxruntime's CPU kernels.  float arrays are graph inputs, None is an absent input."""
    try:
        import onnx
        import onnxruntime as ort
    except ImportError:
        missing("onnxruntime", "pip install onnx onnxruntime")
    arrays = {
        f"i{k}": a if a.dtype == np.int64 else a.astype(np.float32) for k, a in enumerate(inputs) if a is not None
    }
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(inputs)]
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(a.dtype) for name, a in arrays.items()}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, names, ["y"], **attributes)],
        "one",
        [onnx.helper.make_tensor_value_info(name, types[name], a.shape) for name, a in arrays.items()],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, arrays)
    return np.asarray(y)


def same(op: Op, got: Floats, *inputs: NDArray[np.float64]) -> None:
    """``got`` is the reference, to the last bit."""
    y = op.reference(*inputs)
    assert y.shape == op.infer(*(x.shape for x in inputs)) == got.shape
    np.testing.assert_array_equal(y, got.astype(np.float64))


def within_bound(op: Op, got: Floats, *inputs: NDArray[np.float64]) -> None:
    """``got``, computed in float32, is as near to the reference as the operator says it must be."""
    y = op.bounded(*(Bounded.exact(x) for x in inputs), rounding=FLOAT32)
    assert y.value.shape == op.infer(*(x.shape for x in inputs)) == got.shape
    assert worst(got - y.value, y.error) <= 1


def onnx_pads(pads: Sequence[tuple[int, int]]) -> list[int]:
    return [p for p, _ in pads] + [p for _, p in pads]


# ---- convolutions ----


@st.composite
def windows(draw: st.DrawFn, rank: int) -> dict[str, Any]:
    """Kernel, stride, dilation and asymmetric padding, and an input size that they fit."""

    def many(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = many(1, 4), many(1, 3), many(1, 3)
    pads = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank))
    size = many(1, 9)
    assume(all(window_count(*w) >= 1 for w in zip(size, kernel, stride, dilation, pads, strict=True)))
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads, "size": size}


@exactly
@given(st.data(), st.sampled_from([1, 2, 3]), st.integers(0, 2**31))
def test_conv(data: st.DataObject, rank: int, seed: int) -> None:
    w = data.draw(windows(rank))
    groups = data.draw(st.sampled_from([1, 2, 3, 5]))
    multiplier, inputs = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(seed)
    x = whole(rng, data.draw(st.integers(1, 2)), groups * inputs, *w["size"])
    weight, bias = whole(rng, groups * multiplier, inputs, *w["kernel"]), whole(rng, groups * multiplier)
    op = Conv(weight, bias, w["stride"], w["dilation"], w["pads"], groups)
    got = onnxruntime(
        "Conv", [x, weight, bias], strides=w["stride"], dilations=w["dilation"], pads=onnx_pads(w["pads"]), group=groups
    )  # fmt: skip
    same(op, got, x)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise_conv_with_multiplier(multiplier: int) -> None:
    rng = np.random.default_rng(multiplier)
    x, weight = whole(rng, 2, 5, 7, 6), whole(rng, 5 * multiplier, 1, 3, 2)
    op = Conv(weight, whole(rng, 5 * multiplier), (2, 1), (1, 2), ((1, 0), (0, 1)), 5)
    assert op.depthwise == (multiplier == 1)
    got = onnxruntime("Conv", [x, weight, op.bias], strides=[2, 1], dilations=[1, 2], pads=[1, 0, 0, 1], group=5)
    same(op, got, x)


@exactly
@given(st.data(), st.sampled_from([1, 2, 3]), st.integers(0, 2**31))
def test_conv_transpose(data: st.DataObject, rank: int, seed: int) -> None:
    w = data.draw(windows(rank))
    groups = data.draw(st.sampled_from([1, 2, 3]))
    inputs, outputs = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    # onnxruntime wants less output padding than stride; wider dilation is tried by loops below.
    extra = tuple(data.draw(st.integers(0, s - 1)) for s in w["stride"])
    rng = np.random.default_rng(seed)
    x = whole(rng, data.draw(st.integers(1, 2)), groups * inputs, *w["size"])
    weight, bias = whole(rng, groups * inputs, outputs, *w["kernel"]), whole(rng, groups * outputs)
    op = ConvTranspose(weight, bias, w["stride"], w["dilation"], w["pads"], extra, groups)
    sizes = [
        (n - 1) * s + d * (k - 1) + 1 - sum(p) + e
        for n, s, d, k, p, e in zip(w["size"], w["stride"], w["dilation"], w["kernel"], w["pads"], extra, strict=True)
    ]
    assume(min(sizes) >= 1)
    got = onnxruntime(
        "ConvTranspose", [x, weight, bias], strides=w["stride"], dilations=w["dilation"], pads=onnx_pads(w["pads"]),
        output_padding=extra, group=groups,
    )  # fmt: skip
    same(op, got, x)


def test_conv_transpose_with_more_output_padding_than_stride() -> None:
    rng = np.random.default_rng(0)
    x, weight = whole(rng, 1, 2, 4), whole(rng, 2, 3, 2)
    op = ConvTranspose(weight, whole(rng, 3), (1,), (3,), ((1, 0),), (2,))
    y = np.tile(op.bias[None, :, None], (1, 1, 8))
    for i, o, position, tap in itertools.product(range(2), range(3), range(4), range(2)):
        at = position + 3 * tap - 1
        if 0 <= at < 8:
            y[0, o, at] += x[0, i, position] * weight[i, o, tap]
    np.testing.assert_array_equal(op.reference(x), y)


@pytest.mark.parametrize("shape", [(2, 7), (3, 4, 2), (1, 2, 3, 3)], ids=str)
def test_dense_flattens_in_row_major_order(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    features = math.prod(shape[1:])
    x, op = whole(rng, *shape), Dense(whole(rng, 5, features), whole(rng, 5))
    got = onnxruntime("Gemm", [x.reshape(shape[0], features), op.weight, op.bias], transB=1)
    same(op, got, x)


@exactly
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int, dilation: int) -> None:
    ((before, after),) = same_pads((size,), (kernel,), (stride,), (dilation,))
    x, weight = np.arange(1.0, size + 1).reshape(1, 1, size), np.ones((1, 1, kernel))
    op = Conv(weight, np.zeros(1), (stride,), (dilation,), ((before, after),))
    assert op.infer(x.shape)[2] == -(-size // stride)
    assert 0 <= after - before <= 1
    if dilation == 1 and kernel >= stride:  # onnxruntime has no dilation, and crops where kernels leave gaps
        same(op, onnxruntime("Conv", [x, weight], strides=[stride], auto_pad="SAME_UPPER"), x)


# ---- pools ----


def pooled(
    x: NDArray[np.float64], op: Pool, sizes: Sequence[int], reduce: Callable[[list[float], int], float]
) -> NDArray[np.float64]:
    """A pool element by element; ``reduce`` gets what is inside, and how many taps are inside the padded input."""
    y = np.empty((*x.shape[:2], *sizes))
    for at in itertools.product(*map(range, y.shape)):
        inside, counted = [], 0
        for tap in itertools.product(*map(range, op.kernel)):
            position = [
                o * s + t * d - p[0] for o, s, t, d, p in zip(at[2:], op.stride, tap, op.dilation, op.pads, strict=True)
            ]
            if all(0 <= i < n for i, n in zip(position, x.shape[2:], strict=True)):
                inside.append(float(x[(*at[:2], *position)]))
            counted += all(-p[0] <= i < n + p[1] for i, n, p in zip(position, x.shape[2:], op.pads, strict=True))
        y[at] = reduce(inside, counted)
    return y


@st.composite
def pools(draw: st.DrawFn, kind: str) -> tuple[Pool, tuple[int, ...]]:
    w = draw(windows(draw(st.sampled_from([1, 2, 3]))))
    dilation = w["dilation"]
    # Every window has to reach into the input.
    pads = tuple(
        (min(before, k - 1), min(behind, k - 1)) for (before, behind), k in zip(w["pads"], w["kernel"], strict=True)
    )
    counted, p = draw(st.booleans()), float(draw(st.integers(1, 4)))
    op = Pool(kind, w["kernel"], w["stride"], dilation, pads, draw(st.booleans()), counted, p)
    size = tuple(max(n, d) for n, d in zip(w["size"], dilation, strict=True))
    assume(all(window_count(*window) >= 1 for window in zip(size, op.kernel, op.stride, dilation, pads, strict=True)))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size)
    return op, shape


@exactly
@given(pools("max"), st.integers(0, 2**31))
def test_max_pool(drawn: tuple[Pool, tuple[int, ...]], seed: int) -> None:
    op, shape = drawn
    x = normal(np.random.default_rng(seed), *shape)
    got = onnxruntime(
        "MaxPool", [x], kernel_shape=op.kernel, strides=op.stride, dilations=op.dilation, pads=onnx_pads(op.pads),
        ceil_mode=int(op.ceil_mode),
    )  # fmt: skip
    same(op, got, x)
    np.testing.assert_array_equal(op.reference(x), pooled(x, op, got.shape[2:], lambda inside, _: max(inside)))


@exactly
@given(pools("average"), st.integers(0, 2**31))
def test_average_pool(drawn: tuple[Pool, tuple[int, ...]], seed: int) -> None:
    op, shape = drawn
    x = whole(np.random.default_rng(seed), *shape)
    y = op.reference(x)

    def mean(inside: list[float], counted: int) -> float:
        return sum(inside) / (counted if op.count_include_pad else len(inside))

    np.testing.assert_array_equal(y, pooled(x, op, y.shape[2:], mean))
    # What a ceiling window reaches beyond the padding counts in some versions of onnxruntime.
    if not (op.ceil_mode and op.count_include_pad):
        got = onnxruntime(
            "AveragePool", [x], kernel_shape=op.kernel, strides=op.stride, dilations=op.dilation,
            pads=onnx_pads(op.pads), ceil_mode=int(op.ceil_mode), count_include_pad=int(op.count_include_pad),
        )  # fmt: skip
        within_bound(op, got, x)


@exactly
@given(pools("lp"), st.integers(0, 2**31))
def test_lp_pool(drawn: tuple[Pool, tuple[int, ...]], seed: int) -> None:
    op, shape = drawn
    x = normal(np.random.default_rng(seed), *shape)
    got = onnxruntime(
        "LpPool", [x], kernel_shape=op.kernel, strides=op.stride, dilations=op.dilation, pads=onnx_pads(op.pads),
        ceil_mode=int(op.ceil_mode), p=int(op.p),
    )  # fmt: skip
    within_bound(op, got, x)

    def norm(inside: list[float], counted: int) -> float:
        return math.fsum(abs(v) ** op.p for v in inside) ** (1 / op.p)

    np.testing.assert_allclose(op.reference(x), pooled(x, op, got.shape[2:], norm), rtol=1e-12)


def test_a_ceiling_window_must_start_inside_or_in_front() -> None:
    # 5 elements and one of padding, windows of 2 every 3: the third would start in the padding behind.
    assert Pool("max", (2,), (3,), (1,), ((1, 1),), True).infer((1, 1, 5)) == (1, 1, 2)
    assert Pool("max", (2,), (3,), (1,), ((1, 1),), True).infer((1, 1, 6)) == (1, 1, 3)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 4, 3, 5), (1, 2, 1, 1)], ids=str)
def test_global_pool(kind: str, shape: tuple[int, ...]) -> None:
    x = normal(np.random.default_rng(0), *shape)
    within_bound(GlobalPool(kind), onnxruntime(f"Global{kind.capitalize()}Pool", [x]), x)


# ---- resize ----


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("size", [(6, 8), (9, 4), (3, 4), (7, 5), (2, 3), (1, 1), (13, 11)], ids=str)
def test_bilinear_resize(coordinates: str, size: tuple[int, int]) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 3, 4)
    op = Resize(size, "bilinear", coordinates)
    if coordinates == "align_corners" and size == (1, 1):
        # 0/0 in ONNX's formula; the first element here, as in PyTorch.
        np.testing.assert_array_equal(op.reference(x), x[:, :, :1, :1])
        return
    got = onnxruntime(
        "Resize", [x, None, None, np.array([2, 3, *size])], mode="linear", coordinate_transformation_mode=coordinates
    )
    # onnxruntime's positions are float32: a pixel's weight may be off by a few roundings of the position.
    y = op.bounded(Bounded.exact(x), rounding=FLOAT32)
    assert worst(got - y.value, y.error + 32 * FLOAT32.unit * np.abs(x).max()) <= 1


@pytest.mark.parametrize("size", [(3, 4), (6, 8), (9, 4), (7, 5), (2, 3), (1, 1), (49, 10)], ids=str)
def test_nearest_resize_takes_the_floor(size: tuple[int, int]) -> None:
    x = normal(np.random.default_rng(0), 1, 2, 3, 4)
    y = np.empty((1, 2, *size))
    for h, w in itertools.product(*map(range, size)):
        y[:, :, h, w] = x[:, :, h * 3 // size[0], w * 4 // size[1]]
    same(Resize(size, "nearest", "asymmetric"), y.astype(np.float32), x)


@pytest.mark.parametrize("scale", [(1, 2), (2, 2), (4, 3)], ids=str)
def test_nearest_upsampling_is_onnxs(scale: tuple[int, int]) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 3, 4)
    size = (3 * scale[0], 4 * scale[1])
    got = onnxruntime(
        "Resize", [x, None, None, np.array([2, 3, *size])], mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    same(Resize(size, "nearest", "asymmetric"), got, x)


# ---- sampling ----


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("border", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("space", [(5, 4), (2, 7), (1, 3), (3, 4, 2)], ids=str)
def test_grid_sample(space: tuple[int, ...], mode: str, border: str, align_corners: bool) -> None:
    rng = np.random.default_rng(len(space))
    if mode == "bicubic" and len(space) == 3:
        with pytest.raises(ShapeError, match="two spatial axes only"):
            GridSample(mode, border, align_corners).infer((1, 2, *space), (1, 2, 3, 4, 3))
        return
    x, grid = normal(rng, 2, 3, *space), f32(rng.uniform(-2.5, 2.5, (2, *(3, 6, 2)[: len(space)], len(space))))
    names = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
    got = onnxruntime("GridSample", [x, grid], mode=names[mode], padding_mode=border, align_corners=int(align_corners))
    within_bound(GridSample(mode, border, align_corners), got, x, grid)
    constant = GridSample(mode, border, align_corners, grid)
    np.testing.assert_array_equal(constant.reference(x), GridSample(mode, border, align_corners).reference(x, grid))


@pytest.mark.parametrize("border", ["zeros", "border", "reflection"])
def test_grid_sample_at_no_place(border: str) -> None:
    """NaN and infinity read nothing outside the input."""
    x, grid = np.ones((1, 1, 3, 3)), np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]).reshape(1, 1, 3, 2)
    for mode in ("bilinear", "nearest", "bicubic"):
        y = GridSample(mode, border, False).reference(x, grid)
        np.testing.assert_allclose(y, 0.0 if border == "zeros" else 1.0)


# ---- activations ----

GRID = np.concatenate([np.linspace(-30, 30, 4001), np.linspace(-1e-3, 1e-3, 401), [-100.0, 100.0, -0.0, 1e-30, -1e-30]])
GRID = GRID.astype(np.float32).astype(np.float64)


def grid_of(kind: str) -> NDArray[np.float64]:
    if kind not in DOMAIN:
        return GRID
    return np.linspace(*DOMAIN[kind], 4001).astype(np.float32).clip(*DOMAIN[kind]).astype(np.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


SCALAR: dict[str, Callable[..., float]] = {
    "relu": lambda x: max(x, 0.0),
    "clip": lambda x, min, max: sorted([min, x, max])[1],
    "leaky_relu": lambda x, alpha: x if x > 0 else alpha * x,
    "elu": lambda x, alpha: x if x > 0 else alpha * math.expm1(x),
    "selu": lambda x, alpha, gamma: gamma * (x if x > 0 else alpha * math.expm1(x)),
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda x, alpha, beta: sorted([0.0, alpha * x + beta, 1.0])[1],
    "hard_swish": lambda x: x * sorted([0.0, x + 3, 6.0])[1] / 6,
    "silu": lambda x: x * sigmoid(x),
    "tanh": math.tanh,
    "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "gelu_tanh": lambda x: x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "mish": lambda x: x * math.tanh(max(x, 0.0) + math.log1p(math.exp(-abs(x)))),
    "abs": abs,
    "neg": lambda x: -x,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "reciprocal": lambda x: 1 / x,
    "erf": lambda x: 1 - math.erfc(x) if x > 0.5 else math.erf(x),
    "sin": math.sin,
    "cos": math.cos,
    "tan": lambda x: math.sin(x) / math.cos(x),
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "asinh": math.asinh,
    "acosh": math.acosh,
    "atanh": math.atanh,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,  # halves to even, as in ONNX
    "sign": lambda x: (x > 0) - (x < 0),
    "trunc": math.trunc,
    "is_nan": lambda x: float(math.isnan(x)),
    "is_inf": lambda x: float(math.isinf(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "log_sigmoid": lambda x: min(x, 0.0) - math.log1p(math.exp(-abs(x))),
    "celu": lambda x, alpha: max(0.0, x) + min(0.0, alpha * math.expm1(x / alpha)),
    "thresholded_relu": lambda x, alpha: x if x > alpha else 0.0,
    "shrink": lambda x, lambd, bias: x - bias if x > lambd else x + bias if x < -lambd else 0.0,
}
"""Every function again, from its paper or documentation, one number at a time."""

ONNX = {
    "relu": "Relu", "leaky_relu": "LeakyRelu", "elu": "Elu", "selu": "Selu", "sigmoid": "Sigmoid",
    "hard_sigmoid": "HardSigmoid", "hard_swish": "HardSwish", "tanh": "Tanh", "gelu": "Gelu", "gelu_tanh": "Gelu",
    "softplus": "Softplus", "mish": "Mish", "softsign": "Softsign", "celu": "Celu", "shrink": "Shrink",
    "thresholded_relu": "ThresholdedRelu",
    **{kind: kind.capitalize() for kind in (
        "abs", "neg", "exp", "log", "sqrt", "reciprocal", "erf", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
        "cosh", "asinh", "acosh", "atanh", "floor", "ceil", "round", "sign",
    )},
}  # fmt: skip

VARIANTS = [
    *((kind, {}) for kind in ACTIVATIONS),
    ("clip", {"min": -1.5, "max": 0.25}),
    ("clip", {"min": -math.inf, "max": 1.0}),
    ("leaky_relu", {"alpha": 0.3}),
    ("leaky_relu", {"alpha": -2.0}),
    ("elu", {"alpha": 2.5}),
    ("selu", {"alpha": 1.5, "gamma": 2.0}),
    ("hard_sigmoid", {"alpha": 0.2, "beta": 0.25}),
    ("celu", {"alpha": 0.5}),
    ("thresholded_relu", {"alpha": -1.5}),
    ("shrink", {"lambd": 1.5, "bias": 0.5}),
]


@pytest.mark.parametrize(("kind", "parameters"), VARIANTS, ids=str)
def test_activation(kind: str, parameters: dict[str, float]) -> None:
    op, x = Activation.of(kind, **parameters), grid_of(kind)
    y = op.reference(x)
    expected = np.array([SCALAR[kind](float(v), **op.parameters) for v in x])
    # Either side takes a few float64 steps; near their zeros these are as good as x is large, or 1.
    absolute = {"gelu", "gelu_tanh", "hard_swish", "hard_sigmoid", "erf", "log_sigmoid", "celu", "log"}
    scale = np.abs(x) + (np.abs(y) if kind in ("log", "erf") else 0) if kind in absolute else np.abs(expected)
    assert worst(y - expected, 32 * FLOAT64.unit * scale) <= 1
    if kind in ONNX:
        extra: dict[str, Any] = {"approximate": "tanh" if kind == "gelu_tanh" else "none"} if "gelu" in kind else {}
        got = onnxruntime(ONNX[kind], [x], **{**extra, **op.parameters})
        # onnxruntime's elu is exp(x) - 1, its sigmoid a fraction of polynomials: good to a few roundings of 1.
        bound = op.bounded(Bounded.exact(x), rounding=FLOAT32).error
        assert worst(got - y, bound + 8 * FLOAT32.unit) <= 1


@pytest.mark.parametrize(
    ("kind", "outside"),
    [("log", -1.0), ("sqrt", -1.0), ("asin", 1.5), ("acos", -1.5), ("acosh", 0.5), ("atanh", 2.0)],
)
def test_outside_its_domain_a_function_is_not_a_number(kind: str, outside: float) -> None:
    assert np.isnan(Activation.of(kind).reference(np.array([outside])))


@pytest.mark.parametrize(("kind", "pole"), [("log", 0.0), ("reciprocal", 0.0), ("atanh", 1.0)])
def test_at_a_pole_a_function_is_infinite(kind: str, pole: float) -> None:
    assert np.isinf(Activation.of(kind).reference(np.array([pole])))


def test_every_activation_has_an_oracle() -> None:
    assert set(SCALAR) == set(ACTIVATIONS)


def test_relu6_and_swish_are_other_names() -> None:
    np.testing.assert_array_equal(Activation.of("relu6").reference(GRID), np.clip(GRID, 0, 6))
    np.testing.assert_array_equal(Activation.of("swish").reference(GRID), Activation.of("silu").reference(GRID))


@pytest.mark.parametrize(("kind", "parameters"), VARIANTS, ids=str)
@pytest.mark.parametrize("error", [1e-3, 0.3, 2.0])
def test_functions_move_no_further_than_they_say(kind: str, parameters: dict[str, float], error: float) -> None:
    """No function moves further, from any number to any other within the error, and some function moves that far."""
    op = Activation.of(kind, **parameters)
    rule, low_high = ACTIVATIONS[kind], DOMAIN.get(kind, (-8.0, 8.0))
    x = np.linspace(*low_high, 5001)
    claimed = rule.spread(rule.function, x, np.full(x.shape, error), op.parameters)
    ratios = []
    for part in (-1, -0.99, -0.5, -0.1, 0.1, 0.5, 0.99, 1):
        moved = np.abs(op.reference(x + part * error) - op.reference(x))
        # Outside the domain anything may come out, and the claim has to say so.
        unsaid = np.isnan(moved) & np.isfinite(claimed)
        assert not unsaid.any(), f"at {x[unsaid][0]}"
        ratios.append(worst(np.where(np.isnan(moved) | np.isinf(claimed), 0, moved), claimed * (1 + 1e-9) + 1e-12))
    assert max(ratios) <= 1
    if error == 1e-3 and kind not in ("shrink", "is_nan", "is_inf"):
        assert max(ratios) > 0.85, "a bound that is too loose hides errors"


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 4), (2, 3, 4, 5)], ids=str)
def test_prelu(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, slope = normal(rng, *shape), normal(rng, 3)
    got = onnxruntime("PRelu", [x, slope.reshape(3, *(1,) * (len(shape) - 2))])
    within_bound(PRelu(slope), got, x)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_softmax(axis: int) -> None:
    x = 10 * normal(np.random.default_rng(axis), 2, 3, 4, 5)
    within_bound(Softmax(axis), onnxruntime("Softmax", [x], axis=axis), x)
    slow = np.apply_along_axis(lambda v: [1 / sum(math.exp(b - a) for b in v) for a in v], axis, x)
    np.testing.assert_allclose(Softmax(axis).reference(x), slow, rtol=1e-13, atol=0)


# ---- normalisation, elementwise, moves ----


@pytest.mark.parametrize("shape", [(2, 5), (1, 5, 3), (2, 5, 3, 2)], ids=str)
@pytest.mark.parametrize("epsilon", [0.0, 1e-5, 1e-3])
def test_batch_norm(shape: tuple[int, ...], epsilon: float) -> None:
    rng = np.random.default_rng(0)
    x, (gamma, beta, mean), variance = normal(rng, *shape), normal(rng, 3, 5), np.abs(normal(rng, 5)) + 0.125
    op = BatchNorm(gamma, beta, mean, variance, epsilon)
    within_bound(op, onnxruntime("BatchNormalization", [x, gamma, beta, mean, variance], epsilon=epsilon), x)
    y = op.reference(x)
    for at in itertools.product(*map(range, shape)):
        c = at[1]
        slow = gamma[c] * (x[at] - mean[c]) / math.sqrt(variance[c] + epsilon) + beta[c]
        assert math.isclose(y[at], slow, rel_tol=1e-14, abs_tol=1e-14)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3, 2)], ids=str)
def test_affine(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, op = whole(rng, *shape), Affine(whole(rng, 5), whole(rng, 5))
    y = op.reference(x)
    for at in itertools.product(*map(range, shape)):
        assert y[at] == op.scale[at[1]] * x[at] + op.shift[at[1]]


BROADCASTS = [
    ((2, 3, 4, 5), (2, 3, 4, 5)), ((2, 3, 4, 5), (2, 3, 1, 1)), ((1, 1, 4, 5), (2, 3, 1, 1)), ((2, 3), (1, 3)),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "min", "max"])
@pytest.mark.parametrize(("a", "b"), BROADCASTS, ids=str)
def test_binary(kind: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y, name = whole(rng, *a), whole(rng, *b), kind.capitalize()
    same(Binary(kind), onnxruntime(name, [x, y]), x, y)
    within_bound(Binary(kind), onnxruntime(name, [x / 3, y / 7]), *(f32(x / 3), f32(y / 7)))


@pytest.mark.parametrize("kind", ["div", "pow"])
@pytest.mark.parametrize(("a", "b"), BROADCASTS, ids=str)
def test_quotient_and_power(kind: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = f32(rng.uniform(0.1, 4, a)), f32(rng.uniform(-3, 3, b))
    within_bound(Binary(kind), onnxruntime(kind.capitalize(), [x, y]), x, y)
    slow = np.vectorize(lambda p, q: p / q if kind == "div" else math.pow(p, q))(x, y)
    np.testing.assert_allclose(Binary(kind).reference(x, y), slow, rtol=1e-14)


@pytest.mark.parametrize("kind", COMPARISONS)
@pytest.mark.parametrize(("a", "b"), BROADCASTS, ids=str)
def test_comparison(kind: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(-2, 3, a).astype(np.float64), rng.integers(-2, 3, b).astype(np.float64)
    x.flat[0], y.flat[-1] = np.inf, np.nan
    name = {"equal": "eq", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le"}[kind]
    with np.errstate(invalid="ignore"):
        slow = np.vectorize(getattr(operator, name))(x, y)
    same(Binary(kind), slow.astype(np.float32), x, y)


@pytest.mark.parametrize(("a", "b"), BROADCASTS, ids=str)
def test_remainder_and_mask(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = normal(rng, *a), normal(rng, *b)
    same(Binary("fmod"), np.vectorize(math.fmod)(x, y).astype(np.float32), x, y)
    chosen = rng.integers(-1, 2, b).astype(np.float64)
    x.flat[0] = np.inf  # which 0 times would be NaN
    slow = np.vectorize(lambda v, c: v if c else 0.0)(x, chosen)
    same(Binary("mask"), slow.astype(np.float32), x, chosen)


@pytest.mark.parametrize(
    ("kind", "a", "b", "wanted"),
    [
        ("equal", (3.0, 0.0), (3.0, 0.0), 0.0),
        ("equal", (3.0, 0.01), (3.1, 0.02), 0.0),
        ("equal", (3.0, 0.01), (3.02, 0.02), 1.0),
        ("less", (np.inf, 0.0), (np.inf, 0.0), 0.0),
        ("less", (3.0, 0.0), (3.0, 0.01), 1.0),
        ("mask", (3.0, 0.01), (1.0, 0.02), 0.01),
        ("mask", (3.0, 0.01), (0.0, 0.0), 0.0),
        ("mask", (3.0, 0.01), (0.01, 0.02), 3.01),
        ("fmod", (3.0, 0.0), (2.0, 0.0), 0.0),
        ("fmod", (4.0, 0.01), (2.0, 0.01), 4.02),
    ],
)
def test_jumps_are_exact_where_no_error_reaches_them(
    kind: str, a: tuple[float, float], b: tuple[float, float], wanted: float
) -> None:
    x, y = (Bounded(np.array([v]), np.array([e])) for v, e in (a, b))
    assert Binary(kind).bounded(x, y, rounding=FLOAT32).error == pytest.approx(wanted, abs=1e-30)


def test_division_by_zero_is_what_a_device_does() -> None:
    y = Binary("div").reference(np.array([1.0, -1.0, 0.0]), np.zeros(3))
    np.testing.assert_array_equal(y, [np.inf, -np.inf, np.nan])


@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((1, 3, 4), (6, 4, 1)), ((2, 1, 3, 4), (1, 5, 4, 2))],
    ids=str,
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = whole(rng, *a), whole(rng, *b)
    same(MatMul(), onnxruntime("MatMul", [x, y]), x, y)
    within_bound(MatMul(), onnxruntime("MatMul", [f32(x / 3), f32(y / 7)]), f32(x / 3), f32(y / 7))


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("axes", [(0,), (1,), (3,), (2, 3), (0, 2), (0, 1, 2, 3)], ids=str)
def test_reduce(kind: str, axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = normal(rng, 2, 3, 4, 5)
    op = Reduce(kind, axes)
    within_bound(op, onnxruntime(f"Reduce{kind.capitalize()}", [x, np.array(axes)], keepdims=1), x)
    if kind in ("sum", "max", "min"):
        x = whole(rng, 2, 3, 4, 5)
        same(op, onnxruntime(f"Reduce{kind.capitalize()}", [x, np.array(axes)], keepdims=1), x)


def rows_in_order(x: NDArray[np.float64], axis: int, largest: bool, last: bool) -> Iterator[tuple[Any, list[int]]]:
    """The position of each row, and the indices of its elements in order."""
    others = [range(1) if a == axis else range(n) for a, n in enumerate(x.shape)]
    for at in itertools.product(*others):
        whole = tuple(slice(None) if a == axis else i for a, i in enumerate(at))
        keys = [((-v if largest else v), (-k if last else k)) for k, v in enumerate(x[whole].tolist())]
        yield whole, sorted(range(len(keys)), key=keys.__getitem__)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(("axis", "count"), [(0, 1), (0, 2), (1, 1), (1, 3), (3, 4), (2, 1)])
def test_top(axis: int, count: int, largest: bool, last: bool) -> None:
    x = np.random.default_rng(0).integers(-2, 3, (4, 3, 5, 6)).astype(np.float64)  # with many ties
    shape = tuple(count if a == axis else n for a, n in enumerate(x.shape))
    values, places = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for at, order in rows_in_order(x, axis, largest, last):
        places[at] = order[:count]
        values[at] = x[at][order[:count]]
    same(Top(axis, count, largest, last), places, x)
    same(Top(axis, count, largest, last, "values"), values, x)


def test_where_an_element_is_may_be_anything_where_errors_reach_another() -> None:
    x = Bounded(np.array([[1.0, 3.0, 3.01, 7.0]]), np.array([[0.0, 0.01, 0.01, 0.0]]))
    assert Top(1, 4).bounded(x, rounding=FLOAT32).error.tolist() == [[FLOAT32.tiny, 3, 3, FLOAT32.tiny]]
    assert Top(1, 4).bounded(Bounded.exact(np.array([[1.0, 3.0, 3.0, 7.0]])), rounding=FLOAT32).error.max() < 1e-30


def test_take() -> None:
    x, index = normal(np.random.default_rng(0), 2, 7, 5), np.array([6, 0, 0, 3])
    same(Take(1, index.astype(np.float64)), onnxruntime("Gather", [x, index], axis=1), x)
    for wrong in (7.0, -1.0, 1.5):
        with pytest.raises(ShapeError, match="from 0 to 6"):
            Take(1, np.array([wrong])).infer(x.shape)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_concat(axis: int) -> None:
    rng = np.random.default_rng(0)
    parts = [normal(rng, *(n if a == axis else m for a, m in enumerate((2, 3, 4, 5)))) for n in (1, 4, 2)]
    same(Concat(axis), onnxruntime("Concat", parts, axis=axis), *parts)


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_pad(value: float) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 4, 5)
    pads = ((0, 0), (1, 0), (2, 3), (0, 4))
    same(Pad(pads, value), onnxruntime("Pad", [x, np.array(onnx_pads(pads)), np.array(value)]), x)


@pytest.mark.parametrize("mode", ["edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [((0, 0), (1, 0), (2, 3), (0, 4)), ((1, 1), (2, 2), (0, 0), (1, 0))], ids=str)
def test_pad_with_the_input_itself(mode: str, pads: tuple[tuple[int, int], ...]) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 4, 5)
    same(Pad(pads, 0.0, mode), onnxruntime("Pad", [x, np.array(onnx_pads(pads))], mode=mode), x)


def test_select_is_a_slice() -> None:
    x = normal(np.random.default_rng(0), 2, 7, 5)
    same(Select((0, 1, 4), (1, 2, -1), (2, 3, 5)), x[:, 1:7:2, ::-1].astype(np.float32), x)
    arguments = [np.array(v) for v in ([1, 4], [7, -6], [1, 2], [2, -1])]
    same(Select((0, 1, 4), (1, 2, -1), (2, 3, 5)), onnxruntime("Slice", [x, *arguments]), x)


def test_select_is_a_repetition() -> None:
    x = normal(np.random.default_rng(0), 2, 3, 4)
    got = onnxruntime("Tile", [x, np.array([1, 3, 2])])
    same(Select((0, 0, 0), (1, 1, 1), (2, 9, 8)), got, x)
    same(Select((1, 2, 3), (0, 0, 0), (2, 3, 4)), np.full((2, 3, 4), x[1, 2, 3], np.float32), x)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))), ids=str)
def test_transpose(axes: tuple[int, ...]) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 4)
    same(Transpose(axes), onnxruntime("Transpose", [x], perm=axes), x)


def test_reshape() -> None:
    x = normal(np.random.default_rng(0), 2, 3, 4)
    same(Reshape((4, 6)), onnxruntime("Reshape", [x, np.array([4, 6])]), x)


def test_a_launch_is_its_stages_one_after_the_other() -> None:
    rng = np.random.default_rng(0)
    x, r, gate = normal(rng, 1, 3, 4), normal(rng, 1, 5, 4), normal(rng, 1, 5, 1)
    conv = Conv(normal(rng, 5, 3, 1), normal(rng, 5), (1,), (1,), ((0, 0),))
    before, side = Affine(normal(rng, 3), normal(rng, 3)), Activation.of("tanh")
    launch = Fused(
        conv,
        1,
        (Stage(before),),
        (
            Stage(Binary("sub"), 1, swapped=True),
            Stage(Activation.of("relu")),
            Stage(Binary("mul"), 2, through=(Stage(side),)),
        ),
    )
    y = np.maximum(r - conv.reference(before.reference(x)), 0) * np.tanh(gate)
    np.testing.assert_array_equal(launch.reference(x, r, gate), y)
    assert launch.infer(x.shape, r.shape, gate.shape) == y.shape
