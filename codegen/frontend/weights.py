"""Weights, biases and values per channel: tensors brought into the graph's order of axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from codegen.frontend.layer import Layer
from codegen.frontend.parameters import Tensor, widened
from codegen.graph.bounded import Array
from codegen.graph.ops import Shape

# H and W stand for the spatial axes, however many there are.
MODEL_LAYOUTS = ("OIHW", "HWIO")
CONV_LAYOUTS = ("OIHW", "HWIO", "HWCM")
CONV_TRANSPOSE_LAYOUTS = ("IOHW", "HWOI")
DENSE_LAYOUTS = ("OI", "IO")

# What the model's layout means for each family.
_MEANT = {
    "conv": {"OIHW": "OIHW", "HWIO": "HWIO"},
    "depthwise_conv": {"OIHW": "OIHW", "HWIO": "HWCM"},
    "conv_transpose": {"OIHW": "IOHW", "HWIO": "HWOI"},
    "dense": {"OIHW": "OI", "HWIO": "IO"},
}

# Where each axis of the graph's order is in the file's, for n axes.
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
    """[Co, Ci/groups, *kernel] and groups, for "conv" and "depthwise_conv"."""
    channels = layer.channels
    asked = channels if family == "depthwise_conv" else layer.options["groups"]

    def groups(layout: str) -> int:
        return channels if layout == "HWCM" and asked is None else asked or 1

    def fits(shape: Shape, layout: str) -> bool:
        return shape[1] * groups(layout) == channels and shape[0] % groups(layout) == 0

    weight, layout = _read(layer, family, CONV_LAYOUTS, fits, lambda layout: f" with groups = {groups(layout)}")
    return weight, groups(layout)


def conv_transpose_weight(layer: Layer) -> Array:
    """[Ci, Co/groups, *kernel]."""
    groups = layer.options["groups"]

    def fits(shape: Shape, layout: str) -> bool:
        return shape[0] == layer.channels and shape[0] % groups == 0

    return _read(layer, "conv_transpose", CONV_TRANSPOSE_LAYOUTS, fits, lambda layout: f" with groups = {groups}")[0]


def dense_weight(layer: Layer) -> Array:
    """[out, in]."""
    features = math.prod(layer.shape[1:])
    return _read(layer, "dense", DENSE_LAYOUTS, lambda shape, layout: shape[1] == features, lambda layout: "")[0]


def bias(layer: Layer, channels: int) -> Array:
    """[channels]; zeros where the layer has none."""
    tensor = layer.optional_tensor("bias", "bias")
    if tensor is None:
        return widened(np.zeros(channels))
    if tensor.shape != (channels,):
        raise tensor.error(f"should be [{channels}], one for each output channel")
    return widened(tensor.values)


def channel_values(layer: Layer, tensor: Tensor) -> Array:
    """[channels of the input], from one value for each or one for all; other axes of the tensor may be there, of 1."""
    channels = layer.channels
    if sum(n != 1 for n in tensor.shape) > 1 or math.prod(tensor.shape) not in (1, channels):
        raise tensor.error(f"should be [{channels}], one for each channel of input {list(layer.shape)}, or [1]")
    return widened(np.broadcast_to(tensor.values.reshape(-1), channels))


def _read(
    layer: Layer,
    family: str,
    layouts: tuple[str, ...],
    fits: Callable[[Shape, str], bool],
    condition: Callable[[str], str],
) -> tuple[Array, str]:
    """The weight in the graph's order, and the layout that it had in the file."""
    tensor = layer.tensor("weight", "weight", "kernel")
    layout = layer.options["weight_layout"] or _MEANT[family][layer.weight_layout]
    wanted = 2 if family == "dense" else len(layer.shape)
    if len(tensor.shape) != wanted:
        raise tensor.error(f"should have {wanted} axes for input {list(layer.shape)}")
    if 0 in tensor.shape:
        raise tensor.error("is empty")
    if not fits(_shape(tensor, layout), layout):
        other = next((other for other in layouts if other != layout and fits(_shape(tensor, other), other)), None)
        remedy = f'; it would as weight_layout = "{other}"' if other else ""
        raise tensor.error(f"read as {layout} does not fit input {list(layer.shape)}{condition(layout)}{remedy}")
    moved = tensor.values.transpose(_AXES[layout](len(tensor.shape)))
    return widened(moved).reshape(_shape(tensor, layout)), layout


def _shape(tensor: Tensor, layout: str) -> Shape:
    """The shape of a weight tensor in the graph's order of axes."""
    shape = tuple(tensor.shape[axis] for axis in _AXES[layout](len(tensor.shape)))
    return (shape[0] * shape[1], 1, *shape[2:]) if layout == "HWCM" else shape
