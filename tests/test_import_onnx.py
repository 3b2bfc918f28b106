"""ONNX models as specs: every operator against onnxruntime, round trips, refusals, damaged files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Array, expected, model, node, positive, random, saved

from codegen import build
from codegen.cli import main
from codegen.errors import ClgenError, SpecError
from codegen.importers.open import import_model, open_model

# Operators ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """``layers`` are the operators of the spec that are to come out, where that matters."""

    name: str
    nodes: list[onnx.NodeProto]
    x: tuple[int, ...] = (2, 3, 8, 9)
    constants: Mapping[str, Array] = field(default_factory=dict)
    opset: int = 13
    layers: list[str] | None = None
    more: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


def one(name: str, op: str, x: tuple[int, ...] = (2, 3, 8, 9), opset: int = 13, **rest: Any) -> Case:
    """A single node; arrays among ``rest`` are its further inputs, the rest its attributes."""
    layers = rest.pop("layers", None)
    arrays = {key: value for key, value in rest.items() if isinstance(value, np.ndarray) or value is None}
    attributes = {key: value for key, value in rest.items() if key not in arrays}
    inputs = " ".join(["x", *("_" if value is None else key for key, value in arrays.items())])
    constants = {key: value for key, value in arrays.items() if value is not None}
    return Case(name, [node(op, inputs, "y", **attributes)], x, constants, opset, layers)


def scalar(value: float) -> Array:
    return np.array(value, dtype=np.float32)


W, B = random(4, 3, 3, 3), random(4)
BN = {"s": positive(3), "b": random(3), "m": random(3, seed=1), "v": positive(3, seed=2)}
GELU = [
    node("Div", "x root", "a"),
    node("Erf", "a", "e"),
    node("Add", "e one", "p"),
]
GELU_CONSTANTS = {"root": scalar(np.sqrt(2)), "one": scalar(1), "half": scalar(0.5)}
SIX = [node("Add", "x three", "a"), node("Clip", "a low high", "c")]
SIX_CONSTANTS = {
    **{"three": scalar(3), "low": scalar(0), "high": scalar(6), "six": scalar(6), "sixth": scalar(1 / 6)},
}

CASES = [
    one("conv", "Conv", w=W, b=B, pads=[1, 0, 2, 1], strides=[2, 1]),
    one("conv_dilated", "Conv", w=W, dilations=[2, 1], kernel_shape=[3, 3]),
    one("conv_groups", "Conv", (1, 4, 6, 6), w=random(6, 2, 3, 3), group=2),
    one("conv_depthwise", "Conv", w=random(6, 1, 3, 3), group=3, layers=["depthwise_conv"]),
    one("conv_1d", "Conv", (2, 3, 11), w=random(4, 3, 3), b=B, pads=[1, 1]),
    *(
        one(f"conv_{word}_{stride}", "Conv", w=random(4, 3, 4, 3), auto_pad=word, strides=[stride, stride])
        for word in ("SAME_UPPER", "SAME_LOWER", "VALID")
        for stride in (1, 2)
    ),
    one("transposed", "ConvTranspose", w=random(3, 4, 3, 3), b=B, strides=[2, 2], pads=[1, 0, 1, 2]),
    one("transposed_groups", "ConvTranspose", (1, 4, 5, 5), w=random(4, 3, 2, 2), group=2, strides=[2, 3]),
    one("transposed_extra", "ConvTranspose", w=random(3, 4, 3, 3), strides=[2, 2], output_padding=[1, 1]),
    *(
        one(f"transposed_{word}", "ConvTranspose", w=random(3, 4, 4, 4), strides=[2, 3], auto_pad=word)
        for word in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    one("transposed_size", "ConvTranspose", w=random(3, 4, 4, 4), strides=[2, 2], output_shape=[15, 17]),
    one("batch_norm", "BatchNormalization", **BN, epsilon=1e-3),
    one("batch_norm_7", "BatchNormalization", opset=7, **BN),
    one("batch_norm_15", "BatchNormalization", opset=15, **BN),
    one("batch_norm_rows", "BatchNormalization", (4, 3), **BN),
    one("max_pool", "MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    one("max_pool_ceil", "MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    one("max_pool_dilated", "MaxPool", kernel_shape=[2, 2], dilations=[2, 3]),
    one("max_pool_same", "MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    one("max_pool_1d", "MaxPool", (1, 3, 9), kernel_shape=[3]),
    one("average_pool", "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 0, 1], strides=[2, 2]),
    one("average_pool_counted", "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    one("average_pool_same", "AveragePool", kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    one("average_pool_ceil", "AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    one("global_average_pool", "GlobalAveragePool"),
    one("global_max_pool", "GlobalMaxPool"),
    one("reduce_mean", "ReduceMean", axes=[2, 3], layers=["global_average_pool"]),
    one("reduce_mean_18", "ReduceMean", opset=18, axes=ints(-1, -2), keepdims=0),
    one("reduce_mean_width", "ReduceMean", axes=[-1], keepdims=0),
    one("reduce_mean_channels", "ReduceMean", axes=[1]),
    one("reduce_mean_rows", "ReduceMean", (2, 5), axes=[1]),
    one("reduce_max", "ReduceMax", axes=[1, 3], keepdims=0),
    one("reduce_sum", "ReduceSum", axes=ints(2, 3), keepdims=1),
    one("relu", "Relu"),
    one("clip_6", "Clip", opset=6 + 1, min=0.0, max=6.0, layers=["relu6"]),
    one("clip_11", "Clip", opset=11, low=scalar(-0.5), high=scalar(0.25)),
    one("clip_low", "Clip", low=scalar(-0.5)),
    one("clip_high", "Clip", low=None, high=scalar(0.3)),
    one("clip_none", "Clip", layers=["reshape"]),
    one("leaky_relu", "LeakyRelu", alpha=0.2),
    one("leaky_relu_default", "LeakyRelu"),
    one("elu", "Elu", alpha=0.7),
    one("celu", "Celu"),
    one("selu", "Selu"),
    one("selu_numbers", "Selu", alpha=1.5, gamma=1.2),
    one("sigmoid", "Sigmoid"),
    one("hard_sigmoid", "HardSigmoid"),
    one("hard_sigmoid_numbers", "HardSigmoid", alpha=0.3, beta=0.4),
    one("hard_swish", "HardSwish", opset=14),
    one("tanh", "Tanh"),
    one("softplus", "Softplus"),
    one("mish", "Mish", opset=18),
    one("gelu", "Gelu", opset=20),
    one("gelu_tanh", "Gelu", opset=20, approximate="tanh"),
    one("neg", "Neg"),
    one("square", "Pow", e=scalar(2)),
    one("cube", "Pow", e=scalar(3)),
    one("max", "Max", c=scalar(0)),
    one("min", "Min", c=scalar(0.2)),
    one("prelu", "PRelu", s=random(3, 1, 1)),
    one("prelu_one", "PRelu", s=random(1)),
    one("prelu_width", "PRelu", s=random(9)),
    one("prelu_rows", "PRelu", (2, 5), s=random(5)),
    one("add_channels", "Add", c=random(3, 1, 1), layers=["bias"]),
    one("add_number", "Add", c=scalar(0.5)),
    one("add_width", "Add", c=random(9)),
    one("add_height", "Add", c=random(1, 1, 8, 1)),
    one("add_plane", "Add", c=random(8, 9)),
    one("add_all", "Add", c=random(3, 8, 9)),
    one("sub", "Sub", c=random(1, 3, 1, 1)),
    one("mul", "Mul", c=random(3, 1, 1)),
    one("mul_plane", "Mul", c=random(1, 1, 8, 9)),
    one("div", "Div", c=positive(3, 1, 1)),
    Case("sub_from", [node("Sub", "c x", "y")], constants={"c": random(3, 1, 1)}),
    Case("add_both", [node("Add", "x z", "y")], more={"z": (2, 3, 1, 1)}),
    Case("mul_both", [node("Mul", "x z", "y")], more={"z": (2, 1, 8, 9)}),
    Case("sub_both", [node("Sub", "z x", "y")], more={"z": (2, 3, 8, 9)}),
    Case("add_itself", [node("Add", "x x", "y")]),
    Case("sum", [node("Relu", "x", "a"), node("Sum", "x a z", "y")], more={"z": (2, 3, 8, 9)}),
    Case("concat", [node("Relu", "x", "a"), node("Concat", "x a", "y", axis=-1)]),
    Case("concat_channels", [node("Concat", "x z x", "y", axis=1)], more={"z": (2, 5, 8, 9)}),
    one("flatten", "Flatten"),
    one("flatten_axis", "Flatten", (2, 1, 1, 9), axis=-1),
    one("reshape", "Reshape", shape=ints(0, -1, 4)),
    one("reshape_rows", "Reshape", shape=ints(2, -1), layers=["flatten"]),
    one("squeeze", "Squeeze", (2, 3, 1, 1), opset=11, axes=[2, -1]),
    one("squeeze_13", "Squeeze", (2, 3, 1, 4), axes=ints(2)),
    one("squeeze_all", "Squeeze", (2, 3, 1, 4)),
    one("unsqueeze", "Unsqueeze", (2, 3), opset=11, axes=[2, 3]),
    one("unsqueeze_13", "Unsqueeze", (2, 3), axes=ints(-1, 1)),
    one("transpose", "Transpose", perm=[0, 2, 3, 1]),
    one("transpose_default", "Transpose", (1, 3, 5)),
    one("pad_2", "Pad", opset=7, pads=[0, 0, 1, 2, 0, 0, 3, 0], value=0.5),
    one("pad_11", "Pad", opset=11, pads=ints(0, 0, 1, 2, 0, 0, 3, 0)),
    one("pad_18", "Pad", opset=18, pads=ints(1, 2, 3, 0), value=scalar(-1), axes=ints(-1, 2)),
    one("pad_none", "Pad", pads=ints(0, 0, 0, 0, 0, 0, 0, 0), layers=["reshape"]),
    one("upsample_7", "Upsample", opset=7, scales=[1.0, 1.0, 2.0, 3.0]),
    one("upsample_9", "Upsample", opset=9, scales=floats(1, 1, 2, 2)),
    one("upsample_linear", "Upsample", opset=9, scales=floats(1, 1, 2, 2), mode="linear"),
    one("resize_10", "Resize", opset=10, scales=floats(1, 1, 3, 2)),
    one("resize_nearest", "Resize", roi=None, scales=floats(1, 1, 2, 4)),
    *(
        one(f"resize_{coordinates}_{nearest}", "Resize", roi=None, scales=floats(1, 1, 2, 2))
        for coordinates in ("asymmetric", "half_pixel")
        for nearest in ("floor", "round_prefer_ceil")
    ),
    *(
        one(
            f"resize_linear_{coordinates}_{'_'.join(map(str, size))}",
            "Resize",
            roi=None,
            scales=None,
            sizes=ints(2, 3, *size),
            mode="linear",
            coordinate_transformation_mode=coordinates,
        )
        for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
        for size in ((16, 18), (11, 12), (5, 4))
    ),
    one("resize_1d", "Resize", (2, 3, 7), roi=None, scales=floats(1, 1, 2), mode="linear"),
    one("resize_axes", "Resize", opset=18, roi=None, scales=floats(2, 3), axes=[2, 3]),
    one("gemm", "Gemm", (2, 5), w=random(5, 4), b=B),
    one("gemm_transposed", "Gemm", (2, 5), w=random(4, 5), b=B, transB=1, layers=["dense"]),
    one("gemm_numbers", "Gemm", (2, 5), w=random(4, 5), b=B, transB=1, alpha=0.5, beta=2.0),
    one("gemm_number", "Gemm", (2, 5), w=random(5, 4), b=scalar(0.5)),
    one("gemm_no_bias", "Gemm", (2, 5), w=random(5, 4)),
    one("matmul", "MatMul", (2, 5), w=random(5, 4)),
    one("matmul_3d", "MatMul", (2, 7, 5), w=random(5, 4)),
    one("matmul_4d", "MatMul", (2, 3, 7, 5), w=random(5, 4)),
    one("softmax", "Softmax"),
    one("softmax_axis", "Softmax", axis=1),
    one("softmax_rows", "Softmax", (2, 5), opset=11),
    one("softmax_flattening", "Softmax", opset=11),
    one("softmax_flattening_2", "Softmax", opset=11, axis=2),
    one("softmax_flattening_last", "Softmax", opset=11, axis=-1),
    one("identity", "Identity", layers=["reshape"]),
    one("dropout", "Dropout", opset=11, layers=["reshape"]),
    one("dropout_12", "Dropout", r=scalar(0.5)),
    one("cast", "Cast", to=1, layers=["reshape"]),
    one("depth_to_space", "DepthToSpace", (2, 8, 3, 4), blocksize=2),
    one("depth_to_space_crd", "DepthToSpace", (2, 8, 3, 4), blocksize=2, mode="CRD"),
    one("space_to_depth", "SpaceToDepth", (2, 3, 6, 4), blocksize=2),
    Case("silu", [node("Sigmoid", "x", "a"), node("Mul", "a x", "y")], layers=["silu"]),
    Case("hard_sigmoid_mul", [node("HardSigmoid", "x", "a", alpha=1 / 6), node("Mul", "x a", "y")], layers=["hard_swish"]),
    Case(
        "hard_sigmoid_other", [node("HardSigmoid", "x", "a"), node("Mul", "x a", "y")], layers=["hard_sigmoid", "mul"]
    ),
    Case(
        "mish_spelt",
        [node("Softplus", "x", "a"), node("Tanh", "a", "b"), node("Mul", "b x", "y")],
        layers=["mish"],
    ),
    Case(
        "hard_swish_div_last",
        [*SIX, node("Mul", "x c", "m"), node("Div", "m six", "y")],
        constants=SIX_CONSTANTS,
        layers=["hard_swish"],
    ),
    Case(
        "hard_swish_mul_last",
        [*SIX, node("Mul", "c x", "m"), node("Mul", "sixth m", "y")],
        constants=SIX_CONSTANTS,
        layers=["hard_swish"],
    ),
    Case(
        "hard_swish_gate",
        [*SIX, node("Div", "c six", "m"), node("Mul", "m x", "y")],
        constants=SIX_CONSTANTS,
        layers=["hard_swish"],
    ),
    Case(
        "hard_swish_div_first",
        [*SIX, node("Div", "x six", "m"), node("Mul", "m c", "y")],
        constants=SIX_CONSTANTS,
        layers=["hard_swish"],
    ),
    Case(
        "hard_swish_gate_used_twice",
        [*SIX, node("Div", "c six", "g"), node("Mul", "g x", "m"), node("Add", "m g", "y")],
        constants=SIX_CONSTANTS,
    ),
    Case(
        "not_hard_swish",
        [*SIX, node("Mul", "c c", "m"), node("Div", "m six", "y")],
        constants=SIX_CONSTANTS,
        layers=["bias", "mul", "scale"],
    ),
    Case("gelu_half_first", [node("Mul", "x half", "h"), *GELU, node("Mul", "h p", "y")], constants=GELU_CONSTANTS),
    Case("gelu_half_last", [*GELU, node("Mul", "x p", "m"), node("Mul", "m half", "y")], constants=GELU_CONSTANTS),
    Case("gelu_half_gate", [*GELU, node("Mul", "p half", "m"), node("Mul", "x m", "y")], constants=GELU_CONSTANTS),
    Case(
        "caffe_scale",
        [node("Mul", "x s", "m"), node("Add", "m b", "y")],
        constants={"s": random(3, 1, 1), "b": random(3, 1, 1)},
        layers=["scale"],
    ),
    Case(
        "channel_shuffle",
        [
            node("Reshape", "x grouped", "a"),
            node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "b whole", "y"),
        ],
        x=(2, 6, 4, 5),
        constants={"grouped": ints(2, 2, 3, 4, 5), "whole": ints(2, -1, 4, 5)},
    ),
    Case(
        "flatten_by_shape",
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n", axis=0),
            node("Unsqueeze", "n axis", "n1"),
            node("Concat", "n1 rest", "shape", axis=0),
            node("Reshape", "x shape", "y"),
        ],
        constants={"zero": np.array(0, np.int64), "axis": ints(0), "rest": ints(-1)},
        layers=["flatten"],
    ),
    Case(
        "upsample_by_shape",
        [
            node("Shape", "x", "s"),
            node("Slice", "s two four", "hw"),
            node("Slice", "s zero two", "nc"),
            node("Cast", "hw", "f", to=1),
            node("Mul", "f twice", "g"),
            node("Floor", "g", "h"),
            node("Cast", "h", "i", to=7),
            node("Concat", "nc i", "sizes", axis=0),
            node("Resize", "x _ _ sizes", "y", mode="linear", coordinate_transformation_mode="align_corners"),
        ],
        constants={"zero": ints(0), "two": ints(2), "four": ints(4), "twice": floats(2, 2)},
        layers=["upsample"],
    ),
    Case(
        "constant_nodes",
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(random(3, 1, 1))),
            helper.make_node("Constant", [], ["f"], value_float=0.5),
            node("Add", "x c", "a"),
            node("Mul", "f a", "y"),
        ],
    ),
]


def by_import(path: Path, feeds: Mapping[str, Array]) -> tuple[list[Array], list[str]]:
    """Outputs in float64, and the operators of the spec's layers."""
    network = open_model(path)
    values = network.graph.evaluate({i.name: feeds[i.name] for i in network.graph.inputs})
    document = import_model(path).text.decode()
    ops = [line.split('"')[1] for line in document.splitlines() if line.startswith("op = ")]
    assert network.unused == ()
    return [values[output.value] for output in network.graph.outputs], ops


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_operators_agree_with_onnxruntime(case: Case, tmp_path: Path) -> None:
    inputs = {"x": case.x, **case.more}
    proto = model(case.nodes, inputs, case.constants, opset=case.opset)
    feeds = {name: 2 * random(*shape, seed=7) for name, shape in inputs.items()}
    results, ops = by_import(saved(proto, tmp_path), feeds)
    for got, y in zip(results, expected(proto, feeds), strict=True):
        assert got.shape == y.shape
        assert np.max(np.abs(got - y)) <= 2e-6 * max(1.0, np.max(np.abs(y)))
    if case.layers is not None:
        assert ops == case.layers
