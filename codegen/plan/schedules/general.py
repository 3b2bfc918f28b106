"""Convolutions without a faster schedule: groups across channel blocks, and transposed ones.

A work-item computes one pixel of one channel block.  Where the channels of a block share their inputs, an input is one
number for all of them; otherwise each lane reads its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codegen.graph.bounded import Array
from codegen.graph.ops import Conv, ConvTranspose
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, size_label, spatial


def plan_grouped(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    return _plan(s, op.weight, False)


def plan_transposed(s: LaunchSketch) -> Draft:
    op: ConvTranspose = s.core
    # As a convolution's weights, [Co, Ci/g, ...].
    groups = op.weight.reshape(op.groups, -1, *op.weight.shape[1:])
    return _plan(s, np.moveaxis(groups, 2, 1).reshape(op.channels, -1, *op.kernel), True)


def _plan(s: LaunchSketch, weight: Array, transposed: bool) -> Draft:
    op: Any = s.core
    c = s.target.lanes
    x, y = s.x.canonical(), s.y.canonical()
    kernel, stride, dilation = spatial(op.kernel), spatial(op.stride), spatial(op.dilation)
    (top, _), (left, _) = ((0, 0), *op.pads)[-2:]
    batch, channels, height, _ = y.shape
    blocks = -(-channels // c)
    inputs, outputs = weight.shape[1], channels // op.groups
    filled = np.zeros((blocks * c, inputs, *kernel))
    filled[:channels] = weight.reshape(channels, inputs, *kernel)
    s.constant("weight", filled.reshape(blocks, c, inputs, *kernel).transpose(0, 2, 3, 4, 1))
    s.constant("bias", s.channels(op.bias, channels))
    variables = {
        "x": x,
        "y": y,
        "transposed": transposed,
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "pad": (top, left),
        "batch": batch,
        "blocks": blocks,
        "group_inputs": inputs,
        "group_outputs": outputs,
        "shared_input": op.groups == 1 or outputs % c == 0,
        "channels": channels,
        "prologue": s.prologue(vector=False),
        "epilogue": s.epilogue(),
    }
    kind = "transposed" if transposed else f"grouped{op.groups}_"
    label = f"{kind}{kernel[0]}x{kernel[1]}_s{stride[1]}_{size_label(x)}_to_{size_label(y)}"
    return s.draft("conv_general.cl.jinja", label, variables, (1, height, batch * blocks))
