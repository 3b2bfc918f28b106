"""Numbers that an import must not change: signs, divisors, ranks, whole numbers, infinities.

The right values are computed by hand or by numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from codegen import build
from codegen.cli import main
from codegen.importers.open import import_model, open_model
from codegen.runtime.devices import DeviceInfo
from tests.support.everywhere import by_device, by_reference
from tests.support.onnx_models import Array, model, node, saved

FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL


@dataclass(frozen=True, eq=False)
class Case:
    """``y`` is the right output for the input ``x``."""

    name: str
    nodes: list[onnx.NodeProto]
    x: Array
    y: Array
    constants: Mapping[str, Array] = field(default_factory=dict)
    opset: int = 17


def floats(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def scalar(value: float) -> Array:
    return np.array(value, dtype=np.float32)


def count(*shape: int) -> Array:
    """1, 2, 3, ... in this shape."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def subtracted(x: Array, c: Array) -> Case:
    return Case(f"{list(x.shape)}-{list(c.shape)}", [node("Sub", "x c", "y")], x, x - c, {"c": c})


def divided(x: Array, c: Array) -> Case:
    return Case(f"{list(x.shape)}by{list(c.shape)}", [node("Div", "x c", "y")], x, x / c, {"c": c})


PAIRS = [
    (count(1, 1, 2, 2), count(1, 1, 2, 2)),
    (count(2, 3), count(2, 1)),
    (count(2, 3, 4), count(2, 3, 4) / 4),
    (count(2, 3, 2, 2), count(3, 2, 2)),
    (count(2, 3, 2, 2), count(2, 1, 2, 1)),
    (count(3, 2), count(2, 3, 2)),
    (count(4), count(4)),
    (count(4), scalar(3)),
    (count(4), count(3, 1)),
    (scalar(5), scalar(3)),
    (scalar(5), count(3)),
    (scalar(5), count(2, 3)),
]

INFINITE = floats(np.inf, -np.inf, 1, -2, 0).reshape(1, 5)

CASES = [
    *(subtracted(x, c) for x, c in PAIRS),
    *(divided(x, c) for x, c in PAIRS),
    Case(
        "by_zero",
        [node("Div", "x c", "y")],
        floats(1, -1, 2).reshape(1, 3),
        floats(np.inf, -np.inf, 1).reshape(1, 3),
        {"c": floats(0, 0, 2)},
    ),
    # Scalars: a mean over all axes, and what ONNX does with a tensor of no axes.
    Case(
        "mean_less_1",
        [node("ReduceMean", "x", "m", keepdims=0), node("Sub", "m c", "y")],
        floats(1, 2, 3, 6).reshape(2, 2),
        floats(2),
        {"c": scalar(1)},
    ),
    Case(
        "sum_by_4",
        [node("ReduceSum", "x", "m", keepdims=0), node("Div", "m c", "y")],
        floats(1, 2, 3, 6).reshape(2, 2),
        floats(3),
        {"c": scalar(4)},
    ),
    Case(
        "mean_plus_vector",
        [node("ReduceMean", "x", "m", keepdims=0), node("Add", "m c", "y")],
        floats(1, 2, 3, 6).reshape(2, 2),
        floats(4, 5, 6),
        {"c": floats(1, 2, 3)},
    ),
    Case(
        "mean_plus_matrix",
        [node("ReduceMean", "x", "m", keepdims=0), node("Mul", "c m", "y")],
        floats(1, 2, 3, 6).reshape(2, 2),
        3 * count(2, 3),
        {"c": count(2, 3)},
    ),
    Case(
        "stack_times",
        [
            node("ReduceMax", "x", "high", keepdims=0),
            node("ReduceMin", "x", "low", keepdims=0),
            node("Unsqueeze", "high axes", "a"),
            node("Unsqueeze", "low axes", "b"),
            node("Concat", "a b", "s", axis=0),
            node("Mul", "x s", "y"),
        ],
        floats(1, 2, 3, 6).reshape(2, 2),
        floats(6, 2, 18, 6).reshape(2, 2),
        {"axes": ints(0)},
    ),
    Case(
        "softmax_of_stack",
        [
            node("ReduceMax", "x", "high", keepdims=0),
            node("ReduceMin", "x", "low", keepdims=0),
            node("Unsqueeze", "high axes", "a"),
            node("Unsqueeze", "low axes", "b"),
            node("Concat", "a b", "s", axis=-1),
            node("Softmax", "s", "y", axis=0),
        ],
        floats(0, np.log(3)).reshape(1, 2),
        floats(0.75, 0.25),
        {"axes": ints(0)},
    ),
    Case(
        "gather_one",
        [node("Gather", "x i", "g", axis=0), node("Unsqueeze", "g axes", "u"), node("Expand", "u shape", "y")],
        floats(1, 5, 3),
        floats(5, 5).reshape(2, 1),
        {"i": np.array(1), "axes": ints(0), "shape": ints(2, 1)},
    ),
    Case(
        "place_of_largest",
        [
            node("ArgMax", "x", "i", axis=0, keepdims=0),
            node("Unsqueeze", "i axes", "u"),
            node("Cast", "u", "f", to=FLOAT),
            node("Add", "f c", "y"),
        ],
        floats(1, 5, 3),
        floats(1, 1, 1).reshape(3, 1),
        {"axes": ints(0), "c": np.zeros((3, 1), dtype=np.float32)},
    ),
    Case(
        "shape_of_scalar",
        [
            node("ReduceSum", "x", "s", keepdims=0),
            node("Shape", "s", "n"),
            node("Concat", "two n", "shape", axis=0),
            node("Expand", "s shape", "y"),
        ],
        floats(1, 2).reshape(1, 2),
        floats(3, 3),
        {"two": ints(2)},
    ),
    Case(
        "range_of_scalar",
        [node("Reshape", "x none", "s"), node("Unsqueeze", "s axes", "y")],
        floats(7).reshape(1, 1),
        floats(7).reshape(1, 1, 1),
        {"none": ints(), "axes": ints(0, 1, 2)},
    ),
    # Quotients that rounding twice would make another whole number.
    Case(
        "floor",
        [node("Div", "x c", "q"), node("Floor", "q", "y")],
        floats(41, 82, 40, -41).reshape(1, 4),
        floats(1, 2, 0, -1).reshape(1, 4),
        {"c": scalar(41)},
    ),
    # Types: the first input's for Pow, whole numbers where ONNX has whole numbers.
    Case(
        "float_to_whole_power",
        [node("Cast", "x", "i", to=INT64), node("Pow", "base i", "p"), node("Div", "p two", "y")],
        floats(0, 1, 2, 3).reshape(1, 4),
        floats(0.5, 0.75, 1.125, 1.6875).reshape(1, 4),
        {"base": scalar(1.5), "two": scalar(2)},
    ),
    Case(
        "live_float_to_whole_power",
        [node("Cast", "x", "i", to=INT64), node("Pow", "x i", "p"), node("Div", "p two", "y")],
        floats(1, 2, 3).reshape(1, 3),
        floats(0.5, 2, 13.5).reshape(1, 3),
        {"two": scalar(2)},
    ),
    Case(
        "whole_root",
        [node("Cast", "x", "i", to=INT64), node("Pow", "i half", "p"), node("Cast", "p", "y", to=FLOAT)],
        floats(1, 2, 4, 8, 9).reshape(1, 5),
        floats(1, 1, 2, 2, 3).reshape(1, 5),
        {"half": scalar(0.5)},
    ),
    *(
        Case(
            f"whole_{op}",
            [
                node("Cast", "x", "i", to=INT64),
                node(op, "i", "p", axes=[1], keepdims=1),
                node("Cast", "p", "y", to=FLOAT),
            ],
            floats(1, 2, 4, 6, 3, 3).reshape(3, 2),
            floats(*y).reshape(3, 1),
            opset=13,
        )
        for op, y in (
            ("ReduceMean", (1, 5, 3)),
            ("ReduceL2", (2, 7, 4)),
            ("ReduceLogSum", (1, 2, 1)),
            ("ReduceLogSumExp", (2, 6, 3)),
        )
    ),
    Case(
        "whole_means_of_three",
        [node("Cast", "x", "i", to=INT64), node("ReduceMean", "i", "p", axes=[1]), node("Cast", "p", "y", to=FLOAT)],
        np.repeat(np.arange(-300, 300, dtype=np.float32).reshape(-1, 1), 3, axis=1),
        np.arange(-300, 300, dtype=np.float32).reshape(-1, 1),
        opset=13,
    ),
    Case(
        "choice_of_whole_numbers",
        [
            node("Greater", "x zero", "g"),
            node("Where", "g a b", "w"),
            node("Div", "w two", "h"),
            node("Cast", "h", "y", to=FLOAT),
        ],
        floats(1, -1).reshape(1, 2),
        floats(1, -2).reshape(1, 2),
        {"zero": scalar(0), "a": ints(3), "b": ints(-5), "two": ints(2)},
    ),
    # Positions along long axes, and between corners where the scale gives no whole size.
    Case(
        "twice_as_long",
        [node("Resize", "x _ scales", "y", mode="linear", coordinate_transformation_mode="asymmetric")],
        np.arange(60_000, dtype=np.float32).reshape(1, 1, -1) % 1000,
        np.interp(np.arange(120_000) / 2, np.arange(60_000), np.arange(60_000) % 1000).reshape(1, 1, -1),
        {"scales": floats(1, 1, 2)},
    ),
    Case(
        "between_corners",
        [node("Resize", "x _ scales", "y", mode="linear", coordinate_transformation_mode="align_corners")],
        floats(0, 3, 6).reshape(1, 1, 3),
        floats(0, 2, 4, 6).reshape(1, 1, 4),
        {"scales": floats(1, 1, 1.4)},
    ),
    Case(
        "same_of_a_dilated_pool",
        [node("MaxPool", "x", "y", kernel_shape=[2], dilations=[2], auto_pad="SAME_UPPER")],
        floats(1, 2, 3, 4, 5, 6).reshape(1, 1, 6),
        floats(2, 3, 4, 5, 6, 5).reshape(1, 1, 6),
    ),
    # Infinities.
    Case(
        "max_of_infinite",
        [node("Max", "x c", "y")],
        INFINITE,
        floats(np.inf, -1, 1, -1, 0).reshape(1, 5),
        {"c": scalar(-1)},
    ),
    Case(
        "min_of_infinite",
        [node("Min", "x c", "y")],
        INFINITE,
        floats(0.5, -np.inf, 0.5, -2, 0).reshape(1, 5),
        {"c": scalar(0.5)},
    ),
    Case(
        "clip_below",
        [node("Clip", "x c", "y")],
        INFINITE,
        floats(np.inf, -1, 1, -1, 0).reshape(1, 5),
        {"c": scalar(-1)},
    ),
    Case(
        "clip_above",
        [node("Clip", "x _ c", "y")],
        INFINITE,
        floats(0.5, -np.inf, 0.5, -2, 0).reshape(1, 5),
        {"c": scalar(0.5)},
    ),
    Case("clip_nothing", [node("Clip", "x a b", "y")], INFINITE, INFINITE, {"a": scalar(-np.inf), "b": scalar(np.inf)}),
    Case(
        "log_sum_exp",
        [node("ReduceLogSumExp", "x", "y", axes=[1])],
        np.array([[np.inf, 1], [-np.inf, 1], [-np.inf, -np.inf], [np.inf, -np.inf], [200, 200]], dtype=np.float32),
        np.array([[np.inf], [1], [-np.inf], [np.inf], [200 + np.log(2)]], dtype=np.float32),
        opset=13,
    ),
    *(
        Case(
            f"is_inf_{negative}{positive}",
            [
                node("IsInf", "x", "i", detect_negative=negative, detect_positive=positive),
                node("Cast", "i", "y", to=FLOAT),
            ],
            INFINITE,
            floats(positive, negative, 0, 0, 0).reshape(1, 5),
        )
        for negative in (0, 1)
        for positive in (0, 1)
    ),
]


def of(case: Case, folder: Path) -> Path:
    return saved(model(case.nodes, {"x": case.x.shape}, case.constants, opset=case.opset), folder)


def same(got: Array, case: Case, tolerance: float) -> None:
    assert got.shape == (case.y.shape or (1,))
    np.testing.assert_allclose(got.reshape(case.y.shape), case.y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_graph_is_right(case: Case, tmp_path: Path) -> None:
    (got,) = by_reference(of(case, tmp_path), {"x": case.x})
    same(got, case, 1e-6)


ON_DEVICES = [
    *("[1, 1, 2, 2]-[1, 1, 2, 2]", "[2, 3, 2, 2]by[2, 1, 2, 1]", "[4]by[3, 1]", "[]by[]", "by_zero", "sum_by_4"),
    *(
        "stack_times",
        "softmax_of_stack",
        "place_of_largest",
        "live_float_to_whole_power",
        "whole_root",
    ),
    *("whole_ReduceMean", "whole_ReduceL2", "whole_means_of_three", "max_of_infinite", "clip_above", "log_sum_exp"),
]


@pytest.mark.parametrize("name", ON_DEVICES)
def test_devices_are_right(name: str, device: DeviceInfo, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    for (got,) in by_device(of(case, tmp_path), {"x": case.x}, device, tmp_path):
        same(got, case, 1e-6)


@pytest.mark.parametrize("divisor", [41.0, 3.0, 49.0, 0.1])
def test_floor_of_quotients_is_right_for_all_whole_numbers(divisor: float, device: DeviceInfo, tmp_path: Path) -> None:
    x = np.arange(10_000, dtype=np.float32).reshape(1, -1)
    nodes = [node("Div", "x c", "q"), node("Floor", "q", "y")]
    path = saved(model(nodes, {"x": x.shape}, {"c": scalar(divisor)}), tmp_path)
    for (got,) in by_device(path, {"x": x}, device, tmp_path):
        assert np.array_equal(got, np.floor(x / np.float32(divisor)))


def test_quotients_of_whole_numbers_are_right(device: DeviceInfo, tmp_path: Path) -> None:
    """Up to 2^24, towards zero, by a constant and by a tensor."""
    rng = np.random.default_rng(0)
    a = rng.integers(-(2**24), 2**24, 4000)
    b = rng.choice([1, 2, 3, 5, 7, 41, 49, 4095, 4097, 16_777_213], 4000) * rng.choice([-1, 1], 4000)
    a[:2000] = a[:2000] // b[:2000] * b[:2000] + rng.integers(-1, 2, 2000)  # near multiples
    a = np.clip(a, -(2**24), 2**24)
    nodes = [
        *(node("Cast", name, f"{name}_whole", to=INT64) for name in ("a", "b")),
        *(node("Div", f"a_whole {name}", f"{name}_quotient") for name in ("b_whole", "seven")),
        *(node("Cast", f"{name}_quotient", f"by_{name}", to=FLOAT) for name in ("b_whole", "seven")),
    ]
    shapes = {"a": (1, 4000), "b": (1, 4000)}
    path = saved(model(nodes, shapes, {"seven": ints(-7)}, ["by_b_whole", "by_seven"]), tmp_path)
    feeds = {"a": a.reshape(1, -1), "b": b.reshape(1, -1)}
    for by_live, by_constant in by_device(path, feeds, device, tmp_path):
        assert np.array_equal(by_live[0], np.trunc(a / b))
        assert np.array_equal(by_constant[0], np.trunc(a / -7))


@pytest.mark.parametrize("c", [6.0, 2.0], ids=str)
def test_a_division_reads_as_one(c: float, tmp_path: Path) -> None:
    """A division by a power of two becomes a product, which is exact."""
    path = saved(model([node("Div", "x c", "y")], {"x": (1, 3)}, {"c": scalar(c)}), tmp_path)
    text = import_model(path).text.decode()
    assert ('divisor = "c"' in text) == (c == 6)


# Shapes of inputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (3, 2, 2)], ids=str)
def test_inputs_have_the_shapes_of_the_model(shape: tuple[int, ...], device: DeviceInfo, tmp_path: Path) -> None:
    """One input has another batch than the image."""
    nodes = [node("Div", "s three", "d"), node("Unsqueeze", "d axes", "y"), node("Relu", "x", "z")]
    constants = {"three": scalar(3), "axes": ints(0)}
    shapes = {"x": (2, 1, 3, 4), "s": shape}
    path = saved(model(nodes, shapes, constants, ["y", "z"]), tmp_path)
    assert [i.shape for i in open_model(path).graph.inputs] == [(2, 1, 3, 4), shape or (1,)]
    feeds = {"x": count(2, 1, 3, 4) - 9, "s": count(*shape)}
    for y, z in by_device(path, feeds, device, tmp_path):
        assert y.shape == (1, *shape)
        np.testing.assert_allclose(y[0], feeds["s"] / 3, rtol=1e-6)
        np.testing.assert_array_equal(z, np.maximum(feeds["x"], 0))


def test_run_takes_a_number(has_device: None, tmp_path: Path) -> None:
    """An array of no axes, as the model has it."""
    path = saved(model([node("Mul", "x s", "y")], {"x": (1, 3, 5), "s": ()}, {}), tmp_path)
    folder, _ = build.build(build.lower(path), tmp_path, "cpu")
    np.savez(tmp_path / "in.npz", x=count(1, 3, 5), s=scalar(2))
    command = ["run", str(folder), "--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "out.npz") as y:
        np.testing.assert_array_equal(y["y"], count(1, 3, 5) * 2)
