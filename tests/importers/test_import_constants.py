"""Constants wherever an ONNX model may have them: each operator with each of its inputs known, and with all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from codegen import build
from codegen.errors import SpecError
from codegen.importers.check import check_import
from codegen.importers.onnx.operators import OPERATORS
from codegen.importers.open import open_model
from codegen.runtime.devices import DeviceInfo
from tests.importers.test_import_onnx import CASES, Case, floats, ints
from tests.support.everywhere import by_device
from tests.support.onnx_models import Array, expected, model, node, random, saved

LIVE = {"live_x": (1, 2)}


def given(case: Case) -> dict[str, Array]:
    shapes = {"x": case.x, **case.more}
    return {name: np.asarray(2 * random(*shape, seed=7)) for name, shape in shapes.items()}


def outputs_of(proto: onnx.ModelProto, folder: Path, feeds: dict[str, Array]) -> list[Array]:
    """The imported network's outputs in float64; the import checks itself, too."""
    path = saved(proto, folder)
    imported = open_model(path)
    check_import(path, imported, {}, lambda step: None)
    values = imported.graph.evaluate({i.name: feeds[i.name].reshape(i.shape) for i in imported.graph.inputs})
    return [values[output.value] for output in imported.graph.outputs]


def compare(got: list[Array], wanted: list[Array]) -> None:
    for y, true in zip(got, wanted, strict=True):
        assert y.shape == (true.shape or (1,))
        true = true.astype(np.float64)
        finite = np.isfinite(true)
        np.testing.assert_array_equal(np.where(finite, 0, y), np.where(finite, 0, true))
        most = max(1.0, float(np.max(np.abs(true), initial=0, where=finite)))
        np.testing.assert_allclose(np.where(finite, y, 0), np.where(finite, true, 0), rtol=0, atol=4e-6 * most)


def each_input_constant() -> Iterator[tuple[str, Case, str]]:
    for case in CASES:
        for name in ("x", *case.more) if case.more else ():
            yield f"{case.name}-{name}", case, name


@pytest.mark.parametrize("case, name", [pytest.param(c, n, id=label) for label, c, n in each_input_constant()])
def test_each_input_may_be_constant(case: Case, name: str, tmp_path: Path) -> None:
    feeds = given(case)
    shapes = {n: s for n, s in {"x": case.x, **case.more}.items() if n != name}
    proto = model(case.nodes, shapes, {**case.constants, name: feeds.pop(name)}, opset=case.opset)
    compare(outputs_of(proto, tmp_path, feeds), expected(proto, feeds))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_inputs_may_be_constant(case: Case, tmp_path: Path) -> None:
    """A node of constants becomes a constant of the network, next to an output that depends on an input."""
    nodes = [*case.nodes, node("Relu", "live_x", "live_y")]
    constants = {**case.constants, **given(case)}
    proto = model(nodes, LIVE, constants, outputs=("y", "live_y"), opset=case.opset)
    feeds = {"live_x": random(1, 2)}
    wanted = expected(proto, feeds)
    got = outputs_of(proto, tmp_path, feeds)
    assert [len(open_model(tmp_path / "net.onnx").graph.nodes), len(got)] == [1, 2]
    compare(got, wanted)


def test_every_operator_is_tried_with_constants() -> None:
    """The cases above are of every operator that onnxruntime knows."""
    assert set(OPERATORS) - {proto.op_type for case in CASES for proto in case.nodes} <= {"CumProd", "SwiGLU"}


ONLY_CONSTANTS: dict[str, tuple[list[Any], dict[str, Any], int]] = {
    "DequantizeLinear": ([np.array([3, 250], np.uint8), np.float32(0.1), np.uint8(128)], {}, 13),
    "DequantizeLinear per axis": (
        [np.array([[3, 4], [5, 6]], np.int8), floats(0.5, 2), np.array([1, 2], np.int8)],
        {"axis": 0},
        13,
    ),
    "OneHot": ([ints(1, 0, 2), np.array(3), floats(-1, 5)], {}, 13),
    "NonZero": ([floats(0, 3, 0, 4)], {}, 13),
    "Einsum": ([random(2, 3), random(3, 4)], {"equation": "ij,jk->ki"}, 13),
    "Trilu": ([random(3, 4), np.array(1)], {"upper": 0}, 14),
    "CumSum": ([random(3, 4), np.array(1)], {"reverse": 1, "exclusive": 1}, 14),
    "Range": ([np.array(1), np.array(9), np.array(3)], {}, 13),
    "ConstantOfShape": ([ints(2, 3)], {"value": numpy_helper.from_array(floats(7))}, 13),
    "EyeLike": ([random(3, 4)], {"k": 1}, 13),
    "Det": ([random(3, 3)], {}, 13),
    "QuantizeLinear": ([floats(0.5, 3.2, -7), np.float32(0.25), np.int8(1)], {}, 13),
    "BitShift": ([np.array([4, 9], np.uint8), np.array([1, 2], np.uint8)], {"direction": "RIGHT"}, 13),
    "Compress": ([floats(1, 2, 3), np.array([True, False, True])], {}, 13),
    "Unique": ([floats(2, 1, 1, 3)], {}, 13),
    "ReverseSequence": ([random(4, 3), ints(4, 3, 1)], {}, 13),
    "AffineGrid": ([random(1, 2, 3), ints(1, 1, 2, 4)], {}, 20),
    "Shape": ([random(2, 5)], {}, 13),
    "Size": ([random(2, 5)], {}, 13),
    "HannWindow": ([np.array(8)], {}, 17),
    "Constant": ([], {"value_floats": [1.0, 2.0]}, 13),
}
"""Operators that no layer has, or not in all that ONNX lets them do: constants, attributes and opset."""


@pytest.mark.parametrize("name", ONLY_CONSTANTS)
def test_constants_are_folded_through_operators_without_a_layer(name: str, tmp_path: Path) -> None:
    arrays, attributes, opset = ONLY_CONSTANTS[name]
    constants = {f"c{k}": np.asarray(values) for k, values in enumerate(arrays)}
    nodes = [node(name.split()[0], " ".join(constants), "a", **attributes), node("Cast", "a", "y", to=1)]
    proto = model([*nodes, node("Relu", "live_x", "live_y")], LIVE, constants, outputs=("y", "live_y"), opset=opset)
    feeds = {"live_x": random(1, 2)}
    compare(outputs_of(proto, tmp_path, feeds), expected(proto, feeds))


def on_devices(proto: onnx.ModelProto, feeds: dict[str, Array], device: DeviceInfo, folder: Path) -> None:
    path = saved(proto, folder)
    wanted = expected(proto, feeds)
    for got in by_device(path, feeds, device, folder):
        compare([np.asarray(y, np.float64) for y in got], wanted)


# What networks have ---------------------------------------------------------------------------------------------------


def test_class_token_and_position_code(device: DeviceInfo, tmp_path: Path) -> None:
    nodes = [
        node("Concat", "token x", "a", axis=1),
        node("Add", "a position", "b"),
        node("MatMul", "b w", "y"),
    ]
    constants = {"token": random(1, 1, 8), "position": random(1, 5, 8, seed=1), "w": random(8, 6)}
    on_devices(model(nodes, {"x": (1, 4, 8)}, constants), {"x": random(1, 4, 8)}, device, tmp_path)


def test_coordinates_and_zeros_beside_channels(device: DeviceInfo, tmp_path: Path) -> None:
    nodes = [
        node("Concat", "x grid", "a", axis=1),
        node("Conv", "a w", "b", pads=[1, 1, 1, 1]),
        node("Concat", "b zeros", "y", axis=1),
    ]
    constants = {"grid": random(1, 2, 6, 6), "w": random(4, 5, 3, 3), "zeros": np.zeros((1, 4, 6, 6), np.float32)}
    on_devices(model(nodes, {"x": (1, 3, 6, 6)}, constants), {"x": random(1, 3, 6, 6)}, device, tmp_path)


@pytest.mark.parametrize("low", [-np.inf, np.float32(-3.4028235e38)])
def test_masks_of_minus_infinity(low: float, device: DeviceInfo, tmp_path: Path) -> None:
    mask = np.where(np.tril(np.ones((1, 1, 5, 5))) == 0, np.float32(low), np.float32(0))
    keep = np.tril(np.ones((5, 5))) > 0
    nodes = [
        node("Add", "x mask", "a"),
        node("Softmax", "a", "p", axis=-1),
        node("Where", "keep x low", "b"),
        node("Softmax", "b", "q", axis=-1),
        node("Add", "p q", "y"),
    ]
    proto = model(nodes, {"x": (1, 2, 5, 5)}, {"mask": mask, "keep": keep, "low": np.array(low, np.float32)})
    on_devices(proto, {"x": random(1, 2, 5, 5)}, device, tmp_path)


def test_padding_with_minus_infinity(device: DeviceInfo, tmp_path: Path) -> None:
    nodes = [node("Pad", "x pads low", "a"), node("MaxPool", "a", "y", kernel_shape=[3, 3])]
    constants = {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "low": np.array(-np.inf, np.float32)}
    on_devices(model(nodes, {"x": (1, 3, 6, 6)}, constants), {"x": random(1, 3, 6, 6)}, device, tmp_path)


def test_standardised_weights(device: DeviceInfo, tmp_path: Path) -> None:
    """timm's ScaledStdConv2d: BatchNorm in training mode on the weights, which are constants.

    By ONNX's text it takes the weights' own mean and variance; onnxruntime blends them with the others by momentum.
    """
    nodes = [
        node("Reshape", "w flat", "rows"),
        node("BatchNormalization", "rows gain zeros zeros ones", "scaled m v", training_mode=1, epsilon=1e-6),
        node("Reshape", "scaled shape", "kernel"),
        node("Conv", "x kernel", "y", pads=[1, 1, 1, 1]),
    ]
    constants = {
        "w": random(6, 3, 3, 3),
        "flat": ints(1, 6, -1),
        "shape": ints(6, 3, 3, 3),
        "gain": random(6) + 2,
        "zeros": np.zeros(6, np.float32),
        "ones": np.ones(6, np.float32),
    }
    proto = model(nodes, {"x": (1, 3, 7, 7)}, constants, opset=15)
    rows = constants["w"].reshape(6, -1).astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    rows *= constants["gain"][:, None] / np.sqrt(rows.var(axis=1, keepdims=True) + 1e-6)
    x = random(1, 3, 7, 7)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), axis=(2, 3))
    right = np.einsum("nihwkl,oikl->nohw", windows, rows.reshape(6, 3, 3, 3))
    for got in by_device(saved(proto, tmp_path), {"x": x}, device, tmp_path):
        compare([np.asarray(y, np.float64) for y in got], [right])
    assert len(build.lower(tmp_path / "net.onnx").launches.nodes) == 1


def test_weights_by_castlike(device: DeviceInfo, tmp_path: Path) -> None:
    nodes = [node("CastLike", "c x", "t"), node("Mul", "x t", "y")]
    proto = model(nodes, {"x": (1, 3, 2, 2)}, {"c": np.array([[[1.5]], [[2]], [[3]]])}, opset=15)
    on_devices(proto, {"x": random(1, 3, 2, 2)}, device, tmp_path)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_whose_weight_is_computed(groups: int, device: DeviceInfo, tmp_path: Path) -> None:
    """CondConv: a mixture of kernels by what the network says of the image."""
    experts = random(3, 4 * (6 // groups) * 9)
    nodes = [
        node("GlobalAveragePool", "x", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f route", "r"),
        node("Sigmoid", "r", "s"),
        node("MatMul", "s experts", "k"),
        node("Reshape", "k shape", "kernel"),
        node("Conv", "x kernel b", "y", pads=[1, 0, 1, 2], strides=[2, 1], dilations=[1, 2], group=groups),
    ]
    constants = {"route": random(6, 3), "experts": experts, "shape": ints(4, 6 // groups, 3, 3), "b": random(4)}
    on_devices(model(nodes, {"x": (1, 6, 7, 8)}, constants), {"x": random(1, 6, 7, 8)}, device, tmp_path)


def test_columns_go_back_into_an_image(device: DeviceInfo, tmp_path: Path) -> None:
    attributes = {"pads": [1, 0, 1, 1], "strides": [2, 1], "dilations": [1, 2]}
    nodes = [node("Col2Im", "x size block", "y", **attributes)]
    # (5 + 2 - 2) // 2 + 1 = 3 rows and (6 + 1 - 3) // 1 + 1 = 5 columns of blocks
    proto = model(nodes, {"x": (2, 12, 15)}, {"size": ints(5, 6), "block": ints(2, 2)}, opset=18)
    on_devices(proto, {"x": random(2, 12, 15)}, device, tmp_path)


def test_parameters_that_the_network_computes(device: DeviceInfo, tmp_path: Path) -> None:
    """Bounds, slopes, scales, means and biases may depend on the input, too."""
    nodes = [
        node("Clip", "x low high", "a"),
        node("PRelu", "a slope", "b"),
        node("InstanceNormalization", "b c d", "e"),
        node("Abs", "d", "v"),
        node("BatchNormalization", "e c d d v", "f"),
        node("Conv", "f w c", "y"),
    ]
    inputs = {"x": (1, 3, 4, 5), "low": (), "high": (), "slope": (3, 1, 1), "c": (3,), "d": (3,)}
    proto = model(nodes, inputs, {"w": random(3, 3, 2, 2)}, opset=16)
    feeds = {name: random(*shape, seed=k) for k, (name, shape) in enumerate(inputs.items())}
    feeds |= {
        "low": np.array(-0.5, np.float32),
        "high": np.array(1.25, np.float32),
        "d": np.abs(feeds["d"]) + np.float32(0.5),
    }
    on_devices(proto, feeds, device, tmp_path)


# Conditions -----------------------------------------------------------------------------------------------------------


def branch(name: str, nodes: list[onnx.NodeProto], output: str, *stored: tuple[str, Array]) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [], [value], [numpy_helper.from_array(a, n) for n, a in stored])


def conditional(condition: list[onnx.NodeProto]) -> onnx.ModelProto:
    """A node If: the captured x times a constant of the branch, else an inner condition, which squeezes."""
    then = branch("then", [node("Mul", "x two", "t")], "t", ("two", floats(2)))
    inner = helper.make_node(
        "If",
        ["yes"],
        ["i"],
        name="inner",
        then_branch=branch("inner_then", [node("Neg", "x", "n")], "n"),
        else_branch=branch("inner_else", [node("Relu", "x", "n")], "n"),
    )
    other = branch("else", [inner, node("Relu", "i", "t")], "t")
    choice = helper.make_node("If", ["cond"], ["c"], name="choice", then_branch=then, else_branch=other)
    nodes = [*condition, choice, node("Add", "c x", "y")]
    return model(nodes, {"x": (1, 3)}, {"yes": np.array(True), "three": ints(3), "one": ints(1)})


@pytest.mark.parametrize("size", ["three", "one"])
def test_the_branch_of_a_constant_condition_is_taken(size: str, device: DeviceInfo, tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "width", axis=0),
        node("Equal", f"width {size}", "cond_1"),
        node("Squeeze", "cond_1", "cond"),
    ]
    on_devices(conditional(nodes), {"x": random(1, 3)}, device, tmp_path)


def test_a_live_condition_is_refused_by_its_name(tmp_path: Path) -> None:
    nodes = [node("ReduceSum", "x", "s", keepdims=0), node("Greater", "s zero", "cond")]
    proto = conditional(nodes)
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    with pytest.raises(SpecError, match='If "choice": its condition is computed by the network'):
        open_model(saved(proto, tmp_path))


# Refusals -------------------------------------------------------------------------------------------------------------


def test_a_network_of_constants_alone_is_refused(tmp_path: Path) -> None:
    proto = model([node("Shape", "x", "s"), node("Cast", "s", "y", to=1)], {"x": (1, 3)}, {})
    with pytest.raises(SpecError, match="has no output that depends on an input"):
        open_model(saved(proto, tmp_path))


def test_a_constant_output_that_float32_does_not_hold_is_left_out(tmp_path: Path) -> None:
    proto = model([node("Relu", "x", "y")], {"x": (1, 3)}, {"big": ints(2**24 + 1)}, outputs=("y",))
    proto.graph.output.append(helper.make_tensor_value_info("big", TensorProto.INT64, [1]))
    path = saved(proto, tmp_path)
    assert [output.name for output in open_model(path).graph.outputs] == ["y"]


def test_infinite_weights_are_refused(tmp_path: Path) -> None:
    weight = random(4, 3, 1, 1)
    weight[2, 1] = -np.inf
    proto = model([node("Conv", "x w", "y")], {"x": (1, 3, 4, 4)}, {"w": weight})
    with pytest.raises(Exception, match="infinite"):
        open_model(saved(proto, tmp_path))


def test_the_size_of_a_constant_is_that_of_its_elements(tmp_path: Path) -> None:
    """A budget for products of sizes refused 150 thousand elements taken from 98 thousand by as many indices."""
    places = np.indices((49, 49, 64)).reshape(3, -1).T.astype(np.int64)
    constants = {"c": random(49, 49, 64), "i": places, "s": ints(49, 49, 64)}
    nodes = [node("GatherND", "c i", "a"), node("Reshape", "a s", "b"), node("Add", "x b", "y")]
    proto = model(nodes, {"x": (49, 49, 64)}, constants)
    x = random(49, 49, 64, seed=3)
    compare(outputs_of(proto, tmp_path, {"x": x}), [x + constants["c"]])


def test_the_node_that_is_too_large_is_named(tmp_path: Path) -> None:
    nodes = [node("Expand", "c s", "a"), node("ReduceSum", "a", "b"), node("Add", "x b", "y")]
    proto = model(nodes, {"x": (1, 3)}, {"c": floats(1), "s": ints(2**14, 2**14)})
    says = 'Expand "Expand_a": it makes a constant of 268435456 elements; at most 67108864'
    with pytest.raises(SpecError, match=says):
        open_model(saved(proto, tmp_path))
