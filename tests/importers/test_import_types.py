"""ONNX models of other number types than float32, as imported, against ONNX Runtime.

Where that has no kernel for a type, the right values are numpy's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from codegen import build
from codegen.errors import Mismatch, SpecError
from codegen.importers.check import check_import
from codegen.importers.onnx import number_types
from codegen.importers.open import import_model, open_model
from codegen.runtime.devices import DeviceInfo
from tests.support.everywhere import by_device, by_reference
from tests.support.onnx_models import expected, node, saved

Array = NDArray[Any]

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NARROW = ("int8", "int16", "uint8", "uint16", "uint32", "uint64")


def element(kind: str) -> int:
    return int(TensorProto.BFLOAT16 if kind == "bfloat16" else helper.np_dtype_to_tensor_dtype(np.dtype(kind)))


def typed(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[str, Sequence[int]]],
    outputs: Mapping[str, str],
    constants: Mapping[str, Array] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model with the types of its inputs and outputs."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, element(kind), list(shape)) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, element(kind), None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def check(
    proto: onnx.ModelProto, feeds: Mapping[str, Array], folder: Path, device: DeviceInfo | None = None, rtol: float = 0
) -> list[Array]:
    """The reference, and the device if there is one, give ONNX Runtime's outputs, of its types."""
    path = saved(proto, folder)
    right = expected(proto, feeds)
    graph = open_model(path).graph
    by_name = {i.name: feeds[i.own_name] for i in graph.inputs}
    assert check_import(path, open_model(path), {}, lambda _: None) is not None
    found = [by_reference(path, by_name)]
    if device is not None:
        made = list(by_device(path, by_name, device, folder))
        assert all(y.dtype == true.dtype for got in made for y, true in zip(got, right, strict=True))
        found += made
    for got in found:
        for y, true in zip(got, right, strict=True):
            most = rtol * float(np.abs(true.astype(np.float64)).max(initial=0))
            np.testing.assert_allclose(
                y.reshape(true.shape).astype(np.float64), true.astype(np.float64), rtol=0, atol=most
            )
    return right


def numbers(kind: str, *shape: int) -> Array:
    """Numbers of a type, its ends among them as far as float32 holds them."""
    rng = np.random.default_rng(len(kind) + sum(shape))
    if kind == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if kind.startswith("float"):
        return rng.standard_normal(shape).astype(kind)
    info = np.iinfo(kind)
    low, high = max(int(info.min), -(2**20)), min(int(info.max), 2**20)
    values = rng.integers(low, high, shape, endpoint=True).astype(kind)
    values.reshape(-1)[:2] = [low, high][: values.size]
    return values


# Inputs and outputs of every type ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*INTEGERS, "bool", "float16", "float64"])
def test_what_moves_numbers_of_every_type(kind: str, device: DeviceInfo, tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
        node("Slice", "t begins ends", "s"),
        node("Concat", "s x2", "c", axis=1),
        node("Reshape", "c shape", "y"),
    ]
    constants = {
        "begins": np.array([0, 1, 0, 0]),
        "ends": np.array([1, 3, 9, 9]),
        "shape": np.array([1, -1]),
    }
    proto = typed(nodes, {"x": (kind, (1, 3, 4, 5)), "x2": (kind, (1, 1, 5, 3))}, {"y": kind}, constants)
    feeds = {"x": numbers(kind, 1, 3, 4, 5), "x2": numbers(kind, 1, 1, 5, 3)}
    check(proto, feeds, tmp_path, device, rtol=2.0**-24 if kind == "float64" else 0)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int32", "int64", "float16"])
def test_bounds_of_every_type(kind: str, tmp_path: Path) -> None:
    low, high = np.array(1, kind), np.array(100, kind)
    nodes = [node("Max", "x low", "a"), node("Min", "a high", "b"), node("Clip", "b low high", "y")]
    proto = typed(nodes, {"x": (kind, (2, 9))}, {"y": kind}, {"low": low, "high": high})
    check(proto, {"x": numbers(kind, 2, 9)}, tmp_path)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_the_largest_of_bytes(kind: str, tmp_path: Path) -> None:
    nodes = [
        node("MaxPool", "x", "p", kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
        node("ReduceMax", "p", "y", axes=[2, 3]),
    ]
    proto = typed(nodes, {"x": (kind, (1, 3, 6, 6))}, {"y": kind, "p": kind}, opset=13)
    check(proto, {"x": numbers(kind, 1, 3, 6, 6)}, tmp_path)


def test_outputs_are_of_the_models_types(device: DeviceInfo, tmp_path: Path) -> None:
    nodes = [
        node("ArgMax", "x", "where", axis=1),
        node("Greater", "x zero", "positive"),
        node("TopK", "x k", "values places", axis=1),
        node("Cast", "x", "wide", to=TensorProto.DOUBLE),
        node("Cast", "x", "short", to=TensorProto.FLOAT16),
        node("Cast", "positive", "flag", to=TensorProto.UINT8),
    ]
    outputs = {
        **{"where": "int64", "positive": "bool", "values": "float32", "places": "int64"},
        **{"wide": "float64", "short": "float16", "flag": "uint8"},
    }
    constants = {"zero": np.zeros((), np.float32), "k": np.array([2])}
    proto = typed(nodes, {"x": ("float32", (2, 7))}, outputs, constants)
    check(proto, {"x": numbers("float32", 2, 7)}, tmp_path, device)


# Casts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [*INTEGERS, "bool", "float32"])
def test_casts_to_every_type(source: str, tmp_path: Path) -> None:
    """Integers keep the lowest bits; floats that the type cannot hold have no defined value."""
    kinds_to = [kind for kind in (*INTEGERS, "bool", "float32", "float64") if kind != source]
    x = np.array([[0, 1, 100, 127, 3.75]], np.float32) if source == "float32" else numbers(source, 3, 40)
    if source in ("uint32", "uint64", "int32", "int64"):
        x.reshape(-1)[2:10] = [255, 256, 257, 32767, 32768, 65535, 65536, 65537]
    nodes = [node("Cast", "x", f"y_{kind}", to=element(kind)) for kind in kinds_to]
    proto = typed(nodes, {"x": (source, x.shape)}, {f"y_{kind}": kind for kind in kinds_to})
    path = saved(proto, tmp_path)
    graph = open_model(path).graph
    got = by_reference(path, {graph.inputs[0].name: x})
    for kind, y in zip(kinds_to, got, strict=True):
        true = x.astype(kind)
        if kind in ("uint32", "uint64") and x.min() < 0:  # numbers near 2^32 and 2^64, which float32 rounds
            np.testing.assert_allclose(y, true.astype(np.float64), rtol=2.0**-22)
        else:
            np.testing.assert_array_equal(y, true.astype(np.float64), err_msg=kind)
    assert check_import(path, open_model(path), {}, lambda _: None) is not None


def test_casts_on_devices(device: DeviceInfo, tmp_path: Path) -> None:
    x = np.array([[-300, -129, -128, -1, 0, 127, 128, 255, 256, 2**20 + 77]], np.int32)
    nodes = [node("Cast", "x", f"y_{kind}", to=element(kind)) for kind in ("uint8", "int8", "int16", "bool")]
    proto = typed(nodes, {"x": ("int32", x.shape)}, {f"y_{kind}": kind for kind in ("uint8", "int8", "int16", "bool")})
    check(proto, {"x": x}, tmp_path, device)


def test_floats_beyond_a_type_become_its_ends(device: DeviceInfo, tmp_path: Path) -> None:
    """ONNX leaves that open; engines give whatever their processor does."""
    nodes = [node("Cast", "x", "b", to=element("uint8")), node("Cast", "b", "y", to=1)]
    proto = typed(nodes, {"x": ("float32", (1, 5))}, {"y": "float32"})
    x = np.array([[-3.5, -0.9, 254.9, 255.9, 300]], np.float32)
    path = saved(proto, tmp_path)
    for got in (by_reference(path, {"x": x}), *by_device(path, {"x": x}, device, tmp_path)):
        np.testing.assert_array_equal(got[0], [[0, 0, 254, 255, 255]])


def test_a_cast_that_forgets_to_wrap_around_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of an import feeds a model numbers of its own types, and compares in these."""
    proto = typed([node("Cast", "x", "y", to=element("int8"))], {"x": ("uint8", (1, 64))}, {"y": "int8"})
    path = saved(proto, tmp_path)
    build.lower(path, check=True)
    monkeypatch.setattr(number_types, "_lowest_bits", lambda x, kind, b: x)
    with pytest.raises(Mismatch, match="the import does not compute what the model does"):
        build.lower(path, check=True)


# Arithmetic that wraps around ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Sum"])
@pytest.mark.parametrize("kind", NARROW)
def test_arithmetic_that_wraps_around_is_refused(kind: str, op: str, tmp_path: Path) -> None:
    if op == "Div" and kind.startswith("u"):
        pytest.skip("the quotient is within the type")
    inputs = {"x": (kind, (1, 4)), "z": (kind, (1, 4))}
    path = saved(typed([node(op, "x z", "y")], inputs, {"y": kind}), tmp_path)
    with pytest.raises(SpecError, match=rf'{op} "{op}_y": it computes with numbers of type {kind}, which wrap around'):
        import_model(path)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64"])
def test_quotients_and_rests_without_sign(kind: str, tmp_path: Path) -> None:
    x, z = numbers(kind, 2, 40), np.maximum(numbers(kind, 1, 40) // 3, 1).astype(kind)
    nodes = [node("Div", "x z", "q"), node("Mod", "x z", "r")]
    path = saved(typed(nodes, {"x": (kind, x.shape), "z": (kind, z.shape)}, {"q": kind, "r": kind}), tmp_path)
    quotient, rest = by_reference(path, {"x": x, "z": z})
    np.testing.assert_array_equal(quotient, (x // z).astype(np.float64))
    np.testing.assert_array_equal(rest, (x % z).astype(np.float64))
    build.lower(path, check=True)


def test_an_image_of_bytes_as_exporters_write_it(device: DeviceInfo, tmp_path: Path) -> None:
    """Channels last, cast, normalized, transposed; the class as int64."""
    rng = np.random.default_rng(3)
    constants = {
        "mean": np.array([123.7, 116.3, 103.5], np.float32),
        "std": np.array([58.4, 57.1, 57.4], np.float32),
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
    }
    nodes = [
        node("Cast", "image:0", "f", to=1),
        node("Sub", "f mean", "c"),
        node("Div", "c std", "n"),
        node("Transpose", "n", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "features", pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", "features", "p"),
        node("Flatten", "p", "scores.1"),
        node("ArgMax", "scores.1", "537", axis=1),
    ]
    proto = typed(nodes, {"image:0": ("uint8", (1, 12, 10, 3))}, {"scores.1": "float32", "537": "int64"}, constants)
    check(proto, {"image:0": numbers("uint8", 1, 12, 10, 3)}, tmp_path, device, rtol=1e-4)
    graph = open_model(tmp_path / "net.onnx").graph
    assert [(i.name, i.own_name, i.type) for i in graph.inputs] == [("image_0", "image:0", "uint8")]
    assert [(o.own_name, o.type) for o in graph.outputs] == [("scores.1", "float32"), ("537", "int64")]


# Floats of other widths ----------------------------------------------------------------------------------------------


def half_network(kind: Callable[[Array], Any], name: str) -> onnx.ModelProto:
    """A convolution with BatchNorm, a residual, a classifier: inputs, weights and outputs of one type."""
    rng = np.random.default_rng(5)
    arrays = {
        **{"w": rng.standard_normal((4, 3, 3, 3)) * 0.3, "b": rng.standard_normal(4), "gamma": rng.uniform(0.5, 2, 4)},
        **{"beta": rng.standard_normal(4), "mean": rng.standard_normal(4), "var": rng.uniform(0.5, 2, 4)},
        **{"fc": rng.standard_normal((5, 4)), "six": np.array(6.0), "zero": np.array(0.0)},
    }
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c gamma beta mean var", "n"),
        node("Clip", "n zero six", "r"),
        node("Add", "r c", "s"),
        node("GlobalAveragePool", "s", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f fc", "g", transB=1),
        node("Softmax", "g", "y"),
    ]
    constants = {key: kind(values) for key, values in arrays.items()}
    return typed(nodes, {"x": (name, (1, 3, 6, 6))}, {"y": name, "g": name}, constants)


def test_networks_of_float64(device: DeviceInfo, tmp_path: Path) -> None:
    """ONNX Runtime has no such convolution; the same network in float32 gives what it should but for rounding."""
    x = numbers("float64", 1, 3, 6, 6)
    right = expected(half_network(lambda values: values.astype(np.float32), "float32"), {"x": x.astype(np.float32)})
    path = saved(half_network(lambda values: values, "float64"), tmp_path)
    build.lower(path, check=True)
    for got in (by_reference(path, {"x": x}), *by_device(path, {"x": x}, device, tmp_path)):
        for y, true in zip(got, right, strict=True):
            assert y.dtype == np.float64
            np.testing.assert_allclose(y, true, rtol=0, atol=1e-4 * np.abs(true).max())


def test_networks_of_float16(device: DeviceInfo, tmp_path: Path) -> None:
    """ONNX Runtime rounds between layers, clgen at the output alone: 2^-11 a layer."""
    proto = half_network(lambda values: values.astype(np.float16), "float16")
    check(proto, {"x": numbers("float16", 1, 3, 6, 6)}, tmp_path, device, rtol=4e-3)


def test_weights_and_casts_of_bfloat16(device: DeviceInfo, tmp_path: Path) -> None:
    """No engine runs them on a CPU: the same network with the same numbers in float32 does."""
    wide = half_network(lambda values: values.astype(np.float32), "float32")
    proto = half_network(lambda values: values.astype(np.float32), "float32")
    for tensor, other in zip(wide.graph.initializer, proto.graph.initializer, strict=True):
        bits = np.frombuffer(tensor.raw_data, np.uint32) & 0xFFFF0000
        tensor.raw_data = bits.tobytes()
        other.data_type, other.raw_data = TensorProto.BFLOAT16, (bits >> 16).astype(np.uint16).tobytes()
    nodes = [node("Cast", "given", "x", to=TensorProto.BFLOAT16), *proto.graph.node]
    nodes += [node("Cast", "y", "probabilities", to=1), node("Cast", "g", "scores", to=1)]
    del proto.graph.node[:], proto.graph.input[:], proto.graph.output[:]
    proto.graph.node.extend(nodes)
    proto.graph.input.append(helper.make_tensor_value_info("given", 1, [1, 3, 6, 6]))
    proto.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in ("probabilities", "scores"))
    x = numbers("float32", 1, 3, 6, 6)
    right = expected(wide, {"x": x})
    path = saved(proto, tmp_path)
    build.lower(path, check=True)
    for got in (by_reference(path, {"given": x}), *by_device(path, {"given": x}, device, tmp_path)):
        for y, true in zip(got, right, strict=True):
            np.testing.assert_allclose(y, true, rtol=0, atol=1e-4 * np.abs(true).max())


def test_inputs_of_bfloat16_are_float32_here(tmp_path: Path) -> None:
    proto = typed([node("Relu", "x", "y")], {"x": ("bfloat16", (1, 4))}, {"y": "bfloat16"})
    imported = import_model(saved(proto, tmp_path))
    assert b'# Note: input "x" is of bfloat16; it is float32 here.' in imported.text
    assert b'# Note: output "y" is of bfloat16; it is float32 here.' in imported.text
    assert b"type" not in imported.text


# What is refused -----------------------------------------------------------------------------------------------------


def test_indices_that_the_network_gets_are_refused_by_name(tmp_path: Path) -> None:
    table = np.ones((7, 4), np.float32)
    proto = typed([node("Gather", "table x", "y")], {"x": ("int64", (1, 3))}, {"y": "float32"}, {"table": table})
    with pytest.raises(SpecError, match='Gather "Gather_y": the network computes its indices'):
        import_model(saved(proto, tmp_path))


def test_inputs_of_no_numbers_are_refused(tmp_path: Path) -> None:
    proto = typed([node("Identity", "x", "y")], {"x": ("float32", (1, 3))}, {"y": "float32"})
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    with pytest.raises(SpecError, match='input "x" holds object; inputs should hold floating-point numbers of 16'):
        import_model(saved(proto, tmp_path))


@pytest.mark.parametrize(("kind", "shape"), list(itertools.product(["int32", "bool", "float64"], [(), (1,), (4, 5)])))
def test_scalars_and_other_batches_of_every_type(
    kind: str, shape: tuple[int, ...], device: DeviceInfo, tmp_path: Path
) -> None:
    """A number beside images, and a matrix of another batch: the model's own shapes."""
    nodes = [node("Cast", "n", "f", to=1), node("ReduceMax", "f", "m", keepdims=0), node("Mul", "x m", "y")]
    proto = typed(nodes, {"x": ("float32", (2, 3, 4)), "n": (kind, shape)}, {"y": "float32"}, opset=13)
    n = np.asarray(numbers(kind, *shape)) if shape else np.array(1, kind)
    check(proto, {"x": numbers("float32", 2, 3, 4), "n": n}, tmp_path, device, rtol=1e-6)
