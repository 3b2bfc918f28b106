"""Models as exporters write them, full of transposes and squeezes: what is launched, and what comes out on devices.

Each model is built here; onnxruntime says what is right.  Every launch is listed: a transpose that stays has its reason
beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from codegen import build
from codegen.runtime.devices import DeviceInfo
from tests.support.everywhere import by_device
from tests.support.onnx_models import Array, expected

NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


class Model:
    """An ONNX model under construction: every method adds a node and returns the name of its output."""

    def __init__(self, *shape: int) -> None:
        self.rng = np.random.default_rng(len(shape))
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def constant(self, values: Array | float, dtype: type = np.float32) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def normal(self, *shape: int) -> str:
        return self.constant(self.rng.normal(0.0, 0.4, shape))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values), np.int64)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def transpose(self, x: str, axes: tuple[int, ...]) -> str:
        return self.add("Transpose", x, perm=axes)

    def conv(self, x: str, outputs: int, inputs: int, *kernel: int, groups: int = 1, **attributes: object) -> str:
        kernel = kernel or (3, 3)
        pads = [k // 2 for k in kernel] * 2
        weight = self.normal(outputs, inputs // groups, *kernel)
        return self.add("Conv", x, weight, self.normal(outputs), group=groups, pads=pads, **attributes)

    def nhwc_conv(self, x: str, outputs: int, inputs: int, *kernel: int, groups: int = 1) -> str:
        """A convolution of channels-last images as tf2onnx writes it."""
        y = self.conv(self.transpose(x, NCHW), outputs, inputs, *kernel, groups=groups)
        return self.transpose(y, NHWC)

    def affine(self, x: str, *shape: int) -> str:
        """A batch norm as TensorFlow's graphs have it: a product and a sum along the last axis."""
        return self.add("Add", self.add("Mul", x, self.normal(*shape)), self.normal(*shape))

    def proto(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.shape))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


Case = tuple[onnx.ModelProto, list[str]]
CASES: dict[str, Callable[[], Case]] = {}


def case(function: Callable[[], Case]) -> Callable[[], Case]:
    CASES[function.__name__] = function
    return function


@case
def relu_between_transposes() -> Case:
    m = Model(1, 3, 8, 9)
    x = m.transpose(m.add("Relu", m.transpose(m.conv("x", 8, 3), NHWC)), NCHW)
    return m.proto(m.conv(x, 8, 8)), ["conv -> relu", "conv"]


@case
def batch_norm_of_squeezed_images() -> Case:
    m = Model(1, 3, 8, 9)
    x = m.add("Squeeze", m.transpose(m.conv("x", 8, 3), NHWC), m.ints(0))
    x = m.add("Unsqueeze", m.add("Relu", m.affine(x, 8)), m.ints(0))
    return m.proto(m.conv(m.transpose(x, NCHW), 8, 8)), ["conv -> relu", "conv"]


@case
def batch_norm_with_all_axes() -> Case:
    """Constants of shape [1, 1, 1, C]."""
    m = Model(2, 3, 6, 7)
    x = m.add("Relu", m.affine(m.transpose(m.conv("x", 5, 3), NHWC), 1, 1, 1, 5))
    return m.proto(m.conv(m.transpose(x, NCHW), 4, 5)), ["conv -> relu", "conv"]


@case
def as_tf2onnx_writes_it() -> Case:
    """Images whose channels are last, the residual too, and dense layers behind the mean of all pixels."""
    m = Model(1, 12, 10, 3)
    x = m.add("Relu", m.affine(m.nhwc_conv("x", 16, 3), 16))
    y = m.add("Relu", m.affine(m.nhwc_conv(x, 16, 16, groups=16), 16))
    y = m.affine(m.nhwc_conv(y, 16, 16, 1, 1), 16)
    x = m.add("Add", x, y)
    y = m.add("Clip", m.affine(m.nhwc_conv(x, 16, 16, groups=16), 16), m.constant(0.0), m.constant(6.0))
    x = m.add("Add", m.affine(m.nhwc_conv(y, 16, 16, 1, 1), 16), x)
    pooled = m.add("GlobalAveragePool", m.transpose(x, NCHW))
    y = m.add("Squeeze", m.transpose(pooled, NHWC), m.ints(1, 2))
    return m.proto(m.add("Gemm", y, m.normal(16, 5), m.normal(5))), [
        "conv -> relu",
        "conv -> relu",
        "conv -> add",
        "conv -> clip",
        "conv -> add",
        "global_average_pool",
        "dense",
    ]  # fmt: skip


@case
def means_of_pixels() -> Case:
    """The mean of all pixels as TensorFlow's reduce_mean."""
    m = Model(2, 6, 5, 3)
    x = m.add("Relu", m.nhwc_conv("x", 8, 3))
    x = m.add("ReduceMean", x, axes=[1, 2], keepdims=0)
    return m.proto(m.add("MatMul", x, m.normal(8, 4))), ["conv -> relu", "global_average_pool", "dense"]


@case
def scaled_input() -> Case:
    """A network whose input is scaled before its first transpose."""
    m = Model(1, 8, 9, 3)
    x = m.add("Sub", m.add("Mul", "x", m.constant(2.0)), m.constant(np.array([0.5, 0.4, 0.3])))
    x = m.transpose(m.add("Relu", m.nhwc_conv(x, 8, 3)), NCHW)
    return m.proto(m.conv(x, 4, 8, 1, 1)), ["affine -> conv -> relu", "conv"]


@case
def images_out() -> Case:
    """Outputs whose channels are last are written so."""
    m = Model(1, 8, 9, 3)
    x = m.add("Relu", m.affine(m.nhwc_conv("x", 8, 3), 8))
    return m.proto(m.add("Sigmoid", m.nhwc_conv(x, 2, 8)), x), [
        "conv -> relu",
        "conv -> sigmoid",
        "transpose",  # of the first output, which the second convolution reads too
    ]  # fmt: skip


@case
def concatenated_pyramids() -> Case:
    """SSD: boxes of two scales, each reshaped to [1, boxes, 4] and joined."""
    m = Model(1, 8, 8, 3)
    x = m.add("Relu", m.nhwc_conv("x", 8, 3))
    first = m.add("Reshape", m.nhwc_conv(x, 8, 8), m.ints(1, 128, 4))
    y = m.transpose(m.add("MaxPool", m.transpose(x, NCHW), kernel_shape=[2, 2], strides=[2, 2]), NHWC)
    second = m.add("Reshape", m.nhwc_conv(y, 8, 8), m.ints(1, 32, 4))
    return m.proto(m.add("Concat", first, second, axis=1)), [
        "conv -> relu",
        "conv",
        "max_pool",
        # [1, C, H, W] becomes [1, H W C / 4, 4]: the order of numbers changes, once for each scale.
        "conv",
        "transpose",
        "transpose",
        "concat",
    ]  # fmt: skip


@case
def joined_channels() -> Case:
    """DenseNet's concatenation along the last axis, with padding and a slice."""
    m = Model(1, 8, 8, 3)
    x = m.add("Relu", m.nhwc_conv("x", 8, 3))
    y = m.add("Concat", x, m.add("Relu", m.nhwc_conv(x, 8, 8)), axis=3)
    y = m.add("Relu", m.affine(y, 16))
    return m.proto(m.transpose(m.nhwc_conv(y, 4, 16), NCHW)), [
        "conv -> relu",
        "conv -> relu",
        "affine -> relu -> conv",
    ]


@case
def squeeze_and_excitation() -> Case:
    m = Model(1, 8, 9, 3)
    x = m.add("Relu", m.nhwc_conv("x", 16, 3))
    gate = m.add("ReduceMean", x, axes=[1, 2], keepdims=1)
    gate = m.add("Sigmoid", m.nhwc_conv(m.add("Relu", m.nhwc_conv(gate, 4, 16, 1, 1)), 16, 4, 1, 1))
    return m.proto(m.transpose(m.nhwc_conv(m.add("Mul", x, gate), 8, 16, 1, 1), NCHW)), [
        "conv -> relu",
        "global_average_pool",
        "conv -> relu",
        "conv -> sigmoid",
        "mul -> conv",
    ]


@case
def padded_images() -> Case:
    """TensorFlow's explicit padding of images whose channels are last joins the convolution."""
    m = Model(1, 8, 9, 3)
    x = m.add("Relu", m.nhwc_conv("x", 8, 3))
    x = m.add("Pad", x, m.ints(0, 1, 1, 0, 0, 1, 1, 0))
    y = m.add("Conv", m.transpose(x, NCHW), m.normal(8, 8, 3, 3), strides=[2, 2])
    return m.proto(y), ["conv -> relu", "conv"]


@case
def rows_as_images() -> Case:
    """1-D convolutions spelt as 2-D ones."""
    m = Model(1, 4, 20)
    x = "x"
    for inputs, outputs in ((4, 8), (8, 8)):
        y = m.add("Unsqueeze", x, m.ints(2))
        y = m.add("Squeeze", m.conv(y, outputs, inputs, 1, 3), m.ints(2))
        x = m.add("Relu", m.add("Add", y, m.normal(outputs, 1)))
    return m.proto(x), ["conv -> relu", "conv -> relu"]


@case
def rows_with_channels_last() -> Case:
    """Keras' Conv1D: [N, L, C] to [N, C, 1, L] and back."""
    m = Model(1, 20, 4)
    x = "x"
    for inputs, outputs in ((4, 8), (8, 8)):
        y = m.add("Unsqueeze", x, m.ints(1))
        y = m.conv(m.transpose(y, NCHW), outputs, inputs, 1, 3)
        x = m.add("Relu", m.affine(m.add("Squeeze", m.transpose(y, NHWC), m.ints(1)), outputs))
    pooled = m.add("ReduceMax", x, axes=[1], keepdims=0)
    return m.proto(m.add("Softmax", m.add("MatMul", pooled, m.normal(8, 3)), axis=-1)), [
        "conv -> relu",
        "conv -> relu",
        "global_max_pool",
        "dense",
        "softmax",
    ]


@case
def slopes_for_each_channel() -> Case:
    m = Model(1, 8, 9, 3)
    x = m.add("PRelu", m.nhwc_conv("x", 8, 3), m.normal(1, 1, 8))
    return m.proto(m.transpose(m.nhwc_conv(x, 8, 8), NCHW)), ["conv -> prelu", "conv"]


@case
def classes_of_pixels() -> Case:
    """Softmax and argmax along channels that come last."""
    m = Model(2, 6, 5, 3)
    x = m.nhwc_conv("x", 7, 3)
    best = m.add("Cast", m.add("ArgMax", x, axis=3, keepdims=0), to=TensorProto.FLOAT)
    return m.proto(m.add("Softmax", x, axis=3), best), ["conv", "argmax", "softmax"]


@case
def flattened_with_channels_last() -> Case:
    """Flatten and Dense of Keras: the order of the weights' columns is another one, and no number moves."""
    m = Model(2, 6, 5, 3)
    x = m.add("Reshape", m.add("Relu", m.nhwc_conv("x", 8, 3)), m.ints(2, -1))
    return m.proto(m.add("Gemm", x, m.normal(240, 4), m.normal(4))), ["conv -> relu", "dense"]


@case
def convnext_block() -> Case:
    """PyTorch's ConvNeXt: channels last for LayerNorm and two Linear layers, and back for the residual."""
    m = Model(1, 8, 7, 6)
    y = m.transpose(m.conv("x", 8, 8, 7, 7, groups=8), NHWC)
    centred = m.add("Sub", y, m.add("ReduceMean", y, axes=[-1]))
    power = m.add("ReduceMean", m.add("Mul", centred, centred), axes=[-1])
    y = m.add("Div", centred, m.add("Sqrt", m.add("Add", power, m.constant(1e-6))))
    y = m.affine(y, 8)
    y = m.add("Add", m.add("MatMul", y, m.normal(8, 16)), m.normal(16))
    half = m.add("Add", m.add("Erf", m.add("Div", y, m.constant(np.sqrt(2.0)))), m.constant(1.0))
    y = m.add("Mul", m.add("Mul", y, half), m.constant(0.5))
    y = m.add("Add", m.add("MatMul", y, m.normal(16, 8)), m.normal(8))
    y = m.transpose(m.add("Mul", m.normal(8), y), NCHW)
    return m.proto(m.add("Add", "x", y)), [
        "identity",  # of the input, which a depthwise convolution reads 49 times
        "conv",
        "reduce_mean",
        "identity -> sub",
        "identity -> mul",
        "reduce_mean -> affine -> sqrt",
        "identity -> div",
        "conv -> gelu",
        "conv -> add",
    ]


@pytest.mark.parametrize("name", CASES)
def test_launches(name: str, tmp_path: Path) -> None:
    proto, launches = CASES[name]()
    onnx.save(proto, str(tmp_path / "net.onnx"))
    lowered = build.lower(tmp_path / "net.onnx")
    assert [launch.title for launch in build.planned(lowered, "cpu").launches] == launches


@pytest.mark.parametrize("name", CASES)
def test_outputs(name: str, device: DeviceInfo, tmp_path: Path) -> None:
    proto, _ = CASES[name]()
    path = tmp_path / "net.onnx"
    onnx.save(proto, str(path))
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    right = expected(proto, feeds)
    for got in by_device(path, feeds, device, tmp_path):
        for y, true in zip(got, right, strict=True):
            assert y.shape == true.shape
            np.testing.assert_allclose(y, true, rtol=0, atol=1e-5 * np.abs(true).max())
