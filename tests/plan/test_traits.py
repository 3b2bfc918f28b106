"""Traits of operators: no other code lists their classes, and kernels do what the traits promise."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen.graph.ops import (
    Activation,
    Binary,
    Convert,
    Dense,
    Fused,
    GridSample,
    Identity,
    MatMul,
    Op,
    Pad,
    Reduce,
    Reshape,
    Resize,
    RunningSum,
    Select,
    Softmax,
    Take,
    TakeChannels,
    Top,
    Transpose,
)
from codegen.runtime.devices import DeviceInfo, opencl
from codegen.runtime.execute import Session
from tests.support.needs import ROOT
from tests.support.networks import Net, lower

Make = Callable[[Net, str], str]
"""Adds an operator that reads a tensor, and returns the name of what it makes."""


def operators(base: type[Op] = Op) -> Iterator[type[Op]]:
    for found in base.__subclasses__():
        yield found
        yield from operators(found)


CLASSES = {found.__name__: found for found in operators()}


# ---- who lists classes ----


def listings(source: str) -> Iterator[int]:
    """Lines where two or more classes of operators stand side by side, but for type annotations and tables by class."""
    tree = ast.parse(source)
    annotations = [
        inner
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if isinstance(annotation := getattr(node, field, None), ast.AST)
        for inner in ast.walk(annotation)
    ]
    for node in ast.walk(tree):
        if node in annotations:
            continue
        listed: list[ast.AST] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            listed = list(node.elts)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            listed = [node.left, node.right]
        elif isinstance(node, ast.Match):
            listed = [p.cls for case in node.cases for p in ast.walk(case.pattern) if isinstance(p, ast.MatchClass)]
        names = {n.id if isinstance(n, ast.Name) else n.attr for n in listed if isinstance(n, ast.Name | ast.Attribute)}
        if len(names & CLASSES.keys()) > 1:
            assert isinstance(node, ast.expr | ast.stmt)
            yield node.lineno


def test_listings_are_found() -> None:
    source = "UNARY = (Affine, PRelu)\nisinstance(op, Conv | ops.Dense)\ndef f(op: Conv | Dense) -> None: ...\n"
    match = "match op:\n    case Conv():\n        pass\n    case Dense():\n        pass\n"
    assert list(listings(source)) == [1, 2]
    assert list(listings(match)) == [1]
    assert list(listings("(Conv, node)")) == []


FILES = [path for path in sorted((ROOT / "codegen").rglob("*.py")) if "graph/ops" not in path.as_posix()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nobody_but_operators_lists_their_classes(path: Path) -> None:
    assert not [f"{path.relative_to(ROOT)}:{line}" for line in listings(path.read_text())]


# ---- what traits promise ----

IMAGE = (1, 9, 6, 6)


def only(op: Op) -> Make:
    return lambda net, x: net.add(op, x)


def converted(net: Net, x: str) -> str:
    net.inputs[0] = replace(net.inputs[0], type="uint8")
    return net.add(Convert("uint8", "float32"), x)


EXAMPLES: dict[str, Make] = {
    "Activation": lambda net, x: net.act(x, "sigmoid"),
    "Affine": lambda net, x: net.affine(x),
    "Binary": lambda net, x: net.binary("sub", x, net.add(Reshape(IMAGE), "x1")),
    "Conv": lambda net, x: net.conv(x, 9),
    "ConvTranspose": lambda net, x: net.conv_transpose(x, 9, 3),
    "Convert": converted,
    "Dense": lambda net, x: net.dense(x, 9),
    "Divide": lambda net, x: net.divide(x),
    "GlobalPool": lambda net, x: net.global_pool(x),
    "GridSample": only(GridSample("bilinear", "zeros", False, np.zeros((1, 4, 4, 2)))),
    "MatMul": lambda net, x: net.add(MatMul(), x, net.add(Reshape(IMAGE), "x1")),
    "PRelu": lambda net, x: net.prelu(x),
    "Pad": only(Pad(((0, 0), (0, 0), (1, 1), (2, 2)), 0.5)),
    "Pool": lambda net, x: net.pool(x),
    "Reduce": only(Reduce("sum", (3,))),
    "Resize": only(Resize((9, 9), "bilinear", "half_pixel")),
    "RunningSum": only(RunningSum(1)),
    "Select": only(Select((0, 0, 1, 0), (1, 1, 2, 1), (1, 9, 2, 6))),
    "Softmax": only(Softmax(1)),
    "Take": only(Take(2, np.array([4.0, 0.0, 5.0]))),
    "TakeChannels": only(TakeChannels(tuple((0, c) for c in (3, 1, 8, 8, 0, 2, 4, 5, 7)))),
    "Top": only(Top(1, 3, part="values")),
    "Transpose": only(Transpose((0, 1, 3, 2))),
}

# Identity is the core of launches of maps alone; the others stand in no graph when its operators are fused.
NEVER_READ = {"Identity", "BatchNorm", "ConvInBlocks", "WinogradConv", "Fused", "_ResizePart"}


def test_every_operator_that_is_fused_has_an_example() -> None:
    claims = {n for n, c in CLASSES.items() if c.is_map or c.takes_prologue or c.takes_epilogue or c.row_major}
    abstract = {"Weighted"}
    views = {"Reshape", "Concat"}
    assert claims - NEVER_READ - abstract - views == set(EXAMPLES)


def computed(net: Net) -> list[Fused]:
    """The launches, but for copies and views."""
    fused = [node.op for node in lower(net.graph()).launches.nodes if isinstance(node.op, Fused)]
    views = [op for op in fused if isinstance(op.core, Identity) or op.core.rearranges]
    return [op for op in fused if op.prologue or op.epilogue or op not in views]


def text(net: Net, tmp_path: Path) -> str:
    return (lower(net.graph()).build(tmp_path).folder / "net.cl").read_text()


@pytest.mark.parametrize("name", [n for n in EXAMPLES if CLASSES[n].takes_epilogue])
def test_what_takes_an_epilogue_has_a_kernel_that_applies_it(name: str, tmp_path: Path) -> None:
    net = Net(IMAGE, IMAGE if name in ("Binary", "MatMul") else (1, 1))
    net.act(EXAMPLES[name](net, "x"), "tanh")
    (launch,) = computed(net)
    assert launch.epilogue[-1].op.title == "tanh"
    assert "MATH(tanh, " in text(net, tmp_path)


@pytest.mark.parametrize("name", [n for n in EXAMPLES if CLASSES[n].takes_prologue])
def test_what_takes_a_prologue_has_a_kernel_that_applies_it(name: str, tmp_path: Path) -> None:
    """The input is read twice, so that no launch can have the map as its epilogue."""
    net = Net(IMAGE, IMAGE)
    EXAMPLES[name](net, net.act("x", "tanh"))
    (launch,) = computed(net)
    assert [stage.op.title for stage in launch.prologue] == ["tanh"]
    assert "MATH(tanh, " in text(net, tmp_path)


@pytest.mark.parametrize("name", [n for n in EXAMPLES if CLASSES[n].is_map])
def test_maps_join_the_launch_before_them(name: str) -> None:
    net = Net(IMAGE)
    made = EXAMPLES[name](net, net.pool("x"))
    assert [node.name for node in lower(net.graph()).launches.nodes] == [made]


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n not in ("Convert", "Dense")])
def test_images_are_row_major_or_kernels_write_the_padding_lanes(
    name: str, tmp_path: Path, some_device: DeviceInfo
) -> None:
    """Convolutions read blocks of 8 channels, here with 7 padding lanes after the last channel.

    They multiply the padding lanes by zero weights, so that a NaN that a kernel leaves there shows.
    """
    net = Net(IMAGE, IMAGE)
    made = net.add(MatMul(), "x", "x1") if name == "MatMul" else EXAMPLES[name](net, "x")
    net.conv(made, 9, 3, pads=1)
    stages = lower(net.graph())
    places = stages.plan().places
    if made in places:  # otherwise the convolution computes it on the way in, or has it in its weights
        assert places[made].layout.block == (1 if CLASSES[name].row_major else 8)
    session = Session(stages.build(tmp_path), some_device)
    arena = session._buffers["arena", 0]
    opencl().enqueue_fill_buffer(session.queue, arena, np.float32(np.nan), 0, arena.size)
    inputs = {i.name: net.normal(*i.shape) for i in net.inputs}
    true = stages.unfolded.evaluate(inputs)[net.nodes[-1].name]
    np.testing.assert_allclose(session.run(inputs)["y"], true, rtol=1e-3, atol=1e-3 * np.abs(true).max())


@pytest.mark.parametrize("name", [n for n in EXAMPLES if CLASSES[n].rearranges])
def test_what_rearranges_keeps_every_element(name: str) -> None:
    net = Net((2, 3, 4, 5))
    made = EXAMPLES[name](net, "x")
    x = np.arange(120.0).reshape(2, 3, 4, 5)
    assert sorted(net.graph().evaluate({"x": x})[made].reshape(-1)) == list(range(120))


@pytest.mark.parametrize(
    ("op", "jumps"),
    [
        (Activation.of("floor"), True),
        (Activation.of("shrink"), True),
        (Activation.of("relu"), False),
        (Binary("less"), True),
        (Binary("mask"), True),
        (Binary("add"), False),
        (Top(1), True),
        (Softmax(1), False),
    ],
    ids=lambda value: value.title if isinstance(value, Op) else "",
)
def test_functions_that_jump(op: Op, jumps: bool) -> None:
    assert op.jumps == jumps


def test_a_range_of_channels_of_a_map() -> None:
    net = Net(IMAGE)
    x = np.random.default_rng(0).normal(size=IMAGE)
    maps = [net.affine("x"), net.divide("x"), net.prelu("x"), net.act("x", "sigmoid")]
    for node in net.nodes:
        whole = node.op.reference(x)
        np.testing.assert_array_equal(node.op.of_channels(2, 5).reference(x[:, 2:5]), whole[:, 2:5])
    assert len(maps) == 4


def test_arrays_are_those_of_fused_operators_too() -> None:
    net = Net((1, 3, 6, 6))
    net.prelu(net.conv("x", 4, 3))
    (launch,) = lower(net.graph()).launches.nodes
    assert sorted(array.size for array in launch.op.arrays()) == [4, 4, 4 * 3 * 9]
    assert sorted(array.size for array in Dense(np.ones((2, 5)), np.zeros(2)).arrays()) == [2, 10]
