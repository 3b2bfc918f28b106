"""Weights, biases and per-channel values: tensors brought into the graph's order of axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from codegen.frontend.operators.layer import Layer
from codegen.frontend.parameters.parameters import Fits, Tensor, widened
from codegen.graph.bounded import Array
from codegen.graph.ops import Shape

# H and W stand for the spatial axes, however many there are.
MODEL_LAYOUTS = ("OIHW", "HWIO")
CONV_LAYOUTS = ("OIHW", "HWIO", "HWCM")
CONV_TRANSPOSE_LAYOUTS = ("IOHW", "HWOI")
DENSE_LAYOUTS = ("OI", "IO")

# The meaning of the model's layout for each family of operators.
_MEANT = {
    "conv": {"OIHW": "OIHW", "HWIO": "HWIO"},
    "depthwise_conv": {"OIHW": "OIHW", "HWIO": "HWCM"},
    "conv_transpose": {"OIHW": "IOHW", "HWIO": "HWOI"},
    "dense": {"OIHW": "OI", "HWIO": "IO"},
}

# The position of each axis of the graph's order in the file's order, for n axes.
_AXES: Mapping[str, Callable[[int], tuple[int, ...]]] = {
    "OIHW": lambda n: tuple(range(n)),
    "IOHW": lambda n: tuple(range(n)),
    "OI": lambda n: tuple(range(n)),
    "HWIO": lambda n: (n - 1, n - 2, *range(n - 2)),
    "HWOI": lambda n: (n - 1, n - 2, *range(n - 2)),
    "IO": lambda n: (n - 1, n - 2, *range(n - 2)),
    "HWCM": lambda n: (n - 2, n - 1, *range(n - 2)),
}


def conv_weight(layer: Layer, family: str) -> tuple[Array, int]:
    """The weight [Co, Ci/groups, *kernel] and the groups, for "conv" and "depthwise_conv"."""
    channels = layer.channels
    asked = channels if family == "depthwise_conv" else layer.options["groups"]

    def groups(layout: str) -> int:
        return channels if layout == "HWCM" and asked is None else asked or 1

    def misfit(shape: Shape, layout: str) -> str:
        taken, parts = shape[1] * groups(layout), groups(layout)
        if taken != channels:
            return f"with groups = {parts} the weight takes {taken} channels, not {channels}"
        return f"groups = {parts} do not divide the {shape[0]} output channels" if shape[0] % parts else ""

    weight, layout = _read(layer, family, misfit)
    return weight, groups(layout)


def conv_transpose_weight(layer: Layer) -> Array:
    """The weight [Ci, Co/groups, *kernel]."""
    groups = layer.options["groups"]

    def misfit(shape: Shape, layout: str) -> str:
        if shape[0] != layer.channels:
            return f"the weight takes {shape[0]} channels, not {layer.channels}"
        return f"groups = {groups} do not divide the {shape[0]} input channels" if shape[0] % groups else ""

    return _read(layer, "conv_transpose", misfit)[0]


def dense_weight(layer: Layer) -> Array:
    """The weight [out, in]."""
    features = math.prod(layer.shape[1:])

    def misfit(shape: Shape, layout: str) -> str:
        return "" if shape[1] == features else f"the weight takes {shape[1]} features, not {features}"

    return _read(layer, "dense", misfit)[0]


def bias(layer: Layer, channels: int) -> Array:
    """The bias [channels]; zeros if the layer has none."""
    tensor = layer.optional_tensor("bias", "bias", fits=lambda shape: shape == (channels,))
    if tensor is None:
        return widened(np.zeros(channels))
    if tensor.shape != (channels,):
        raise tensor.error(f"should be [{channels}], one for each output channel")
    return widened(tensor.values)


def channel_values(layer: Layer, key: str, *suffixes: str) -> Array:
    """The values [channels of the input] of the tensor that :meth:`Layer.tensor` finds.

    The tensor has one value per channel, or one for all; it may have other axes of size 1.
    """
    return _for_each_channel(layer, layer.tensor(key, *suffixes, fits=_has_channels(layer)))


def optional_channel_values(layer: Layer, key: str, *suffixes: str) -> Array | None:
    """:func:`channel_values` of an optional tensor."""
    tensor = layer.optional_tensor(key, *suffixes, fits=_has_channels(layer))
    return None if tensor is None else _for_each_channel(layer, tensor)


def _has_channels(layer: Layer) -> Fits:
    return lambda shape: sum(n != 1 for n in shape) <= 1 and math.prod(shape) in (1, layer.channels)


def _for_each_channel(layer: Layer, tensor: Tensor) -> Array:
    channels = layer.channels
    if not _has_channels(layer)(tensor.shape):
        raise tensor.error(f"should be [{channels}], one for each channel of input {list(layer.shape)}, or [1]")
    return widened(np.broadcast_to(tensor.values.reshape(-1), channels))


def _read(layer: Layer, family: str, misfit: Callable[[Shape, str], str]) -> tuple[Array, str]:
    """The weight in the graph's order, and its layout in the file.

    ``misfit`` returns the reason why a shape in the graph's order does not fit the input, given the file's layout.
    """
    layout = layer.options["weight_layout"] or _MEANT[family][layer.weight_layout]
    wanted = 2 if family == "dense" else len(layer.shape)

    def can_be(shape: Shape) -> bool:
        return len(shape) == wanted and 0 not in shape and not misfit(_ordered(shape, layout), layout)

    tensor = layer.tensor("weight", "weight", "kernel", fits=can_be)
    if len(tensor.shape) != wanted:
        raise tensor.error(f"should have {wanted} axes for input {list(layer.shape)}")
    if 0 in tensor.shape:
        raise tensor.error("has a size of 0")
    if not can_be(tensor.shape):
        why = misfit(_ordered(tensor.shape, layout), layout)
        raise tensor.error(f"read as {layout} does not fit input {list(layer.shape)}: {why}")
    moved = tensor.widened(_AXES[layout](len(tensor.shape)))
    return moved.reshape(_ordered(tensor.shape, layout)), layout


def _ordered(shape: Shape, layout: str) -> Shape:
    """The shape of a weight tensor in the graph's order of axes."""
    shape = tuple(shape[axis] for axis in _AXES[layout](len(shape)))
    return (shape[0] * shape[1], 1, *shape[2:]) if layout == "HWCM" else shape
