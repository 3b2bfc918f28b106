"""Depthwise convolution: a work-item computes neighbouring pixels of a row of one channel block, in registers."""

from __future__ import annotations

import numpy as np

from codegen.graph.ops import Conv
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, bounded, size_label, spatial
from codegen.plan.target import Target


def plan_depthwise(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    c = s.target.lanes
    x, y = s.x.canonical(), s.y.canonical()
    kernel, stride, dilation = spatial(op.kernel), spatial(op.stride), spatial(op.dilation)
    (top, _), (left, _) = ((0, 0), *op.pads)[-2:]
    batch, channels, height, width = y.shape
    blocks = -(-channels // c)
    row_tile = choose_row(s.target, width)
    filled = np.zeros((blocks * c, *kernel))
    filled[:channels] = op.weight.reshape(channels, *kernel)
    s.constant("weight", np.moveaxis(filled.reshape(blocks, c, *kernel), 1, -1))
    s.constant("bias", s.channels(op.bias, channels))
    variables = {
        "sides": _sides(row_tile, kernel[1], stride[1], dilation[1], left, width, x.shape[3]),
        "bounded_rows": bounded(kernel[0], stride[0], dilation[0], top, height, x.shape[2]),
        "x": x,
        "y": y,
        "row_tile": row_tile,
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "pad": (top, left),
        "batch": batch,
        "blocks": blocks,
        "prologue": s.prologue(),
        "epilogue": s.epilogue(),
        "partial_row": width % row_tile != 0,
    }
    label = f"depthwise{kernel[0]}x{kernel[1]}_s{stride[1]}_{size_label(x)}"
    return s.draft("depthwise.cl.jinja", label, variables, (-(-width // row_tile), height, batch * blocks))


def choose_row(target: Target, width: int) -> int:
    """Pixels per work-item: the fewest work-items of those that waste least at the end of a row."""
    rows = range(1, min(width, target.depthwise_row) + 1)
    return min(rows, key=lambda row: -(-width // row) * (row + 1))


def _sides(row_tile: int, kernel: int, stride: int, dilation: int, left: int, width: int, available: int) -> list[str]:
    """For each pixel of the tile: on which sides a tap of its row can fall outside the input."""
    last = (-(-width // row_tile) - 1) * row_tile * stride
    sides = []
    for t in range(row_tile):
        first = t * stride - left
        sides.append(
            ("left" if first < 0 else "") + ("right" if first + (kernel - 1) * dilation + last > available - 1 else "")
        )
    return sides
