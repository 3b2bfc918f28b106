"""Convolutions without a faster schedule: groups across channel blocks, transposed ones, and those in depth.

A work-item computes a row of one channel block.  Where the channels of a block share their inputs, an input is one
number for all of them; otherwise each lane reads its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from codegen.graph.bounded import Array, sum_block
from codegen.graph.ops import Conv, ConvTranspose
from codegen.plan.kernels import GeneralConv
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, by, size_label, volume, window_axes


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
    axes = window_axes(op, s.x)
    kernel = tuple(axis.kernel for axis in axes)
    batch, channels, rows, _ = y.shape
    blocks = -(-channels // c)
    inputs, outputs = weight.shape[1], channels // op.groups
    filled = np.zeros((blocks * c, inputs, *kernel))
    filled[:channels] = weight.reshape(channels, inputs, *kernel)
    s.constant("weight", np.moveaxis(filled.reshape(blocks, c, inputs, *kernel), 1, -1))
    s.constant("bias", s.channels(op.bias, channels))
    kind = "transposed" if transposed else f"grouped{op.groups}" if op.groups > 1 else "conv"
    description = GeneralConv(
        **volume(s),
        kind=kind,
        axes=axes,
        group_inputs=inputs,
        group_outputs=outputs,
        shared_input=op.groups == 1 or outputs % c == 0,
        channels=channels,
        sum_block=sum_block(inputs * math.prod(kernel)),
        prologue=s.prologue(vector=False),
        epilogue=s.epilogue(),
    )
    label = f"{kind}{'_' * (op.groups > 1 and not transposed)}{by(kernel)}_s{axes[-1].stride}"
    label = f"{label}_{size_label(x)}_to_{size_label(y)}"
    return s.draft(description, label, (1, rows, batch * blocks), in_blocks=isinstance(op, Conv))
