"""Depthwise convolution: a work-item computes a run of rows of one channel block.

A tile is ``row`` neighbouring pixels of a row, whose sums are in registers.  For each row of taps the kernel loads the
pixels that the tile sees, one after the other, and adds each to all sums that it is part of: an input is loaded once
for a row of taps, not once for a tap.  Sizes are parameters, so that layers of one kind share a kernel.
"""

from __future__ import annotations

from codegen.graph.ops import Conv
from codegen.plan.kernels import Depthwise
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, by, leading_functions
from codegen.plan.window import Window, packed

ITEM_WORK = 1 << 14  # multiply-adds that are worth a work-item


def plan_depthwise(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    c = s.target.lanes
    x, y = s.x.canonical(), s.y.canonical()
    window = Window.of(op)
    batch, channels, height, width = y.shape
    blocks = -(-channels // c)
    wide, narrow = (choose_row(most, width) for most in (s.target.depthwise_wide, s.target.depthwise_narrow))
    s.constant("weight", packed(op.weight, 1, c))
    s.constant("bias", s.channels(op.bias, channels))
    s.size("rows", height)
    s.size("columns", width)
    behind = window.behind(1, width, x.shape[3])
    bounded_rows = window.bounded(0, height, x.shape[2])
    if bounded_rows:
        s.size("height", x.shape[2])
    if behind:
        s.size("width", x.shape[3])
    steps = s.epilogue(shared=True)
    quick, slow, rest = leading_functions(steps)
    # Little work is not worth putting pixels together.
    functions, epilogue = (quick + slow, rest) if slow else ((), steps)
    description = Depthwise(
        lanes=c,
        wide=wide,
        narrow=narrow,
        bounded_rows=bounded_rows,
        behind=behind,
        x=s.named(x, "x"),
        y=s.named(y, "y"),
        stencil=window.stencil,
        samples=batch > 1,
        prologue=s.prologue(),
        epilogue=epilogue,
        shifted=width % wide != 0 or width % narrow != 0,
        functions=functions,
    )
    label = f"depthwise{by(window.kernel)}_s{window.stride[1]}_{wide}{s.epilogue_label}"
    work = height * width * window.taps * c
    grid = (max(1, min(height, work // ITEM_WORK)), blocks, batch)
    return s.draft(description, label, grid)


def choose_row(most: int, width: int) -> int:
    """Pixels of a tile: those that waste least at the end of a row, where the last tile is shifted back."""
    return min(range(1, min(width, most) + 1), key=lambda row: -(-width // row) * (row + 2))
