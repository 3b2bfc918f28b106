"""Folding: for every case of neighbours, that values stay, that no launch is left over, and that explain says where.

Values are compared in float64, tensor by tensor, within the rounding of either side: a wrong fold is off by orders of
magnitude more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.errors import ParameterError
from codegen.graph.bounded import FLOAT64
from codegen.graph.graph import Graph, GraphError, Node
from codegen.graph.ops import (
    Affine,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Divide,
    Fused,
    Op,
    Pad,
    Reshape,
    Transpose,
)
from codegen.passes.simplify import affine_of
from tests.support.networks import Net, Stages, inputs_of, lower, weights_in

WEIGHTS, EPILOGUE, PROLOGUE, LAUNCH = "weights", "epilogue", "prologue", "launch"
Where = Mapping[str, Sequence[tuple[str, str]]]


def check(graph: Graph, launches: int, where: Where, *, own: int = 0, seeds: int = 3) -> Stages:
    """The whole claim of a fold: values, number of launches, and what explain says of every BatchNorm.

    ``where`` gives each BatchNorm's (how, layer) pairs; ``own`` counts BatchNorms with a launch of their own.
    """
    before = {n.name: _parameters(n.op) for n in graph.nodes}
    stages = lower(graph)
    for stage in (stages.folded, stages.launches):
        for seed in range(seeds):
            assert_same(graph, stage, seed)
    assert len(stages.plan().launches) == launches
    assert stages.report.launches == own
    assert {name: sorted(stages.where(name)) for name in where} == {name: sorted(w) for name, w in where.items()}
    assert {b.name for b in stages.report.batch_norms} == set(where)
    for n in graph.nodes:
        for name, values in _parameters(n.op).items():
            np.testing.assert_array_equal(values, before[n.name][name], err_msg=f"{n.name}: {name} was written to")
    return stages


def assert_same(unfolded: Graph, other: Graph, seed: int = 0) -> None:
    """Every tensor that has the same name in both, and every output, is the same but for rounding."""
    given = inputs_of(unfolded, seed)
    wanted, got = (g.evaluate_bounded(given, FLOAT64) for g in (unfolded, other))
    pairs = [(n.name, n.name) for n in other.nodes if n.name in wanted]
    pairs += [(a.value, b.value) for a, b in zip(unfolded.outputs, other.outputs, strict=True)]
    assert pairs
    for name, theirs in pairs:
        a, b = wanted[name], got[theirs]
        assert a.value.shape == b.value.shape
        excess = np.abs(a.value - b.value) / (8 * (a.error + b.error))
        assert excess.max() <= 1, f"{name} is off by {np.abs(a.value - b.value).max():.3g}"


def _parameters(op: Op) -> dict[str, NDArray[np.float64]]:
    return {name: np.copy(value) for name, value in vars(op).items() if isinstance(value, np.ndarray)}


def affines(graph: Graph) -> list[str]:
    return [n.name for n in graph.nodes if isinstance(n.op, Affine | BatchNorm)]


def own_weights(stages: Stages, name: str) -> Conv | ConvTranspose | Dense:
    """The weighted operator in the launch of this name."""
    op = stages.launches.by_name[name].op
    assert isinstance(op, Fused) and isinstance(op.core, Conv | ConvTranspose | Dense)
    return op.core


# ---- producer -> BN: the output channels of the weights ----

PRODUCERS = {
    "conv": lambda n, b: n.conv("x", 5, 3, bias=b, name="w"),
    "conv_strided": lambda n, b: n.conv("x", 5, 3, stride=2, dilation=(1, 2), pads=((1, 0), (2, 1)), bias=b, name="w"),
    "conv_one_output": lambda n, b: n.conv("x", 1, 3, bias=b, name="w"),
    "grouped": lambda n, b: n.conv("x", 4, 3, groups=2, bias=b, name="w"),
    "depthwise": lambda n, b: n.conv("x", 6, 3, groups=6, bias=b, name="w"),
    "depthwise_multiplied": lambda n, b: n.conv("x", 12, 3, groups=6, bias=b, name="w"),
    "transposed": lambda n, b: n.conv_transpose("x", 5, 3, stride=2, output_padding=1, bias=b, name="w"),
    "transposed_square": lambda n, b: n.conv_transpose("x", 6, 3, bias=b, name="w"),
    "transposed_grouped": lambda n, b: n.conv_transpose("x", 8, 3, groups=2, pads=1, bias=b, name="w"),
    "transposed_grouped_square": lambda n, b: n.conv_transpose("x", 6, 2, groups=3, bias=b, name="w"),
    "transposed_depthwise": lambda n, b: n.conv_transpose("x", 6, 3, groups=6, bias=b, name="w"),
    "dense": lambda n, b: n.dense("x", 5, bias=b, name="w"),
}
SHAPES = {"2-D": (2, 6, 7, 8), "1-D": (2, 6, 9), "3-D": (1, 6, 5, 6, 5)}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize(
    ("producer", "rank"),
    # The attributes of conv_strided are of two dimensions.
    [(p, r) for p in PRODUCERS for r in SHAPES if p != "conv_strided" or r == "2-D"],
)
def test_behind_weights(producer: str, rank: str, bias: bool) -> None:
    n = Net(SHAPES[rank])
    n.bn(PRODUCERS[producer](n, bias), name="bn")
    stages = check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})
    assert not affines(stages.folded)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("transposed", [False, True], ids=["conv", "transposed"])
@pytest.mark.parametrize("groups", [1, 2])
def test_behind_weights_in_three_dimensions(groups: int, transposed: bool, bias: bool) -> None:
    """Strided, padded on one side, and with what is attached; one of the operands is repeated along the depth."""
    n = Net((1, 4, 5, 4, 3), (1, 6, 1, 1, 1))
    attributes: dict[str, Any] = {"stride": (2, 1, 1), "pads": ((1, 0), (0, 0), (0, 1)), "groups": groups, "bias": bias}
    y = n.bn((n.conv_transpose if transposed else n.conv)("x", 6, (3, 2, 2), **attributes, name="w"), name="bn")
    n.act(n.binary("mul", y, "x1"))
    stages = check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})
    assert not affines(stages.folded)


def test_in_front_of_weights_in_three_dimensions() -> None:
    """Maps fold into weights without padding; with padding, after an activation, into the launch before."""
    n = Net((1, 4, 4, 4, 3))
    n.conv(n.bn("x", name="bn"), 5, 2, name="w")
    check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})
    n = Net((1, 4, 4, 4, 3))
    n.conv(n.bn(n.act(n.conv("x", 3, 2)), name="bn"), 5, 2, pads=1)
    check(n.graph(), 2, {"bn": [(EPILOGUE, "bn")]})
    n = Net((1, 4, 4, 4, 3))
    n.pool(n.bn("x", name="bn"), "max", 2, name="p")
    check(n.graph(), 1, {"bn": [(PROLOGUE, "p")]})


def test_the_folded_layer_keeps_attributes() -> None:
    n = Net((1, 6, 9, 9))
    n.bn(n.conv("x", 4, (3, 2), stride=(2, 1), dilation=(1, 3), pads=((0, 1), (2, 0)), groups=2), name="bn")
    core = own_weights(lower(n.graph()), "bn")
    assert isinstance(core, Conv)
    assert (core.stride, core.dilation, core.pads, core.groups) == ((2, 1), (1, 3), ((0, 1), (2, 0)), 2)


def test_an_activation_after_a_folded_batch_norm_is_fused() -> None:
    n = Net((1, 3, 6, 6))
    n.act(n.bn(n.conv("x", 8), name="bn"))
    check(n.graph(), 1, {"bn": [(WEIGHTS, "n0")]})


def test_the_formula() -> None:
    """W' = gamma W / sqrt(var + eps), b' = gamma (b - mean) / sqrt(var + eps) + beta, by hand."""
    n = Net((1, 1))
    w = n.add(Dense(np.array([[3.0]]), np.array([5.0])), "x")
    gamma, beta, mean, variance = (np.array([v]) for v in (2.0, 11.0, 7.0, 15.0))
    n.add(BatchNorm(gamma, beta, mean, variance, 1.0), w, name="bn")
    core = own_weights(lower(n.graph()), "bn")
    assert core.weight == 2 * 3 / 4
    assert core.bias == 2 * (5 - 7) / 4 + 11


# ---- chains ----


@pytest.mark.parametrize("chain", ["shift", "scale", "shift scale", "scale shift", "both both shift scale"])
@pytest.mark.parametrize("producer", ["conv", "transposed_grouped", "dense"])
def test_constants_between_producer_and_bn(producer: str, chain: str) -> None:
    n = Net((1, 6, 5, 5))
    x = PRODUCERS[producer](n, True)
    for step in chain.split():
        x = n.affine(x, scale=step != "shift", shift=step != "scale")
    n.bn(x, name="bn")
    check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})


def test_several_bns_in_a_row_are_one_fold() -> None:
    n = Net((1, 6, 5, 5))
    x = n.bn(n.conv("x", 5, name="w"), name="a")
    x = n.bn(n.affine(x), name="b", epsilon=1e-3)
    n.bn(n.bn(x, name="c"), name="d")
    check(n.graph(), 1, {name: [(WEIGHTS, "w")] for name in "abcd"})


def test_caffes_bn_then_scale_without_a_producer_is_one_affine() -> None:
    n = Net((1, 6, 5, 5))
    n.affine(n.affine(n.bn("x", name="bn"), shift=False), scale=False)
    stages = check(n.graph(), 1, {"bn": [(LAUNCH, "n2")]}, own=1)
    assert len(affines(stages.folded)) == 1


def test_an_output_between_two_bns_stays_what_it_is() -> None:
    n = Net((1, 3, 6, 6))
    first = n.bn(n.conv("x", 5, name="w"), name="first")
    second = n.bn(first, name="second")
    stages = check(n.graph(first, second), 3, {"first": [(WEIGHTS, "w")], "second": [(LAUNCH, "second")]}, own=1)
    assert stages.report.launches == 1


# ---- BN -> consumer: the input channels of the weights ----

CONSUMERS = {
    "conv": lambda n, x: n.conv(x, 5, 3, name="w"),
    "conv_strided": lambda n, x: n.conv(x, 5, 3, stride=2, dilation=2, name="w"),
    "grouped": lambda n, x: n.conv(x, 4, 3, groups=2, name="w"),
    "depthwise": lambda n, x: n.conv(x, 6, 3, groups=6, name="w"),
    "depthwise_multiplied": lambda n, x: n.conv(x, 12, 3, groups=6, name="w"),
    "dense": lambda n, x: n.dense(x, 5, name="w"),
}


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_in_front_of_weights_without_padding(consumer: str, rank: str) -> None:
    n = Net(SHAPES[rank])
    CONSUMERS[consumer](n, n.bn("x", name="bn"))
    stages = check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})
    assert not affines(stages.folded)


def test_in_front_of_a_flattened_dense_layer() -> None:
    n = Net((2, 6, 3, 4))
    n.dense(n.add(Reshape((2, 72)), n.bn("x", name="bn")), 5, name="w")
    check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})


def test_in_front_of_several_consumers() -> None:
    n = Net((1, 6, 5, 5))
    x = n.bn("x", name="bn")
    stages = check(
        n.graph(n.conv(x, 4, 3, name="a"), n.conv(x, 3, 1, name="b"), n.dense(x, 2, name="c")),
        3,
        {"bn": [(WEIGHTS, "a"), (WEIGHTS, "b"), (WEIGHTS, "c")]},
    )
    assert not affines(stages.folded)


@pytest.mark.parametrize("groups", [1, 3], ids=["full", "grouped"])
@pytest.mark.parametrize("pads", [1, ((0, 2), (1, 0))], ids=["symmetric", "asymmetric"])
def test_in_front_of_a_padded_conv_is_exact_at_the_borders(groups: int, pads: int) -> None:
    n = Net((1, 6, 5, 5))
    n.conv(n.bn("x", name="bn"), 9, 3, pads=pads, groups=groups, name="w")
    stages = check(n.graph(), 1, {"bn": [(PROLOGUE, "w")]})
    # Pushing the shift into the bias is right inside, where all taps see the input, and wrong at the borders.
    conv, norm = stages.unfolded.by_name["w"].op, stages.unfolded.by_name["bn"].op
    assert isinstance(conv, Conv) and isinstance(norm, BatchNorm)
    bn = affine_of(norm)
    shift = np.broadcast_to(bn.shift[:, None, None], (1, 6, 3, 3))
    whole = replace(conv, pads=((0, 0), (0, 0))).reference(shift)[0, :, 0, 0]
    pushed = replace(conv, bias=whole)
    given = inputs_of(stages.unfolded)["x"]
    wrong = pushed.reference(given * bn.scale[:, None, None]) - stages.unfolded.evaluate({"x": given})["w"]
    assert np.abs(wrong[:, :, 2, 2]).max() < 1e-12 < 0.1 < np.abs(wrong[:, :, 0, 0]).max()


def test_a_scale_without_shift_passes_padding() -> None:
    n = Net((1, 6, 5, 5))
    n.conv(n.bn("x", beta=0.0, mean=0.0, name="bn"), 4, 3, pads=1, name="w")
    check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})


def test_a_pad_layer_counts_as_the_convs_padding() -> None:
    n = Net((1, 6, 5, 5))
    padded = n.add(Pad(((0, 0), (0, 0), (1, 2), (0, 1))), n.bn("x", name="bn"))
    n.conv(padded, 4, 3, pads=((1, 0), (0, 0)), name="w")
    stages = check(n.graph(), 1, {"bn": [(PROLOGUE, "w")]})
    core = own_weights(stages, "w")
    assert isinstance(core, Conv) and core.pads == ((2, 2), (0, 1))


def test_a_pad_layer_with_a_value_stays() -> None:
    n = Net((1, 6, 5, 5))
    n.conv(n.add(Pad(((0, 0), (0, 0), (1, 1), (1, 1)), 0.5), n.conv("x", 4, 1)), 4, 3, name="w")
    check(n.graph(), 3, {})


def test_channel_padding_is_not_a_convs_padding() -> None:
    n = Net((1, 6, 5, 5))
    n.conv(n.add(Pad(((0, 0), (1, 0), (1, 1), (1, 1))), n.conv("x", 4, 1)), 4, 3, name="w")
    check(n.graph(), 3, {})


@pytest.mark.parametrize("shifted", [True, False])
def test_in_front_of_a_transposed_conv(shifted: bool) -> None:
    n = Net((1, 6, 4, 4))
    x = n.bn("x", name="bn") if shifted else n.bn("x", beta=0.0, mean=0.0, name="bn")
    n.conv_transpose(x, 4, 3, stride=2, groups=2, name="w")
    check(n.graph(), 1, {"bn": [(PROLOGUE if shifted else WEIGHTS, "w")]})


def test_not_into_a_consumer_beside_one_that_cannot_take_it() -> None:
    n = Net((1, 6, 5, 5))
    x = n.bn("x", name="bn")
    graph = n.graph(n.conv(x, 4, 3, name="a"), n.conv(x, 4, 3, pads=1, name="b"))
    check(graph, 2, {"bn": [(PROLOGUE, "a"), (PROLOGUE, "b")]})


def test_not_into_a_consumer_where_the_bn_is_an_output() -> None:
    n = Net((1, 6, 5, 5))
    x = n.bn("x", name="bn")
    check(n.graph(n.conv(x, 4, 3, name="w"), x), 3, {"bn": [(LAUNCH, "bn")]}, own=1)


# ---- concat ----


def test_concat_splits_over_branches() -> None:
    n = Net((1, 3, 6, 6))
    parts = [n.conv("x", 8, 1, name="a"), n.conv("x", 5, 3, pads=1, name="b"), n.conv("x", 4, 1, name="c")]
    n.act(n.bn(n.concat(*parts), name="bn"))
    stages = check(n.graph(), 4, {"bn": [(WEIGHTS, "a"), (WEIGHTS, "b"), (WEIGHTS, "c")]})
    assert not affines(stages.folded)


def test_concat_of_concats_splits() -> None:
    n = Net((1, 3, 6, 6))
    inner = n.concat(n.conv("x", 8, 1, name="a"), n.conv("x", 3, 1, name="b"))
    n.bn(n.concat(n.conv("x", 2, 1, name="c"), inner), name="bn")
    check(n.graph(), 4, {"bn": [(WEIGHTS, "a"), (WEIGHTS, "b"), (WEIGHTS, "c")]})


@pytest.mark.parametrize("other", ["output", "layer", "twice"])
def test_concat_is_not_split_where_a_branch_is_used_twice(other: str) -> None:
    """DenseNet's BN is fused before the conv that reads it; the branch stays for the other reader."""
    n = Net((1, 3, 6, 6))
    a, b = n.conv("x", 8, 1, name="a"), n.conv("x", 8, 1, name="b")
    joined = n.concat(a, a if other == "twice" else b)
    w = n.conv(n.act(n.bn(joined, name="bn")), 8, 3, pads=1, name="w")
    outputs = {"output": [w, a], "layer": [w, n.act(n.conv(a, 2, 1))], "twice": [w, n.act(b)]}[other]
    check(n.graph(*outputs), 4, {"bn": [(PROLOGUE, "w")]})


def test_concat_with_an_input_of_the_network() -> None:
    n = Net((1, 3, 6, 6))
    n.conv(n.act(n.bn(n.concat("x", n.conv("x", 8, 1)), name="bn")), 8, 3, pads=1, name="w")
    check(n.graph(), 3, {"bn": [(PROLOGUE, "w")]})


def test_concat_along_space_takes_the_bn_whole() -> None:
    n = Net((1, 3, 6, 6))
    joined = n.add(Concat(2), n.conv("x", 8, 1), n.conv("x", 8, 1))
    n.conv(n.bn(joined, name="bn"), 4, 3, pads=1, name="w")
    check(n.graph(), 4, {"bn": [(PROLOGUE, "w")]})


# ---- pre-activation, pools ----


def test_pre_activation_with_one_reader_is_an_epilogue() -> None:
    n = Net((1, 6, 5, 5))
    x = n.act(n.bn(n.pool("x", "max", 2, name="pool"), name="bn"))
    n.conv(x, 4, 3, pads=1, name="w")
    check(n.graph(), 2, {"bn": [(EPILOGUE, "n2")]})


def test_pre_activation_with_several_readers_is_a_prologue() -> None:
    """The pre-activated residual unit: the sum is read by the shortcut as it is."""
    n = Net((1, 5, 6, 6))
    total = n.binary("add", n.conv("x", 5, 1), "x")
    y = n.conv(n.act(n.bn(total, name="bn")), 5, 3, pads=1, name="w")
    n.binary("add", y, total)
    check(n.graph(), 2, {"bn": [(PROLOGUE, "n5")]})


@pytest.mark.parametrize("gamma", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("kind", ["max", "average"])
def test_relu_bn_pool_stays_in_this_order(kind: str, gamma: float) -> None:
    n = Net((1, 6, 6, 6))
    n.pool(n.bn(n.act(n.conv("x", 5, name="w")), gamma=gamma, name="bn"), kind, 2)
    check(n.graph(), 2, {"bn": [(EPILOGUE, "bn")]})


def test_bn_never_passes_a_max_pool_where_gamma_is_negative() -> None:
    n = Net((1, 6, 6, 6))
    pooled = n.pool(n.bn("x", gamma=-1.0, name="bn"), "max", 2, name="pool")
    n.conv(pooled, 4, 1)
    stages = check(n.graph(), 2, {"bn": [(PROLOGUE, "pool")]})
    given = inputs_of(stages.unfolded)
    y = stages.unfolded.evaluate(given)
    bn = stages.unfolded.by_name["bn"].op
    swapped = bn.reference(stages.unfolded.by_name["pool"].op.reference(given["x"].astype(np.float64)))
    assert np.abs(y["pool"] - swapped).max() > 0.1, "the other order is another function"


@pytest.mark.parametrize("counted", [False, True], ids=["not_counted", "counted"])
@pytest.mark.parametrize("pads", [0, 1], ids=["unpadded", "padded"])
def test_average_pool_then_bn(pads: int, counted: bool) -> None:
    n = Net((1, 3, 7, 7))
    x = n.conv("x", 5, 1, name="w")
    n.bn(n.pool(x, "average", 3, stride=2, pads=pads, count_include_pad=counted), name="bn")
    check(n.graph(), 2, {"bn": [(EPILOGUE, "bn")]})


@pytest.mark.parametrize("counted", [False, True], ids=["not_counted", "counted"])
def test_bn_then_padded_average_pool(counted: bool) -> None:
    n = Net((1, 3, 7, 7))
    n.pool(n.bn("x", name="bn"), "average", 3, stride=2, pads=1, count_include_pad=counted, ceil_mode=True, name="pool")
    check(n.graph(), 1, {"bn": [(PROLOGUE, "pool")]})


# ---- producers that others read ----


@pytest.mark.parametrize("other", ["output", "add", "conv"])
def test_producer_used_twice_is_not_changed(other: str) -> None:
    n = Net((1, 3, 6, 6))
    w = n.conv("x", 8, 1, name="w")
    y = n.bn(w, name="bn")
    if other == "output":
        check(n.graph(y, w), 3, {"bn": [(LAUNCH, "bn")]}, own=1)
    elif other == "add":
        n.binary("add", y, w)
        check(n.graph(), 2, {"bn": [(PROLOGUE, "n2")]})
    else:
        check(n.graph(n.conv(y, 4, 3, pads=1, name="a"), n.conv(w, 4, 3, name="b")), 3, {"bn": [(PROLOGUE, "a")]})


def test_two_bns_on_one_producer() -> None:
    n = Net((1, 3, 6, 6))
    w = n.conv("x", 8, 1, name="w")
    a, b = n.bn(w, name="a"), n.bn(w, name="b", epsilon=1e-3)
    outputs = [n.conv(a, 4, 3, name="u"), n.conv(b, 4, 3, pads=1, name="v")]
    check(n.graph(*outputs), 3, {"a": [(WEIGHTS, "u")], "b": [(PROLOGUE, "v")]})


# ---- values that trained networks do have ----

EXTREMES = {
    "gamma_zero": {"gamma": 0.0},
    "gamma_negative": {"gamma": -0.75},
    "variance_zero": {"variance": 0.0},
    "variance_tiny": {"variance": 1e-36},
    "variance_subnormal": {"variance": 1e-40},
    "variance_huge": {"variance": 1e30},
    "mean_far_away": {"mean": 1e4, "variance": 1e-6},
    "epsilon_zero": {"epsilon": 0.0},
    "epsilon_zero_variance_tiny": {"epsilon": 0.0, "variance": 1e-36},
    "epsilon_keras": {"epsilon": 1e-3},
}
PLACES = ["behind_conv", "behind_dense", "behind_transposed", "before_conv", "before_padded", "alone"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_statistics(case: str, place: str) -> None:
    n = Net((1, 6, 5, 5))
    values = EXTREMES[case]
    if place == "alone":
        n.bn("x", name="bn", **values)
        expected = [(LAUNCH, "bn")]
    elif place.startswith("behind"):
        n.bn(PRODUCERS[place.removeprefix("behind_")](n, True), name="bn", **values)
        expected = [(WEIGHTS, "w")]
    else:
        padded = place == "before_padded"
        n.conv(n.bn("x", name="bn", **values), 4, 3, pads=int(padded), name="w")
        expected = [(PROLOGUE if padded else WEIGHTS, "w")]
    check(n.graph(), 1, {"bn": expected}, own=int(place == "alone"))


def test_a_fold_beyond_float32_is_refused_by_name() -> None:
    n = Net((1, 2, 5, 5))
    x = n.conv("x", 3, name="stem")
    n.bn(x, gamma=1e25, variance=1e-36, epsilon=0.0, name="stem/bn")
    with pytest.raises(ParameterError, match=r'layer "stem": batch_norm: folded weight\[.*check both'):
        lower(n.graph())


def test_an_affine_beyond_float32_is_refused_too() -> None:
    """An affine map that is not folded is printed as float32 constants as well."""
    n = Net((1, 2, 5, 5))
    n.bn("x", gamma=1e25, variance=1e-36, epsilon=0.0, name="bn")
    with pytest.raises(ParameterError, match="bn"):
        lower(n.graph()).plan()


def test_two_epsilons_stay_apart() -> None:
    """1e-3 (Keras) beside 1e-5 (PyTorch) in one network, where small variances make all the difference."""
    n = Net((1, 3, 6, 6))
    x = n.bn(n.conv("x", 4, 1, name="a"), variance=1e-4, epsilon=1e-3, name="keras")
    n.bn(n.conv(x, 4, 1, name="b"), variance=1e-4, epsilon=1e-5, name="torch")
    stages = check(n.graph(), 2, {"keras": [(WEIGHTS, "a")], "torch": [(WEIGHTS, "b")]})
    epsilons = {b.name: b.epsilon for b in stages.report.batch_norms}
    assert epsilons == {"keras": 1e-3, "torch": 1e-5}
    swapped = [Node(m.name, _with_epsilon(m.op, 1e-3), m.inputs) for m in stages.unfolded.nodes]
    with pytest.raises(AssertionError, match="is off by"):
        assert_same(stages.unfolded.with_nodes(swapped), stages.folded)


def _with_epsilon(op: Op, epsilon: float) -> Op:
    return BatchNorm(op.gamma, op.beta, op.mean, op.variance, epsilon) if isinstance(op, BatchNorm) else op


# ---- bugs that shipped elsewhere ----


def test_historic_conv_bias_not_scaled() -> None:
    n = Net((1, 3, 5, 5))
    n.bn(n.conv("x", 4, name="w"), beta=0.0, mean=0.0, name="bn")
    stages = lower(n.graph())
    bn, conv = stages.unfolded.by_name["bn"].op, stages.unfolded.by_name["w"].op
    assert isinstance(bn, BatchNorm) and isinstance(conv, Conv)
    scaled = conv.bias * bn.gamma / np.sqrt(bn.variance + bn.epsilon)
    np.testing.assert_allclose(own_weights(stages, "bn").bias, scaled, rtol=1e-14)
    assert np.abs(scaled - conv.bias).max() > 0.1


def test_historic_shift_lost_without_bias() -> None:
    n = Net((1, 3, 5, 5))
    n.bn(n.conv("x", 4, bias=False, name="w"), name="bn")
    stages = lower(n.graph())
    bn = stages.unfolded.by_name["bn"].op
    assert isinstance(bn, BatchNorm)
    shift = bn.beta - bn.gamma * bn.mean / np.sqrt(bn.variance + bn.epsilon)
    np.testing.assert_allclose(own_weights(stages, "bn").bias, shift, rtol=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 1e-5, 1e-3, 0.1])
def test_historic_epsilon_hard_coded(epsilon: float) -> None:
    n = Net((1, 3, 5, 5))
    n.bn(n.conv("x", 4, name="w"), variance=1e-2, gamma=1.0, epsilon=epsilon, name="bn")
    stages = lower(n.graph())
    conv = stages.unfolded.by_name["w"].op
    assert isinstance(conv, Conv)
    ratio = own_weights(stages, "bn").weight / conv.weight
    np.testing.assert_allclose(ratio, 1 / np.sqrt(float(np.float32(1e-2)) + epsilon), rtol=1e-14)


def test_historic_wrong_axis_of_a_square_dense_layer() -> None:
    """Inputs and outputs are as many, so that no shape gives the mistake away."""
    n = Net((2, 5))
    n.bn(n.dense("x", 5, name="w"), name="bn")
    stages = check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})
    dense = stages.unfolded.by_name["w"].op
    assert isinstance(dense, Dense)
    ratio = own_weights(stages, "bn").weight / dense.weight
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones((1, 5)), rtol=1e-14)
    assert np.ptp(ratio[:, 0]) > 0.1


def test_historic_grouped_transposed_conv() -> None:
    """[Cin, Cout/g, …]: output channel o is column o % (Cout/g) of the rows of group o // (Cout/g)."""
    n = Net((1, 4, 3, 3))
    n.bn(n.conv_transpose("x", 6, 2, groups=2, bias=False, name="w"), name="bn")
    stages = check(n.graph(), 1, {"bn": [(WEIGHTS, "w")]})
    bn, before = stages.unfolded.by_name["bn"].op, stages.unfolded.by_name["w"].op
    assert isinstance(bn, BatchNorm) and isinstance(before, ConvTranspose)
    scale = bn.gamma / np.sqrt(bn.variance + bn.epsilon)
    after = own_weights(stages, "bn").weight
    for o in range(6):
        rows = slice(0, 2) if o < 3 else slice(2, 4)
        np.testing.assert_allclose(after[rows, o % 3], before.weight[rows, o % 3] * scale[o], rtol=1e-14)


def test_historic_shared_variance_array() -> None:
    """One array object in two BNs, as exporters write it: neither fold may see what the other did."""
    n = Net((1, 3, 6, 6))
    variance = n.uniform(0.2, 2.0, 4)
    kept = variance.copy()
    x = n.bn(n.conv("x", 4, 1, name="a"), variance=variance, name="p")
    n.bn(n.conv(x, 4, 1, name="b"), variance=variance, epsilon=1e-3, name="q")
    graph = n.graph()
    p, q = graph.by_name["p"].op, graph.by_name["q"].op
    assert isinstance(p, BatchNorm) and isinstance(q, BatchNorm) and p.variance is q.variance
    check(graph, 2, {"p": [(WEIGHTS, "a")], "q": [(WEIGHTS, "b")]})
    np.testing.assert_array_equal(variance, kept)


def test_historic_shared_weights() -> None:
    """One weight array in two layers, only one of which has a BN."""
    n = Net((1, 4, 6, 6))
    shared = n.normal(4, 4, 1, 1)
    first = n.add(Conv(shared, np.zeros(4), (1, 1), (1, 1), ((0, 0), (0, 0))), "x", name="a")
    second = n.add(Conv(shared, np.zeros(4), (1, 1), (1, 1), ((0, 0), (0, 0))), n.bn(first, name="bn"), name="b")
    stages = check(n.graph(second), 2, {"bn": [(WEIGHTS, "a")]})
    np.testing.assert_array_equal(own_weights(stages, "b").weight, shared)


@pytest.mark.parametrize("place", ["blob", "tables"])
def test_historic_old_weights_written(place: str) -> None:
    """The planned weights are the folded numbers, each rounded once."""
    n = Net((1, 3, 5, 5))
    n.bn(n.conv("x", 4, name="w"), name="bn")
    stages = lower(n.graph())
    with weights_in(place):
        plan = stages.plan()
    assert (plan.weights is not None) == (place == "blob")
    if plan.weights is not None:
        written = set(plan.weights.tolist())
    else:
        written = {v for kernel in plan.kernels for table in kernel.tables.values() for v in table.tolist()}
    old, new = stages.unfolded.by_name["w"].op, own_weights(stages, "bn")
    assert isinstance(old, Conv)
    for array in (new.weight, new.bias):
        assert set(array.astype(np.float32).reshape(-1).tolist()) <= written
    for array in (old.weight, old.bias):
        assert not set(array.astype(np.float32).reshape(-1).tolist()) & written


def test_parameters_that_cannot_be_written_to_can_be_folded() -> None:
    n = Net((1, 6, 5, 5))
    n.conv(n.bn(n.conv_transpose("x", 4, 2, groups=2), name="bn"), 3)
    graph = n.graph()
    for node in graph.nodes:
        for value in vars(node.op).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
    check(graph, 2, {"bn": [(WEIGHTS, "n0")]})


# ---- what is refused ----


@pytest.mark.parametrize("array", ["beta", "mean", "variance"])
def test_arrays_of_other_lengths_are_refused(array: str) -> None:
    n = Net((1, 4, 5, 5))
    with pytest.raises(ValueError, match=array):
        statistics: dict[str, Any] = {array: np.ones(3)}
        n.bn("x", **statistics)


def test_statistics_of_another_layer_are_refused() -> None:
    n = Net((1, 4, 5, 5))
    arrays = (np.ones(3),) * 4
    with pytest.raises(GraphError, match="input has 4 channels, but the parameters have 3"):
        Graph("g", tuple(n.inputs), (Node("bn", BatchNorm(*arrays, 1e-5), ("x",)),), n.graph("x").outputs)


# Divisions by constants ---------------------------------------------------------------------------------------------

THREE = np.array([3.0, 7.0, 41.0])


def divides(graph: Graph, launches: int) -> bool:
    """True if a division is left, in so many launches."""
    stages = check(graph, launches, {})
    steps = [s.op for n in stages.launches.nodes if isinstance(n.op, Fused) for s in (*n.op.prologue, *n.op.epilogue)]
    return any(isinstance(op, Divide) for op in steps)


def test_a_division_in_front_of_weights_goes_into_them() -> None:
    n = Net((2, 3, 5, 5))
    y = n.conv(n.add(Divide(THREE), "x"), 4, 3)
    assert not divides(n.graph(y), 1)


def test_a_division_behind_weights_goes_into_them() -> None:
    n = Net((2, 4, 5, 5))
    y = n.act(n.affine(n.add(Divide(THREE), n.affine(n.conv("x", 3, 3)))))
    assert not divides(n.graph(y), 1)


def test_a_division_between_weights_and_a_jump_stays() -> None:
    n = Net((2, 4, 5, 5))
    y = n.act(n.affine(n.add(Divide(THREE), n.conv("x", 3, 3))), "clip", min=-1.0, max=1.0)
    stages = lower(n.graph(n.act(y, "floor")))
    assert [type(s.op) for s in stages.launches.nodes[0].op.epilogue][:2] == [Divide, Affine]  # type: ignore[attr-defined]


@pytest.mark.parametrize("zero", [False, True])
def test_a_division_of_an_input_stays(zero: bool) -> None:
    n = Net((2, 3, 5, 5))
    y = n.act(n.add(Divide(THREE * [1, 1, not zero]), "x"))
    stages = lower(n.graph(y))
    assert type(stages.launches.nodes[0].op.epilogue[0].op) is Divide  # type: ignore[attr-defined]


def test_divisors_that_have_no_reciprocal_stay() -> None:
    n = Net((2, 3, 5, 5))
    y = n.conv(n.add(Divide(np.array([0.0, 1e-45, 1.0])), "x"), 4, 3)
    assert any(isinstance(s.op, Divide) for s in lower(n.graph(y)).launches.nodes[0].op.prologue)  # type: ignore[attr-defined]


def test_a_division_of_a_concatenation_is_of_its_parts() -> None:
    n = Net((2, 2, 5, 5), (2, 1, 5, 5))
    y = n.add(Divide(THREE), n.concat(n.act("x"), n.act("x1")))
    assert divides(n.graph(n.act(y)), 3)  # one for each part, and one that joins them


# ---- behind transposes and reshapes, which meet their inverse ----


def test_a_batch_norm_of_flattened_pixels() -> None:
    """[N, C, H, W] as [N, C, HW], which an exporter makes of 1-D layers behind images."""
    n = Net((2, 3, 5, 4))
    rows = n.add(Reshape((2, 6, 20)), n.conv("x", 6, 1, name="w"))
    n.conv(n.add(Reshape((2, 6, 5, 4)), n.act(n.bn(rows, name="bn"), "relu")), 4, 1)
    check(n.graph(), 2, {"bn": [(WEIGHTS, "w")]})


def test_a_batch_norm_along_an_axis_that_was_swapped() -> None:
    """Channels stay the second axis while height and width change places, twice."""
    n = Net((2, 3, 5, 4))
    swapped = n.add(Transpose((0, 1, 3, 2)), n.conv("x", 6, 3, name="w"))
    n.conv(n.add(Transpose((0, 1, 3, 2)), n.bn(swapped, name="bn")), 4, 2)
    check(n.graph(), 2, {"bn": [(WEIGHTS, "w")]})


def test_a_batch_norm_whose_channels_are_pixels_stays() -> None:
    """The second axis after a transpose is the height: the map is the transpose's epilogue."""
    n = Net((2, 3, 5, 4))
    turned = n.add(Transpose((0, 2, 1, 3)), n.conv("x", 6, 1, name="w"))
    n.act(n.bn(turned, name="bn"), "relu", name="y")
    check(n.graph(), 2, {"bn": [(EPILOGUE, "y")]})
