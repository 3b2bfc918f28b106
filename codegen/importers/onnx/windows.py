"""Operators whose windows slide over space: convolutions and pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from codegen.graph.ops.window import extent, same_pads
from codegen.importers.onnx.builder import Builder, collapsed, window
from codegen.importers.onnx.node import Constant, Live, Node, Refused


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
        raise Refused(f"its input {list(x.shape)} has no axes of space")
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


def _weight(node: Node, rank: int) -> Constant:
    weight = node.constant(1, "weight")
    if weight.values.ndim != rank + 2:
        raise Refused(f"its weight {list(weight.values.shape)} should have {rank + 2} axes")
    if node.get("kernel_shape") and tuple(node.get("kernel_shape")) != weight.values.shape[2:]:
        raise Refused(f"kernel_shape {node.get('kernel_shape')} is not that of weight {list(weight.values.shape)}")
    return weight


def _bias(node: Node, b: Builder, i: int = 2) -> str | bool:
    bias = node.optional(i, "bias")
    return False if bias is None else b.tensor(bias)


def _conv(node: Node, b: Builder) -> Live:
    x = node.live()
    space = _spatial(x)
    weight = _weight(node, len(space))
    stride, dilation = _steps(node, len(space))
    keys = window(stride, dilation, _padding(node, space, weight.values.shape[2:], stride, dilation))
    groups = node.get("group", 1)
    depthwise = groups == x.shape[1] > 1
    if groups != 1 and not depthwise:
        keys = {"groups": groups, **keys}
    op = "depthwise_conv" if depthwise else "conv"
    return b.layer(op, x, weight=b.tensor(weight), bias=_bias(node, b), **keys)


def _conv_transpose(node: Node, b: Builder) -> Live:
    x = node.live()
    space = _spatial(x)
    rank = len(space)
    weight = _weight(node, rank)
    kernel = weight.values.shape[2:]
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
    return b.layer("conv_transpose", x, weight=b.tensor(weight), bias=_bias(node, b), **keys)


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
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_pool("average"),
    "GlobalMaxPool": _global_pool("max"),
    "LpPool": _pool("lp"),
    "MaxPool": _pool("max"),
}
