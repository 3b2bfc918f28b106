"""Parts of tensors: an operator for a box of its output computes there what the operator computes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.graph import evaluation, pieces
from codegen.graph.bounded import FLOAT32, Bounded
from codegen.graph.domain import generated_inputs
from codegen.graph.evaluation import all_outputs, evaluate, sources, windows
from codegen.graph.graph import Graph, Input, Node, Output
from codegen.graph.ops import (
    Activation,
    Affine,
    BatchNorm,
    Binary,
    Concat,
    Conv,
    ConvInBlocks,
    ConvTranspose,
    Dense,
    Divide,
    Fused,
    GlobalPool,
    Identity,
    MatMul,
    Op,
    Pad,
    Pool,
    PRelu,
    Reduce,
    Reshape,
    Resize,
    RunningSum,
    Select,
    Softmax,
    Stage,
    Take,
    TakeChannels,
    Top,
    Transpose,
)
from codegen.graph.ops.op import Box, extents, whole
from codegen.graph.ops.winograd import WinogradConv
from codegen.graph.pieces import in_pieces, slices
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import verify
from tests.support.networks import Net, lower, normal_sample

Shape = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
RNG = np.random.default_rng(20261128)


def numbers(*shape: int) -> NDArray[np.float64]:
    return RNG.standard_normal(shape)


def conv(
    ci: int,
    co: int,
    kernel: Shape,
    pads: Pads,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Conv:
    rank = len(kernel)
    return Conv(
        numbers(co, ci // groups, *kernel),
        numbers(co),
        (stride,) * rank,
        (dilation,) * rank,
        pads,
        groups,
    )


def transposed(kernel: Shape, pads: Pads, stride: int, dilation: int = 1, more: int = 0) -> ConvTranspose:
    rank = len(kernel)
    steps, dilations = (stride,) * rank, (dilation,) * rank
    return ConvTranspose(numbers(4, 3, *kernel), numbers(3), steps, dilations, pads, (more,) * rank)


def pool(kind: str, kernel: Shape, stride: int, pads: object, ceil: bool = False, counted: bool = False) -> Pool:
    return Pool(kind, kernel, (stride,) * len(kernel), (1,) * len(kernel), pads, ceil, counted)  # type: ignore[arg-type]


PLANE = conv(4, 6, (3, 3), ((1, 1), (1, 1)))
EVEN = ((1, 1), (1, 1))
TAKEN = np.array([5.0, 0.0, 0.0, 11.0, 3.0])
CASES: dict[str, tuple[Op, tuple[Shape, ...]]] = {
    "conv": (PLANE, ((2, 4, 13, 11),)),
    "conv, uneven padding, stride": (conv(4, 6, (3, 2), ((2, 0), (0, 1)), 2), ((1, 4, 14, 13),)),
    "conv, wide padding": (conv(4, 6, (3, 3), ((4, 4), (5, 3))), ((1, 4, 6, 5),)),
    "conv, dilation, groups": (conv(4, 6, (3, 3), ((2, 2), (2, 2)), 1, 2, 2), ((1, 4, 12, 11),)),
    "depthwise conv": (conv(6, 6, (3, 3), EVEN, groups=6), ((1, 6, 12, 11),)),
    "conv of rows": (conv(4, 6, (5,), ((2, 2),), 2), ((2, 4, 33),)),
    "conv of volumes": (conv(4, 6, (3, 3, 3), ((1, 1),) * 3), ((1, 4, 6, 7, 5),)),
    "conv in blocks": (ConvInBlocks(PLANE.weight, PLANE.bias, (1, 1), (1, 1), EVEN), ((1, 4, 13, 11),)),
    "winograd": (WinogradConv(PLANE.weight, PLANE.bias, (1, 1), (1, 1), EVEN, tile=4), ((1, 4, 13, 18),)),
    "winograd, small tiles": (WinogradConv(PLANE.weight, PLANE.bias, (1, 1), (1, 1), EVEN, tile=2), ((1, 4, 9, 18),)),
    "transposed conv": (transposed((4, 4), EVEN, 2), ((1, 4, 7, 6),)),
    "transposed conv, more behind": (transposed((3, 3), EVEN, 2, more=1), ((1, 4, 7, 6),)),
    "transposed conv, gaps": (transposed((2, 2), ((0, 0), (0, 0)), 3, more=2), ((1, 4, 5, 6),)),
    "transposed conv, dilation": (transposed((3, 3), ((2, 1), (0, 2)), 2, 3), ((1, 4, 5, 6),)),
    "transposed conv of rows": (transposed((5,), ((2, 2),), 1), ((2, 4, 17),)),
    "max pool": (pool("max", (3, 3), 2, EVEN), ((1, 4, 13, 12),)),
    "max pool, ceiling": (pool("max", (3, 3), 2, ((0, 0), (0, 0)), True), ((1, 4, 12, 12),)),
    "average pool": (pool("average", (3, 3), 1, EVEN), ((1, 4, 13, 12),)),
    "average pool, ceiling": (pool("average", (3, 2), 2, ((1, 1), (0, 0)), True), ((1, 4, 12, 13),)),
    "average pool, padding counts": (pool("average", (3, 3), 2, EVEN, False, True), ((1, 4, 13, 12),)),
    "average pool, ceiling, padding counts": (pool("average", (3, 3), 2, EVEN, True, True), ((1, 4, 12, 12),)),
    "norm pool": (pool("lp", (2, 2), 2, ((0, 0), (0, 0))), ((1, 4, 12, 12),)),
    "global pool": (GlobalPool("average"), ((2, 4, 6, 5),)),
    "nearest": (Resize((20, 9), "nearest", "asymmetric"), ((1, 3, 10, 12),)),
    "bilinear": (Resize((21, 17), "bilinear", "half_pixel"), ((1, 3, 10, 12),)),
    "bilinear, smaller, antialias": (Resize((7, 9), "bilinear", "half_pixel", antialias=True), ((1, 3, 20, 22),)),
    "bicubic": (Resize((21, 17), "bicubic", "align_corners", exclude_outside=True), ((1, 3, 10, 12),)),
    "crop and resize": (
        Resize((9, 9), "bilinear", "tf_crop_and_resize", roi=((-0.2, 0.7), (0.3, 1.2)), outside=7.0),
        ((1, 3, 10, 12),),
    ),
    "resize volumes": (Resize((5, 6, 7), "bilinear", "half_pixel"), ((1, 3, 4, 5, 6),)),
    "batch norm": (BatchNorm(numbers(4), numbers(4), numbers(4), numbers(4) ** 2, 1e-3), ((1, 4, 7, 6),)),
    "affine": (Affine(numbers(4), numbers(4)), ((1, 4, 7, 6),)),
    "divide": (Divide(numbers(4)), ((1, 4, 7, 6),)),
    "prelu": (PRelu(numbers(4)), ((1, 4, 7, 6),)),
    "activation": (Activation.of("silu"), ((1, 4, 7, 6),)),
    "add": (Binary("add"), ((1, 4, 7, 6), (1, 4, 7, 6))),
    "mul, repeated": (Binary("mul"), ((1, 4, 1, 6), (1, 1, 7, 1))),
    "concat": (Concat(1), ((1, 4, 7, 6), (1, 3, 7, 6))),
    "concat along rows": (Concat(2), ((1, 4, 7, 6), (1, 4, 3, 6))),
    "take channels": (TakeChannels(((0, 3), (1, 0), (0, 0))), ((1, 4, 7, 6), (1, 3, 7, 6))),
    "pad": (Pad(((0, 0), (1, 2), (2, 1), (0, 3)), 5.0), ((1, 3, 7, 6),)),
    "pad, reflect": (Pad(((0, 0), (0, 0), (2, 1), (0, 3)), mode="reflect"), ((1, 3, 7, 6),)),
    "transpose": (Transpose((0, 3, 1, 2)), ((1, 4, 7, 6),)),
    "slice": (Select((0, 1, 6, 1), (1, 1, -2, 2), (1, 2, 3, 3)), ((1, 4, 7, 8),)),
    "repeat": (Select((0, 0, 2, 0), (1, 1, 1, 0), (1, 4, 15, 9)), ((1, 4, 7, 8),)),
    "take": (Take(3, TAKEN), ((1, 4, 7, 12),)),
    "reshape": (Reshape((1, 8, 3, 7)), ((1, 4, 6, 7),)),
    "softmax of channels": (Softmax(1), ((1, 4, 7, 6),)),
    "softmax of rows": (Softmax(3), ((1, 4, 7, 6),)),
    "running sum": (RunningSum(2), ((1, 4, 7, 6),)),
    "top of channels": (Top(1, 2, part="values"), ((1, 4, 7, 6),)),
    "top of rows": (Top(2, 2), ((1, 4, 7, 6),)),
    "mean of channels": (Reduce("mean", (1,)), ((1, 4, 7, 6),)),
    "sum of rows": (Reduce("sum", (3,)), ((1, 4, 7, 6),)),
    "matmul": (MatMul(), ((1, 4, 7, 6), (1, 4, 6, 5))),
    "dense": (Dense(numbers(3, 24), numbers(3)), ((2, 24),)),
    "identity": (Identity(), ((1, 4, 7, 6),)),
    "fused": (
        Fused(
            PLANE,
            1,
            (Stage(Affine(numbers(4), numbers(4))), Stage(Binary("mul"), 1)),
            (Stage(Activation.of("relu")), Stage(Binary("sub"), 2, True, (Stage(Activation.of("neg")),))),
        ),
        ((1, 4, 13, 11), (1, 4, 1, 1), (1, 6, 13, 11)),
    ),
    "fused, repeated": (Fused(Identity(), 1, (), (Stage(Binary("add"), 1),)), ((1, 4, 1, 6), (1, 4, 7, 1))),
}
ALL_AT_ONCE = {
    *("global pool", "pad, reflect", "reshape", "softmax of rows", "running sum", "top of rows", "matmul", "dense"),
    *("concat along rows", "average pool, ceiling, padding counts"),
}
"""Operators that need their whole inputs, for all boxes or for some."""


def boxes(shape: Shape) -> list[Box]:
    """Boxes that are whole along axis 1; along the others at the start, in the middle and at the end, and whole."""
    ranges = []
    for axis, n in enumerate(shape):
        parts = [(0, 1), (0, -(-n // 2)), (n // 2, n), (n // 3, n - n // 3), (n - 1, n), (4, 8), (8, n), (0, n)]
        possible = [part for part in dict.fromkeys(parts) if part[0] < part[1] <= n]
        ranges.append([(0, n)] if axis == 1 else possible)
    return list(itertools.product(*ranges))


@pytest.mark.parametrize("name", CASES)
def test_an_operator_for_a_box_computes_that_part(name: str) -> None:
    op, shapes = CASES[name]
    inputs = [numbers(*shape) for shape in shapes]
    y = op.reference(*inputs)
    bounded = op.bounded(*(Bounded(x, np.abs(x) * 1e-3) for x in inputs), rounding=FLOAT32)
    parts = 0
    for box in boxes(y.shape):
        part = op.for_box(box, *shapes)
        if part is None:
            continue
        parts += box != whole(y.shape)
        read = [x[slices(b)] for x, b in zip(inputs, part.boxes, strict=True)]
        assert [x.shape for x in read] == [extents(b) for b in part.boxes]
        assert part.op.infer(*(x.shape for x in read)) == extents(box)
        np.testing.assert_allclose(part.op.reference(*read), y[slices(box)], rtol=1e-12, atol=1e-12)
        again = part.op.bounded(*(Bounded(x, np.abs(x) * 1e-3) for x in read), rounding=FLOAT32)
        np.testing.assert_allclose(again.error, bounded.error[slices(box)], rtol=1e-9)
    assert parts or name in ALL_AT_ONCE or y.ndim < 3


@pytest.mark.parametrize("name", CASES)
def test_piece_by_piece_is_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, shapes = CASES[name]
    inputs = [numbers(*shape) for shape in shapes]
    monkeypatch.setattr(pieces, "PIECE", 100)
    calls = []

    def apply(op: Op, given: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        calls.append(op)
        return op.reference(*given)

    np.testing.assert_allclose(in_pieces(op, inputs, apply), op.reference(*inputs), rtol=1e-12, atol=1e-12)
    several = len(list(pieces.pieces(op.infer(*shapes), shapes))) > 1
    assert len(calls) > 1 or not several or name in ALL_AT_ONCE


def network() -> Graph:
    """Down and up again with a side way, as a U-Net does, and a second output without space."""
    nodes = (
        Node("c", conv(3, 6, (3, 3), EVEN), ("x",)),
        Node("p", pool("max", (2, 2), 2, ((0, 0), (0, 0))), ("c",)),
        Node("d", conv(6, 6, (3, 3), EVEN), ("p",)),
        Node("u", Resize((80, 72), "bilinear", "half_pixel"), ("d",)),
        Node("j", Concat(1), ("u", "c")),
        Node("y", conv(12, 2, (3, 3), EVEN), ("j",)),
    )
    return Graph("net", (Input("x", (1, 3, 80, 72)),), nodes, (Output("y", "y"),))


def test_a_window_of_an_output_needs_no_more_than_it_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network()
    x = numbers(1, 3, 80, 72)
    true = graph.evaluate({"x": x})["y"]
    monkeypatch.setattr(evaluation, "LARGE", 1000)
    parts = windows(graph)
    assert len(parts) == 9
    assert {extents(part["y"]) for part in parts} == {(1, 2, 16, 16)}
    starts = {tuple(start for start, _ in part["y"][2:]) for part in parts}
    assert starts == set(itertools.product((0, 32, 64), (0, 28, 56)))
    for part in parts:
        read: list[Box] = []

        def source(box: Box, read: list[Box] = read) -> NDArray[np.float64]:
            read.append(box)
            return x[slices(box)]

        got = evaluate(graph, {"x": source}, part)["y"]
        np.testing.assert_allclose(got, true[slices(part["y"])], rtol=1e-12, atol=1e-12)
        assert all(np.prod(extents(box)) < x.size / 3 for box in read)


def test_a_small_network_is_evaluated_whole() -> None:
    assert windows(network()) == [all_outputs(network())]


def test_generated_numbers_of_a_box_are_those_of_the_whole() -> None:
    inputs = (Input("a", (2, 3, 500, 99)), Input("b", (2, 3, 500, 99), channels_last=True), Input("c", (1, 300_000)))
    made = generated_inputs(inputs, ((-1.0, 1.0),) * 3)
    for i in inputs:
        everything = made[i.name](whole(i.shape))
        for box in boxes(i.shape) if len(i.shape) > 2 else [((0, 1), (70_000, 200_000))]:
            assert np.array_equal(made[i.name](box), everything[slices(box)])


def test_a_tensor_is_forgotten_behind_its_last_reader() -> None:
    """At most two tensors of a chain of 50 layers are alive at the same time."""
    alive: list[int] = []

    class Counted(np.ndarray):
        count = 0

        def __array_finalize__(self, _: object) -> None:
            Counted.count += 1

        def __del__(self) -> None:
            Counted.count -= 1

    def apply(op: Op, given: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        alive.append(Counted.count)
        return np.zeros((1, 2, 8, 8)).view(Counted)

    nodes = tuple(Node(f"n{k}", Activation.of("tanh"), (f"n{k - 1}" if k else "x",)) for k in range(50))
    graph = Graph("net", (Input("x", (1, 2, 8, 8)),), nodes, (Output("y", "n49"),))
    evaluate(graph, sources({"x": np.zeros((1, 2, 8, 8))}), all_outputs(graph), apply)
    assert max(alive) <= 6  # each tensor is seen through a few views


def test_a_launch_is_checked_piece_by_piece_as_it_is_at_once(
    device: DeviceInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same errors and bounds; Winograd's tiles among them."""
    net = Net((1, 16, 30, 26))
    x = net.act(net.bn(net.conv("x", 16, pads=1, name="c")), name="a")
    x = net.pool(net.conv(x, 20, 5, stride=2, pads=2), "average", 3, stride=1, pads=1)
    stages = lower(net.graph(net.dense(x, 7), x))
    artefact = stages.build(tmp_path, choices={"a": "winograd4"})
    sample = [normal_sample(artefact)]
    at_once = verify(artefact, stages.unfolded, stages.launches, [device], sample)
    monkeypatch.setattr(pieces, "PIECE", 1000)
    by_pieces = verify(artefact, stages.unfolded, stages.launches, [device], sample)
    assert at_once.passed and by_pieces.passed
    for one, other in zip(at_once.devices[0].launches, by_pieces.devices[0].launches, strict=True):
        assert (one.name, one.index) == (other.name, other.index)
        assert one.ratio == pytest.approx(other.ratio, rel=1e-6)
