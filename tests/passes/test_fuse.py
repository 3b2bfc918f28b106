"""Fusing: which launches a network becomes, and that they compute it.

Every case is a small network and the launches expected of it.  On devices they run as one network, side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from codegen.graph.graph import Graph, Input, Node, Output
from codegen.graph.ops import Concat, Fused, Identity, MatMul, Pad, Reshape, Resize, Select, Softmax, Transpose
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import Verification, format_verification
from tests.support.networks import Net, lower

Case = Callable[[], tuple[Graph, list[str]]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


# ---- activations and constants ----


@case
def chain_behind_a_conv() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 6, 5))
    x = n.prelu(n.act(n.act(n.conv("x", 9), "tanh"), "leaky_relu", alpha=0.3))
    n.act(n.affine(x), "clip", min=-0.5, max=0.75)
    return n.graph(), ["conv -> tanh -> leaky_relu -> prelu -> affine -> clip"]


@case
def chain_behind_a_pool() -> tuple[Graph, list[str]]:
    n = Net((1, 5, 6, 6))
    n.act(n.bn(n.pool("x", "average", 3, pads=1)), "silu")
    return n.graph(), ["average_pool -> affine -> silu"]


@case
def pools_at_borders() -> tuple[Graph, list[str]]:
    n = Net((2, 9, 7, 6), (1, 3, 8))
    pads = ((1, 0), (2, 1))
    outputs = [
        n.pool("x", "average", 3, stride=2, pads=pads, count_include_pad=counted, ceil_mode=ceiling)
        for counted in (False, True)
        for ceiling in (False, True)
    ]
    outputs.append(n.pool("x", "max", (3, 2), stride=2, dilation=2, pads=pads, ceil_mode=True))
    outputs.append(n.pool("x1", "average", 3, stride=2, pads=1, count_include_pad=True, ceil_mode=True))
    return n.graph(*outputs), ["average_pool"] * 4 + ["max_pool", "average_pool"]


@case
def chain_behind_moves() -> tuple[Graph, list[str]]:
    n = Net((1, 5, 4, 6))
    x = n.prelu(n.add(Transpose((0, 2, 3, 1)), "x"))
    x = n.bn(n.add(Pad(((0, 0), (1, 2), (0, 1), (3, 0)), -0.5), x))
    n.affine(n.add(Softmax(3), x))
    return n.graph(), ["transpose -> prelu", "pad -> affine", "softmax -> affine"]


@case
def chain_behind_a_resize_and_a_dense_layer() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 4, 4))
    x = n.act(n.bn(n.add(Resize((7, 3), "bilinear", "half_pixel"), "x")), "elu")
    n.act(n.dense(x, 9), "sigmoid")
    return n.graph(), ["resize -> affine -> elu", "dense -> sigmoid"]


@case
def activation_of_an_input_is_a_prologue() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 5, 5))
    n.conv(n.act(n.bn("x"), "tanh"), 8, pads=1)
    return n.graph(), ["affine -> tanh -> conv"]


@case
def activation_of_an_input_that_goes_out_is_a_launch() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 5, 5))
    n.act("x", "tanh")
    return n.graph(), ["identity -> tanh"]


@case
def activation_with_several_readers_is_their_prologue() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 5, 5))
    w = n.conv("x", 9, 1)
    y = n.prelu(n.bn(w))
    outputs = [
        n.conv(y, 5, pads=1), n.pool(y, "max", 2, pads=1), n.pool(y, "average", 2, pads=1), n.global_pool(y, "max"),
        n.conv(y, 9, pads=1, groups=9), n.conv(y, 6, pads=1, groups=3), n.conv_transpose(y, 4, 2), n.dense(y, 3),
        n.act(w, "relu"),
    ]  # fmt: skip
    prologue = "affine -> prelu -> "
    cores = ["conv", "max_pool", "average_pool", "global_max_pool", "conv", "conv", "conv_transpose", "dense"]
    return n.graph(*outputs), ["conv", *(prologue + core for core in cores), "identity -> relu"]


@case
def activation_with_a_reader_that_takes_no_prologue_is_a_launch() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 5, 5))
    w = n.conv("x", 4, 1)
    y = n.act(w, "tanh")
    return n.graph(n.conv(y, 2, 1), n.add(Softmax(1), y), w), [
        "conv", "identity -> tanh", "conv", "softmax", "identity",
    ]  # fmt: skip


@case
def prologue_of_a_grouped_conv_in_channel_blocks() -> tuple[Graph, list[str]]:
    """Two groups of whole blocks: constants belong to the channel, not to its place within the group."""
    n = Net((2, 3, 5, 5))
    w = n.conv("x", 32, 1)
    return n.graph(n.conv(n.prelu(n.bn(w)), 32, pads=1, groups=2), n.conv(w, 2, 1)), [
        "conv", "affine -> prelu -> conv", "conv",
    ]  # fmt: skip


@case
def grouped_conv_on_an_input() -> tuple[Graph, list[str]]:
    n = Net((2, 16, 5, 5))
    n.conv("x", 32, pads=1, groups=2)
    return n.graph(), ["identity", "conv"]


@case
def grouped_conv_on_a_row_major_tensor() -> tuple[Graph, list[str]]:
    n = Net((2, 16, 20))
    n.conv(n.add(Reshape((2, 16, 4, 5)), "x"), 32, 1, groups=2)
    return n.graph(), ["conv"]


@case
def groups_of_as_many_blocks_as_no_tile_divides() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 4, 4))
    n.conv(n.conv("x", 16, 1), 80, 1, groups=2)
    return n.graph(), ["conv", "conv"]


# ---- two operands ----


@case
def residual_add_joins_the_last_operand() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 6, 6))
    shortcut, y = n.bn(n.conv("x", 9, 1)), n.bn(n.conv("x", 9, pads=1))
    n.act(n.binary("add", y, shortcut))
    return n.graph(), ["conv", "conv -> add -> relu"]


@case
def residual_add_of_an_input() -> tuple[Graph, list[str]]:
    n = Net((1, 5, 6, 6), channels_last=True)
    n.act(n.binary("add", "x", n.conv("x", 5, pads=1)))
    return n.graph(), ["conv -> add -> relu"]


@case
def several_adds_in_one_epilogue() -> tuple[Graph, list[str]]:
    n = Net((1, 5, 6, 6), (1, 5, 6, 6))
    y = n.binary("mul", n.binary("sub", n.conv("x", 5, 1), "x"), "x1")
    n.binary("add", "x", n.act(y, "tanh"))
    return n.graph(), ["conv -> sub -> mul -> tanh -> add"]


@case
def sub_with_swapped_sides() -> tuple[Graph, list[str]]:
    n = Net((1, 5, 6, 6))
    n.binary("sub", "x", n.conv("x", 5, 1))
    return n.graph(), ["conv -> sub"]


@case
def sub_of_inputs_either_way() -> tuple[Graph, list[str]]:
    n = Net((2, 9, 3, 2), (2, 9, 3, 2))
    return n.graph(n.binary("sub", "x", "x1"), n.binary("sub", "x1", "x")), ["identity -> sub"] * 2


@case
def a_tensor_with_itself() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 5, 5))
    w = n.conv("x", 9, 1)
    outputs = [n.binary("add", w, w), n.binary("sub", "x", "x"), n.binary("mul", n.act("x", "tanh"), "x")]
    return n.graph(*outputs), ["conv", "identity -> add", "identity -> sub", "tanh -> identity -> mul"]


@case
def an_operand_through_a_chain() -> tuple[Graph, list[str]]:
    """A tensor that others read goes into the sum by way of its own BatchNorm and activation."""
    n = Net((1, 3, 5, 5))
    shared = n.conv("x", 9, 1)
    y = n.binary("sub", n.prelu(n.bn(shared)), n.conv("x", 9, 1))
    return n.graph(n.act(y), n.conv(shared, 2, 1)), ["conv", "conv -> sub -> relu", "conv"]


BROADCASTS = [((1, 9, 1, 1), "channels"), ((2, 1, 4, 3), "pixels"), ((1, 1, 1, 3), "columns"), ((2, 1, 4, 1), "rows")]


@case
def broadcast_operands_are_fused_into_an_epilogue() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 4, 3), *(shape for shape, _ in BROADCASTS))
    y = n.conv("x", 9, pads=1)
    for k in range(len(BROADCASTS)):
        y = n.binary(("add", "sub", "mul")[k % 3], *((y, f"x{k + 1}") if k % 2 else (f"x{k + 1}", y)))
    return n.graph(), ["conv -> add -> sub -> mul -> add"]


@case
def broadcast_operands_in_a_merged_row() -> tuple[Graph, list[str]]:
    """A 1x1 convolution sees all pixels as one row, which an operand of one row or column does not follow."""
    n = Net((1, 3, 4, 3), (1, 9, 1, 1), (1, 1, 4, 3), (1, 9, 1, 3), (1, 1, 4, 1))
    outputs = [n.binary("mul", n.conv("x", 9, 1), f"x{k}") for k in range(1, 5)]
    return n.graph(*outputs), ["conv -> mul"] * 4


@case
def broadcast_of_both_sides() -> tuple[Graph, list[str]]:
    n = Net((2, 1, 4, 3), (1, 9, 1, 1))
    return n.graph(n.binary("mul", "x", "x1"), n.binary("sub", "x1", "x")), ["identity -> mul", "identity -> sub"]


@case
def broadcast_of_both_sides_with_a_chain_on_the_first() -> tuple[Graph, list[str]]:
    """The chain's constants are those of its own one channel, for every channel of the product."""
    n = Net((2, 1, 4, 3), (1, 12, 1, 1))
    return n.graph(n.binary("mul", n.prelu(n.bn("x")), "x1"), n.binary("sub", "x1", n.bn("x"))), [
        "affine -> prelu -> identity -> mul", "identity -> sub",
    ]  # fmt: skip


@case
def gate() -> tuple[Graph, list[str]]:
    """Squeeze and excitation.  The gate's launch makes one number a channel, so the product is a launch of its own."""
    n = Net((2, 3, 4, 3))
    x = n.conv("x", 9, 1)
    g = n.act(n.conv(n.act(n.conv(n.global_pool(x), 4, 1)), 9, 1), "sigmoid")
    n.binary("mul", x, g)
    return n.graph(), [
        "conv", "global_average_pool", "conv -> relu", "conv -> sigmoid", "identity -> mul",
    ]  # fmt: skip


@case
def matrices() -> tuple[Graph, list[str]]:
    n = Net((3, 9), (1, 9), (3, 1))
    x = n.binary("add", n.dense("x", 9), "x1")
    n.binary("mul", x, "x2")
    return n.graph(), ["dense -> add -> mul"]


@case
def five_axes() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 2, 4, 5), (2, 3, 2, 4, 5))
    n.act(n.binary("add", "x", n.bn("x1")), "tanh")
    return n.graph(), ["identity -> add -> tanh"]


# ---- outputs ----


@case
def an_output_that_is_an_input() -> tuple[Graph, list[str]]:
    n = Net((2, 9, 3, 4), (2, 5), channels_last=True)
    return n.graph("x", "x1"), ["identity", "identity"]


@case
def an_output_that_is_read_again() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 5, 5))
    w = n.conv("x", 9, 1)
    return n.graph(w, n.conv(w, 2)), ["conv", "conv", "identity"]


@case
def an_output_given_twice() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 5, 5))
    w = n.conv("x", 9, 1)
    return n.graph(w, w), ["conv", "identity", "identity"]


@case
def an_output_within_a_chain() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 5, 5))
    y = n.act(n.conv("x", 9, 1))
    return n.graph(y, n.act(y, "tanh")), ["conv -> relu", "identity -> tanh", "identity"]


@case
def an_output_that_is_reshaped() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 5, 4))
    w = n.conv("x", 9, 1)
    return n.graph(n.add(Reshape((2, 9 * 20)), w), n.add(Reshape((2, 15, 4)), "x")), ["conv", "reshape"]


# ---- concatenation ----


def joined(*widths: int, n: Net | None = None) -> tuple[Net, str]:
    n = n or Net((2, 3, 5, 4))
    return n, n.concat(*(n.conv("x", width, 1) for width in widths), name="joined")


@case
def concat_in_place() -> tuple[Graph, list[str]]:
    n, x = joined(8, 16, 8)
    n.conv(x, 5)
    return n.graph(), ["conv"] * 4


@case
def concat_in_place_with_a_part_block_at_the_end() -> tuple[Graph, list[str]]:
    n, x = joined(8, 16, 5)
    n.conv(x, 5)
    return n.graph(), ["conv"] * 4


@case
def concat_in_place_of_all_kinds_of_launches() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 6, 6))
    w = n.conv("x", 8, 1)
    parts = [
        n.conv(w, 8, pads=1, groups=8), n.pool(w, "max", 3, stride=1, pads=1), n.conv(w, 8, pads=1, groups=2),
        n.add(Resize((6, 6), "nearest", "asymmetric"), n.pool(w, "average", 2)), n.binary("mul", w, w),
        n.add(Pad(((0, 0), (3, 2), (1, 1), (1, 0))), n.conv("x", 3, (3, 2))),
    ]  # fmt: skip
    n.conv(n.concat(*parts), 4)
    return n.graph(), [
        "conv", "conv", "max_pool", "conv", "average_pool", "resize", "identity -> mul", "conv", "pad", "conv",
    ]  # fmt: skip


@case
def concat_in_place_with_constants_and_activation() -> tuple[Graph, list[str]]:
    n, x = joined(8, 8)
    n.conv(n.prelu(n.bn(x)), 5)
    return n.graph(), ["conv -> prelu", "conv -> prelu", "conv"]


@case
def concat_of_odd_widths_is_a_copy() -> tuple[Graph, list[str]]:
    n, x = joined(5, 8)
    n.conv(x, 5)
    return n.graph(), ["conv", "conv", "concat", "conv"]


@case
def concat_that_goes_out_is_a_copy() -> tuple[Graph, list[str]]:
    n, _ = joined(8, 8)
    return n.graph(), ["conv", "conv", "concat"]


@case
def concat_of_an_input_is_a_copy() -> tuple[Graph, list[str]]:
    n = Net((1, 5, 4, 4))
    n.conv(n.concat(n.conv("x", 8, 1), "x"), 5)
    return n.graph(), ["conv", "concat", "conv"]


@case
def concat_of_a_tensor_that_is_read_elsewhere() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 4, 4))
    a, b = n.conv("x", 8, 1), n.conv("x", 8, 1)
    return n.graph(n.conv(n.concat(a, b), 5), n.conv(a, 2)), ["conv"] * 4


@case
def concat_that_appends_to_all_before() -> tuple[Graph, list[str]]:
    """Each concatenation appends to the one before, as in densely connected networks."""
    n = Net((2, 3, 4, 4))
    x = n.conv("x", 8, 1)
    for _ in range(3):
        x = n.concat(x, n.conv(x, 8, 3, pads=1))
    return n.graph(n.conv(x, 5)), ["conv"] * 5


@case
def concat_of_ever_more() -> tuple[Graph, list[str]]:
    """The same, each written as a concatenation of all."""
    n = Net((2, 3, 4, 4))
    parts = [n.conv("x", 16, 1)]
    for _ in range(3):
        parts.append(n.conv(n.concat(*parts) if parts[1:] else parts[0], 8, 3, pads=1))
    return n.graph(n.conv(n.concat(*parts), 5), n.conv(n.concat(*parts[1:]), 2)), ["conv"] * 6


@case
def concat_in_two_orders_is_a_copy() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 4, 4))
    a, b = n.conv("x", 8, 1), n.conv("x", 8, 1)
    return n.graph(n.conv(n.concat(a, b), 5), n.conv(n.concat(b, a), 5)), ["conv", "conv", "conv", "concat", "conv"]


@case
def concat_of_a_tensor_twice_is_a_copy() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 4, 4))
    a = n.conv("x", 8, 1)
    n.conv(n.concat(a, a), 5)
    return n.graph(), ["conv", "concat", "conv"]


@case
def concat_within_a_concat() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 4, 4))
    inner = n.concat(n.conv("x", 8, 1), n.conv("x", 8, 1))
    n.conv(n.concat(n.conv("x", 8, 1), inner), 5)
    return n.graph(), ["conv"] * 4


@case
def concat_along_other_axes() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 4, 5))
    outputs = [
        n.act(n.conv(n.add(Concat(axis), n.conv("x", 9, 1), n.act(n.conv("x", 9, 1))), 4, 1)) for axis in (0, 2, 3)
    ]
    return n.graph(*outputs), ["conv", "conv -> relu", "concat", "conv -> relu"] * 3


@case
def concat_of_matrices() -> tuple[Graph, list[str]]:
    n = Net((3, 5))
    n.dense(n.concat(n.dense("x", 8), "x"), 4)
    return n.graph(), ["dense", "concat", "dense"]


@case
def concat_of_one() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 4, 4))
    n.conv(n.concat(n.conv("x", 8, 1)), 5)
    return n.graph(), ["conv", "conv"]


# ---- reshaping ----


@case
def flatten_joins_the_dense_layer() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 4, 5))
    n.dense(n.add(Reshape((2, 180)), n.conv("x", 9, 1)), 4)
    return n.graph(), ["conv", "dense"]


@case
def pooled_features_are_flat_already() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 4, 5))
    flat = n.add(Reshape((2, 9)), n.global_pool(n.conv("x", 9, 1)))
    n.add(Softmax(1), flat)
    return n.graph(), ["conv", "global_average_pool", "softmax"]


@case
def reshape_of_a_row_major_tensor_is_a_view() -> tuple[Graph, list[str]]:
    n = Net((2, 12, 5))
    n.conv(n.add(Reshape((2, 3, 4, 5)), "x"), 9)
    return n.graph(), ["conv"]


@case
def channel_shuffle() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 3, 2))
    x = n.add(Reshape((2, 2, 6, 3, 2)), n.conv("x", 12, 1))
    x = n.add(Reshape((2, 12, 3, 2)), n.add(Transpose((0, 2, 1, 3, 4)), x))
    n.conv(x, 4, 1)
    return n.graph(), ["conv", "take_channels", "conv"]


@case
def channels_of_more_tensors_than_one_step_takes() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 2, 2))
    parts = [n.conv("x", 2, 1) for _ in range(18)]
    x = n.add(Select((0, 1, 0, 0), (1, 2, 1, 1), (1, 18, 2, 2)), n.concat(*parts))
    n.conv(x, 4, 1)
    return n.graph(), ["conv"] * 18 + ["concat", "take_channels", "conv"]


# ---- gates, and pools that go first ----


def gated(n: Net, x: str, outputs: int) -> str:
    """Squeeze and excitation between x and a 1x1 convolution."""
    gate = n.act(n.conv(n.global_pool(x), n.shapes[x][1], 1), "sigmoid")
    return n.conv(n.binary("mul", x, gate), outputs, 1)


@case
def a_gate_is_the_prologue_of_a_1x1_conv() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 4, 5))
    n.act(gated(n, n.act(n.conv("x", 9)), 12))
    return n.graph(), ["conv -> relu", "global_average_pool", "conv -> sigmoid", "mul -> conv -> relu"]


@case
def gates_of_pools_and_sums_are_prologues_too() -> tuple[Graph, list[str]]:
    n = Net((1, 9, 6, 6), (1, 9, 6, 6))
    pooled, added = n.pool("x", "max", 2), n.binary("add", "x", "x1")
    launches = ["global_average_pool", "conv -> sigmoid", "mul -> conv"]
    outputs = n.graph(gated(n, pooled, 12), gated(n, added, 12))
    return outputs, ["max_pool", "identity -> add", *launches, *launches]


@case
def a_gate_of_what_is_not_in_channel_blocks_is_a_launch() -> tuple[Graph, list[str]]:
    n = Net((1, 9, 3, 4), (1, 9, 4, 5))
    gated(n, n.act(n.add(MatMul(), "x", "x1")), 12)
    return n.graph(), ["mat_mul -> relu", "global_average_pool", "conv -> sigmoid", "identity -> mul", "conv"]


@case
def a_gate_that_two_read_is_a_launch() -> tuple[Graph, list[str]]:
    n = Net((1, 3, 4, 5))
    x = n.conv("x", 9)
    product = n.binary("mul", n.act(n.conv(n.global_pool(x), 9, 1), "sigmoid"), x)
    n.binary("add", n.conv(product, 8, 1), n.conv(product, 8, 1))
    return n.graph(), ["conv", "global_average_pool", "conv -> sigmoid", "identity -> mul", "conv", "conv -> add"]


@case
def an_average_pool_goes_before_a_1x1_conv() -> tuple[Graph, list[str]]:
    n = Net((2, 9, 5, 6))
    n.act(n.pool(n.conv(n.act(n.bn("x")), 4, 1), "average", 2))
    return n.graph(), ["affine -> relu -> average_pool", "conv -> relu"]


@case
def other_pools_stay_behind_a_conv() -> tuple[Graph, list[str]]:
    n = Net((1, 7, 5, 6))
    convs = [n.conv("x", 8, 1) for _ in range(4)]
    outputs = [
        n.pool(convs[0], "max", 2),
        n.pool(convs[1], "average", 3, pads=1),
        n.pool(convs[2], "average", 2, stride=1),
        n.pool(n.conv("x", 8, 3), "average", 2),
        n.binary("add", n.pool(convs[3], "average", 2), n.pool(convs[3], "max", 2)),
    ]
    return n.graph(*outputs), [
        *["conv"] * 4, "max_pool", "average_pool", "average_pool", "conv", "average_pool",
        "average_pool", "max_pool -> add",
    ]  # fmt: skip


@case
def an_average_of_the_whole_image_is_one_over_all_of_space() -> tuple[Graph, list[str]]:
    n = Net((2, 9, 3, 4))
    n.pool(n.conv("x", 9, 1), "average", (3, 4))
    return n.graph(), ["conv", "global_average_pool"]


@case
def moves_of_one_channel() -> tuple[Graph, list[str]]:
    """A block of one channel and seven of filling, which must not be written over the one."""
    n = Net((2, 1, 3, 4))
    moved = [
        n.add(Pad(((0, 0), (0, 0), (1, 0), (0, 1)), -0.5), "x"),
        n.add(Transpose((0, 1, 3, 2)), n.conv("x", 1, 1)),
        n.add(Concat(2), "x", "x"),
        n.add(Concat(0), "x", "x"),
    ]
    return n.graph(*(n.conv(m, 4, 2) for m in moved)), [
        "pad", "conv", "concat", "concat", "conv", "transpose", "conv", "conv", "conv",
    ]  # fmt: skip


@case
def what_changes_nothing_is_no_launch() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 4, 5))
    x = n.add(Identity(), n.conv("x", 4, 1))
    x = n.add(Transpose((0, 1, 2, 3)), n.add(Reshape((2, 4, 4, 5)), x))
    x = n.add(Pad(((0, 0),) * 4), n.pool(x, "max", 1))
    n.act(x, "tanh")
    return n.graph(), ["conv -> tanh"]


@case
def the_norm_of_one_element_is_a_launch() -> tuple[Graph, list[str]]:
    n = Net((2, 3, 4, 5))
    n.pool("x", "lp", 1)
    return n.graph(), ["lp_pool"]


# ---- the tests ----


@pytest.mark.parametrize("name", CASES)
def test_launches(name: str) -> None:
    graph, expected = CASES[name]()
    plan = lower(graph).plan()
    assert [launch.title for launch in plan.launches] == expected
    # A launch writes one tensor, once, and reads what others have written or the user gives.
    made = {i.name for i in graph.inputs}
    renamed = {node.name: node.inputs for node in plan.graph.nodes}
    for launch in plan.launches:
        pending = list(launch.reads)
        while pending:
            read = pending.pop()
            if read not in made:
                assert read not in {other.writes for other in plan.launches}, f"{launch.node} reads {read} too early"
                pending += renamed[read]
        assert launch.writes not in made
        made.add(launch.writes)


def test_swapped_sides_are_noted() -> None:
    graph, _ = CASES["sub_with_swapped_sides"]()
    (node,) = lower(graph).launches.nodes
    assert isinstance(node.op, Fused)
    assert [(s.op.title, s.operand, s.swapped) for s in node.op.epilogue] == [("sub", 1, True)]


def test_on_devices(device: DeviceInfo) -> None:
    result = lower(side_by_side({name: make()[0] for name, make in CASES.items()})).verify(device)
    assert result.passed, wrong_lines(result)


def test_five_axes_with_a_broadcast_between(device: DeviceInfo) -> None:
    n = Net((2, 3, 2, 4, 5), (1, 3, 1, 4, 1))
    n.act(n.binary("mul", n.bn("x"), "x1"))
    result = lower(n.graph()).verify(device)
    assert result.passed, wrong_lines(result)


def test_a_view_of_an_input_is_read_first(device: DeviceInfo) -> None:
    """Verification compares the view with the input, which has to be on the device by then."""
    n = Net((2, 12, 5))
    n.conv(n.add(Reshape((2, 3, 4, 5)), "x"), 9)
    result = lower(n.graph()).verify(device)
    assert result.passed, wrong_lines(result)


def wrong_lines(result: Verification) -> str:
    """The lines of the report that state a fault."""
    lines = format_verification(result).splitlines()
    return "\n".join(line for line in lines if "WRONG" in line or "DIFFERS" in line)


def side_by_side(graphs: Mapping[str, Graph]) -> Graph:
    """One network that computes all of these, whose tensors go by <case>.<tensor>."""
    inputs: list[Input] = []
    nodes: list[Node] = []
    outputs: list[Output] = []
    for case_number, (name, graph) in enumerate(graphs.items()):
        port, prefix = f"c{case_number}_".__add__, f"{name}.".__add__
        local = {i.name: port(i.name) for i in graph.inputs} | {n.name: prefix(n.name) for n in graph.nodes}
        inputs += (Input(port(i.name), i.shape, i.channels_last) for i in graph.inputs)
        nodes += (Node(local[n.name], n.op, tuple(local[i] for i in n.inputs)) for n in graph.nodes)
        outputs += (Output(port(o.name), local[o.value], o.channels_last) for o in graph.outputs)
    return Graph("net", tuple(inputs), tuple(nodes), tuple(outputs))
