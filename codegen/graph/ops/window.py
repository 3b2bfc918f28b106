"""Sliding windows over the spatial axes: the arithmetic that convolutions and pools share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codegen.graph.bounded import Array
from codegen.graph.ops.op import PADDING, Box, require

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]  # (before, after) of every spatial axis


def check_window(kernel: Ints, stride: Ints, dilation: Ints, pads: Pads) -> None:
    """Raises ShapeError unless the four describe a window of one spatial rank."""
    rank = len(kernel)
    for what, value in (("stride", stride), ("dilation", dilation)):
        require(len(value) == rank, f"{what} {list(value)} should have {rank} numbers, one per spatial axis")
        require(min(value) >= 1, f"{what} {list(value)} should be at least 1")
    require(
        len(pads) == rank,
        f"padding {PADDING} should have a (before, after) pair for each of {rank} spatial axes",
        pads,
    )
    require(min(kernel) >= 1, f"kernel {list(kernel)} should be at least 1")
    require(min(p for pair in pads for p in pair) >= 0, f"padding {PADDING} should not be negative", pads)


def extent(kernel: int, dilation: int) -> int:
    """The number of input elements that a dilated window spans."""
    return dilation * (kernel - 1) + 1


def window_count(size: int, kernel: int, stride: int, dilation: int, pad: tuple[int, int], ceil: bool = False) -> int:
    """The number of output elements along one axis.

    With ``ceil`` a last, partial window counts too, unless it would start in the padding after the input
    (PyTorch's rule, and ONNX's since opset 19).
    """
    free = size + pad[0] + pad[1] - extent(kernel, dilation)
    if free < 0:
        return 0
    count = -(-free // stride) + 1 if ceil else free // stride + 1
    if ceil and (count - 1) * stride >= size + pad[0]:
        count -= 1
    return count


def input_box(
    box: Box, size: Sequence[int], kernel: Ints, stride: Ints, dilation: Ints, pads: Pads
) -> tuple[Box, Pads] | None:
    """The box of an input of this size that the windows of a box of the output read, and the padding around it.

    All arguments are for the spatial axes.  None if a window lies in the padding alone.
    """
    space, around = [], []
    for a, (start, stop) in enumerate(box):
        first = start * stride[a] - pads[a][0]
        behind = (stop - 1) * stride[a] - pads[a][0] + extent(kernel[a], dilation[a])
        low, high = max(first, 0), min(behind, size[a])
        if low >= high:
            return None
        space.append((low, high))
        around.append((low - first, behind - high))
    return tuple(space), tuple(around)


def windows(x: Array, kernel: Ints, stride: Ints, dilation: Ints, counts: Ints, pads: Pads, fill: float) -> Array:
    """A read-only view [N, C, *counts, *kernel] of the padded input; elements outside hold ``fill``."""
    rank = len(kernel)
    behind = [
        max(0, (counts[a] - 1) * stride[a] + extent(kernel[a], dilation[a]) - x.shape[2 + a] - pads[a][0])
        for a in range(rank)
    ]
    padded = np.pad(
        x,
        [(0, 0), (0, 0), *((pads[a][0], behind[a]) for a in range(rank))],
        mode="constant",
        constant_values=fill,
    )
    steps = padded.strides[2:]
    return np.lib.stride_tricks.as_strided(
        padded,
        shape=(*x.shape[:2], *counts, *kernel),
        strides=(
            *padded.strides[:2],
            *(steps[a] * stride[a] for a in range(rank)),
            *(steps[a] * dilation[a] for a in range(rank)),
        ),
        writeable=False,
    )


def per_channel(values: Array, rank: int) -> Array:
    """A [C] vector shaped to broadcast along axis 1 of an array of this rank."""
    return values.reshape((1, -1) + (1,) * (rank - 2))


def same_pads(size: Sequence[int], kernel: Ints, stride: Ints, dilation: Ints) -> Pads:
    """TensorFlow's "same" padding: ``ceil(size / stride)`` outputs, an odd element of padding at the end."""
    pads = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + extent(k, d) - n, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)
