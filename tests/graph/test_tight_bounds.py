"""Bounds that prove something: on inputs made to round badly, each operator comes within a hundredth of its bound.

Normal noise is not enough: its errors cancel each other, so that a bound that grows with the number of terms looks as
good as one that follows the sum.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.emit.artefact import Provenance, render_artefact
from codegen.emit.output import write
from codegen.emit.selftest import self_test
from codegen.graph.graph import Graph
from codegen.graph.ops import Conv, ConvTranspose, Dense, Divide, GridSample, Op, RunningSum, frozen
from codegen.graph.ops.activation import ACTIVATIONS
from codegen.plan.planner import plan
from codegen.plan.target import TARGETS
from codegen.runtime.artefact import Artefact, in_network_order, read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.verify import check_launches
from tests.support.branches import Net
from tests.support.networks import lower

LEAST = 0.01  # of a bound, that some input comes to

CHANNELS, HEIGHT, WIDTH, ROW = 72, 12, 11, 3000

EXACT = {
    *("abs", "neg", "relu", "clip", "floor", "ceil", "round", "sign", "trunc", "is_nan", "is_inf", "thresholded_relu"),
}
"""Functions that do not round."""

POSITIVE = {"log", "sqrt", "reciprocal", "asin", "acos", "atanh"}  # on numbers from 0 to 1


def alike(*shape: int) -> NDArray[np.float64]:
    """Weights that are all the same: nothing cancels, and each addition rounds like the one before."""
    return np.full(shape, float(np.float32(0.1)))


def one_of_each() -> Graph:
    """A launch for each operator, or several where its sums can be long and short."""
    net = Net("bounds")
    x = net.input("x", 1, CHANNELS, HEIGHT, WIDTH)
    p = net.input("p", 1, CHANNELS, HEIGHT, WIDTH)
    row = net.input("row", 1, ROW)
    places = net.input("places", 1, 5, 5, 2)
    image = (1, 1)

    def conv(kernel: int, groups: int = 1, outputs: int = CHANNELS) -> Op:
        inputs = CHANNELS // groups
        pads = ((kernel // 2, kernel // 2),) * 2
        return Conv(alike(outputs, inputs, kernel, kernel), alike(outputs), image, image, pads, groups)

    def output(name: str, value: str) -> None:
        net.output(f"y_{name}", value)

    def launch(name: str, op: Op, *inputs: str) -> None:
        output(name, net.add(op, *inputs, name=name))

    launch("pointwise", conv(1), x)
    launch("direct, 3x3", conv(3), x)
    launch("gathered, 3x3", conv(3), x)
    launch("winograd2, 3x3", conv(3), x)
    launch("winograd4, 3x3", conv(3), x)
    launch("depthwise", conv(5, CHANNELS), x)
    launch("general", conv(3, 2, 6), x)
    weight = alike(CHANNELS, 3, 3, 3)
    launch("transposed", ConvTranspose(weight, alike(3), (2, 2), image, ((1, 1),) * 2, (0, 0)), x)
    launch("dense", Dense(alike(5, ROW), alike(5)), row)
    launch("divide", Divide(frozen(np.full(CHANNELS, 3.0))), x)
    output("products", net.matmul(row, net.transpose(row, 1, 0)))
    output("softmax", net.softmax(row, 1))
    output("sum", net.reduce(row, "sum", 1))
    output("running_sum", net.add(RunningSum(1), row))
    output("mean", net.reduce(x, "mean", 1, 2, 3))
    output("product", net.reduce(p, "prod", 3))
    output("average", net.pool(x, "average", 3, stride=1))
    output("large_average", net.pool(x, "average", 9, stride=1))
    output("norm", net.pool(p, "lp", 3, stride=1, p=2.0))
    output("norm_3", net.pool(p, "lp", 3, stride=1, p=3.0))
    output("all_of_space", net.global_pool(x))
    output("bilinear", net.resize(x, (17, 15), "bilinear", "half_pixel"))
    output("bicubic", net.resize(x, (17, 15), "bicubic", "half_pixel"))
    output("antialias", net.resize(x, (1, 1), "bilinear", "half_pixel", antialias=True))
    launch("sampled", GridSample("bilinear", "zeros", False), x, places)
    launch("sampled_cubic", GridSample("bicubic", "reflection", True), x, places)
    output("affine", net.affine(x))
    output("prelu", net.prelu(x))
    for kind in ("add", "sub", "mul", "div", "pow"):
        output(f"two_{kind}", net.binary(kind, p, x) if kind != "div" else net.binary(kind, x, p))
    for kind in ACTIVATIONS:
        if kind not in (*EXACT, "acosh", "shrink"):
            output(f"act_{kind}", net.act(p if kind in POSITIVE else x, kind))
    output("act_shrink", net.act(x, "shrink", bias=0.3))
    return net.graph()


Family = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.floating]]


def constant(value: float) -> Family:
    return lambda rng, shape: np.full(shape, value)


def spikes(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.floating]:
    """A number in each tile of 4 x 4 pixels: Winograd's transforms of it do not cancel."""
    if len(shape) < 4:
        return np.full(shape, 1 / 3)
    down, across = np.indices(shape)[-2:]
    return np.where((down % 4 == 1) & (across % 4 == 1), 1 / 3, 0.0)


FAMILIES: Mapping[str, Family] = {
    "noise": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.random(shape),
    "wide": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape),
    "cancelling": lambda rng, shape: np.resize([1.0, -1.0], shape) * (1 + 1e-6 * rng.standard_normal(shape)),
    "near one": lambda rng, shape: 1 + 2.0**-23 * rng.integers(1, 4, shape),
    "spikes": spikes,
    **{f"all {value}": constant(value) for value in (0.1, 0.3, 0.7, 1 / 3, 1.9)},
}


@pytest.fixture(scope="module")
def built() -> tuple[Graph, Artefact]:
    stages = lower(one_of_each())
    choices = {node.name: node.name.partition(",")[0] for node in stages.launches.nodes if "," in node.name}
    planned = plan(stages.launches, TARGETS["cpu"], {}, choices)
    files = render_artefact(planned, Provenance("", "", ""), self_test(stages.unfolded, stages.launches), None)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files)
        return stages.launches, read(Path(folder))


def test_each_operator_comes_near_its_bound(built: tuple[Graph, Artefact], device: DeviceInfo) -> None:
    launches, artefact = built
    session = Session(artefact, device)
    ratios: dict[str, float] = {}
    for name, family in FAMILIES.items():
        rng = np.random.default_rng(3)
        sample = {i["name"]: family(rng, tuple(i["shape"])).astype(np.float32) for i in artefact.inputs}
        sample["p"] = np.clip(np.abs(sample["p"]), 1e-3, 0.999).astype(np.float32)
        sample["places"] = np.clip(sample["places"], -1.1, 1.1)
        for check in check_launches(session, launches, sample, in_network_order(artefact, sample)):
            assert check.passed, (name, check)
            ratios[check.name] = max(ratios.get(check.name, 0.0), check.ratio)
    named = {output.value: output.name for output in launches.outputs}
    loose = {named.get(name, name): ratio for name, ratio in ratios.items() if ratio < LEAST and name in named}
    assert not loose
