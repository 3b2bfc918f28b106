"""Functions of ``keras.ops`` and TensorFlow in the place of layers, against numpy in the model's own order of axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.errors import SpecError
from codegen.importers.keras.functions import OPERATIONS
from codegen.importers.open import open_model
from tests.importers.test_import_keras import evaluate
from tests.support.keras_models import Layer, Net, source, write_h5, write_keras

N, H, W, C = 1, 4, 5, 3
# No number is twice in it, none is 0, and some are beyond -1 and 1.
X = ((np.arange(N * H * W * C) * 37 % 61) - 30.25).reshape(N, H, W, C) / 16
ONES = np.ones((1, 4, 5, 2))
MATRIX = np.linspace(-1, 1, 12).reshape(3, 4)
KERNEL = np.linspace(-1, 1, 24).reshape(2, 2, 3, 2)
ALL = slice(None)


@dataclass(frozen=True)
class Case:
    """A function of "x", which is X, of "h", the absolute values of X, and of "s", the cosines."""

    name: str
    expected: Callable[..., Any]
    config: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[Any, ...] = ("x",)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: Any) -> np.ndarray:
    return np.asarray(np.exp(x) / np.exp(x).sum(axis, keepdims=True))


def windows(x: np.ndarray) -> list[np.ndarray]:
    """The elements of 2x2 windows, one array for each position in them."""
    return [x[:, i : i + H - 1, j : j + W - 1] for i in range(2) for j in range(2)]


def each_channel(x: np.ndarray) -> np.ndarray:
    """Channel c makes the channels 2c and 2c + 1."""
    parts = zip(windows(x), KERNEL.reshape(4, 3, 2), strict=True)
    return np.asarray(sum(seen[..., None] * taps for seen, taps in parts)).reshape(1, 3, 4, 6)


def convolved(x: np.ndarray) -> np.ndarray:
    return np.asarray(sum(seen @ taps for seen, taps in zip(windows(x), KERNEL.reshape(4, 3, 2), strict=True)))


def attended(x: np.ndarray) -> np.ndarray:
    heads = x.transpose(0, 2, 1, 3)
    return (softmax(heads @ heads.transpose(0, 1, 3, 2) / math.sqrt(C), -1) @ heads).transpose(0, 2, 1, 3)


def in_blocks(x: np.ndarray) -> np.ndarray:
    """The four pixels of each 2x2 block one after the other, of the 4x4 pixels to the left."""
    return np.concatenate([x[:, i::2, j:4:2] for i in range(2) for j in range(2)], -1)


erf = np.vectorize(math.erf)
TWO = ("x", "s")

ELEMENTS = [
    Case("Abs", np.abs),
    Case("Absolute", np.abs),
    Case("Arccos", np.arccos, reads=("s",)),
    Case("Arccosh", lambda h: np.arccosh(h + 1), reads=(("h_plus_1", 0, 0),)),
    Case("Arcsin", np.arcsin, reads=("s",)),
    Case("Arcsinh", np.arcsinh),
    Case("Arctan", np.arctan),
    Case("Arctanh", lambda s: np.arctanh(s / 2), reads=(("half_s", 0, 0),)),
    Case("Cast", lambda x: (x != 0) * 1.0, {"dtype": "bool"}),
    Case("Cast", np.trunc, {"dtype": "int32"}),
    Case("Ceil", np.ceil),
    Case("Clip", lambda x: np.clip(x, -0.5, 0.75), {"x_min": -0.5, "x_max": 0.75}),
    Case("Copy", lambda x: x),
    Case("Cos", np.cos),
    Case("Cosh", np.cosh),
    Case("Erf", erf),
    Case("Exp", np.exp),
    Case("Exp2", np.exp2),
    Case("Expm1", np.expm1),
    Case("Floor", np.floor),
    Case("Isfinite", lambda x: np.ones(x.shape)),
    Case("Isinf", lambda x: np.zeros(x.shape)),
    Case("Isnan", lambda x: np.zeros(x.shape)),
    Case("Log", np.log, reads=("h",)),
    Case("Log10", np.log10, reads=("h",)),
    Case("Log1p", np.log1p, reads=("h",)),
    Case("Log2", np.log2, reads=("h",)),
    Case("Negative", np.negative),
    Case("Reciprocal", lambda x: 1 / x),
    Case("Round", np.round),
    Case("Rsqrt", lambda h: h**-0.5, reads=("h",)),
    Case("Sign", np.sign),
    Case("Sin", np.sin),
    Case("Sinh", np.sinh),
    Case("Sqrt", np.sqrt, reads=("h",)),
    Case("Square", np.square),
    Case("StopGradient", lambda x: x),
    Case("Tan", np.tan),
    Case("Tril", lambda x: np.tril(x, 1), {"k": 1}),
    Case("Triu", np.triu),
    Case("Trunc", np.trunc),
]

ACTIVATIONS = [
    Case("Celu", lambda x: np.where(x > 0, x, 2 * (np.exp(x / 2) - 1)), {"alpha": 2.0}),
    Case("Elu", lambda x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1)), {"alpha": 0.5}),
    Case("Gelu", lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, {"approximate": False}),
    Case("Gelu", lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2),
    Case("Glu", lambda x: x[:, :2] * sigmoid(x[:, 2:]), {"axis": 1}),
    Case("HardShrink", lambda x: np.where(np.abs(x) > 0.25, x, 0), {"threshold": 0.25}),
    Case("HardSigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    Case("HardSilu", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    Case("HardTanh", lambda x: np.clip(x, -1, 1)),
    Case("LeakyRelu", lambda x: np.where(x < 0, 0.5 * x, x), {"negative_slope": 0.5}),
    Case("LogSigmoid", lambda x: np.log(sigmoid(x))),
    Case("LogSoftmax", lambda x: np.log(softmax(x, 2)), {"axis": 2}),
    Case("Mish", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    Case("ReLU", lambda x: np.clip(x, 0, 0.5), {"max_value": 0.5}),
    Case("Relu", lambda x: np.maximum(x, 0)),
    Case("Relu6", lambda x: np.clip(x, 0, 6)),
    Case("Selu", lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1))),
    Case("Sigmoid", sigmoid),
    Case("Silu", lambda x: x * sigmoid(x)),
    Case("SoftShrink", lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.25, 0), {"threshold": 0.25}),
    Case("Softmax", lambda x: softmax(x, 1), {"axis": 1}),
    Case("Softplus", lambda x: np.log1p(np.exp(x))),
    Case("Softsign", lambda x: x / (1 + np.abs(x))),
    Case("SparsePlus", lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x))),
    Case("SparseSigmoid", lambda x: np.clip((x + 1) / 2, 0, 1)),
    Case("Squareplus", lambda x: (x + np.sqrt(x * x + 1)) / 2, {"b": 1}),
    Case("Tanh", np.tanh),
    Case("TanhShrink", lambda x: x - np.tanh(x)),
    Case("Threshold", lambda x: np.where(x > 0.5, x, -2), {"threshold": 0.5, "default_value": -2.0}),
]

ROW, COLUMN = np.arange(1.0, 4.0), np.arange(1.0, 6.0).reshape(5, 1)

ARITHMETIC = [
    Case("Add", np.add, reads=TWO),
    Case("Add", lambda x: x + ROW, reads=("x", ROW)),
    Case("Add", lambda x: x + COLUMN, reads=(COLUMN, "x")),
    Case("Divide", np.divide, reads=("s", "x")),
    Case("Divide", lambda x: 2.5 / x, reads=(2.5, "x")),
    Case("Divide", lambda x: x / ROW, reads=("x", ROW)),
    Case("Equal", lambda x: x * 0 + 1, reads=("x", "x")),
    Case("Greater", lambda x, s: (x > s) * 1.0, reads=TWO),
    Case("GreaterEqual", lambda x: (x >= X[0, 0, 0, 0]) * 1.0, reads=("x", float(X[0, 0, 0, 0]))),
    Case("Less", lambda x: (x < 0.5) * 1.0, reads=("x", 0.5)),
    Case("LessEqual", lambda x: (x <= ROW) * 1.0, reads=("x", ROW)),
    Case("Logaddexp", np.logaddexp, reads=TWO),
    Case("LogicalAnd", lambda x: (x > -1) * (x < 1) * 1.0, reads=("above", "below")),
    Case("LogicalAnd", lambda x: (x > -1) * 1.0, reads=(2.5, "above")),
    Case("LogicalXor", lambda x: (x <= -1) * 1.0, reads=("above", np.array([1.0, 2.0, 3.0]))),
    Case("LogicalNot", lambda x: (x <= -1) * 1.0, reads=("above",)),
    Case("LogicalOr", lambda x: x * 0 + 1, reads=("above", "below")),
    Case("LogicalXor", lambda x: (np.abs(x) >= 1) * 1.0, reads=("above", "below")),
    Case("Maximum", np.maximum, reads=TWO),
    Case("Maximum", lambda x: np.maximum(x, 0.25), reads=("x", 0.25)),
    Case("Minimum", np.minimum, reads=TWO),
    Case("Mod", lambda x: np.mod(x, 0.75), reads=("x", 0.75)),
    Case("Mod", lambda x: np.mod(x, -0.5), reads=("x", -0.5)),
    Case("Multiply", np.multiply, reads=TWO),
    Case("Multiply", lambda x: x * ROW, reads=(ROW, "x")),
    Case("NotEqual", lambda x, s: (x != s) * 1.0, reads=TWO),
    Case("Power", lambda x: x * x, reads=("x", 2)),
    Case("Power", lambda x: x**3, reads=("x", 3)),
    Case("Power", lambda x: 2.0**x, reads=(2.0, "x")),
    Case("Subtract", np.subtract, reads=TWO),
    Case("Subtract", lambda x: 3 - x, reads=(3, "x")),
    Case("TrueDivide", lambda x: x / 41, reads=("x", 41)),
    Case("Where", lambda x, s: np.where(x > -1, x, s), reads=("above", "x", "s")),
    Case("Where", lambda x: np.where(x > -1, 0.0, x), reads=("above", 0.0, "x")),
    Case("FullLike", lambda x: np.full(x.shape, 2.5), reads=("x", 2.5)),
    Case("OnesLike", lambda x: np.ones(x.shape)),
    Case("ZerosLike", lambda x: np.zeros(x.shape)),
]

SPACE = {"axis": [1, 2]}

REDUCTIONS = [
    Case("All", lambda x: (x > -1).all((1, 2)) * 1.0, SPACE, ("above",)),
    Case("Amax", lambda x: x.max(3), {"axis": -1}),
    Case("Amin", lambda x: x.min(1), {"axis": 1}),
    Case("Any", lambda x: (x > -1).any(2) * 1.0, {"axis": 2}, ("above",)),
    Case("Argmax", lambda x: x.argmax(3), {"axis": -1}),
    Case("Argmin", lambda x: x.argmin(1, keepdims=True), {"axis": 1, "keepdims": True}),
    Case("Argsort", lambda x: x.argsort(2), {"axis": 2}),
    Case("Average", lambda x: x.mean((1, 2)), SPACE),
    Case("Average", lambda x: np.average(x, 3, ROW), {"axis": -1}, ("x", ROW)),
    Case("CountNonzero", lambda x: (x > -1).sum((1, 2)), SPACE, ("above",)),
    Case("Cumsum", lambda x: x.cumsum(2), {"axis": 2}),
    Case("Logsumexp", lambda x: np.log(np.exp(x).sum((1, 3))), {"axis": [1, 3]}),
    Case("Max", lambda x: x.max((1, 2), keepdims=True), {**SPACE, "keepdims": True}),
    Case("Mean", lambda x: x.mean((1, 2)), SPACE),
    Case("Mean", lambda x: x.mean(3, keepdims=True), {"axis": -1, "keepdims": True}),
    Case("Mean", lambda x: x.mean(1), {"axis": 1}),
    Case("Min", lambda x: x.min((2, 3)), {"axis": [2, -1]}),
    Case("Norm", lambda x: np.sqrt((x * x).sum(1)), {"axis": 1}),
    Case("Norm", lambda x: np.abs(x).sum(3), {"axis": -1, "ord": 1}),
    Case("Normalize", lambda x: x / np.sqrt((x * x).sum(3, keepdims=True)), {"axis": -1}),
    Case("Prod", lambda x: x.prod(3), {"axis": -1}),
    Case("Sort", lambda x: np.sort(x, 1), {"axis": 1}),
    Case("Std", lambda x: x.std((1, 2)), SPACE),
    Case("Sum", lambda x: x.sum((1, 2, 3), keepdims=True), {"axis": [1, 2, 3], "keepdims": True}),
    Case("TopK", lambda x: np.sort(x)[..., :0:-1], {"k": 2}),
    Case("Var", lambda x: x.var((1, 2), keepdims=True), {**SPACE, "keepdims": True}),
]

SHAPES = [
    Case("BroadcastTo", lambda x: np.broadcast_to(x[None], (2, 1, 4, 5, 3)), {"shape": [2, 1, 4, 5, 3]}),
    Case("Concatenate", lambda x, s: np.concatenate([x, s], 1), {"axis": 1}, (["x", "s"],)),
    Case("Concatenate", lambda x: np.concatenate([x, ONES], -1), {"axis": -1}, (["x", ONES],)),
    Case("DepthToSpace", lambda s: s, {"block_size": 2}, (("deep", 0, 0),)),
    Case("ExpandDims", lambda x: x[:, None], {"axis": 1}),
    Case("ExpandDims", lambda x: x[..., None], {"axis": -1}),
    Case("Flip", lambda x: x[:, ::-1, :, ::-1], {"axis": [1, 3]}),
    Case("GetItem", lambda x: x[:, 0], reads=("x", [ALL, 0])),
    Case("GetItem", lambda x: x[..., 1:], reads=("x", [Ellipsis, slice(1, None)])),
    Case("GetItem", lambda x: x[:, ::-2, None, :, -1], reads=("x", [ALL, slice(None, None, -2), None, ALL, -1])),
    Case("Moveaxis", lambda x: np.moveaxis(x, 1, -1), {"source": 1, "destination": -1}),
    Case("Pad", lambda x: np.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)]), {"pad_width": [[0, 0], [1, 2], [0, 1], [0, 0]]}),
    Case(
        "Pad",
        lambda x: np.pad(x, [(0, 0), (1, 0), (0, 0), (0, 2)], constant_values=7),
        {"pad_width": [[0, 0], [1, 0], [0, 0], [0, 2]]},
        ("x", 7.0),
    ),
    Case("Ravel", np.ravel),
    Case("Repeat", lambda x: np.repeat(x, 3, 2), {"repeats": 3, "axis": 2}),
    Case("Reshape", lambda x: x.reshape(1, 20, 3), {"newshape": [-1, 20, 3]}),
    Case("Reshape", lambda x: x.reshape(1, 3, 20), {"newshape": [-1, 3, 20]}),
    Case("Roll", lambda x: np.roll(x, 2, 1), {"shift": 2, "axis": 1}),
    Case("SpaceToDepth", in_blocks, {"block_size": 2}, ("wide",)),
    Case("Split", lambda x: x[:, :2], {"indices_or_sections": 2, "axis": 1}),
    Case("Squeeze", lambda x: x[:, 0], {"axis": 1}, (("row", 0, 0),)),
    Case("Stack", lambda x, s: np.stack([x, s], -1), {"axis": -1}, (["x", "s"],)),
    Case("Swapaxes", lambda x: x.swapaxes(1, 3), {"axis1": 1, "axis2": -1}),
    Case("Take", lambda x: x[:, [2, 0, 2]], {"axis": 1}, ("x", [2, 0, 2])),
    Case("Take", lambda x: x[..., 1], {"axis": -1}, ("x", 1)),
    Case("Tile", lambda x: np.tile(x, (1, 2, 1, 2)), {"repeats": [1, 2, 1, 2]}),
    Case("Transpose", lambda x: x.transpose(0, 3, 1, 2), {"axes": [0, 3, 1, 2]}),
    Case("Unstack", lambda x: x[..., 0], {"axis": -1}),
]  # fmt: skip

PRODUCTS = [
    Case("AdaptiveAveragePool", lambda x: x.reshape(1, 2, 2, 5, 3).mean((2, 3))[:, :, None], {"output_size": [2, 1]}),
    Case("AdaptiveMaxPool", lambda x: x.max((1, 2), keepdims=True), {"output_size": 1}),
    Case("AveragePool", lambda x: sum(windows(x)) / 4, {"pool_size": 2, "strides": 1}),
    Case("Conv", convolved, {}, ("x", KERNEL)),
    Case("DepthwiseConv", each_channel, {}, ("x", KERNEL)),
    Case("DotProductAttention", attended, {}, ("x", "x", "x")),
    Case("Einsum", lambda x: np.einsum("bhwc,cd->bhwd", x, MATRIX), {"subscripts": "bhwc,cd->bhwd"}, ("x", MATRIX)),
    Case("Einsum", lambda x, s: np.einsum("bhwc,bhvc->bhwv", x, s), {"subscripts": "bhwc,bhvc->bhwv"}, TWO),
    Case("Einsum", lambda x, s: np.einsum("bhwc,bhwd->bcd", x, s), {"subscripts": "bhwc,bhwd->bcd"}, TWO),
    Case("LayerNorm", lambda x: (x - x.mean(3, keepdims=True)) / np.sqrt(x.var(3, keepdims=True) + 0.5) * ROW + ROW,
         {"axis": -1, "epsilon": 0.5}, ("x", ROW, ROW)),
    Case("Matmul", lambda x: x @ MATRIX, {}, ("x", MATRIX)),
    Case("Matmul", lambda x: np.ones((2, 5)) @ x, {}, (np.ones((2, 5)), "x")),
    Case("MaxPool", lambda x: np.max(windows(x), 0), {"pool_size": [2, 2], "strides": 1}),
    Case("RGBToGrayscale", lambda x: x @ np.array([[0.2989], [0.587], [0.114]])),
    Case("RMSNorm", lambda x: x / np.sqrt((x * x).mean(3, keepdims=True) + 0.5) * ROW, {"axis": -1, "epsilon": 0.5},
         ("x", ROW)),
    Case("Resize", lambda x: x[:, [0, 0, 1, 1, 2, 2, 3, 3]], {"size": [8, 5], "interpolation": "nearest"}),
    Case("SeparableConv", lambda x: each_channel(x) @ np.ones((6, 2)), {}, ("x", KERNEL, np.ones((1, 1, 6, 2)))),
    Case("Tensordot", lambda x: np.tensordot(x, MATRIX, 1), {"axes": 1}, ("x", MATRIX)),
    Case("OneHot", lambda x: np.eye(3)[x.argmax(3)], {"num_classes": 3}, (("places", 0, 0),)),
]  # fmt: skip

KERAS = [*ELEMENTS, *ACTIVATIONS, *ARITHMETIC, *REDUCTIONS, *SHAPES, *PRODUCTS]
FAMILIES = {
    "elements": ELEMENTS,
    "activations": ACTIVATIONS,
    "arithmetic": ARITHMETIC,
    "reductions": REDUCTIONS,
    "shapes": SHAPES,
    "products": PRODUCTS,
}


def function(class_name: str, name: str, config: Mapping[str, Any], *reads: Any) -> Layer:
    return Layer(class_name, name, config, [list(reads)], module="keras.src.ops.numpy")


# Values that functions read beside x.
BEFORE: Mapping[str, tuple[Layer, Callable[[np.ndarray], Any]]] = {
    "h": (function("Abs", "h", {}, "x"), np.abs),
    "s": (function("Cos", "s", {}, "x"), np.cos),
    "half_s": (function("Multiply", "half_s", {}, "s", 0.5), np.cos),
    "h_plus_1": (function("Add", "h_plus_1", {}, "h", 1), np.abs),
    "above": (function("Greater", "above", {}, "x", -1.0), lambda x: x),
    "below": (function("Less", "below", {}, "x", 1.0), lambda x: x),
    "wide": (function("GetItem", "wide", {}, "x", [ALL, ALL, slice(0, 4)]), lambda x: x),
    "deep": (
        function("SpaceToDepth", "deep", {"block_size": 2}, "wide"),
        lambda x: x[:, :, :4],
    ),
    "row": (function("GetItem", "row", {}, "x", [ALL, slice(0, 1)]), lambda x: x[:, :1]),
    "places": (function("Argmax", "places", {"axis": -1}, "x"), lambda x: x),
}


def names(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [value[0]]
    return [name for item in value for name in names(item)] if isinstance(value, list) else []


def expected(case: Case) -> np.ndarray:
    read = dict.fromkeys(name for value in case.reads for name in names(value))
    seen = list({id(v): v for v in (X if n == "x" else BEFORE[n][1](X) for n in read)}.values())
    return np.asarray(case.expected(*seen), np.float64)


def network(cases: list[Case]) -> Net:
    layers = [function(case.name, f"f{i}", case.config, *case.reads) for i, case in enumerate(cases)]
    return Net(
        [source("x", H, W, C), *(layer for layer, _ in BEFORE.values()), *layers], [f"f{i}" for i in range(len(cases))]
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", ["keras", "h5"])
def test_functions(tmp_path: Path, family: str, form: str) -> None:
    cases = FAMILIES[family]
    net = network(cases)
    path = write_keras(tmp_path / "net.keras", net) if form == "keras" else write_h5(tmp_path / "net.h5", net, 3)
    for case, got in zip(cases, evaluate(path, X), strict=True):
        wanted = expected(case)
        assert got.shape == wanted.shape, case
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6, err_msg=str(case))


def test_every_function_of_keras_has_a_case() -> None:
    assert {case.name for case in KERAS} == {name for name in OPERATIONS if "." not in name and name[0].isupper()}


# TensorFlow's, as Keras 2 writes them: the first argument is the tensor, the others are keywords.
TENSORFLOW: Mapping[str, tuple[Mapping[str, Any], Callable[[np.ndarray], Any]]] = {
    "__operators__.add": ({"y": 2.0}, lambda x: x + 2),
    "__operators__.mul": ({"y": 2.0}, lambda x: x * 2),
    "__operators__.neg": ({}, np.negative),
    "__operators__.pow": ({"y": 2.0}, np.square),
    "__operators__.sub": ({"y": 2.0}, lambda x: x - 2),
    "__operators__.truediv": ({"y": 3.0}, lambda x: x / 3),
    "clip_by_value": ({"clip_value_min": -0.5, "clip_value_max": 0.5}, lambda x: np.clip(x, -0.5, 0.5)),
    "expand_dims": ({"axis": 1}, lambda x: x[:, None]),
    "math.abs": ({}, np.abs),
    "math.add": ({"y": 2.0}, lambda x: x + 2),
    "math.divide": ({"y": 3.0}, lambda x: x / 3),
    "math.exp": ({}, np.exp),
    "math.log": ({}, np.log),
    "math.maximum": ({"y": 0.5}, lambda x: np.maximum(x, 0.5)),
    "math.minimum": ({"y": 0.5}, lambda x: np.minimum(x, 0.5)),
    "math.multiply": ({"y": 2.0}, lambda x: x * 2),
    "math.negative": ({}, np.negative),
    "math.pow": ({"y": 2.0}, np.square),
    "math.reduce_max": ({"axis": 1, "keepdims": False}, lambda x: x.max(1)),
    "math.reduce_mean": ({"axis": [1, 2], "keepdims": False}, lambda x: x.mean((1, 2))),
    "math.reduce_min": ({"axis": 1, "keepdims": False}, lambda x: x.min(1)),
    "math.reduce_sum": ({"axis": -1, "keepdims": True}, lambda x: x.sum(3, keepdims=True)),
    "math.rsqrt": ({}, lambda x: x**-0.5),
    "math.sigmoid": ({}, sigmoid),
    "math.softplus": ({}, lambda x: np.log1p(np.exp(x))),
    "math.sqrt": ({}, np.sqrt),
    "math.square": ({}, np.square),
    "math.subtract": ({"y": 2.0}, lambda x: x - 2),
    "math.tanh": ({}, np.tanh),
    "math.truediv": ({"y": 3.0}, lambda x: x / 3),
    "nn.elu": ({}, lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    "nn.leaky_relu": ({"alpha": 0.5}, lambda x: np.where(x < 0, x / 2, x)),
    "nn.relu": ({}, lambda x: np.maximum(x, 0)),
    "nn.relu6": ({}, lambda x: np.clip(x, 0, 6)),
    "nn.selu": ({}, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1))),
    "nn.sigmoid": ({}, sigmoid),
    "nn.silu": ({"beta": 1.0}, lambda x: x * sigmoid(x)),
    "nn.softmax": ({"axis": -1}, lambda x: softmax(x, 3)),
    "nn.softplus": ({}, lambda x: np.log1p(np.exp(x))),
    "nn.softsign": ({}, lambda x: x / (1 + np.abs(x))),
    "nn.tanh": ({}, np.tanh),
    "reshape": ({"shape": [-1, 60]}, lambda x: x.reshape(1, 60)),
    "squeeze": ({"axis": []}, lambda x: x),
}


def test_functions_of_tensorflow(tmp_path: Path) -> None:
    assert set(TENSORFLOW) == {name for name in OPERATIONS if "." in name or name[0].islower()}
    x = np.abs(X)
    layers = []
    for i, (name, (keywords, _)) in enumerate(TENSORFLOW.items()):
        layer = Layer("TFOpLambda", f"f{i}", {"function": name}, [["x"]], keywords=keywords)
        layers.append(layer)
    net = Net([source("x", H, W, C), *layers], [layer.name for layer in layers])
    got = evaluate(write_h5(tmp_path / "net.h5", net, 2), x)
    for (name, (_, wanted)), value in zip(TENSORFLOW.items(), got, strict=True):
        assert value.shape == wanted(x).shape, name
        np.testing.assert_allclose(value, wanted(x), rtol=1e-6, atol=1e-6, err_msg=name)


def test_outputs_of_functions_that_make_several(tmp_path: Path) -> None:
    net = Net(
        [
            source("x", H, W, C),
            function("Split", "parts", {"indices_or_sections": [1, 3], "axis": 2}, "x"),
            function("TopK", "top", {"k": 2, "sorted": True}, "x"),
            function("Unstack", "channels", {"axis": -1}, "x"),
        ],
        [("parts", 0, 2), ("parts", 0, 1), ("top", 0, 1), ("channels", 0, 2)],
    )
    behind, middle, places, blue = evaluate(write_keras(tmp_path / "net.keras", net), X)
    assert np.array_equal(behind, X[:, :, 3:])
    assert np.array_equal(middle, X[:, :, 1:3])
    assert np.array_equal(places, X.argsort(-1)[..., :0:-1])
    assert np.array_equal(blue, X[..., 2])


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (function("Median", "f", {"axis": 1}, "x"), '"f" (Median)'),
        (function("Pad", "f", {"pad_width": [[0, 0], [1, 1], [0, 0], [0, 0]], "mode": "symmetric"}, "x"), "symmetric"),
        (function("Add", "f", {}, "places", 1), "integers (int32)"),
        (function("Conv", "f", {}, "x", "x"), "a kernel that is no constant"),
        (function("Mean", "f", {"axis": None}, "x"), "a result without axes"),
        (function("Mean", "f", {"axis": 4}, "x"), "axis = 4"),
        (function("Mean", "f", {"axis": 1, "of_the_future": 1}, "x"), "of_the_future"),
        (function("Squeeze", "f", {"axis": None}, "row"), "axis = null"),
        (function("Reshape", "f", {"newshape": [-1, 7]}, "x"), "does not hold 60 elements"),
        (function("Cast", "f", {"dtype": "uint8"}, "x"), 'dtype = "uint8"'),
        (function("Take", "f", {"axis": 1}, "x", "places"), "places that are computed"),
        (function("GetItem", "f", {}, "x", [ALL, "places"]), "the argument key"),
        (function("Einsum", "f", {"subscripts": "abcd,abcd"}, "x", "x"), "abcd,abcd"),
        (function("OneHot", "f", {"num_classes": 2**31 - 1}, "places"), "a constant of 2147483647 elements"),
        (function("Repeat", "f", {"repeats": 10**9, "axis": 1}, "x"), "a constant of 4000000000 elements"),
        (function("Pad", "f", {"pad_width": [[0, 0], [0, 0], [0, 0], [0, 2**30]]}, "x"), "a constant of"),
        (function("Tile", "f", {"repeats": [1, 10**9, 1, 1]}, "x"), "elements"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_counterpart_is_refused_by_name(tmp_path: Path, layer: Layer, words: str) -> None:
    net = Net([source("x", H, W, C), BEFORE["places"][0], BEFORE["row"][0], layer], ["f"])
    with pytest.raises(SpecError) as error:
        open_model(write_keras(tmp_path / "net.keras", net))
    assert words in str(error.value)
    assert '"f"' in str(error.value)
