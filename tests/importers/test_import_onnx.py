"""ONNX models as specs: every operator against onnxruntime, round trips, refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from codegen import build
from codegen.cli import main
from codegen.errors import SpecError
from codegen.importers.open import import_model, open_model
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from tests.support.onnx_models import Array, expected, model, node, positive, random, saved

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
BN: dict[str, Any] = {"s": positive(3), "b": random(3), "m": random(3, seed=1), "v": positive(3, seed=2)}
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

PLACES = 2 * np.tanh(random(2, 4, 3, 2))
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")

EINSUMS: list[tuple[str, str, tuple[int, ...], dict[str, Array], dict[str, tuple[int, ...]]]] = [
    ("ij->ji", "x", (3, 4), {}, {}),
    ("ij", "x", (3, 4), {}, {}),
    ("ba", "x", (3, 4), {}, {}),
    ("ii->i", "x", (4, 4), {}, {}),
    ("bii->b", "x", (2, 4, 4), {}, {}),
    ("ij->", "x", (3, 4), {}, {}),
    ("bhid,bhjd->bhij", "x z", (2, 3, 4, 5), {}, {"z": (2, 3, 6, 5)}),
    ("bij,jk", "x w", (2, 3, 4), {"w": random(4, 5)}, {}),
    ("...i,...i->...", "x z", (2, 3, 4), {}, {"z": (1, 3, 4)}),
    ("i,j,k->kij", "x z v", (2,), {}, {"z": (3,), "v": (4,)}),
    ("nctkv,kvw->nctw", "x w", (2, 3, 4, 2, 3), {"w": random(2, 3, 5)}, {}),
    ("ij,ij->i", "w x", (3, 4), {"w": random(3, 4)}, {}),
]

CASES = [
    one("conv", "Conv", w=W, b=B, pads=[1, 0, 2, 1], strides=[2, 1]),
    one(
        "col2im",
        "Col2Im",
        (2, 12, 15),
        size=ints(5, 6),
        block=ints(2, 2),
        opset=18,
        strides=[2, 1],
        pads=[1, 0, 1, 1],
        dilations=[1, 2],
    ),
    *(
        Case(f"einsum_{k}", [node("Einsum", names, "y", equation=equation)], shape, constants, more=more)
        for k, (equation, names, shape, constants, more) in enumerate(EINSUMS)
    ),
    Case(
        "one_hot",
        [node("Round", "x", "r"), node("Cast", "r", "i", to=7), node("OneHot", "i n v", "y", axis=1)],
        (3, 4),
        {"n": np.array(3), "v": floats(-1, 5)},
    ),
    Case("one_hot_live", [node("OneHot", "i n x", "y")], (2,), {"n": np.array(4), "i": ints(3, -1, 7, 0)}),
    one("reverse_sequence", "ReverseSequence", (4, 3, 2), l=ints(4, 1, 3), time_axis=0, batch_axis=1),
    one("reverse_sequence_batch", "ReverseSequence", (3, 4, 2), l=ints(4, 1, 3), time_axis=1, batch_axis=0),
    one("dft", "DFT", (2, 6, 5, 1), opset=17, axis=1),
    one("dft_half", "DFT", (2, 7, 1), n=np.array(6), opset=17, onesided=1),
    one("dft_complex", "DFT", (2, 6, 3, 2), opset=17, axis=2),
    one("dft_inverse", "DFT", (2, 6, 2), opset=17, inverse=1),
    one("affine_grid", "AffineGrid", (2, 2, 3), size=ints(2, 3, 4, 5), opset=20),
    one("affine_grid_3d", "AffineGrid", (2, 3, 4), size=ints(2, 3, 4, 5, 6), opset=20, align_corners=1),
    one("center_crop_pad", "CenterCropPad", (3, 8, 5), size=ints(4, 9), opset=18, axes=[1, 2]),
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
    one("average_pool_dilated", "AveragePool", opset=19, kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 0, 2, 1]),
    *(
        one(f"lp_pool_{p}", "LpPool", opset=18, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1], p=p)
        for p in (1, 2, 3)
    ),
    one("lp_pool_same", "LpPool", (2, 3, 9), opset=11, kernel_shape=[3], strides=[2], auto_pad="SAME_LOWER"),
    one(
        "conv_3d",
        "Conv",
        (1, 4, 4, 5, 3),
        w=random(6, 2, 2, 3, 3),
        b=random(6),
        group=2,
        strides=[1, 2, 1],
        pads=[0, 1, 1, 1, 0, 1],
        dilations=[2, 1, 1],
    ),
    one("conv_3d_same", "Conv", (1, 3, 4, 5, 3), w=random(4, 3, 2, 2, 2), auto_pad="SAME_UPPER", strides=[2, 2, 2]),
    one("conv_3d_depthwise", "Conv", (1, 4, 4, 5, 3), w=random(4, 1, 2, 2, 2), group=4, layers=["depthwise_conv"]),
    one(
        "transposed_3d",
        "ConvTranspose",
        (1, 4, 2, 3, 4),
        w=random(4, 3, 2, 3, 2),
        b=random(6),
        group=2,
        strides=[2, 1, 3],
        output_padding=[1, 0, 0],
        pads=[0, 1, 0, 0, 1, 1],
    ),
    one("batch_norm_3d", "BatchNormalization", (2, 3, 2, 4, 3), **BN),
    one(
        "max_pool_3d",
        "MaxPool",
        (1, 3, 5, 4, 6),
        kernel_shape=[2, 3, 2],
        strides=[2, 1, 2],
        pads=[0, 1, 1, 0, 1, 0],
        ceil_mode=1,
    ),
    one(
        "average_pool_3d",
        "AveragePool",
        (1, 3, 5, 4, 6),
        kernel_shape=[2, 2, 3],
        pads=[1, 0, 1, 0, 1, 1],
        count_include_pad=1,
    ),
    one("global_pool_3d", "GlobalAveragePool", (2, 3, 2, 4, 3)),
    one("pad_3d", "Pad", (1, 3, 2, 4, 3), pads=ints(0, 0, 1, 0, 2, 0, 0, 0, 1, 1)),
    one("global_lp_pool_3", "GlobalLpPool", p=3),
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
    *(
        one(
            f"resize_cubic_{coordinates}",
            "Resize",
            roi=None,
            scales=None,
            sizes=ints(2, 3, 11, 5),
            mode="cubic",
            coordinate_transformation_mode=coordinates,
            exclude_outside=int(coordinates == "half_pixel"),
            cubic_coeff_a=-0.5,
        )
        for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
    ),
    *(
        one(
            f"resize_down_{coordinates}_{nearest}",
            "Resize",
            roi=None,
            scales=None,
            sizes=ints(2, 3, 5, 13),
            coordinate_transformation_mode=coordinates,
            nearest_mode=nearest,
        )
        for coordinates in ("half_pixel", "align_corners", "asymmetric")
        for nearest in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    ),
    *(
        one(f"resize_by_{mode}", "Resize", opset=19, roi=None, scales=floats(1, 1, 0.6, 1.7), mode=mode)
        for mode in ("nearest", "linear", "cubic")
    ),
    *(
        one(
            f"resize_antialias_{mode}",
            "Resize",
            opset=18,
            roi=None,
            scales=None,
            sizes=ints(2, 3, 3, 4),
            mode=mode,
            antialias=1,
        )
        for mode in ("linear", "cubic")
    ),
    *(
        one(
            f"resize_{policy}",
            "Resize",
            opset=18,
            roi=None,
            scales=None,
            sizes=ints(12, 5),
            axes=[2, 3],
            mode="linear",
            keep_aspect_ratio_policy=policy,
        )
        for policy in ("not_larger", "not_smaller")
    ),
    one(
        "resize_crop",
        "Resize",
        roi=floats(0, 0, 0.2, -0.3, 1, 1, 0.7, 1.2),
        scales=None,
        sizes=ints(2, 3, 5, 7),
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=3.5,
    ),
    one(
        "resize_nn",
        "Resize",
        opset=11,
        roi=floats(),
        scales=floats(1, 1, 2, 1.5),
        nearest_mode="floor",
        coordinate_transformation_mode="tf_half_pixel_for_nn",
    ),
    one("resize_channels", "Resize", (2, 3, 5), roi=None, scales=floats(1, 2, 1)),
    one("resize_batch", "Resize", (2, 3, 5), roi=None, scales=floats(2, 1, 3)),
    one("resize_rows", "Resize", (2, 3), roi=None, scales=floats(1, 2), mode="linear"),
    one("resize_3d", "Resize", (1, 2, 3, 4, 2), roi=None, scales=floats(1, 1, 2, 1.5, 3), mode="linear"),
    *(
        one(f"sample_{mode}_{border}", "GridSample", (2, 3, 5, 4), opset=16, g=PLACES, mode=mode, padding_mode=border)
        for mode in ("bilinear", "nearest", "bicubic")
        for border in ("zeros", "reflection")
    ),
    one("sample_border", "GridSample", (2, 3, 5, 4), opset=20, g=PLACES, padding_mode="border", align_corners=1),
    one("sample_3d", "GridSample", (1, 2, 3, 4, 2), opset=20, g=np.tanh(random(1, 2, 3, 4, 3))),
    Case("sample_live", [node("GridSample", "x z", "y")], (2, 3, 5, 4), opset=16, more={"z": (2, 4, 3, 2)}),
    Case(
        "sample_affine",
        [node("AffineGrid", "theta size", "g"), node("GridSample", "x g", "y")],
        (2, 3, 5, 4),
        constants={"theta": random(2, 2, 3), "size": ints(2, 3, 4, 6)},
        opset=20,
        layers=["grid_sample"],
    ),
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
    *(
        one(op.lower(), op, opset=15)
        for op in ("Abs", "Atan", "Ceil", "Cos", "Erf", "Exp", "Floor", "Round", "Sign", "Sin")
    ),
    *(one(op.lower(), op, opset=15) for op in ("Asinh", "Reciprocal", "Sinh", "Softsign", "Tan")),
    one("cosh", "Cosh"),
    Case("log", [node("Abs", "x", "a"), node("Log", "a", "y")]),
    Case("acosh", [node("Abs", "x", "a"), node("Exp", "a", "b"), node("Acosh", "b", "y")]),
    *(Case(op.lower(), [node("Softsign", "x", "a"), node(op, "a", "y")]) for op in ("Acos", "Asin", "Atanh")),
    Case("reduce_log_sum", [node("Abs", "x", "a"), node("ReduceLogSum", "a", "y", axes=[2, 3])]),
    Case(
        "cast_like",
        [node("Greater", "x zero", "a"), node("CastLike", "a x", "y")],
        constants={"zero": scalar(0)},
        opset=15,
    ),
    one("scatter_9", "Scatter", (2, 5), opset=9, i=ints(1, 3).reshape(1, 2), u=random(1, 2), axis=1),
    one("rms_norm", "RMSNormalization", opset=23, s=random(9)),
    one("swish", "Swish", opset=24),
    one("celu_number", "Celu", alpha=1.5),
    one("thresholded_relu", "ThresholdedRelu", alpha=0.7),
    one("shrink", "Shrink", lambd=0.4, bias=0.1),
    one("log_softmax", "LogSoftmax"),
    one("log_softmax_flattening", "LogSoftmax", opset=11, axis=2),
    *(
        one(f"{op.lower()}_axes", op, axes=[1, 3], keepdims=0)
        for op in ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMin", "ReduceProd", "ReduceSumSquare")
    ),
    one("reduce_batch", "ReduceMean", axes=[0, 2]),
    one("reduce_batch_gone", "ReduceMean", axes=[0, 2], keepdims=0),
    one("reshape_batch", "Reshape", shape=ints(-1, 8, 9)),
    one("reshape_row", "Reshape", shape=ints(-1)),
    one("transpose_batch", "Transpose", perm=[1, 0, 3, 2]),
    one("pad_batch", "Pad", pads=ints(1, 0, 0, 0, 2, 0, 0, 1)),
    one("slice_batch", "Slice", (4, 3, 5), starts=ints(1), ends=ints(4), axes=ints(0), steps=ints(2)),
    one("add_batch", "Add", c=random(2, 1, 1, 9)),
    one("mul_batch", "Mul", c=random(2, 1, 1, 1)),
    one("vector", "Sigmoid", (5,)),
    one("vector_add", "Add", (5,), c=random(5)),
    one("vector_scale", "Mul", (5,), c=scalar(3)),
    one("number", "Exp", ()),
    one("five_axes", "Relu", (2, 3, 2, 4, 2)),
    Case("two_batches", [node("Add", "x z", "y")], more={"z": (8, 9)}),
    Case("two_ranks", [node("Mul", "z x", "y")], more={"z": (9,)}),
    one("softmax_batch", "Softmax", opset=11, axis=0),
    one("log_softmax_large", "LogSoftmax", (2, 5), axis=-1),
    one("hardmax", "Hardmax", axis=2),
    one("hardmax_flattening", "Hardmax", opset=11),
    *(
        Case(
            f"{op.lower()}_{'last' if last else 'first'}",
            [
                node("Round", "x", "r"),
                node(op, "r", "a", axis=axis, keepdims=keep, select_last_index=last),
                node("Cast", "a", "y", to=1),
            ],
        )
        for op, axis, keep, last in [
            ("ArgMax", 1, 1, 0),
            ("ArgMax", -1, 0, 1),
            ("ArgMin", 0, 0, 0),
            ("ArgMin", 2, 1, 1),
        ]
    ),
    Case("top_k", [node("TopK", "x k", "y i", axis=2)], constants={"k": ints(3)}),
    Case(
        "top_k_places", [node("TopK", "x k", "v i", largest=0), node("Cast", "i", "y", to=1)], constants={"k": ints(2)}
    ),
    *(
        Case(
            f"{op.lower()}_both",
            [node("Round", "x", "r"), node("Round", "z", "s"), node(op, "r s", "c"), node("Cast", "c", "y", to=1)],
            more={"z": (8, 1)},
        )
        for op in COMPARISONS
    ),
    *(
        Case(
            f"{op.lower()}_one", [node(op, "c x", "a"), node("Cast", "a", "y", to=1)], constants={"c": random(3, 1, 1)}
        )
        for op in COMPARISONS
    ),
    Case(
        "logic",
        [
            node("Greater", "x low", "a"),
            node("Less", "x high", "b"),
            node("And", "a b", "c"),
            node("Xor", "a b", "d"),
            node("Or", "c d", "e"),
            node("Not", "c", "f"),
            node("Cast", "e", "e1", to=1),
            node("Where", "f x e1", "g"),
            node("And", "f mask", "h"),
            node("Where", "h g x", "y"),
        ],
        constants={"low": scalar(-0.5), "high": scalar(0.5), "mask": np.arange(9) % 2 == 0},
    ),
    Case("where_mask", [node("Where", "m x c", "y")], constants={"m": np.eye(8, 9) > 0, "c": scalar(2.5)}),
    Case("where_zero", [node("Where", "m x c", "y")], constants={"m": np.eye(8, 9) > 0, "c": scalar(0)}),
    Case(
        "where_zero_first", [node("Where", "m c x", "y")], constants={"m": np.ones((4, 1, 1, 1, 1)) > 0, "c": scalar(0)}
    ),
    Case(
        "where_infinite",
        [node("Log", "x", "l"), node("Greater", "x zero", "p"), node("Where", "p l x", "y")],
        constants={"zero": scalar(0)},
    ),
    Case(
        "whole_numbers",
        [
            node("Mul", "x ten", "x10"),
            node("Cast", "x10", "i", to=7),
            node("Div", "i two", "q"),
            node("Mod", "i five", "r"),
            node("Mul", "q five", "m"),
            node("Add", "m r", "s"),
            node("Cast", "s", "y", to=1),
        ],
        constants={"ten": scalar(10), "two": np.array(2, np.int64), "five": np.array(-5, np.int64)},
    ),
    Case("cast_bool", [node("Relu", "x", "r"), node("Cast", "r", "b", to=9), node("Cast", "b", "y", to=1)]),
    Case("mod_float", [node("Mod", "x z", "y", fmod=1)], more={"z": (2, 3, 1, 9)}),
    Case("is_nan", [node("Log", "x", "l"), node("IsNaN", "l", "n"), node("Cast", "n", "y", to=1)]),
    Case(
        "is_inf",
        [node("Relu", "x", "r"), node("Log", "r", "l"), node("IsInf", "l", "n"), node("Cast", "n", "y", to=1)],
    ),
    Case(
        "is_inf_positive",
        [
            node("Relu", "x", "r"),
            node("Log", "r", "l"),
            node("IsInf", "l", "n", detect_positive=0),
            node("Cast", "n", "y", to=1),
        ],
    ),
    one("trilu", "Trilu", opset=14, k=np.array(1, np.int64)),
    one("trilu_lower", "Trilu", opset=14, upper=0),
    one("cumsum", "CumSum", axis=np.array(1, np.int64)),
    one("cumsum_reverse", "CumSum", axis=np.array(-1, np.int32), reverse=1, exclusive=1),
    one("gather_many", "Gather", (2, 40, 3), i=np.arange(40).reshape(5, 8)[::-1].T.copy(), axis=1),
    one("gather_batch", "Gather", (5, 3), i=ints(3, 3, -5, 0), axis=0),
    one("gather_elements", "GatherElements", (2, 5, 4), i=np.array([[[0, -1, 2, 3]], [[4, 0, 0, 1]]]), axis=1),
    one("gather_nd", "GatherND", (2, 5, 4), i=np.array([[0, 4], [1, -2]])),
    one("gather_nd_batch", "GatherND", (2, 5, 4), i=np.array([[[3]], [[-1]]]), batch_dims=1),
    *(
        one(f"scatter_nd_{way}", "ScatterND", (4, 5), 18, i=ints(1, 3, 1).reshape(3, 1), u=random(3, 5), reduction=way)
        for way in ("add", "mul", "min", "max")
    ),
    one("scatter_nd", "ScatterND", (4, 5), i=np.array([[0, 1], [3, -1]]), u=random(2)),
    one("scatter_elements", "ScatterElements", (4, 5), i=np.array([[0, 4], [3, -2]]), u=random(2, 2), axis=1),
    one(
        "scatter_elements_add",
        "ScatterElements",
        (4, 5),
        18,
        i=np.array([[0, 2, 0]] * 2).T.copy(),
        u=random(3, 2),
        reduction="add",
        axis=0,
    ),
    Case(
        "scatter_live",
        [node("ScatterND", "zeros i x", "y")],
        x=(2, 5),
        constants={"zeros": random(4, 5), "i": ints(2, 0).reshape(2, 1)},
    ),
    one("gemm_transposed_input", "Gemm", (5, 2), w=random(5, 4), b=random(2, 4), transA=1, alpha=0.5, beta=0.3),
    Case(
        "gemm_both",
        [node("Gemm", "x z c", "y", transB=1, alpha=2.0, beta=0.5)],
        x=(3, 5),
        more={"z": (4, 5), "c": (1, 4)},
    ),
    one("matmul_first", "MatMul", (2, 3, 5, 4), w=random(3, 4, 6)),
    Case("matmul_of", [node("MatMul", "w x", "y")], x=(2, 5, 4), constants={"w": random(3, 5)}),
    Case("matmul_vector", [node("MatMul", "x z", "y")], x=(2, 3, 5), more={"z": (5,)}),
    Case("matmul_vectors", [node("MatMul", "x z", "y")], x=(5,), more={"z": (5,)}),
    one("layer_norm_all", "LayerNormalization", (3, 4), opset=17, s=random(3, 4), b=random(3, 4), axis=0),
    Case(
        "layer_norm_statistics",
        [
            node("LayerNormalization", "x s", "n mean deviation"),
            node("Add", "mean deviation", "a"),
            node("Mul", "n a", "y"),
        ],
        constants={"s": random(9)},
        opset=17,
    ),
    one("lp_norm_1", "LpNormalization", axis=2, p=1),
    one("instance_norm", "InstanceNormalization", s=random(3), b=random(3, seed=1), epsilon=1e-3),
    one("layer_norm", "LayerNormalization", opset=17, s=random(9), b=random(9, seed=1)),
    one("layer_norm_axis", "LayerNormalization", opset=17, s=random(8, 9), axis=-2),
    one("group_norm", "GroupNormalization", (2, 6, 4, 5), opset=21, s=random(6), b=random(6), num_groups=2),
    one("mean_variance", "MeanVarianceNormalization"),
    one("lp_norm", "LpNormalization", axis=1),
    one("lrn", "LRN", (2, 7, 4, 5), size=3, alpha=0.1),
    one("lrn_numbers", "LRN", (2, 7, 4, 5), size=5, alpha=0.1, beta=0.5, bias=2.0),
    one("global_lp_pool", "GlobalLpPool"),
    one("slice_9", "Slice", opset=9, starts=[1, -4], ends=[3, 100], axes=[1, 3]),
    one("slice", "Slice", starts=ints(-1, 1), ends=ints(-100, 8), axes=ints(3, 2), steps=ints(-2, 3)),
    Case("split", [node("Split", "x", "a y", axis=1)], x=(2, 6, 4)),
    Case("split_sizes", [node("Split", "x sizes", "a b y", axis=-1)], constants={"sizes": ints(2, 3, 4)}),
    Case("split_18", [node("Split", "x", "a b y", axis=2, num_outputs=3)], opset=18),
    one("gather", "Gather", i=ints(2, 0, 1), axis=1),
    one("gather_one", "Gather", i=np.array(-2, np.int64), axis=2),
    one("gather_runs", "Gather", i=ints(0, 1, 2, 2, 5, 3, 1, 1).reshape(2, 4), axis=3),
    one("expand", "Expand", (2, 1, 1, 9), shape=ints(3, 8, 1)),
    one("tile", "Tile", times=ints(1, 2, 1, 3)),
    one("pad_reflect", "Pad", pads=ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    one("pad_edge_channels", "Pad", pads=ints(0, 1, 0, 2, 0, 2, 0, 0), mode="edge"),
    one("pad_crop", "Pad", pads=ints(0, 0, -1, 2, 0, 1, 3, -2), value=scalar(2)),
    one("pad_rows", "Pad", (2, 5), pads=ints(0, 1, 0, 2)),
    one("add_larger", "Add", (2, 1, 8, 9), c=random(3, 1, 1)),
    one("max_channels", "Max", c=random(3, 1, 1)),
    one("min_plane", "Min", c=random(8, 9)),
    Case("pow_both", [node("Abs", "x", "a"), node("Pow", "a z", "y")], more={"z": (2, 3, 1, 1)}),
    Case("pow_number", [node("Abs", "x", "a"), node("Pow", "a e", "y")], constants={"e": scalar(0.7)}),
    Case("pow_of_number", [node("Pow", "e x", "y")], constants={"e": scalar(0.7)}),
    Case("div_both", [node("Exp", "x", "a"), node("Div", "z a", "y")], more={"z": (2, 3, 1, 9)}),
    Case("div_of_constant", [node("Exp", "x", "a"), node("Div", "c a", "y")], constants={"c": random(3, 1, 1)}),
    Case("mean", [node("Relu", "x", "a"), node("Mean", "x a c", "y")], constants={"c": random(3, 1, 1)}),
    Case("matmul_both", [node("Transpose", "x", "a", perm=[0, 1, 3, 2]), node("MatMul", "x a", "y")]),
    Case(
        "layer_norm_spelt",
        [
            node("ReduceMean", "x", "m", axes=[-1]),
            node("Sub", "x m", "d"),
            node("Pow", "d two", "q"),
            node("ReduceMean", "q", "v", axes=[-1]),
            node("Add", "v eps", "ve"),
            node("Sqrt", "ve", "s"),
            node("Div", "d s", "n"),
            node("Mul", "n g", "ng"),
            node("Add", "ng b", "y"),
        ],
        constants={"two": scalar(2), "eps": scalar(1e-5), "g": random(9), "b": random(9, seed=1)},
    ),
    one("identity", "Identity", layers=["reshape"]),
    one("dropout", "Dropout", opset=11, layers=["reshape"]),
    one("dropout_12", "Dropout", r=scalar(0.5)),
    one("cast", "Cast", to=1, layers=["reshape"]),
    one("depth_to_space", "DepthToSpace", (2, 8, 3, 4), blocksize=2),
    one("depth_to_space_crd", "DepthToSpace", (2, 8, 3, 4), blocksize=2, mode="CRD"),
    one("space_to_depth", "SpaceToDepth", (2, 3, 6, 4), blocksize=2),
    Case("silu", [node("Sigmoid", "x", "a"), node("Mul", "a x", "y")], layers=["silu"]),
    Case(
        "hard_sigmoid_mul", [node("HardSigmoid", "x", "a", alpha=1 / 6), node("Mul", "x a", "y")], layers=["hard_swish"]
    ),
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
    values = network.graph.evaluate({i.name: feeds[i.name].reshape(i.shape) for i in network.graph.inputs})
    document = import_model(path).text.decode()
    ops = [line.split('"')[1] for line in document.splitlines() if line.startswith("op = ")]
    assert network.unused == ()
    return [values[output.value] for output in network.graph.outputs], ops


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_operators_agree_with_onnxruntime(case: Case, tmp_path: Path) -> None:
    inputs = {"x": case.x, **case.more}
    proto = model(case.nodes, inputs, case.constants, opset=case.opset)
    feeds = {name: np.asarray(2 * random(*shape, seed=7)) for name, shape in inputs.items()}
    results, ops = by_import(saved(proto, tmp_path), feeds)
    for got, y in zip(results, expected(proto, feeds), strict=True):
        assert got.shape == (y.shape or (1,))  # a number is a tensor of one element
        assert np.max(np.abs(got - y)) <= 2e-6 * max(1.0, np.max(np.abs(y)))
    if case.layers is not None:
        assert ops == case.layers


ON_DEVICES = (
    "gather",
    "split_sizes",
    "channel_shuffle",
    "hard_swish_gate",
    "lrn",
    "layer_norm",
    "mul_plane",
    "pad_crop",
    "conv_3d",
    "transposed_3d",
    "average_pool_3d",
    "lp_pool_3",
    "resize_crop",
    "resize_batch",
    "sample_affine",
    "sample_live",
    "vector_add",
    "number",
    "five_axes",
    "two_batches",
    "whole_numbers",
    "logic",
    "scatter_elements_add",
    "top_k_places",
)


@pytest.mark.parametrize("name", ON_DEVICES)
def test_operators_on_devices(name: str, device: DeviceInfo, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    inputs = {"x": case.x, **case.more}
    proto = model(case.nodes, inputs, case.constants, opset=case.opset)
    feeds = {key: np.asarray(2 * random(*shape, seed=7)) for key, shape in inputs.items()}
    folder, _ = build.build(build.lower(saved(proto, tmp_path)), tmp_path, "cpu")
    results = Session(artefacts.read(folder), device).run(feeds)
    for got, y in zip(results.values(), expected(proto, feeds), strict=True):
        assert np.max(np.abs(got - y)) <= 1e-5 * max(1.0, np.max(np.abs(y)))


# Specs --------------------------------------------------------------------------------------------------------------


def network(folder: Path, name: str = "net", opset: int = 13) -> Path:
    """Conv, BatchNorm, activation, residual, pool, dense: with the names that PyTorch gives."""
    constants = {
        "stem.conv.weight": random(4, 3, 3, 3),
        "stem.conv.bias": random(4),
        "stem.bn.weight": positive(4),
        "stem.bn.bias": random(4, seed=1),
        "stem.bn.running_mean": random(4, seed=2),
        "stem.bn.running_var": positive(4, seed=3),
        "head.weight": random(5, 4),
        "head.bias": random(5),
    }
    nodes = [
        helper.make_node(
            "Conv", ["image", "stem.conv.weight", "stem.conv.bias"], ["1"], "/stem/stem.0/conv/Conv", pads=[1, 1, 1, 1]
        ),
        helper.make_node(
            "BatchNormalization",
            ["1", "stem.bn.weight", "stem.bn.bias", "stem.bn.running_mean", "stem.bn.running_var"],
            ["2"],
            "/stem/bn/BatchNormalization",
            epsilon=1e-3,
        ),
        helper.make_node("LeakyRelu", ["2"], ["3"], "/stem/act/LeakyRelu", alpha=0.1),
        helper.make_node("Add", ["3", "1"], ["4"], "/Add"),
        helper.make_node("GlobalAveragePool", ["4"], ["5"], "/pool/GlobalAveragePool"),
        helper.make_node("Flatten", ["5"], ["6"], "/Flatten"),
        helper.make_node("Gemm", ["6", "head.weight", "head.bias"], ["scores/out:0"], "/head/Gemm", transB=1),
    ]
    return saved(model(nodes, {"image": (2, 3, 8, 8)}, constants, ["scores/out:0"], opset), folder, name)


SPEC = """\
# Imported from an ONNX model.

[model]
name = "net"
weights = "net.safetensors"
batch = 2

[[input]]
name = "image"
shape = [3, 8, 8]

[[layer]]
name = "stem.conv"
original = "/stem/stem.0/conv/Conv"
op = "conv"
padding = 1

[[layer]]
name = "stem.bn"
original = "/stem/bn/BatchNormalization"
op = "batch_norm"
epsilon = 0.001
activation = { op = "leaky_relu", alpha = 0.1 }

[[layer]]
name = "Add"
original = "/Add"
op = "add"
inputs = ["stem.bn", "stem.conv"]

[[layer]]
name = "pool"
original = "/pool/GlobalAveragePool"
op = "global_average_pool"

[[layer]]
name = "Flatten"
original = "/Flatten"
op = "flatten"

[[layer]]
name = "head"
original = "/head/Gemm"
op = "dense"

[[output]]
name = "scores_out_0"
original = "scores/out:0"
from = "head"
"""


def test_spec_is_one_that_a_person_would_write(tmp_path: Path) -> None:
    imported = import_model(network(tmp_path))
    text, _, seal = imported.text.decode().partition(
        "\n# While this fits, clgen import replaces the file and its weights:\n"
    )
    assert text == SPEC
    assert re.fullmatch("# sha256 [0-9a-f]{64}\n", seal)
    assert import_model(network(tmp_path)) == imported


def test_build_of_the_spec_is_that_of_the_model_byte_for_byte(tmp_path: Path) -> None:
    path = network(tmp_path / "..", "round_trip")
    spec, _ = build.imported(path, tmp_path / "specs", None, {})
    folders = [build.build(build.lower(of), tmp_path / k, "cpu")[0] for k, of in (("spec", spec), ("model", path))]
    files = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders]
    assert files[0] == files[1] and len(files[0]) > 5


def test_commands_take_a_model(tmp_path: Path) -> None:
    path = saved(model([node("Relu", "x", "y")], {"x": ("N", 3, "H", "W"), "z": ("M", 2)}, {}), tmp_path, "any-relu")
    runner = CliRunner()
    sizes = ["--shape", "x=1,3,8,8"]
    for command in (["import", "-o", str(tmp_path)], ["build", "-o", str(tmp_path)], ["explain"], ["list"]):
        result = runner.invoke(main, [command[0], str(path), *command[1:], *sizes])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "any_relu.toml").is_file() and (tmp_path / "any_relu" / "any_relu.c").is_file()
    result = runner.invoke(main, ["import", str(path)])
    assert result.exit_code == 2
    assert "x is [N, 3, H, W]; give them with --shape 'x=?,3,?,?'" in result.output


def test_all_dynamic_inputs_are_named(tmp_path: Path) -> None:
    path = saved(model([node("Add", "x z", "y")], {"x": ("N", 3), "z": ("M", 3)}, {}), tmp_path)
    with pytest.raises(
        SpecError, match=r"x is \[N, 3\]; z is \[M, 3\]; give them with --shape 'x=\?,3' --shape 'z=\?,3'"
    ):
        open_model(path)
    with pytest.raises(SpecError, match=r"z is \[M, 3\]; give them with --shape 'z=\?,3'"):
        open_model(path, {"x": (1, 3)})
    with pytest.raises(SpecError, match=r'no input "q".*its inputs are "x" and "z"'):
        open_model(path, {"q": (1, 3)})
    with pytest.raises(SpecError, match=r"x=1,4 does not fit"):
        open_model(path, {"x": (1, 4), "z": (1, 3)})
    assert open_model(path, {"x": (1, 3), "z": (1, 3)}).graph.inputs[1].name == "z"


def test_names_are_legal_and_different(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["in:0"], ["a/b"], "block/Relu"),
        helper.make_node("Sigmoid", ["a/b"], ["a_b"], "block.relu"),
        helper.make_node("Tanh", ["a/b"], ["int"], "9"),
        helper.make_node("Tanh", ["a_b"], ["a__b"], 'quote " and\n line \u2028 \U0001f600'),
        helper.make_node("Concat", ["a_b", "int", "a__b"], ["x" * 300], "y" * 300, axis=1),
    ]
    outputs = ["a/b", "a_b", "int", "a__b", "x" * 300]
    path = saved(model(nodes, {"in:0": (1, 3, 4, 4)}, {}, outputs), tmp_path, "while")
    graph = open_model(path).graph
    assert graph.name == "while_net"
    assert [i.name for i in graph.inputs] == ["in_0"]
    assert len({o.name.upper() for o in graph.outputs}) == 5
    assert "a_b" in [o.name for o in graph.outputs]


@pytest.mark.parametrize("name", ["data", "net"])
def test_names_that_begin_like_the_model_are_changed(name: str, tmp_path: Path) -> None:
    inputs = [f"{name}_x", f"{name}_y", "cl_z", "cl_Z"]
    path = saved(model([node("Sum", " ".join(inputs), "y")], dict.fromkeys(inputs, (1, 3)), {}), tmp_path, name)
    assert len({i.name.upper() for i in open_model(path).graph.inputs}) == 4


def test_parameters_that_are_used_twice_are_stored_once(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "a", pads=[1, 1, 1, 1]), node("Conv", "a w", "y", pads=[1, 1, 1, 1])]
    imported = import_model(saved(model(nodes, {"x": (1, 3, 8, 8)}, {"w": random(3, 3, 3, 3)}), tmp_path))
    assert len(imported.weights) < 2 * 4 * 81 and imported.text.count(b'weight = "w"') == 2


def test_external_data(tmp_path: Path) -> None:
    path = network(tmp_path, "inside")
    onnx.save_model(
        onnx.load(str(path)), str(tmp_path / "outside.onnx"), save_as_external_data=True, size_threshold=0, location="w"
    )
    inside, outside = import_model(path, "net"), import_model(tmp_path / "outside.onnx", "net")
    assert inside == outside


# Refusals -----------------------------------------------------------------------------------------------------------


def test_every_unsupported_node_is_listed(tmp_path: Path) -> None:
    nodes = [
        node("Det", "x", "a"),
        node("Relu", "a", "b"),
        node("NonZero", "b", "c"),
        helper.make_node("Fancy", ["c"], ["d"], "mine", domain="my.ops"),
        node("Conv", "x w", "e", strides=[1, 1, 1]),
        node("Pad", "x pads", "f", mode="mirror"),
        node("BatchNormalization", "x s b0 m v", "g mean var", training_mode=1),
        node("Erf", "x", "h"),
        node("Add", "a c d e f g h mean"[:3], "y"),
        node("Sum", "d e f g h mean", "z"),
    ]
    constants = {"w": W, "pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "s": BN["s"], "b0": BN["b"], "m": BN["m"], "v": BN["v"]}
    proto = model(nodes, {"x": (1, 3, 8, 8)}, constants, ["y", "z"], 15)
    proto.opset_import.append(helper.make_opsetid("my.ops", 1))
    with pytest.raises(SpecError) as caught:
        open_model(saved(proto, tmp_path))
    message = str(caught.value)
    assert "6 nodes are not supported" in message
    for line in (
        'Det "Det_a": there is no such operator',
        'NonZero "NonZero_c": there is no such operator',
        'my.ops.Fancy "mine": operators of my.ops are not ONNX\'s own',
        'Conv "Conv_e": strides [1, 1, 1] should have 2 numbers',
        'Pad "Pad_f": mode mirror is unknown',
        'BatchNormalization "BatchNormalization_g": it is in training mode',
    ):
        assert line in message


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (one("antialias", "Resize", opset=18, roi=None, scales=floats(1, 1, 0.5, 2), antialias=1), "antialias"),
        (
            one(
                "crop",
                "Resize",
                roi=None,
                scales=floats(1, 1, 2, 2),
                coordinate_transformation_mode="tf_crop_and_resize",
            ),
            "its roi has 0 numbers instead of 8",
        ),
        (
            Case(
                "indices_used",
                [
                    node("MaxPool", "x", "a i", kernel_shape=[2, 2]),
                    node("Cast", "i", "f", to=1),
                    node("Add", "a f", "y"),
                ],
            ),
            "its second output, the indices, is used",
        ),
        (
            Case("unpool", [node("MaxUnpool", "x i", "y", kernel_shape=[2, 2])], constants={"i": ints(0)}),
            "no such operator",
        ),
        (one("gaps", "ConvTranspose", w=random(3, 4, 1, 1), strides=[2, 2], auto_pad="SAME_UPPER"), "leave gaps"),
        (one("absent", "Conv", w=None, b=B), "its input 2, W, is absent"),
        (one("scale_nan", "Upsample", opset=7, scales=[1.0, 1.0, 2.0, np.nan]), "its scales should be"),
        (
            one("cubic_inf", "Resize", roi=None, scales=floats(1, 1, 2, 2), mode="cubic", cubic_coeff_a=np.inf),
            "cubic_coeff_a = inf should be finite",
        ),
        (one("ranks", "Reshape", shape=ints(2, 1, 1, 1, 1, 1, -1)), "should be a list of sizes"),
        (one("not_finite", "Conv", w=W * np.float32(np.inf)), "infinite|not a number"),
        (one("huge", "Expand", shape=ints(2**24, 1, 1, 1, 1, 1)), "2147483647 is the most"),
        (one("beyond", "GatherElements", i=ints(8).reshape(1, 1, 1, 1), axis=2), "beyond the elements of axis 2"),
        (Case("too_many", [node("TopK", "x k", "y i")], constants={"k": ints(10)}), "from 1 to the 9 of axis 3"),
        (one("text", "Cast", to=8), "it makes numbers of type string of a tensor that the network computes"),
        (one("scattered", "ScatterND", i=ints(0).reshape(1, 1), u=random(1, 3, 8)), "do not fit its indices"),
        (one("opset", "HardSwish", opset=13), "no such operator in opset 13"),
        (one("negative_variance", "BatchNormalization", **{**BN, "v": -BN["v"]}), "never negative"),
        (one("indices", "MaxPool", kernel_shape=[2]), "kernel_shape"),
        (one("attribute", "Relu", alpha=1.0), 'no attribute "alpha"'),
        (one("attribute_type", "LeakyRelu", alpha=1), "wrong type"),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
def test_refusals_say_why(case: Case, message: str, tmp_path: Path) -> None:
    path = saved(model(case.nodes, {"x": case.x}, case.constants, opset=case.opset), tmp_path)
    with pytest.raises(SpecError, match=message) as caught:
        open_model(path)
    assert f'"{case.nodes[0].name}"' in str(caught.value)


def test_a_constant_that_explodes_is_refused_in_time(tmp_path: Path) -> None:
    nodes = [node("ConstantOfShape", "s", "a"), node("Add", "x a", "y")]
    path = saved(model(nodes, {"x": (1, 3)}, {"s": ints(2**20, 2**20)}), tmp_path)
    with pytest.raises(SpecError, match="at most 67108864 are allowed"):
        open_model(path)
    doubling = [node("Concat", f"c{k} c{k}", f"c{k + 1}", axis=0) for k in range(60)]
    path = saved(model([*doubling, node("Add", "x c60", "y")], {"x": (1, 3)}, {"c0": floats(1, 2)}), tmp_path)
    with pytest.raises(SpecError, match="at most 67108864 are allowed"):
        open_model(path)


@pytest.mark.parametrize("version", [6, 99])
def test_versions_out_of_range_are_refused(version: int, tmp_path: Path) -> None:
    proto = model([node("Relu", "x", "y")], {"x": (1, 3)}, {})
    proto.opset_import[0].version = version
    with pytest.raises(SpecError, match=f"is of opset {version}"):
        open_model(saved(proto, tmp_path))


def test_what_a_spec_refuses_is_said_without_a_place_of_its_own(tmp_path: Path) -> None:
    path = saved(model([node("Flatten", "x", "a"), node("Conv", "a w", "y")], {"x": (1, 3, 8, 8)}, {"w": W}), tmp_path)
    with pytest.raises(SpecError) as caught:
        open_model(path)
    assert ": : " not in str(caught.value)
    grown = [node("ConvTranspose", "x w", "y", strides=[2**20, 2**20])]
    path = saved(model(grown, {"x": (1, 3, 64, 64)}, {"w": random(3, 4, 3, 3)}), tmp_path)
    with pytest.raises(SpecError, match=r'ConvTranspose "ConvTranspose_y": [a-z]'):
        open_model(path)


def test_operators_that_onnx_defines_by_others(tmp_path: Path) -> None:
    """Attention has no layer of its own: the nodes of ONNX's definition are imported, and compared one by one."""
    nodes = [node("Attention", "x k v mask", "y", q_num_heads=4, kv_num_heads=2, softcap=2.0)]
    inputs = {"x": (2, 5, 16), "k": (2, 6, 8), "v": (2, 6, 12)}
    mask = np.tril(np.ones((5, 6))) > 0
    proto = model(nodes, inputs, {"mask": mask}, opset=23)
    feeds = {name: random(*shape, seed=k) for k, (name, shape) in enumerate(inputs.items())}
    (got,), _ = by_import(saved(proto, tmp_path), feeds)
    q, k, v = (
        np.moveaxis(feeds[name].astype(np.float64).reshape(2, n, heads, -1), 1, 2)
        for name, n, heads in (("x", 5, 4), ("k", 6, 2), ("v", 6, 2))
    )
    scores = q @ np.moveaxis(np.repeat(k, 2, axis=1), 2, 3) / 2  # the root of the 4 numbers of a head
    scores = np.where(mask, 2 * np.tanh(scores / 2), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    right = weights / weights.sum(axis=-1, keepdims=True) @ np.repeat(v, 2, axis=1)
    np.testing.assert_allclose(got, np.moveaxis(right, 1, 2).reshape(2, 5, 24), rtol=1e-6, atol=1e-6)
