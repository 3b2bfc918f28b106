"""Small ONNX networks of many kinds, all the way: import, build, verify on a device, and onnxruntime's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from codegen import build
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.verify import verify
from tests.support.onnx_models import Array, expected, model, node, positive, random, saved

PASS_MARK = 1e-5  # of max|y|; these networks are shallow


@dataclass
class Net:
    """Nodes and constants under construction; ``batch_norms`` is how many of those have a launch of their own."""

    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...] = ("y",)
    opset: int = 13
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    batch_norms: int = 0

    def constant(self, values: Array) -> str:
        name = f"const.{len(self.constants)}"
        self.constants[name] = values
        return name

    def add(self, op: str, inputs: str, y: str, **attributes: Any) -> str:
        self.nodes.append(node(op, inputs, y, **attributes))
        return y

    def conv(self, x: str, y: str, *shape: int, bias: bool = True, op: str = "Conv", **attributes: Any) -> str:
        groups = attributes.get("group", 1)
        outputs = shape[0] if op == "Conv" else shape[1] * groups
        weight = self.constant(random(*shape, seed=len(self.nodes)) / np.float32(np.sqrt(np.prod(shape[1:]))))
        inputs = f"{x} {weight} {self.constant(random(outputs))}" if bias else f"{x} {weight}"
        return self.add(op, inputs, y, **attributes)

    def bn(self, x: str, y: str, channels: int, epsilon: float = 1e-5) -> str:
        """Random statistics; gammas of both signs."""
        seed = len(self.nodes)
        arrays = [random(channels, seed=seed + k) for k in range(3)] + [positive(channels, seed=seed)]
        names = " ".join(self.constant(values) for values in arrays)
        return self.add("BatchNormalization", f"{x} {names}", y, epsilon=epsilon)

    def gemm(self, x: str, y: str, inputs: int, outputs: int) -> str:
        weight = self.constant(random(outputs, inputs) / np.float32(np.sqrt(inputs)))
        return self.add("Gemm", f"{x} {weight} {self.constant(random(outputs))}", y, transB=1)

    def reshape(self, x: str, y: str, *shape: int) -> str:
        return self.add("Reshape", f"{x} {self.constant(np.array(shape, np.int64))}", y)

    def proto(self) -> onnx.ModelProto:
        return model(self.nodes, self.inputs, self.constants, self.outputs, self.opset)


NETWORKS: dict[str, Callable[[], Net]] = {}


def network(make: Callable[[], Net]) -> Callable[[], Net]:
    NETWORKS[make.__name__] = make
    return make


@network
def three_inputs_four_outputs_batch_of_ten() -> Net:
    net = Net({"image": (10, 3, 9, 7), "skip": (10, 5, 9, 7), "extra": (10, 5)}, ("a", "b", "scores", "gated"))
    net.add("Relu", net.bn(net.conv("image", "c", 5, 3, 3, 3, pads=[1] * 4), "n", 5), "a")
    net.add("Add", "a skip", "b")
    net.add("Flatten", net.add("GlobalAveragePool", "b", "p"), "f")
    net.gemm(net.add("Add", "f extra", "fc"), "scores", 5, 6)
    net.add("Unsqueeze", f"{net.add('Sigmoid', 'extra', 's')} {net.constant(np.array([2, 3]))}", "g")
    net.add("Mul", "skip g", "gated")
    return net


@network
def bn_on_the_input_of_a_padded_conv() -> Net:
    net = Net({"x": (1, 3, 12, 11)})
    net.conv(net.bn("x", "n", 3), "y", 6, 3, 3, 3, pads=[1] * 4)
    return net


@network
def bn_on_the_input_of_a_conv_without_padding() -> Net:
    net = Net({"x": (2, 3, 12, 11)})
    net.add("Relu", net.conv(net.bn("x", "n", 3), "c", 6, 3, 3, 3, strides=[2, 2]), "y")
    return net


@network
def bn_behind_relu_before_a_max_pool() -> Net:
    net = Net({"x": (1, 3, 13, 12)})
    net.add("Relu", net.conv("x", "c", 9, 3, 3, 3), "r")
    net.add("MaxPool", net.bn("r", "n", 9), "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    return net


@network
def bn_before_average_pools() -> Net:
    net = Net({"x": (1, 4, 12, 12)}, ("y", "z"))
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    net.add("AveragePool", net.bn(net.add("Relu", "x", "r"), "n", 4), "y", count_include_pad=1, **window)
    net.add("AveragePool", net.bn(net.add("Tanh", "x", "t"), "m", 4), "z", count_include_pad=0, **window)
    return net


@network
def bn_before_gemm() -> Net:
    net = Net({"x": (3, 4, 5, 6)}, ("y", "z"))
    net.add("Flatten", net.bn(net.add("Relu", "x", "r"), "n", 4), "f")
    net.gemm("f", "y", 120, 7)
    net.add("Flatten", net.add("GlobalMaxPool", "x", "p"), "q")
    net.gemm(net.bn("q", "m", 4), "z", 4, 9)
    return net


@network
def bn_behind_transposed_convs() -> Net:
    net = Net({"x": (1, 6, 5, 7)})
    net.conv("x", "a", 6, 4, 4, 4, op="ConvTranspose", strides=[2, 2], pads=[1] * 4, bias=False)
    net.add("Relu", net.bn("a", "b", 4), "c")
    net.conv("c", "d", 4, 3, 3, 3, op="ConvTranspose", group=2, strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])
    net.bn("d", "y", 6, 1e-3)
    return net


@network
def very_tall_and_very_wide_kernels() -> Net:
    net = Net({"x": (1, 3, 40, 44)})
    net.add("Relu", net.bn(net.conv("x", "a", 5, 3, 1, 31, pads=[0, 15, 0, 15], bias=False), "b", 5), "c")
    net.add("Relu", net.bn(net.conv("c", "d", 6, 5, 25, 1, pads=[12, 0, 12, 0], bias=False), "e", 6), "f")
    net.conv("f", "g", 4, 6, 1, 44)
    net.conv("g", "y", 3, 4, 40, 1)
    return net


@network
def kernels_larger_than_a_narrow_image() -> Net:
    net = Net({"x": (1, 2, 97, 1), "z": (1, 2, 1, 113)}, ("y", "w"))
    net.bn(net.conv("x", "a", 8, 2, 15, 3, pads=[7, 1, 7, 1], strides=[3, 1]), "y", 8)
    net.bn(net.conv("z", "b", 8, 2, 3, 15, pads=[1, 7, 1, 7], dilations=[1, 2], strides=[1, 2]), "w", 8)
    return net


@network
def depthwise_tall_and_wide() -> Net:
    net = Net({"x": (1, 9, 30, 31)})
    net.bn(net.conv("x", "a", 9, 1, 1, 21, group=9, pads=[0, 10, 0, 10]), "b", 9)
    net.bn(net.conv("b", "c", 9, 1, 21, 1, group=9, pads=[10, 0, 10, 0]), "d", 9)
    net.add("Mul", f"{net.conv('d', 'e', 9, 9, 1, 1)} x", "y")
    return net


@network
def shuffle_units() -> Net:
    net = Net({"x": (2, 8, 6, 6)})
    x = "x"
    for k in range(2):
        half = net.constant(np.array([4, 4]))
        net.add("Split", f"{x} {half}", f"a{k} b{k}", axis=1)
        net.add("Relu", net.bn(net.conv(f"b{k}", f"c{k}", 4, 4, 1, 1), f"d{k}", 4), f"e{k}")
        net.bn(net.conv(f"e{k}", f"f{k}", 4, 1, 3, 3, group=4, pads=[1] * 4), f"g{k}", 4)
        net.add("Relu", net.bn(net.conv(f"g{k}", f"h{k}", 4, 4, 1, 1), f"i{k}", 4), f"j{k}")
        net.reshape(net.add("Concat", f"a{k} j{k}", f"k{k}", axis=1), f"l{k}", 0, 2, 4, 6, 6)
        x = net.reshape(net.add("Transpose", f"l{k}", f"m{k}", perm=[0, 2, 1, 3, 4]), f"n{k}", 0, -1, 6, 6)
    net.conv(x, "y", 5, 8, 1, 1)
    return net


@network
def pre_activation_units() -> Net:
    net = Net({"x": (1, 3, 16, 16)})
    x = net.conv("x", "s", 8, 3, 3, 3, pads=[1] * 4)
    for k in range(2):
        net.add("Relu", net.bn(x, f"a{k}", 8), f"b{k}")
        net.conv(f"b{k}", f"c{k}", 8, 8, 3, 3, pads=[1] * 4, bias=False)
        net.add("Relu", net.bn(f"c{k}", f"d{k}", 8), f"e{k}")
        net.conv(f"e{k}", f"f{k}", 8, 8, 3, 3, pads=[1] * 4, bias=False)
        x = net.add("Add", f"f{k} {x if k else net.conv(f'b{k}', f'g{k}', 8, 8, 1, 1)}", f"h{k}")
    net.add("GlobalAveragePool", net.add("Relu", net.bn(x, "n", 8), "r"), "y")
    return net


@network
def dense_unit_with_bn_of_a_concatenation() -> Net:
    net = Net({"x": (1, 5, 10, 10)})
    net.conv("x", "a", 7, 5, 3, 3, pads=[1] * 4)
    net.add("Relu", net.bn(net.add("Concat", "x a", "b", axis=1), "c", 12), "d")
    net.conv("d", "e", 4, 12, 1, 1)
    net.add("Relu", net.bn(net.add("Concat", "b e", "f", axis=1), "g", 16), "h")
    net.conv("h", "y", 6, 16, 3, 3)
    return net


@network
def a_conv_that_is_read_with_and_without_its_bn() -> Net:
    net = Net({"x": (1, 3, 9, 9)})
    net.conv("x", "a", 8, 3, 3, 3, pads=[1] * 4)
    net.add("Relu", net.bn("a", "b", 8), "c")
    net.add("Add", f"{net.conv('c', 'd', 8, 8, 3, 3, pads=[1] * 4)} a", "y")
    return net


@network
def bn_behind_bn_and_caffe_scale() -> Net:
    net = Net({"x": (1, 3, 9, 9)})
    net.bn(net.bn(net.conv("x", "a", 6, 3, 3, 3), "b", 6), "c", 6, 1e-3)
    net.add("Mul", f"c {net.constant(random(6, 1, 1))}", "d")
    net.add("Relu", net.add("Add", f"{net.constant(random(1, 6, 1, 1))} d", "e"), "y")
    return net


@network
def squeeze_and_excitation_and_hard_swish() -> Net:
    net = Net({"x": (1, 3, 16, 16)}, opset=14)
    net.add("HardSwish", net.bn(net.conv("x", "a", 16, 3, 3, 3, strides=[2, 2], pads=[1] * 4), "b", 16), "c")
    net.add("Relu", net.conv(net.add("GlobalAveragePool", "c", "p"), "q", 4, 16, 1, 1), "r")
    net.add("HardSigmoid", net.conv("r", "s", 16, 4, 1, 1), "t", alpha=1 / 6)
    net.bn(net.conv(net.add("Mul", "t c", "u"), "v", 8, 16, 1, 1), "y", 8)
    return net


@network
def attention_over_channels_and_space() -> Net:
    net = Net({"x": (2, 6, 9, 8)})
    net.add("ReduceMean", "x", "a", axes=[1])
    net.add("ReduceMax", "x", "b", axes=[1])
    net.conv(net.add("Concat", "a b", "c", axis=1), "d", 1, 2, 7, 7, pads=[3] * 4)
    net.add("Mul", f"x {net.add('Sigmoid', net.bn('d', 'e', 1), 'f')}", "y")
    return net


@network
def attention_between_pixels() -> Net:
    net = Net({"x": (2, 8, 5, 6)})
    for name in ("q", "k", "v"):
        net.conv("x", f"{name}0", 8, 8, 1, 1)
        net.reshape(net.bn(f"{name}0", f"{name}1", 8), f"{name}2", 0, 2, 4, -1)
    net.add("Transpose", "q2", "q", perm=[0, 1, 3, 2])
    net.add("Mul", f"{net.add('MatMul', 'q k2', 's')} {net.constant(np.array(0.5, np.float32))}", "t")
    net.add("Transpose", net.add("Softmax", "t", "u", axis=-1), "w", perm=[0, 1, 3, 2])
    net.reshape(net.add("MatMul", "v2 w", "z"), "o", 0, 8, 5, 6)
    net.add("Add", "o x", "y")
    return net


@network
def pyramid_with_four_outputs() -> Net:
    net = Net({"x": (1, 3, 32, 48)}, ("p1", "p2", "p3", "p4"))
    x, levels = "x", []
    for k in range(1, 5):
        window: dict[str, Any] = {"strides": [2, 2], "pads": [1] * 4, "bias": False}
        x = net.add("Relu", net.bn(net.conv(x, f"a{k}", 8, 8 if k > 1 else 3, 3, 3, **window), f"b{k}", 8), f"c{k}")
        levels.append(net.conv(x, f"l{k}", 8, 8, 1, 1))
    net.add("Relu", levels[3], "p4")
    above = levels[3]
    for k in (3, 2, 1):
        scales = net.constant(np.array([1, 1, 2, 2], np.float32))
        net.add("Resize", f"{above} _ {scales}", f"u{k}", coordinate_transformation_mode="asymmetric",
                nearest_mode="floor")  # fmt: skip
        above = net.add("Add", f"{levels[k - 1]} u{k}", f"p{k}")
    return net


@network
def convs_of_one_dimension() -> Net:
    net = Net({"x": (10, 4, 50)})
    net.add("Relu", net.bn(net.conv("x", "a", 12, 4, 7, pads=[3, 3], strides=[2]), "b", 12), "c")
    net.add("MaxPool", "c", "d", kernel_shape=[3], strides=[2])
    net.bn(net.conv("d", "e", 12, 1, 5, group=12, pads=[4, 4], dilations=[2]), "f", 12)
    net.gemm(net.add("Flatten", net.add("GlobalAveragePool", "f", "g"), "h"), "y", 12, 3)
    return net


@network
def an_output_that_is_read_again_and_one_that_goes_out_twice() -> Net:
    net = Net({"x": (1, 3, 8, 8)}, ("a", "b", "c", "d"))
    net.add("Relu", net.bn(net.conv("x", "s", 8, 3, 3, 3, pads=[1] * 4), "t", 8), "a")
    net.conv("a", "b", 8, 8, 3, 3, pads=[1] * 4)
    net.add("Identity", "b", "c")
    net.bn("a", "d", 8)
    net.batch_norms = 1  # d: its producer's result goes out as it is
    return net


# Networks for a batch of one in which the batch is an axis like others ------------------------------------------------


@network
def pixels_as_rows() -> Net:
    """[1, C, H, W] -> [C, H W], products of rows, and back."""
    net = Net({"x": (1, 6, 5, 4)}, ("gram", "y"))
    net.reshape(net.bn(net.conv("x", "a", 6, 6, 1, 1), "b", 6), "rows", 6, -1)
    net.add("MatMul", f"rows {net.add('Transpose', 'rows', 't', perm=[1, 0])}", "g")
    net.add("Mul", f"g {net.constant(np.array(0.05, np.float32))}", "gram")
    net.add("MatMul", "gram rows", "mixed")
    net.add("Relu", net.bn(net.conv(net.reshape("mixed", "back", 1, 6, 5, 4), "c", 5, 6, 3, 3), "d", 5), "y")
    return net


@network
def groups_in_place_of_the_batch() -> Net:
    """[N, C, H, W] -> [N G, C / G, H, W]: one convolution for all groups."""
    net = Net({"x": (3, 8, 6, 5)})
    net.reshape(net.bn("x", "n", 8), "g", 12, 2, 6, 5)
    net.add("Relu", net.bn(net.conv("g", "c", 4, 2, 3, 3, pads=[1] * 4), "d", 4), "e")
    net.conv(net.reshape("e", "f", 3, 16, 6, 5), "y", 7, 16, 1, 1)
    net.batch_norms = 1  # n: of other channels than the convolution sees
    return net


@network
def groups_of_channels_and_instance_norm() -> Net:
    """GroupNorm as old exporters spell it."""
    net = Net({"x": (2, 6, 5, 4)})
    net.reshape(net.conv("x", "a", 6, 6, 3, 3, pads=[1] * 4), "b", 1, 4, -1)
    one, zero = (net.constant(np.full(4, value, np.float32)) for value in (1, 0))
    net.reshape(net.add("InstanceNormalization", f"b {one} {zero}", "c"), "d", 2, 6, 5, 4)
    net.bn("d", "y", 6)
    net.batch_norms = 1  # of other channels than what is behind it
    return net


@network
def five_axes_and_flatten_into_the_batch() -> Net:
    net = Net({"x": (1, 6, 4, 4)}, ("y", "z"))
    net.reshape(net.conv("x", "a", 6, 6, 1, 1), "b", 1, 2, 3, 4, 4)
    net.add("ReduceMean", "b", "c", axes=[2], keepdims=0)
    net.bn(net.conv("c", "d", 5, 2, 3, 3), "y", 5)
    net.gemm(net.add("Flatten", "a", "f", axis=2), "z", 16, 3)
    return net


@network
def windows_of_an_image() -> Net:
    """[1, C, H, W] -> windows in the batch -> attention -> image."""
    net = Net({"x": (1, 4, 6, 6)})
    net.reshape(net.conv("x", "a", 4, 4, 1, 1), "b", 1, 4, 2, 3, 2, 3)
    net.reshape(net.add("Transpose", "b", "c", perm=[0, 2, 4, 3, 5, 1]), "w", 4, 9, 4)
    net.add("MatMul", f"w {net.add('Transpose', 'w', 't', perm=[0, 2, 1])}", "s")
    net.add("MatMul", f"{net.add('Softmax', 's', 'p', axis=-1)} w", "m")
    net.reshape("m", "e", 1, 2, 2, 3, 3, 4)
    net.reshape(net.add("Transpose", "e", "f", perm=[0, 5, 1, 3, 2, 4]), "g", 1, 4, 6, 6)
    net.add("Add", f"{net.bn('g', 'h', 4)} x", "y")
    return net


@network
def scores_without_a_batch() -> Net:
    net = Net({"x": (1, 3, 8, 8)}, ("scores", "channels"))
    net.add("GlobalAveragePool", net.add("Relu", net.bn(net.conv("x", "a", 6, 3, 3, 3), "b", 6), "c"), "p")
    net.reshape("p", "channels", 6)
    net.gemm(net.add("Flatten", "p", "f"), "g", 6, 4)
    net.add("Squeeze", f"g {net.constant(np.array([0]))}", "scores")
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, device: DeviceInfo, tmp_path: Path) -> None:
    net = NETWORKS[name]()
    proto = net.proto()
    lowered = build.lower(saved(proto, tmp_path))
    assert lowered.report.launches == net.batch_norms
    assert len(lowered.report.batch_norms) == sum(n.op_type == "BatchNormalization" for n in net.nodes)
    artefact = artefacts.read(build.build(lowered, tmp_path, "cpu")[0])
    assert verify(artefact, lowered.model.graph, lowered.launches, [device]).passed
    feeds = {name: random(*shape, seed=5) for name, shape in net.inputs.items()}
    results = Session(artefact, device).run(feeds)
    assert list(results) == list(net.outputs)
    for got, y in zip(results.values(), expected(proto, feeds), strict=True):
        assert got.shape == y.shape
        assert np.abs(got - y).max() <= PASS_MARK * np.abs(y).max()
