"""Pooling of images: a work-item computes a run of rows of one channel block, in tiles of neighbouring pixels.

As in depthwise convolution, each input of a row of taps is loaded once and goes into all results that it is part of.
"""

from __future__ import annotations

import math

from codegen.graph.bounded import sum_block
from codegen.graph.ops import Pool
from codegen.plan import kernels
from codegen.plan.plan import Draft
from codegen.plan.schedules.depthwise import choose_row
from codegen.plan.schedules.launch import LaunchSketch, by
from codegen.plan.window import Window

ITEM_WORK = 1 << 13  # inputs that are worth a work-item


def takes(s: LaunchSketch) -> bool:
    """Whether the launch is the maximum of windows of an image, or the average of windows that are not large."""
    op: Pool = s.core
    short = sum_block(math.prod(op.kernel)) == 0
    simple = op.kind == "max" or (op.kind == "average" and short and all(d == 1 for d in op.dilation))
    return simple and len(op.kernel) <= 2


def plan_pool(s: LaunchSketch) -> Draft:
    op: Pool = s.core
    c = s.target.lanes
    x, y = s.x.canonical(), s.y.canonical()
    window = Window.of(op)
    batch, channels, height, width = y.shape
    blocks = -(-channels // c)
    wide, narrow = (choose_row(most, width) for most in (s.target.depthwise_wide, s.target.depthwise_narrow))
    s.size("rows", height)
    s.size("columns", width)
    behind = window.behind(1, width, x.shape[3])
    bounded_rows = window.bounded(0, height, x.shape[2])
    # What an average is divided by changes where windows reach beyond the input, if that does not count.
    varies = op.kind == "average" and (bounded_rows or window.bounded(1, width, x.shape[3]))
    if bounded_rows or varies:
        s.size("height", x.shape[2])
    if behind or varies:
        s.size("width", x.shape[3])
    description = kernels.Pool(
        lanes=c,
        wide=wide,
        narrow=narrow,
        bounded_rows=bounded_rows,
        behind=behind,
        x=s.named(x, "x"),
        y=s.named(y, "y"),
        stencil=window.stencil,
        samples=batch > 1,
        prologue=s.prologue(shared=True),
        epilogue=s.epilogue(shared=True),
        kind=op.kind,
        varies=varies,
        count_include_pad=op.count_include_pad,
        pad_behind=(window.pads[0][1], window.pads[1][1]),
    )
    label = f"{op.kind}_pool{by(window.kernel)}_s{window.stride[1]}_{wide}{s.epilogue_label}"
    work = height * width * window.taps * c
    return s.draft(description, label, (max(1, min(height, work // ITEM_WORK)), blocks, batch))
