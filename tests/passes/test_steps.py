"""Functions that jump: what is exact before them stays exact, and an import of them is not refused for a rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from codegen import build
from codegen.graph.bounded import FLOAT32, Bounded
from codegen.graph.ops import Activation, Affine, Binary, Conv, Divide, Fused, Op, PRelu, Reduce
from codegen.importers.compare import relative_error
from tests.support.networks import Net, lower


def divided(*behind: str) -> Net:
    """An input of one pixel, a convolution with weight 1, a division by 41, and what stands behind it."""
    net = Net((1, 1, 1, 1))
    one = Conv(np.ones((1, 1, 1, 1)), np.zeros(1), (1, 1), (1, 1), ((0, 0), (0, 0)))
    x = net.add(Divide(np.array([41.0])), net.add(one, "x"))
    for kind in behind:
        if kind == "max_pool":
            x = net.pool(x, "max", 1, stride=1)
        elif kind == "reduce_sum":
            x = net.add(Reduce("sum", (2, 3)), x)
        elif kind == "conv":
            x = net.add(one, x)
        else:
            x = net.act(x, kind)
    return net


@pytest.mark.parametrize(
    "behind",
    [("floor",), ("max_pool", "floor"), ("reduce_sum", "ceil"), ("thresholded_relu",), ("relu", "shrink")],
    ids="-".join,
)
def test_a_division_stays_where_a_step_may_read_it(behind: tuple[str, ...]) -> None:
    launches = lower(divided(*behind).graph()).launches
    kept = [s for n in launches.nodes if isinstance(n.op, Fused) for s in (*n.op.prologue, *n.op.epilogue)]
    assert any(isinstance(stage.op, Divide) for stage in kept)


def test_a_division_before_weights_stays_where_a_step_follows_them() -> None:
    net = Net((1, 1, 1, 1))
    one = Conv(np.ones((1, 1, 1, 1)), np.zeros(1), (1, 1), (1, 1), ((0, 0), (0, 0)))
    net.act(net.add(one, net.add(Divide(np.array([41.0])), "x")), "floor")
    y = lower(net.graph()).launches.evaluate({"x": np.full((1, 1, 1, 1), 41.0)})
    assert list(y.values())[-1].item() == 1


def test_a_division_without_a_step_behind_it_goes_into_weights() -> None:
    launches = lower(divided("relu", "conv", "floor").graph()).launches
    stages = [s for n in launches.nodes if isinstance(n.op, Fused) for s in (*n.op.prologue, *n.op.epilogue)]
    assert not any(isinstance(stage.op, Divide) for stage in stages)


DENORMAL = np.array([[1e-40, -1e-40]])


@pytest.mark.parametrize(
    ("op", "flushed"),
    [
        (Activation.of("sqrt"), [0.0, 0.0]),
        (Activation.of("sign"), [0.0, 0.0]),
        (Activation.of("floor"), [0.0, 0.0]),
        (Activation.of("leaky_relu", alpha=1e30), [0.0, 0.0]),
        (PRelu(np.array([1e30, 1e30])), [0.0, 0.0]),
        (Affine(np.array([1e30, 1e30]), np.zeros(2)), [0.0, 0.0]),
    ],
    ids=lambda value: value.title if isinstance(value, Op) else "",
)
def test_a_device_may_read_denormal_numbers_as_zero(op: Op, flushed: list[float]) -> None:
    y = op.bounded(Bounded.exact(DENORMAL), rounding=FLOAT32)
    off = np.abs(np.array([flushed]) - y.value)
    assert np.all((off <= y.error) | np.isnan(y.value))


def test_a_quotient_of_denormal_numbers_may_be_anything() -> None:
    y = Binary("div").bounded(Bounded.exact(DENORMAL), Bounded.exact(DENORMAL / 10), rounding=FLOAT32)
    assert np.all(np.isposinf(y.error))


@pytest.mark.parametrize(
    "behind", ["Ceil", "Greater", "fake quantisation of 0.4", "fake quantisation of 2", "almost 1"]
)
def test_a_hard_swish_before_a_jump_or_a_cancellation_is_imported(behind: str, tmp_path: Path) -> None:
    """A hard_swish as exporters write it: x min(max(x + 3, 0), 6) times the float32 next to 1/6."""
    numbers = {
        "three": 3.0,
        "low": 0.0,
        "high": 6.0,
        "sixth": 1 / 6,
        "step": float(behind.split()[-1]) if " " in behind else 1.0,
        "near": 1 + 2.0**-21,
    }
    nodes = [
        helper.make_node("Add", ["x", "three"], ["a"]),
        helper.make_node("Clip", ["a", "low", "high"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["p"]),
        helper.make_node("Mul", ["p", "sixth"], ["h"]),
    ]
    if behind == "Greater":
        nodes += [helper.make_node("Greater", ["h", "x"], ["g"]), helper.make_node("Cast", ["g"], ["y"], to=1)]
    elif behind == "Ceil":
        nodes += [helper.make_node("Ceil", ["h"], ["y"])]
    elif behind == "almost 1":
        nodes += [helper.make_node("Mul", ["h", "near"], ["m"]), helper.make_node("Sub", ["m", "h"], ["y"])]
    else:
        nodes += [
            helper.make_node("Div", ["h", "step"], ["q"]),
            helper.make_node("Round", ["q"], ["r"]),
            helper.make_node("Mul", ["r", "step"], ["y"]),
        ]
    shape = [1, 8, 16, 16]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in numbers.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    _, checked = build.imported(tmp_path / "m.onnx", tmp_path, "hard", {})
    assert checked is not None
    assert not checked.skipped


def test_an_error_relative_to_nothing_is_no_division_by_zero() -> None:
    assert relative_error(np.array([1e-17, 0.0]), np.zeros(2)) == 0
