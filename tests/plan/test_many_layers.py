"""Networks of many layers: what a build or an import does grows with their number, not with its square.

What is counted are the steps of Python's interpreter in clgen's own code, so that a busy machine changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from codegen import build
from codegen.graph.ops import Conv
from tests.support.needs import ROOT
from tests.support.networks import Net, lower

OURS = str(ROOT / "codegen")
FEW = 40  # layers or blocks


def steps(work: Callable[[], object]) -> int:
    """The bytecode instructions of clgen's that the work takes."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        elif event == "call":
            if not frame.f_code.co_filename.startswith(OURS):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def assert_linear(work: Callable[[int], Callable[[], object]]) -> None:
    """Checks that steps grow by the same number from FEW to twice as many layers as from there to three times."""
    work(FEW)()  # what is done once
    counts = [steps(work(k * FEW)) for k in (1, 2, 3)]
    assert counts[0] > 1000 * FEW
    assert counts[2] - counts[1] < 1.02 * (counts[1] - counts[0])


def chain(net: Net, x: str) -> str:
    return net.act(net.bn(net.conv(x, 8, pads=1)))


def residual(net: Net, x: str) -> str:
    return net.act(net.binary("add", net.bn(net.conv(x, 8, pads=1)), x))


def squeeze(net: Net, x: str) -> str:
    body = net.conv(x, 8, pads=1)
    return net.binary("mul", body, net.act(net.conv(net.global_pool(body), 8, 1), "sigmoid"))


def late(net: Net, x: str) -> str:
    """A product with a gate of the same size, listed behind it."""
    body = net.conv(x, 8, pads=1)
    gate = net.act(net.conv(x, 8, pads=1), "sigmoid")
    return net.binary("mul", body, gate)


def split(net: Net, x: str) -> str:
    return net.bn(net.concat(net.conv(x, 4, 1), net.conv(x, 4, 1)))


def divided(net: Net, x: str) -> str:
    return net.divide(net.affine(x, shift=False))


BLOCKS = {"chain": chain, "residual": residual, "squeeze": squeeze, "late": late, "split": split, "divided": divided}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_plan_takes_steps_in_proportion_to_its_layers(name: str) -> None:
    def work(count: int) -> Callable[[], object]:
        net = Net((1, 8, 6, 6))
        x = "x"
        for _ in range(count):
            x = BLOCKS[name](net, x)
        graph = net.graph(net.conv(x, 8, 1))
        return lambda: lower(graph).plan()

    assert_linear(work)


def model(blocks: int) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    x = "x"

    def constant(*shape: int) -> str:
        values = np.abs(rng.normal(1, 0.1, shape)).astype(np.float32) / 90
        constants.append(numpy_helper.from_array(values, f"w{len(constants)}"))
        return str(constants[-1].name)

    for k in range(blocks):
        weight, bn = constant(4, 4, 3, 3), [constant(4) for _ in range(4)]
        nodes += [
            helper.make_node("Conv", [x, weight], [f"c{k}"], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"c{k}", *bn], [f"b{k}"]),
            helper.make_node("Relu", [f"b{k}"], [f"r{k}"]),
            helper.make_node("Add", [f"r{k}", x], [f"a{k}"]),
        ]
        x = f"a{k}"
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4, 6, 6]) for name in ("x", x)]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


@pytest.mark.parametrize("checked", [False, True], ids=["import", "import and comparison"])
def test_an_import_takes_steps_in_proportion_to_its_nodes(checked: bool, tmp_path: Path) -> None:
    def work(count: int) -> Callable[[], object]:
        path = tmp_path / f"net{count}.onnx"
        onnx.save(model(count), str(path))
        return lambda: build.imported(path, tmp_path, None, {}, check=checked)

    assert_linear(work)


def test_a_spec_of_many_layers_is_built_in_proportion(tmp_path: Path) -> None:
    def work(count: int) -> Callable[[], object]:
        path = tmp_path / f"net{count}.onnx"
        onnx.save(model(count), str(path))
        spec, _ = build.imported(path, tmp_path, None, {}, check=False)
        return lambda: build.build(build.lower(spec), tmp_path / "out", "cpu")

    assert_linear(work)


def test_a_chain_of_thousands_of_maps_is_no_recursion() -> None:
    net = Net((1, 8, 6, 6))
    first = net.conv("x", 8, 1)
    x = net.concat(first, net.conv(first, 8, 1))
    for _ in range(1500):
        x = net.divide(net.act(x, "tanh"))
    launches = lower(net.graph(net.conv(x, 8, 1), first)).launches
    assert sum(isinstance(node.op.core, Conv) for node in launches.nodes if hasattr(node.op, "core")) == 3
