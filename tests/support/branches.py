"""Small networks that together take every branch of every kernel template.

Shapes are as small as they can be without losing a branch: some of the tools that run these kernels are slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph.graph import Graph, Input, Output, Range
from codegen.graph.ops import (
    Convert,
    Divide,
    GridSample,
    MatMul,
    Pad,
    Reduce,
    Reshape,
    Resize,
    RunningSum,
    Select,
    Softmax,
    Take,
    Top,
    Transpose,
    frozen,
)
from codegen.graph.ops.activation import ACTIVATIONS
from codegen.graph.ops.elementwise import COMPARISONS
from codegen.graph.types import FLOAT32, TYPES
from tests.support import networks


class Net(networks.Net):
    """A network with several inputs and outputs, each by its name and in its own order of axes."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.outputs: list[Output] = []

    def graph(self, *outputs: str) -> Graph:
        assert not outputs
        return Graph(self.name, tuple(self.inputs), tuple(self.nodes), tuple(self.outputs))

    def input(
        self, name: str, *shape: int, channels_last: bool = False, declared: Range | None = None, kind: str = FLOAT32
    ) -> str:
        self.inputs.append(Input(name, shape, channels_last, declared, kind))
        self.shapes[name] = shape
        return name if kind == FLOAT32 else self.add(Convert(kind, FLOAT32), name)

    def output(self, name: str, value: str, channels_last: bool = False, kind: str = FLOAT32) -> None:
        value = value if kind == FLOAT32 else self.add(Convert(FLOAT32, kind), value)
        self.outputs.append(Output(name, value, channels_last, kind))

    def reshape(self, x: str, *shape: int) -> str:
        return self.add(Reshape(shape), x)

    def transpose(self, x: str, *axes: int) -> str:
        return self.add(Transpose(axes), x)

    def pad(self, x: str, *pads: tuple[int, int], value: float = 0.0, mode: str = "constant") -> str:
        return self.add(Pad(pads, value, mode), x)

    def select(self, x: str, *axes: tuple[int, int, int]) -> str:
        """(start, step, count) of each axis."""
        return self.add(Select(*zip(*axes, strict=True)), x)

    def select_channels(self, x: str, start: int, count: int) -> str:
        return self.select(x, *((start, 1, count) if a == 1 else (0, 1, n) for a, n in enumerate(self.shapes[x])))

    def shuffle(self, x: str, groups: int) -> str:
        """Channels of each group in turn, as ShuffleNet does it: by reshaping and transposing."""
        n, c, *space = shape = self.shapes[x]
        split = self.reshape(x, n, groups, c // groups, *space)
        return self.reshape(self.transpose(split, 0, 2, 1, *range(3, len(shape) + 1)), *shape)

    def take(self, x: str, axis: int, *index: int) -> str:
        return self.add(Take(axis, frozen(np.array(index))), x)

    def top(self, x: str, axis: int, count: int, largest: bool, last: bool, part: str = "indices") -> str:
        return self.add(Top(axis, count, largest, last, part, nan_last=not largest), x)

    def reduce(self, x: str, kind: str, *axes: int) -> str:
        return self.add(Reduce(kind, axes), x)

    def matmul(self, a: str, b: str) -> str:
        return self.add(MatMul(), a, b)

    def softmax(self, x: str, axis: int) -> str:
        return self.add(Softmax(axis), x)

    def resize(self, x: str, size: tuple[int, ...], mode: str, coordinates: str, **more: Any) -> str:
        return self.add(Resize(size, mode, coordinates, **more), x)

    def sample(self, x: str, grid: str | NDArray[np.float64], mode: str, border: str, align_corners: bool) -> str:
        if isinstance(grid, str):
            return self.add(GridSample(mode, border, align_corners), x, grid)
        return self.add(GridSample(mode, border, align_corners, grid), x)


def tiny() -> Graph:
    """Two kernels of a few lines: what compiles fastest."""
    net = Net("tiny")
    x = net.input("image", 1, 2, 4, 4)
    net.output("scores", net.dense(net.global_pool(x, "max"), 3))
    return net.graph()


def tables() -> Graph:
    """A small classifier: one image, all constants in __constant tables."""
    net = Net("tables")
    x = net.input("image", 1, 1, 6, 7)
    x = net.pool(net.bn(net.act(net.bn(net.conv(x, 9, pads=1)))))
    net.output("scores", net.softmax(net.dense(x, 4), 1))
    return net.graph()


def weighty() -> Graph:
    """A residual network whose convolutions share kernels; built with all constants in one array."""
    net = Net("weighty")
    x = net.input("image", 1, 8, 4, 5)
    for _ in range(2):
        y = net.act(net.bn(net.conv(x, 8, pads=1)))
        x = net.act(net.binary("add", net.conv(y, 8, 1), x))
    net.output("scores", net.dense(net.global_pool(x), 5))
    return net.graph()


def ports() -> Graph:
    """Several inputs and outputs, two samples, both orders of axes; an output that is an input, one taken twice.

    One input has a range of its own.
    """
    net = Net("ports")
    a = net.input("a", 2, 3, 5, 4, channels_last=True, declared=(0.0, 3.0))
    b = net.input("b", 2, 8, 5, 4)
    c = net.input("c", 2, 6, 7)
    d = net.input("d", 2, 5)
    y = net.act(net.binary("add", net.conv(a, 8, pads=1), b))
    net.output("image", y, channels_last=True)
    net.output("again", y)
    net.output("pixels", net.conv(y, 10, 1))
    net.output("line", net.conv(c, 9, 3, pads=[(2, 0)]), channels_last=True)
    net.output("shares", net.softmax(c, 2))
    net.output("vector", net.binary("mul", d, net.dense(d, 5)))
    net.output("same", d)
    return net.graph()


def convolutions() -> Graph:
    """Direct, depthwise, grouped and transposed convolutions of images in blocks and in plain order."""
    net = Net("convolutions")
    x = net.input("x", 1, 3, 4, 11)
    y = net.input("y", 1, 12, 3, 4, channels_last=True)
    w = net.input("w", 1, 16, 2, 3)
    z = net.input("z", 2, 3, 3, 4)
    line = net.input("line", 1, 2, 9)

    # Plain inputs, with and without padding, a prologue in front, more channels than lanes; 1-D.
    a = net.conv(x, 20, pads=1)
    net.output("behind_prologue", net.conv(net.affine(x), 9, 2, pads=[(1, 0), (0, 2)]))
    net.output("many_channels", net.conv(net.prelu(y), 9, 1))
    renamed = net.prelu(net.reshape(w, 1, 16, 3, 2))
    net.output("many_plain", net.conv(renamed, 9, 1))
    net.output("many_plain_groups", net.conv(renamed, 16, 1, groups=2))
    net.output("one_pixel", net.conv(x, 40, (4, 11)))
    net.output("line_out", net.conv(line, 3, 3))
    net.output("several_tiles", net.conv(x, 52, 2, stride=(1, 2), dilation=(1, 2)))
    net.output("plain_groups_behind_prologue", net.conv(net.prelu(renamed), 16, (1, 2), groups=2))

    # Blocks: rows and blocks that tiles do not divide, dilation, a side operand, a prologue.
    c = net.act(net.binary("add", net.conv(a, 20, (1, 3), pads=[(0, 0), (1, 1)]), a))
    d = net.conv(net.prelu(a), 16, stride=2, pads=[(0, 1), (1, 1)])
    e = net.conv(net.act(d), 16, 1)
    f = net.conv(d, 16, 2, dilation=2, pads=[(1, 1), (1, 2)])
    net.output("pixels", net.binary("sub", e, net.conv(d, 16, 1)))
    net.output("dilated", f)
    net.output("every_other", net.act(net.conv(net.prelu(a), 36, 1, stride=2)))
    net.output("chunks", net.conv(net.act(net.conv(c, 40, 1)), 16, 3, stride=2, pads=1))
    net.output("channels_last", net.conv(c, 5, (1, 3), stride=3), channels_last=True)

    # Groups of whole blocks; groups across blocks, sharing inputs or with inputs of their own for each lane.
    g = net.act(net.conv(d, 16, 1))
    h = net.conv(net.act(g), 16, (3, 1), pads=[(1, 1), (0, 0)], groups=2)
    net.output("groups", net.binary("add", net.conv(h, 12, 3, pads=1, groups=4), net.conv(g, 12, 1)))
    net.output("shared_inputs", net.act(net.conv(net.act(h), 32, (1, 2), groups=4)))
    net.output("plain_groups", net.conv(net.prelu(x), 6, 2, groups=3, dilation=2))
    net.output("whole_groups", h)

    # Depthwise, of blocks and of a plain image.
    i = net.act(net.conv(c, 20, pads=1, groups=20))
    net.output("depthwise", net.conv(net.act(i), 20, (3, 2), stride=2, pads=[(0, 0), (1, 0)], groups=20))
    net.output("depthwise_slow", net.act(net.conv(c, 20, pads=1, groups=20), "silu"))
    net.output("slow", net.act(net.conv(c, 12, 1), "sigmoid"))
    gate = net.act(net.conv(net.global_pool(i), 20, 1), "sigmoid")
    net.output("gated", net.conv(net.binary("mul", i, gate), 9, 1))
    net.output("depthwise_pairs", net.conv(i, 20, (1, 2), dilation=2, groups=20))
    net.output("plain_depthwise", net.conv(x, 3, 3, stride=2, pads=[(1, 1), (0, 0)], groups=3))

    # Transposed.
    net.output("transposed", net.conv_transpose(f, 9, stride=2, pads=1, output_padding=1))
    net.output("transposed_groups", net.act(net.conv_transpose(f, 8, 2, dilation=2, groups=4)))
    net.output("transposed_line", net.conv_transpose(net.act(line), 4, stride=2, pads=1))

    # Two samples, in every kind of kernel.
    j = net.conv(z, 24, 3, pads=1)
    k = net.conv(net.act(j), 24, (1, 3), pads=[(0, 0), (1, 1)])
    net.output("two", net.binary("mul", net.conv(k, 8, 1), net.conv(j, 8, 1)))
    net.output("two_depthwise", net.act(net.conv(k, 24, (3, 1), pads=[(1, 1), (0, 0)], groups=24)))
    net.output("two_transposed", net.conv_transpose(k, 3, 2, stride=2, groups=3))
    return net.graph()


def prepared() -> Graph:
    """Weights that are prepared at create, of two layers that share all kernels."""
    net = Net("prepared")
    x = net.conv(net.input("image", 1, 2, 7, 8), 8, 1)
    y = net.conv(x, 8, pads=1, name="winograd2_groups, one")
    net.output("features", net.conv(net.conv(y, 8, name="winograd2_groups, other"), 3, 1))
    return net.graph()


def winograd() -> Graph:
    """3x3 convolutions by Winograd, in three launches and in one: at edges, of channels that do not fill blocks."""
    net = Net("winograd")
    x = net.input("x", 1, 9, 5, 14)
    z = net.input("z", 2, 3, 7, 9)
    a, b = net.act(net.conv(x, 12, 1)), net.act(net.conv(z, 11, 1))
    # Five blocks are an odd number of wide vectors and several passes of narrow ones; nine are in several tiles.
    for name, image, channels in [("one", a, 36), ("two", b, 68)]:
        side = net.conv(image, channels, 1)
        for size in (2, 4):
            for schedule in (f"winograd{size}", f"winograd{size}_groups"):
                y = net.conv(net.prelu(image), channels, pads=[(1, 1), (2, 0)])
                y = net.act(net.binary("add", y, side), name=f"{schedule}, {name} with stages")
                net.output(f"{name}_{schedule}_stages", net.conv(y, 3, 1))
                net.output(f"{name}_{schedule}", net.conv(image, 5, name=f"{schedule}, {name}"))
    return net.graph()


def channels() -> Graph:
    """Channels of images from where they were computed: shuffled, split, of inputs and of blocks."""
    net = Net("channels")
    x = net.input("x", 1, 8, 3, 5)
    z = net.input("z", 2, 3, 4, 2)
    line = net.input("line", 1, 4, 7, channels_last=True)
    a, b = net.act(net.conv(x, 12, 1)), net.act(net.conv(z, 6, 1))
    net.output("shuffled", net.conv(net.shuffle(net.concat(a, net.select_channels(x, 2, 4)), 4), 3, 1))
    net.output("partial_block", net.conv(net.act(net.shuffle(net.concat(a, net.conv(x, 3, 1)), 3)), 3, 1))
    net.output("two_samples", net.act(net.shuffle(net.concat(b, net.select_channels(z, 1, 2)), 2)), channels_last=True)
    net.output("part", net.select_channels(net.shuffle(a, 3), 4, 5))
    net.output("line_out", net.conv(net.shuffle(net.concat(line, net.select_channels(line, 0, 2)), 2), 3, 1))
    return net.graph()


def tiles() -> Graph:
    """Direct convolutions whose inputs go by chunks, and pointwise ones whose pixels are put side by side."""
    net = Net("tiles")
    few, many = net.input("few", 2, 16, 3, 5), net.input("many", 1, 104, 3, 5)
    x = net.act(net.conv(few, 24, 3, pads=1))
    y = net.conv(x, 64, 3, pads=1)
    net.output("chunks", y)
    net.output("uneven_chunks", net.act(net.conv(net.conv(x, 40, 1), 72, 3, pads=[(1, 1), (2, 0)], stride=2)))
    net.output("side_by_side", net.conv(net.prelu(y), 20, 1))
    net.output("plain_side_by_side", net.act(net.conv(few, 9, 1)))
    z = net.conv(many, 64, 1)
    net.output("plain_chunks", z)
    net.output("plain_even_chunks", net.conv(net.input("even", 1, 96, 1, 6), 64, 1))
    net.output("prologue_of_plain", net.conv(net.prelu(many), 64, 1))
    a = net.conv(z, 96, (1, 3))
    net.output("image", a)
    net.output("prologue_of_chunks", net.conv(net.prelu(a), 64, 1))
    net.output("line", net.conv(a, 88, (3, 1)))
    net.output("few_channels", net.conv(a, 24, 3, pads=1))
    net.output("gathered", net.conv(x, 128, 3, pads=1, stride=2))
    net.output("long_side_by_side", net.conv(net.conv(net.input("lengthy", 1, 2, 1, 103), 384, 1), 121, 1))
    return net.graph()


def rows() -> Graph:
    """Pools, resizing, elementwise launches, dense layers."""
    net = Net("rows")
    x = net.input("x", 1, 11, 5, 6)
    z = net.input("z", 2, 3, 4, 4)
    v = net.input("v", 2, 3)
    a = net.conv(x, 12, 1)

    # Windows of plain images and of blocks: every divisor, a prologue, an epilogue, ceiling, dilation, 1-D.
    net.output("max_plain", net.pool(x, "max", 3, stride=2, pads=1, ceil_mode=True))
    net.output("max_behind_prologue", net.act(net.pool(net.affine(a), "max", 2, stride=1, dilation=2)))
    net.output("average", net.pool(a, "average", 3, stride=2, pads=1, ceil_mode=True))
    counted: dict[str, Any] = {"pads": [(1, 0), (1, 2)], "ceil_mode": True, "count_include_pad": True}
    net.output("counting_padding", net.affine(net.pool(a, "average", (2, 3), stride=2, **counted), scale=False))
    net.output("line", net.pool(net.reshape(x, 1, 11, 30), "max", 3, stride=2))
    for p in (1.0, 2.0, 3.5):
        net.output(f"norm_{p:.0f}", net.pool(a, "lp", (2, 3), stride=2, pads=1, dilation=(1, 2), p=p))
    net.output("norm_and_more", net.act(net.pool(a, "lp", 2, stride=2)))
    net.output("two_averages", net.pool(z, "average", 2, stride=1))

    # All of space: several channel blocks and one, one sample and two.
    net.output("global_max", net.global_pool(net.affine(a, shift=False), "max"))
    net.output("global_average", net.act(net.global_pool(z)))

    # Resizing: one tap, two and four.
    for mode, coordinates in [("nearest", "asymmetric"), ("bilinear", "half_pixel"), ("bicubic", "align_corners")]:
        net.output(mode, net.act(net.resize(a, (6, 7), mode, coordinates)))
    net.output("smaller", net.resize(a, (2, 3), "nearest", "asymmetric"))
    net.output("one_pixel", net.resize(z, (1, 1), "bilinear", "align_corners"))

    # With more taps than are spelt out, with places beyond the input; behind those, a constant or nothing.
    net.output("antialiased", net.act(net.resize(a, (2, 3), "bicubic", "half_pixel", antialias=True)))
    roi = ((-0.4, 0.7), (0.3, 1.5))
    net.output("cropped", net.resize(a, (4, 3), "nearest", "tf_crop_and_resize", roi=roi, outside=1.5))
    net.output("stretched", net.resize(net.reshape(x, 1, 11, 30), (13,), "bilinear", "half_pixel"))

    # Elementwise launches: operands of every shape, on both sides, behind maps of their own.
    per_channel = net.global_pool(a)
    net.output("gated", net.binary("mul", a, net.act(net.conv(per_channel, 12, 1), "sigmoid")))
    net.output("gated_first", net.binary("mul", net.act(per_channel, "tanh"), net.act(a)))
    one = net.conv(x, 1, 1)
    net.output("one_less", net.binary("sub", one, a))
    net.output("less_one", net.binary("sub", net.prelu(x), net.affine(one)))
    net.output("slopes", net.binary("prelu", a, net.affine(a)))
    net.output("map_of_an_input", net.act(z))

    # Dense: blocks with space and padding lanes, two samples, a prologue.
    net.output("dense", net.act(net.dense(v, 9)))
    net.output("dense_image", net.dense(net.act(z), 3))
    net.output("dense_blocks", net.dense(net.affine(a), 10))
    for channels in (1, 3, 9):  # one lane or more of a block, alone or after a whole block
        net.output(f"dense_of_{channels}", net.dense(net.conv(x, channels, 1), 2))
    net.output("dense_few", net.dense(net.affine(v), 2))
    net.output("dense_quotients", net.dense(net.act(net.divide(net.global_pool(a)), "tanh"), 10))
    net.output("dense_sums", net.binary("add", net.dense(net.prelu(net.dense(v, 5)), 6), net.dense(net.dense(v, 7), 6)))
    net.output("dense_pair", net.dense(net.dense(v, 2), 1))
    return net.graph()


def moves() -> Graph:
    """Transposing, padding, joining, reshaping, softmax; over any number of axes."""
    net = Net("moves")
    x = net.input("x", 1, 3, 4, 5)
    z = net.input("z", 2, 5, 3, 2, channels_last=True)
    flat = net.input("flat", 2, 12)
    deep = net.input("deep", 1, 2, 3, 2, 3)
    a = net.conv(x, 9, 1)

    net.output("transposed", net.act(net.transpose(a, 0, 2, 3, 1)))
    net.output("transposed_blocks", net.conv(net.transpose(a, 0, 3, 1, 2), 4, 1))
    net.output("transposed_flat", net.transpose(flat, 1, 0))
    net.output("transposed_deep", net.transpose(deep, 0, 4, 2, 1, 3))
    net.output("transposed_two", net.affine(net.transpose(z, 0, 1, 3, 2), shift=False))

    net.output("padded", net.pad(a, (0, 0), (1, 2), (0, 1), (2, 0), value=1.5))
    net.output("padded_blocks", net.conv(net.prelu(net.pad(a, (0, 0), (2, 0), (1, 1), (0, 0), value=-1.0)), 8, 1))
    net.output("padded_flat", net.pad(flat, (1, 0), (0, 3), value=0.0))

    for mode in ("edge", "reflect", "wrap"):
        net.output(f"padded_{mode}", net.pad(a, (0, 0), (1, 2), (0, 1), (2, 0), mode=mode))
    net.output("sliced", net.select(a, (0, 1, 1), (7, -2, 4), (1, 1, 2), (0, 3, 2)))
    net.output("repeated", net.act(net.select(net.act(flat), (1, 0, 3), (4, 1, 20))))
    net.output("sliced_blocks", net.conv(net.select(a, (0, 1, 1), (0, 1, 9), (0, 1, 2), (4, -1, 5)), 3, 1))

    net.output("taken", net.take(a, 2, 3, 0, 0))
    net.output("taken_blocks", net.conv(net.act(net.take(net.act(a), 1, 8, 8, 1, 0, 2)), 3, 1))
    net.output("taken_flat", net.take(flat, 0, 1, 1, 0))
    for last in (False, True):
        for largest in (False, True):
            name = f"{'largest' if largest else 'smallest'}_{'last' if last else 'first'}"
            net.output(f"{name}_place", net.top(a, 1, 1, largest, last))
            net.output(f"{name}_places", net.act(net.top(net.act(a, "round"), 3, 3, largest, last)))
            net.output(f"{name}_values", net.top(flat, 1, 4, largest, last, "values"))

    # Side by side in place, where widths allow; copied where they do not; along other axes.
    wide = net.act(net.conv(x, 8, pads=1))
    net.output("joined_in_place", net.conv(net.concat(wide, net.act(net.conv(x, 5, 1))), 3, 1))
    net.output("joined_by_copy", net.conv(net.act(net.concat(a, x, net.conv(a, 2, 1))), 3, 1))
    net.output("below_each_other", net.conv(net.concat(a, net.conv(x, 9, 1), axis=2), 2, 2))
    net.output("beside_each_other", net.concat(x, x, net.conv(a, 3, 1), axis=3), channels_last=True)
    net.output("batches", net.concat(flat, net.dense(flat, 12), axis=0))
    net.output("features", net.concat(net.dense(flat, 3), flat))

    net.output("as_matrix", net.dense(net.reshape(a, 3, 60), 2))
    net.output("as_image", net.conv(net.reshape(a, 1, 5, 6, 6), 2, 1))
    net.output("as_line", net.dense(net.reshape(net.reshape(a, 180), 4, 45), 2))
    net.output("user_order", net.reshape(z, 6, 10))
    net.output("pixel", net.act(net.reshape(net.global_pool(a, "max"), 1, 9)))

    for kind, axes in [("sum", (2, 3)), ("mean", (1,)), ("max", (0, 3)), ("min", (1, 2, 3)), ("prod", (3,))]:
        net.output(f"reduced_{kind}", net.reduce(net.act(a), kind, *axes))
    net.output("reduced_channels", net.act(net.reduce(a, "mean", 1)))
    net.output("reduced_twice", net.act(net.reduce(net.reduce(deep, "sum", 1), "mean", 3)))
    net.output("product", net.act(net.matmul(flat, net.transpose(flat, 1, 0))))
    net.output("products", net.matmul(a, net.transpose(a, 0, 1, 3, 2)))
    net.output("broadcast_deep", net.binary("add", net.act(deep), net.reduce(deep, "max", 4)))

    net.output("over_channels", net.softmax(a, 1))
    net.output("over_columns", net.act(net.softmax(a, 3)))
    net.output("over_rows", net.conv(net.affine(net.softmax(a, 2)), 2, 1))
    net.output("over_batch", net.softmax(flat, 0))
    net.output("over_depth", net.softmax(deep, 4))
    net.output("over_channels_last", net.softmax(z, 1), channels_last=True)
    return net.graph()


def volumes() -> Graph:
    """Windows, resampling and elementwise launches in three dimensions."""
    net = Net("volumes")
    x = net.input("x", 1, 3, 3, 4, 5)
    z = net.input("z", 2, 9, 2, 3, 3, channels_last=True)
    plane = net.input("plane", 1, 1, 1, 4, 5)
    a = net.act(net.conv(x, 9, (2, 3, 3), pads=[(0, 1), (1, 1), (1, 1)]))
    net.output(
        "strided", net.conv(net.prelu(a), 8, 2, stride=(1, 2, 2), dilation=(2, 1, 1), pads=[(1, 1), (0, 0), (1, 0)])
    )
    net.output("depthwise", net.act(net.conv(z, 9, (1, 2, 2), groups=9)), channels_last=True)
    net.output("transposed", net.conv_transpose(z, 4, 2, stride=(2, 1, 2), pads=[(1, 0), (0, 0), (0, 1)]))
    net.output("operand_of_a_plane", net.binary("add", net.conv(net.act(a), 1, 1), plane))
    net.output("pooled", net.pool(a, "max", 2, stride=1))
    net.output("average", net.pool(net.affine(a), "average", 2, pads=1, count_include_pad=True, dilation=(1, 2, 1)))
    net.output("mean", net.pool(z, "average", (1, 3, 2), stride=1, pads=[(0, 0), (1, 1), (0, 1)]))
    net.output("all", net.global_pool(a, "max"))
    net.output("resized", net.act(net.resize(a, (2, 5, 4), "bilinear", "half_pixel")))
    net.output("nearest", net.resize(z, (3, 3, 4), "nearest", "asymmetric"))
    return net.graph()


def sums() -> Graph:
    """Sums of more terms than are added one after the other, and divisions, and functions with one bound."""
    net = Net("sums")
    image = net.input("image", 1, 11, 9, 10)
    row = net.input("row", 2, 75)
    net.output("average", net.global_pool(image))
    net.output("large_windows", net.pool(image, "average", (9, 8), stride=1, pads=1))
    net.output("dilated_windows", net.pool(image, "average", (9, 8), stride=1, dilation=(1, 1), pads=[(4, 4), (3, 3)]))
    net.output("norms", net.pool(image, "lp", (9, 8), stride=1, p=2.0))
    for kind in ("sum", "mean"):
        net.output(f"reduced_{kind}", net.reduce(row, kind, 1))
        net.output(f"all_reduced_{kind}", net.reduce(image, kind, 1, 2, 3))
    net.output("shares", net.softmax(row, 1))
    for exclusive, reverse in ((False, False), (False, True), (True, False), (True, True)):
        name = f"running{'_exclusive' * exclusive}{'_reverse' * reverse}"
        net.output(name, net.add(RunningSum(1, exclusive, reverse), row))
        net.output(f"{name}_short", net.act(net.add(RunningSum(2, exclusive, reverse), image), "sigmoid"))
    net.output("products", net.matmul(row, net.transpose(row, 1, 0)))
    net.output("dense", net.dense(row, 5))
    net.output("grouped", net.conv(net.conv(image, 66, 1), 2, 1, groups=2))
    net.output("shrunk", net.resize(image, (1, 1), "bilinear", "half_pixel", antialias=True))
    net.output("divided", net.act(net.add(Divide(net.uniform(0.5, 9.0, 11)), net.act(image, "round")), "floor"))
    net.output("divided_row", net.add(Divide(net.uniform(0.5, 9.0, 75)), net.softmax(row, 1)))
    net.output("between", net.act(row, "relu6"))
    net.output("at_least", net.act(row, "clip", min=-0.25, max=np.inf))
    net.output("at_most", net.act(row, "clip", min=-np.inf, max=0.25))
    return net.graph()


def products() -> Graph:
    """Products of matrices: more than a register tile, less than one, broadcast, of columns near and far, and long."""
    net = Net("products")
    a, b = net.input("a", 2, 3, 21, 5), net.input("b", 2, 1, 5, 75)
    turned = net.input("turned", 1, 3, 5, 19, channels_last=True)
    row = net.input("row", 1, 5200)
    column = net.input("column", 5200, 3)
    wide = net.conv(turned, 11, 1)
    net.output("several_passes", net.matmul(a, b))
    net.output("blocks_of_channels", net.matmul(wide, net.transpose(wide, 0, 1, 3, 2)))
    net.output("longer_than_staged", net.matmul(row, column))
    few = net.select(row, (0, 1, 1), (7, 2, 37))
    net.output("one_term", net.binary("sub", net.matmul(net.transpose(few, 1, 0), few), few))
    net.output("one_row_of_columns_apart", net.affine(net.matmul(net.reduce(a, "max", 2), turned)))
    net.output("one_column", net.matmul(a, net.reduce(b, "max", 3)))
    return net.graph()


def places() -> Graph:
    """Sampling in every mode, beyond every border; of two samples, of volumes, at places that are constant."""
    net = Net("places")
    x = net.input("x", 2, 9, 3, 4)
    grid = net.input("grid", 2, 2, 3, 2)
    deep = net.input("deep", 1, 2, 2, 3, 3)
    a = net.conv(x, 9, 1)
    for mode, border, corners in [
        ("bilinear", "zeros", False),
        ("bilinear", "reflection", False),
        ("bicubic", "border", True),
        ("nearest", "border", True),
        ("bicubic", "zeros", False),
    ]:
        net.output(f"{mode}_{border}", net.act(net.sample(a, grid, mode, border, corners)))
    # Of one element: nothing to mirror.
    net.output("pixel", net.sample(net.global_pool(a), grid, "nearest", "reflection", True))
    constant = net.uniform(-1.5, 1.5, 1, 2, 3, 4, 3)
    net.output("volume", net.sample(deep, constant, "bilinear", "border", False))
    return net.graph()


STEPS = ("floor", "ceil", "round", "sign", "trunc", "is_nan", "is_inf", "thresholded_relu", "shrink")
"""Activations that jump, where rounding errors are not small any more."""


def stages() -> Graph:
    """Every activation on vectors and on single numbers; every form of affine map and of operand."""
    net = Net("stages")
    x = net.input("x", 1, 5, 1, 3)
    flat = net.input("flat", 1, 6)
    a = net.conv(x, 9, 1)
    vectors, single = net.conv(x, 5, 1), net.transpose(x, 0, 3, 2, 1)
    for kind in sorted(ACTIVATIONS, key=lambda kind: kind in STEPS):
        # Each behind one for whose values all of them are defined: from 0 to 1, or for acosh from 1 on.
        for before in ("hard_sigmoid", "exp") if kind == "acosh" else ("hard_sigmoid",):
            vectors, single = net.act(vectors, before), net.act(single, before)
        vectors, single = net.act(vectors, kind), net.act(single, kind)
    net.output("all_on_vectors", vectors)
    net.output("all_on_numbers", single)
    net.output("filled", net.conv(net.act(net.conv(x, 5, 1), "exp"), 2, 1))
    net.output("filled_single", net.conv_transpose(net.act(a, "exp"), 3, 2))

    # Maps that do not go into weights.
    for scale, shift in [(True, True), (True, False), (False, True), (False, False)]:
        name = "_".join(["scale"] * scale + ["shift"] * shift) or "neither"
        net.output(f"vectors_{name}", net.affine(net.pool(a, "max", (1, 2)), scale=scale, shift=shift))
        net.output(f"numbers_{name}", net.affine(net.softmax(flat, 1), scale=scale, shift=shift))
    net.output("numbers_prelu", net.prelu(net.softmax(flat, 1)))
    net.output("vectors_divided", net.divide(net.pool(a, "max", (1, 2))))
    net.output("numbers_divided", net.divide(net.softmax(flat, 1)))

    # Operands of single numbers: on both sides, repeated, behind maps of their own.
    net.output("right", net.binary("sub", net.softmax(flat, 1), net.prelu(net.affine(flat))))
    net.output("left", net.binary("sub", net.act(flat), net.softmax(flat, 1)))
    net.output("one_for_all", net.binary("mul", net.softmax(flat, 1), net.dense(flat, 1)))
    for kind in ("div", "min", "max", "pow", "fmod", "mask", *COMPARISONS):
        net.output(f"vectors_{kind}", net.binary(kind, net.act(net.conv(x, 9, 1), "sigmoid"), net.act(a, "exp")))
        net.output(f"numbers_{kind}", net.binary(kind, net.softmax(flat, 1), net.softmax(flat, 1)))
    return net.graph()


def types() -> Graph:
    """Inputs and outputs of every type, in both orders of axes; images with whole channel blocks and without."""
    net = Net("types")
    for k, kind in enumerate(TYPES):
        x = net.input(f"in_{kind}", 1, 7 + k % 3, 2, 3, channels_last=k % 2 == 0, kind=kind)
        net.output(f"out_{kind}", net.conv(net.act(x), 9 - k % 3, 1), channels_last=k % 2 == 1, kind=kind)
    number = net.input("number", 1, kind="int32")
    net.output("rows", net.act(net.input("row", 2, 9, kind="uint8"), "relu"), kind="int8")
    net.output("single", net.act(number, "relu"), kind="bool")
    return net.graph()


NETWORKS: Mapping[str, Callable[[], Graph]] = {
    f.__name__: f
    for f in (
        tiny,
        tables,
        weighty,
        ports,
        convolutions,
        prepared,
        winograd,
        channels,
        tiles,
        rows,
        moves,
        volumes,
        sums,
        products,
        places,
        stages,
        types,
    )
}
