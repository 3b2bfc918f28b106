"""The error bounds of operators against real float32 arithmetic, and against being too loose to catch anything."""

from __future__ import annotations

import numpy as np
import pytest
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
    GlobalPool,
    GridSample,
    Identity,
    MatMul,
    Op,
    Pad,
    Pool,
    PRelu,
    Reduce,
    Reshape,
    Resize,
    RunningSum,
    Select,
    Softmax,
    Take,
    Top,
    Transpose,
)
from codegen.graph.ops.activation import ACTIVATIONS
from tests.support.values import DOMAIN, f32, normal, worst

STEPS = {
    "floor", "ceil", "round", "sign", "trunc", "is_nan", "is_inf", "thresholded_relu", "shrink",
    "equal", "argmax", "argmin", "top_indices",
}  # fmt: skip


RNG = np.random.default_rng(7)
X = normal(RNG, 2, 6, 7, 5)
STATISTICS = (normal(RNG, 6), normal(RNG, 6), normal(RNG, 6), np.abs(normal(RNG, 6)) + 0.125)

PLACES = np.random.default_rng(8).uniform(-1.2, 1.2, (2, 4, 5, 2)).astype(np.float32).astype(np.float64)

BOUNDED: dict[str, tuple[Op, tuple[NDArray[np.float64], ...]]] = {
    "conv": (Conv(normal(RNG, 4, 3, 3, 2), normal(RNG, 4), (1, 2), (2, 1), ((1, 0), (2, 1)), 2), (X,)),
    "depthwise": (Conv(normal(RNG, 6, 1, 3, 3), normal(RNG, 6), (1, 1), (1, 1), ((1, 1), (1, 1)), 6), (X,)),
    "conv_transpose": (
        ConvTranspose(normal(RNG, 6, 2, 3, 3), normal(RNG, 4), (2, 1), (1, 2), ((1, 0), (0, 1)), (1, 0), 2), (X,),
    ),
    "dense": (Dense(normal(RNG, 5, 210), normal(RNG, 5)), (X,)),
    "batch_norm": (BatchNorm(*STATISTICS, 1e-3), (X,)),
    "affine": (Affine(normal(RNG, 6), normal(RNG, 6)), (X,)),
    "prelu": (PRelu(2 * normal(RNG, 6)), (X,)),
    "max_pool": (Pool("max", (3, 2), (2, 1), (1, 1), ((1, 1), (0, 1))), (X,)),
    "average_pool": (Pool("average", (3, 2), (2, 1), (1, 1), ((1, 1), (0, 1))), (X,)),
    "average_pool_counted": (Pool("average", (3, 2), (2, 1), (1, 1), ((1, 1), (0, 1)), True, True), (X,)),
    "global_average": (GlobalPool("average"), (X,)),
    "global_max": (GlobalPool("max"), (X,)),
    "bilinear": (Resize((9, 11), "bilinear", "half_pixel"), (X,)),
    "nearest": (Resize((9, 11), "nearest", "asymmetric"), (X,)),
    "trilinear": (Resize((3, 9, 4), "bilinear", "align_corners"), (X[:, :, None],)),
    "antialias": (Resize((3, 4), "bicubic", "half_pixel", antialias=True), (X,)),
    "crop": (Resize((4, 4), "bilinear", "tf_crop_and_resize", roi=((-0.2, 0.9), (0.5, 1.2)), outside=1.7), (X,)),
    "norm_1": (Pool("lp", (3, 2), (2, 1), (1, 1), ((1, 1), (0, 1)), p=1.0), (X,)),
    "norm_2": (Pool("lp", (3, 2), (2, 1), (1, 1), ((1, 1), (0, 1))), (X,)),
    "norm_3": (Pool("lp", (2, 2), (2, 1), (1, 2), ((1, 1), (0, 1)), p=3.0), (X,)),
    "average_dilated": (Pool("average", (3, 2), (1, 1), (2, 2), ((2, 1), (0, 1)), False, True), (X,)),
    "sample": (GridSample("bilinear", "reflection", False), (X, PLACES)),
    "sample_nearest": (GridSample("nearest", "border", False, PLACES), (X,)),
    "sample_cubic": (GridSample("bicubic", "zeros", True), (X, PLACES)),
    "softmax": (Softmax(1), (4 * X,)),
    "add": (Binary("add"), (X, normal(RNG, 2, 6, 1, 1))),
    "sub": (Binary("sub"), (X, normal(RNG, 2, 6, 7, 5))),
    "mul": (Binary("mul"), (X, normal(RNG, 1, 1, 7, 5))),
    "div": (Binary("div"), (X, 0.25 + np.abs(normal(RNG, 2, 6, 1, 1)))),
    "pow": (Binary("pow"), (0.25 + np.abs(X), normal(RNG, 1, 6, 7, 5))),
    "min": (Binary("min"), (X, normal(RNG, 2, 6, 7, 5))),
    "max": (Binary("max"), (X, normal(RNG, 2, 6, 7, 5))),
    "mask": (Binary("mask"), (X, np.round(normal(RNG, 2, 6, 1, 5)))),
    "equal": (Binary("equal"), (X, f32(X + RNG.choice([0, 1e-3, 1], X.shape)))),
    "argmax": (Top(1), (X,)),
    "argmin": (Top(3, 1, False, True), (X,)),
    "top_indices": (Top(2, 3), (X,)),
    "top_values": (Top(2, 3, part="values"), (X,)),
    "take": (Take(1, np.array([5.0, 0.0, 0.0, 2.0])), (X,)),
    "matmul": (MatMul(), (X, normal(RNG, 1, 6, 5, 3))),
    "reduce_sum": (Reduce("sum", (1, 2)), (X,)),
    "reduce_mean": (Reduce("mean", (0, 3)), (X,)),
    "reduce_max": (Reduce("max", (1,)), (X,)),
    "reduce_min": (Reduce("min", (2, 3)), (X,)),
    "running_sum": (RunningSum(2), (X,)),
    "running_sum_back": (RunningSum(1, True, True), (X,)),
    "reduce_prod": (Reduce("prod", (3,)), (X,)),
    "select": (Select((1, 0, 2, 4), (0, 1, 2, -1), (2, 6, 3, 5)), (X,)),
    "bicubic": (Resize((9, 11), "bicubic", "half_pixel"), (X,)),
    "pad_reflect": (Pad(((0, 0), (2, 1), (1, 2), (0, 1)), 0.0, "reflect"), (X,)),
    "concat": (Concat(1), (X, normal(RNG, 2, 1, 7, 5))),
    "pad": (Pad(((0, 0), (0, 0), (1, 2), (0, 1)), 0.1), (X,)),
    "transpose": (Transpose((0, 2, 3, 1)), (X,)),
    "reshape": (Reshape((2, 210)), (X,)),
    "identity": (Identity(), (X,)),
    **{kind: (Activation.of(kind), (4 * X,)) for kind in ACTIVATIONS if kind not in DOMAIN},
    **{
        kind: (Activation.of(kind), (f32(RNG.uniform(low + 0.02, high - 0.02, X.shape)),))
        for kind, (low, high) in DOMAIN.items()
    },
}  # fmt: skip

EXACT_SUMS = ("conv", "depthwise", "conv_transpose", "dense")


@pytest.mark.parametrize("name", BOUNDED)
def test_errors_of_inputs_stay_within_the_bound(name: str) -> None:
    """Inputs off by their error, in the direction that hurts or at random: the output is off by no more than it says.

    All in float64, so that only the propagation is tested.
    """
    op, inputs = BOUNDED[name]
    rng = np.random.default_rng(1)
    errors = [1e-3 * rng.random(x.shape) for x in inputs]
    y = op.bounded(*(Bounded(x, e) for x, e in zip(inputs, errors, strict=True)), rounding=FLOAT64)
    ratios = []
    for trial in range(60):
        signs = [(-1.0, 1.0)[trial] if trial < 2 else rng.choice([-1.0, 1.0], x.shape) for x in inputs]
        moved = op.reference(*(x + s * e for x, s, e in zip(inputs, signs, errors, strict=True)))
        ratios.append(worst(moved - y.value, y.error + 1e-14))
    assert max(ratios) <= 1
    assert max(ratios) > 0.3 or name in STEPS, "no element comes near its bound: it is too loose to catch anything"


@pytest.mark.parametrize("name", EXACT_SUMS)
def test_errors_of_inputs_add_up_to_the_bound(name: str) -> None:
    """Linear operators: for each output some choice of signs reaches |W| e, and the bound is no more than that."""
    op, inputs = BOUNDED[name]
    assert isinstance(op, Conv | ConvTranspose | Dense)
    e = 1e-3
    y = op.bounded(Bounded(inputs[0], np.full(inputs[0].shape, e)), rounding=FLOAT64)
    positive = type(op)(**{**vars(op), "weight": np.abs(op.weight), "bias": np.zeros_like(op.bias)})
    np.testing.assert_allclose(y.error, positive.reference(np.full(inputs[0].shape, e)), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", EXACT_SUMS)
def test_the_bound_of_a_sum_is_the_textbooks(name: str) -> None:
    """n additions: at least n u |W||x| / 2, so that no rounding breaks it; at most (n + 8) u (|W||x| + |b|)."""
    op, inputs = BOUNDED[name]
    assert isinstance(op, Conv | ConvTranspose | Dense)
    y = op.bounded(*map(Bounded.exact, inputs), rounding=FLOAT32)
    positive = type(op)(**{**vars(op), "weight": np.abs(op.weight), "bias": np.abs(op.bias)})
    scale = FLOAT32.unit * positive.reference(np.abs(inputs[0]))
    # Short sums go one term after the other, the 210 terms of dense in blocks of 16.
    count = {"conv": 18, "depthwise": 9, "conv_transpose": 27, "dense": 16 + 14}[name]
    assert worst(y.error, 1.001 * (count + 8) * scale) <= 1
    assert worst(count / 2 * scale, y.error) <= 1


@pytest.mark.parametrize("name", [n for n in BOUNDED if n not in EXACT_SUMS])
def test_bounds_are_not_absurd(name: str) -> None:
    """Bounds are at most 100 roundings of the largest number: a mistake in the last three digits is caught."""
    op, inputs = BOUNDED[name]
    y = op.bounded(*map(Bounded.exact, inputs), rounding=FLOAT32)
    largest = max(np.abs(y.value).max(), *(np.abs(x).max() for x in inputs), 1.0)
    # Statistics enlarge; a matrix's row has as many roundings as terms.
    # The position of a sample is rounded, too, and what it moves by goes with the slope of the taps.
    more = {"batch_norm": 10, "matmul": 10, "reduce_sum": 42, "bicubic": 2, "sample": 4, "sample_cubic": 8}
    largest *= more.get(name, 1)
    assert worst(y.error, 100 * FLOAT32.unit * largest) <= 1
    assert np.all(y.error > 0), "results may be flushed to zero"


@pytest.mark.parametrize("seed", range(10))
def test_float32_sums_in_any_order_are_within_the_bound(seed: int) -> None:
    """Forward, backward and sorted, on numbers of very different size, where the order matters."""
    rng = np.random.default_rng(seed)
    terms = 300
    sizes = 10.0 ** rng.integers(-3, 4, (2, terms))
    weight, x = (rng.standard_normal((2, terms)) * sizes).astype(np.float32).astype(np.float64)
    dense = Dense(weight[None], rng.standard_normal(1))
    y = dense.bounded(Bounded.exact(x[None]), rounding=FLOAT32)
    products = weight.astype(np.float32) * x.astype(np.float32)
    for order in (np.arange(terms), np.arange(terms)[::-1], np.argsort(products), np.argsort(-np.abs(products))):
        total = np.float32(dense.bias[0])
        for p in products[order]:
            total += p
        assert abs(float(total) - y.value[0, 0]) <= y.error[0, 0]


@pytest.mark.parametrize(
    ("a", "b", "bound"),
    [
        # In float32, 3e38 times -3e38 is minus infinity, and with the true infinity NaN: any result is right.
        ([3e38, np.inf], [-3e38, 1.0], np.inf),
        # A device may read the denormal number as 0, and 0 times infinity is NaN.
        ([1e-40, 1.0], [np.inf, 1.0], np.inf),
        # Infinity alone has to be infinity.
        ([2.0, np.inf], [3.0, 1.0], 0.0),
    ],
    ids=["overflow", "denormal", "infinity"],
)
def test_products_with_infinity(a: list[float], b: list[float], bound: float) -> None:
    one = np.array(a, np.float32).astype(np.float64).reshape(1, 1, 1, 2)
    other = np.array(b, np.float32).astype(np.float64).reshape(1, 1, 2, 1)
    y = MatMul().bounded(Bounded.exact(one), Bounded.exact(other), rounding=FLOAT32)
    assert np.isposinf(y.value)
    assert np.all(y.error == bound) if np.isinf(bound) else np.all(y.error < 1e-5)
    turned = MatMul().bounded(Bounded.exact(other.swapaxes(2, 3)), Bounded.exact(one.swapaxes(2, 3)), rounding=FLOAT32)
    assert np.array_equal(turned.error, y.error)
