"""Convolutions and pools, whose windows slide over space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codegen.graph.ops.window import extent, same_pads
from codegen.importers.onnx.builder import Builder, collapsed, window
from codegen.importers.onnx.node import Constant, Live, Node, Refused, Value


def _padding(node: Node, space: tuple[int, ...], kernel: Any, stride: Any, dilation: Any) -> Any:
    """Pairs for each spatial axis, or "same"."""
    rank, word = len(kernel), node.get("auto_pad", "NOTSET")
    if word == "SAME_UPPER":
        return "same"
    if word == "SAME_LOWER":
        return [pair[::-1] for pair in same_pads(space, kernel, stride, dilation)]
    if word == "VALID":
        return [(0, 0)] * rank
    if word != "NOTSET":
        raise Refused(f"auto_pad {word} is unknown")
    pads = node.ints("pads", 2 * rank, 0)
    if min(pads) < 0:
        raise Refused(f"pads {list(pads)} are negative")
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _spatial(x: Live) -> tuple[int, ...]:
    if len(x.shape) < 3:
        raise Refused(f"its input {list(x.shape)} has no spatial axes")
    return x.shape[2:]


def _kernel(node: Node, rank: int) -> tuple[int, ...]:
    if not node.get("kernel_shape"):
        raise Refused("it has no kernel_shape")
    return node.ints("kernel_shape", rank, 1)


def _steps(node: Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    stride, dilation = node.ints("strides", rank, 1), node.ints("dilations", rank, 1)
    if min(*stride, *dilation) < 1:
        raise Refused(f"strides {list(stride)} and dilations {list(dilation)} should be at least 1")
    return stride, dilation


def _weight(node: Node, rank: int) -> Value:
    shape = node.shape(1)
    if len(shape) != rank + 2:
        raise Refused(f"its weight {list(shape)} should have {rank + 2} axes")
    if node.get("kernel_shape") and tuple(node.get("kernel_shape")) != shape[2:]:
        raise Refused(f"kernel_shape {node.get('kernel_shape')} is not that of weight {list(shape)}")
    return node.input(1)


def _with_bias(node: Node, b: Builder, layer: Callable[[str | bool], Live]) -> Live:
    """A layer of weights with a constant bias, or with an addition after it."""
    bias = node.input(2)
    if not isinstance(bias, Live):
        return layer(False if bias is None else b.tensor(bias))
    y = layer(False)
    return b.layer("add", [y, b.channels(bias, y, "bias")], "biased")


def _conv(node: Node, b: Builder) -> Live:
    x = node.live()
    space = _spatial(x)
    weight = _weight(node, len(space))
    stride, dilation = _steps(node, len(space))
    padding = _padding(node, space, node.shape(1)[2:], stride, dilation)
    groups = node.get("group", 1)
    if not isinstance(weight, Constant):
        pads = same_pads(space, node.shape(1)[2:], stride, dilation) if padding == "same" else padding
        y = _by_computed_weight(x, node.live(1), b, stride, dilation, pads, groups)
        bias = node.input(2)
        return y if bias is None else b.layer("add", [y, b.channels(node.live(2), y, "bias")], "biased")
    keys = window(stride, dilation, padding)
    depthwise = groups == x.shape[1] > 1
    if groups != 1 and not depthwise:
        keys = {"groups": groups, **keys}
    op = "depthwise_conv" if depthwise else "conv"
    tensor = b.tensor(weight)
    return _with_bias(node, b, lambda bias: b.layer(op, x, weight=tensor, bias=bias, **keys))


def _by_computed_weight(
    x: Live,
    weight: Live,
    b: Builder,
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[Sequence[int]],
    groups: int,
) -> Live:
    """A convolution with a computed weight [Co, Ci/groups, *kernel]: the product with the im2col matrix."""
    batch, channels = x.shape[:2]
    outputs, inputs, *kernel = weight.shape
    if groups < 1 or inputs * groups != channels or outputs % groups:
        raise Refused(f"its weight {list(weight.shape)} with group = {groups} does not fit input {list(x.shape)}")
    padded = b.layer("pad", x, "padded", **window((), (), pads)) if any(map(any, pads)) else x
    size = [(n - extent(k, d)) // s + 1 for n, k, s, d in zip(padded.shape[2:], kernel, stride, dilation, strict=True)]
    if min(size) < 1:
        raise Refused(f"its window {kernel} is larger than the padded input {list(padded.shape)}")
    taps = []
    for tap in itertools.product(*map(range, kernel)):
        part, word = padded, "_".join(map(str, tap))
        for axis, (k, n, s, d) in enumerate(zip(tap, size, stride, dilation, strict=True), 2):
            part = b.select(part, axis, range(k * d, k * d + (n - 1) * s + 1, s), f"tap_{word}_axis_{axis}")
        taps.append(b.reshape(part, (batch, channels, 1, math.prod(size)), f"tap_{word}"))
    columns = b.layer("concat", taps, "columns", axis=2) if len(taps) > 1 else taps[0]
    rows = inputs * len(taps)
    columns = b.reshape(columns, (batch, groups, rows, math.prod(size)), "im2col")
    matrix = b.reshape(weight, (1, groups, outputs // groups, rows), "weight")
    return b.reshape(b.layer("matmul", [matrix, columns], "product"), (batch, outputs, *size))


def _conv_transpose(node: Node, b: Builder) -> Live:
    x = node.live()
    space = _spatial(x)
    rank = len(space)
    weight = _weight(node, rank)
    if not isinstance(weight, Constant):
        raise Refused("the network computes its weight; only constants are supported there")
    kernel = weight.shape[2:]
    stride, dilation = _steps(node, rank)
    extra = node.ints("output_padding", rank, 0)
    free = [
        s * (n - 1) + e + extent(k, d) for s, n, e, k, d in zip(stride, space, extra, kernel, dilation, strict=True)
    ]
    word, size = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if size or word in ("SAME_UPPER", "SAME_LOWER"):
        wanted = list(size)[-rank:] if size else [n * s for n, s in zip(space, stride, strict=True)]
        if len(wanted) != rank:
            raise Refused(f"output_shape {size} should have {rank} sizes")
        cropped = [f - w for f, w in zip(free, wanted, strict=True)]
        if min(cropped) < 0 and not size:
            raise Refused(f"with auto_pad {word}, strides {list(stride)} leave gaps, which engines fill differently")
        extra = tuple(e + max(-c, 0) for e, c in zip(extra, cropped, strict=True))
        halves = [(max(c, 0) // 2, max(c, 0) - max(c, 0) // 2) for c in cropped]
        padding: Any = halves if word == "SAME_UPPER" else [pair[::-1] for pair in halves]
    else:
        padding = _padding(node, space, kernel, stride, dilation)
    keys = window(stride, dilation, padding)
    if any(extra):
        keys["output_padding"] = collapsed(extra)
    if node.get("group", 1) != 1:
        keys = {"groups": node.get("group"), **keys}
    tensor = b.tensor(weight)
    return _with_bias(node, b, lambda bias: b.layer("conv_transpose", x, weight=tensor, bias=bias, **keys))


def _column_to_image(node: Node, b: Builder) -> Live:
    """Col2Im: adds up the columns [N, C * block, blocks] where they come from.

    It proceeds element by element of the block, so that no zero weight multiplies an infinity or NaN of another place.
    """
    x = node.live()
    size, block = node.whole_numbers(1, "image_shape") or (), node.whole_numbers(2, "block_shape") or ()
    rank = len(size)
    if len(x.shape) != 3 or rank not in (1, 2, 3) or len(block) != rank or min(*size, *block) < 1:
        raise Refused(f"image_shape {list(size)} and block_shape {list(block)} do not fit input {list(x.shape)}")
    stride, dilation = _steps(node, rank)
    pads = node.ints("pads", 2 * rank, 0)
    blocks = [
        (n + before + behind - extent(k, d)) // s + 1
        for n, before, behind, k, s, d in zip(size, pads[:rank], pads[rank:], block, stride, dilation, strict=True)
    ]
    count = math.prod(block)
    if min(blocks) < 1 or math.prod(blocks) != x.shape[2] or x.shape[1] % count or min(pads) < 0:
        raise Refused(f"image_shape {list(size)} and block_shape {list(block)} do not fit input {list(x.shape)}")
    channels = x.shape[1] // count
    columns = b.reshape(x, (x.shape[0], channels, count, *blocks), "columns")
    taps = []
    for k, tap in enumerate(itertools.product(*map(range, block))):
        word = "_".join(map(str, tap))
        part = b.reshape(b.select(columns, 2, range(k, k + 1), f"column_{word}"), (x.shape[0], channels, *blocks))
        if any(s > 1 for s in stride):
            ones = b.constant("ones", np.ones((channels, 1, *[1] * rank), dtype=np.float32))
            keys = window(stride, (), ())
            part = b.layer("conv_transpose", part, f"spread_{word}", weight=ones, bias=False, groups=channels, **keys)
        around = []
        for axis, (t, d, before, n) in enumerate(zip(tap, dilation, pads[:rank], size, strict=True), 2):
            first, length = t * d - before, part.shape[axis]
            part = b.select(part, axis, range(max(-first, 0), min(length, n - first)), f"cropped_{word}_{axis}")
            around.append((max(first, 0), max(n - first - length, 0)))
        taps.append(b.layer("pad", part, f"placed_{word}", **window((), (), around)) if any(map(any, around)) else part)
    return b.layer("add", taps) if len(taps) > 1 else taps[0]


def _pool(kind: str) -> Callable[[Node, Builder], Live]:
    def pool(node: Node, b: Builder) -> Live:
        x = node.live()
        space = _spatial(x)
        kernel = _kernel(node, len(space))
        stride, dilation = _steps(node, len(space))
        if len(node.outputs) > 1 and node.outputs[1]:
            raise Refused("its second output, the indices, is used")
        keys = window((), dilation, _padding(node, space, kernel, stride, dilation))
        if stride != kernel:
            keys = {"stride": collapsed(stride), **keys}
        if node.flag("ceil_mode"):
            keys["ceil_mode"] = True
        if kind == "average" and "padding" in keys:
            keys["count_include_pad"] = node.flag("count_include_pad")
        if kind == "lp":
            keys["p"] = float(node.get("p", 2))
        return b.layer(f"{kind}_pool", x, kernel=collapsed(kernel), **keys)

    return pool


def _global_pool(kind: str) -> Callable[[Node, Builder], Live]:
    def pool(node: Node, b: Builder) -> Live:
        x = node.live()
        _spatial(x)
        return b.layer(f"global_{kind}_pool", x)

    return pool


WINDOW_OPERATORS: Mapping[str, Callable[[Node, Builder], Live]] = {
    "AveragePool": _pool("average"),
    "Col2Im": _column_to_image,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_pool("average"),
    "GlobalMaxPool": _global_pool("max"),
    "LpPool": _pool("lp"),
    "MaxPool": _pool("max"),
}
