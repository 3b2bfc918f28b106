"""Well-known networks as ONNX models, the way PyTorch's exporter writes them: batch norms visible, activations spelt
out, shapes computed.  Blocks, widths and depths are those of the papers; parameters are random, with a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_models import Array

CLASSES = 10


class Net:
    """A model under construction: every method adds nodes and returns the name of what they make."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: dict[str, Array] = {}
        self._size = size
        self._channels = {"image": 3}
        self.input = "image"

    def channels(self, x: str) -> int:
        return self._channels[x]

    def count(self, op: str) -> int:
        return sum(node.op_type == op for node in self._nodes)

    def model(self, y: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, self._size, self._size])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, CLASSES])],
            [numpy_helper.from_array(values, name) for name, values in self._arrays.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    # Nodes ----------------------------------------------------------------------------------------------------------

    def _node(self, op: str, inputs: Sequence[str], channels: int = 0, **attributes: Any) -> str:
        name = f"{op}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [f"{name}_output"], name, **attributes))
        self._channels[f"{name}_output"] = channels or self._channels.get(inputs[0] if inputs else "", 0)
        return f"{name}_output"

    def _constant(self, value: float | list[int]) -> str:
        kind = np.float32 if isinstance(value, float) else np.int64
        return self._node("Constant", [], value=numpy_helper.from_array(np.array(value, kind)))

    def _array(self, name: str, values: Array) -> str:
        self._arrays[f"layer{len(self._nodes)}.{name}"] = values.astype(np.float32)
        return f"layer{len(self._nodes)}.{name}"

    def conv(
        self,
        x: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> str:
        """Padded so that a stride of 1 keeps the size."""
        width = self.channels(x) // groups
        spread = math.sqrt(2 / (width * kernel**2))
        shape = (channels, width, kernel, kernel)
        inputs = [x, self._array("weight", self._rng.standard_normal(shape, np.float32) * np.float32(spread))]
        if bias:
            inputs.append(self._array("bias", self._rng.normal(0, 0.1, channels)))
        pads, strides = [kernel // 2] * 4, [stride] * 2
        return self._node("Conv", inputs, channels, group=groups, kernel_shape=shape[2:], pads=pads, strides=strides)

    def batch_norm(self, x: str) -> str:
        """A BatchNorm with gammas of both signs."""
        n = self.channels(x)
        gamma = self._rng.uniform(0.5, 1.2, n) * np.where(self._rng.random(n) < 0.2, -1, 1)
        statistics = {
            "gamma": gamma,
            "beta": self._rng.normal(0, 0.3, n),
            "running_mean": self._rng.normal(0, 0.3, n),
            "running_var": self._rng.uniform(0.5, 2, n),
        }
        inputs = [x, *(self._array(name, values) for name, values in statistics.items())]
        return self._node("BatchNormalization", inputs, epsilon=1e-5, momentum=0.9)

    def relu(self, x: str) -> str:
        return self._node("Relu", [x])

    def six(self, x: str) -> str:
        """min(max(x + 3, 0), 6)."""
        shifted = self._node("Add", [x, self._constant(3.0)])
        bounds = [self._node("Cast", [self._constant(bound)], to=TensorProto.FLOAT) for bound in (0.0, 6.0)]
        return self._node("Clip", [shifted, *bounds])

    def hard_sigmoid(self, x: str) -> str:
        return self._node("Div", [self.six(x), self._constant(6.0)])

    def hard_swish(self, x: str) -> str:
        return self._node("Div", [self._node("Mul", [x, self.six(x)]), self._constant(6.0)])

    def add(self, x: str, y: str) -> str:
        return self._node("Add", [x, y])

    def mul(self, x: str, y: str) -> str:
        return self._node("Mul", [x, y])

    def concat(self, parts: Sequence[str]) -> str:
        return self._node("Concat", parts, sum(map(self.channels, parts)), axis=1)

    def max_pool(self, x: str, kernel: int = 3, stride: int = 2, padding: int = 1, ceil: bool = False) -> str:
        window: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
        return self._node("MaxPool", [x], ceil_mode=int(ceil), **window)

    def average_pool(self, x: str, kernel: int, stride: int, padding: int = 0) -> str:
        window: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
        return self._node("AveragePool", [x], ceil_mode=1, count_include_pad=1, **window)

    def global_pool(self, x: str) -> str:
        return self._node("GlobalAveragePool", [x])

    def flatten(self, x: str) -> str:
        """view(size(0), -1)."""
        batch = self._node("Gather", [self._node("Shape", [x]), self._constant(0)], axis=0)
        sizes = [self._node("Unsqueeze", [batch, self._constant([0])]), self._constant([-1])]
        return self._node("Reshape", [x, self._node("Concat", sizes, axis=0)], self.channels(x))

    def classifier(self, x: str) -> str:
        flat = self.flatten(self.global_pool(x))
        weight = self._array("weight", self._rng.normal(0, self.channels(x) ** -0.5, (CLASSES, self.channels(x))))
        bias = self._array("bias", self._rng.normal(0, 0.1, CLASSES))
        return self._node("Gemm", [flat, weight, bias], CLASSES, transB=1)

    # Blocks ---------------------------------------------------------------------------------------------------------

    def conv_block(self, x: str, channels: int, kernel: int, stride: int = 1, **options: Any) -> str:
        """conv -> batch norm -> ReLU."""
        return self.relu(self.batch_norm(self.conv(x, channels, kernel, stride, **options)))

    def pre_conv_block(self, x: str, channels: int, kernel: int, stride: int = 1) -> str:
        """batch norm -> ReLU -> conv."""
        return self.conv(self.relu(self.batch_norm(x)), channels, kernel, stride)


def resnet50(net: Net) -> str:
    x = net.max_pool(net.conv_block(net.input, 64, 7, 2))
    for stage, units in enumerate((3, 4, 6, 3)):
        channels = 256 << stage
        for unit in range(units):
            stride = 2 if stage and not unit else 1
            y = net.conv_block(x, channels // 4, 1, stride)
            y = net.conv_block(y, channels // 4, 3)
            y = net.batch_norm(net.conv(y, channels, 1))
            short = x if unit else net.batch_norm(net.conv(x, channels, 1, stride))
            x = net.relu(net.add(y, short))
    return net.classifier(x)


def preresnet18(net: Net) -> str:
    x = net.max_pool(net.conv_block(net.input, 64, 7, 2))
    for stage in range(4):
        channels = 64 << stage
        for unit in range(2):
            stride = 2 if stage and not unit else 1
            active = net.relu(net.batch_norm(x))
            y = net.pre_conv_block(net.conv(active, channels, 3, stride), channels, 3)
            short = net.conv(active, channels, 1, stride) if stride == 2 else x
            x = net.add(y, short)
    return net.classifier(net.relu(net.batch_norm(x)))


def densenet121(net: Net) -> str:
    x = net.max_pool(net.conv_block(net.input, 64, 7, 2))
    for stage, units in enumerate((6, 12, 24, 16)):
        if stage:
            x = net.average_pool(net.pre_conv_block(x, net.channels(x) // 2, 1), 2, 2)
        for _ in range(units):
            new = net.pre_conv_block(net.pre_conv_block(x, 128, 1), 32, 3)
            x = net.concat([x, new])
    return net.classifier(net.relu(net.batch_norm(x)))


# Kernel, width inside, width outside, squeeze-and-excitation, hard swish, stride.
_MOBILENETV3_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def mobilenetv3_large(net: Net) -> str:
    x = net.hard_swish(net.batch_norm(net.conv(net.input, 16, 3, 2)))
    for kernel, inside, outside, squeeze, hard, stride in _MOBILENETV3_LARGE:
        active = net.hard_swish if hard else net.relu
        y = x
        if inside != net.channels(x):
            y = active(net.batch_norm(net.conv(y, inside, 1)))
        y = active(net.batch_norm(net.conv(y, inside, kernel, stride, groups=inside)))
        if squeeze:
            gate = net.relu(net.conv(net.global_pool(y), -(-inside // 32) * 8, 1, bias=True))
            y = net.mul(y, net.hard_sigmoid(net.conv(gate, inside, 1, bias=True)))
        y = net.batch_norm(net.conv(y, outside, 1))
        x = net.add(y, x) if stride == 1 and net.channels(x) == outside else y
    x = net.global_pool(net.hard_swish(net.batch_norm(net.conv(x, 960, 1))))
    x = net.hard_swish(net.conv(x, 1280, 1))
    return net.flatten(net.conv(x, CLASSES, 1))


# Widths of the branches: 1x1; 3x3 behind 1x1; twice 3x3 behind 1x1; 1x1 behind a pool.  Without the first and last it
# halves the size.
_BNINCEPTION = (
    (64, (64, 64), (64, 96), 32),
    (64, (64, 96), (64, 96), 64),
    (0, (128, 160), (64, 96), 0),
    (224, (64, 96), (96, 128), 128),
    (192, (96, 128), (96, 128), 128),
    (160, (128, 160), (128, 160), 128),
    (96, (128, 192), (160, 192), 128),
    (0, (128, 192), (192, 256), 0),
    (352, (192, 320), (160, 224), 128),
    (352, (192, 320), (192, 224), 128),
)


def bninception(net: Net) -> str:
    """Convolutions with a bias before the batch norm, pools that round up."""

    def block(x: str, channels: int, kernel: int, stride: int = 1) -> str:
        return net.conv_block(x, channels, kernel, stride, bias=True)

    x = net.max_pool(block(net.input, 64, 7, 2), padding=0, ceil=True)
    x = net.max_pool(block(block(x, 64, 1), 192, 3), padding=0, ceil=True)
    for k, (first, (before, single), (inside, double), last) in enumerate(_BNINCEPTION):
        stride = 1 if first else 2
        parts = [block(x, first, 1)] if first else []
        parts.append(block(block(x, before, 1), single, 3, stride))
        parts.append(block(block(block(x, inside, 1), double, 3), double, 3, stride))
        if not last:
            parts.append(net.max_pool(x, padding=0, ceil=True))
        elif k == len(_BNINCEPTION) - 1:
            parts.append(block(net.max_pool(x, stride=1, ceil=True), last, 1))
        else:
            parts.append(block(net.average_pool(x, 3, 1, 1), last, 1))
        x = net.concat(parts)
    return net.classifier(x)


TOPOLOGIES: Mapping[str, Callable[[Net], str]] = {
    "bninception": bninception,
    "densenet121": densenet121,
    "mobilenetv3_large": mobilenetv3_large,
    "preresnet18": preresnet18,
    "resnet50": resnet50,
}
