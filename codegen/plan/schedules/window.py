"""Depthwise convolution and pooling of images: a work-item computes a run of rows of one channel block.

A tile is ``row`` neighbouring pixels of a row, whose sums are in registers.  For each row of taps the kernel loads the
pixels that the tile covers, one after the other, and adds each to all sums that it is part of: an input is loaded once
for a row of taps, not once for a tap.  Sizes are parameters, so that layers of one kind share a kernel.
"""

from __future__ import annotations

import math

from codegen.graph.bounded import sum_block
from codegen.graph.ops import Conv, Pool
from codegen.plan.kernels import Function, Steps, WindowReduce
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, by, leading_functions
from codegen.plan.target import Costs
from codegen.plan.window import Window, packed


def pools(s: LaunchSketch) -> bool:
    """True if the launch is the maximum of windows of an image, or the average of windows that are not large."""
    op: Pool = s.core
    short = sum_block(math.prod(op.kernel)) == 0
    simple = op.kind == "max" or (op.kind == "average" and short and all(d == 1 for d in op.dilation))
    return simple and len(op.kernel) <= 2


def plan_depthwise(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    s.constant("weight", packed(op.weight, 1, s.target.lanes))
    s.constant("bias", s.channels(op.bias, s.y.shape[1]))
    steps = s.epilogue(shared=True)
    quick, slow, rest = leading_functions(steps)
    # Little work is not worth putting pixels together.
    functions, epilogue = (quick + slow, rest) if slow else ((), steps)
    return _plan(s, "depthwise", s.target.costs.filter_tap, s.prologue(), functions, epilogue)


def plan_pool(s: LaunchSketch) -> Draft:
    op: Pool = s.core
    return _plan(s, op.kind, s.target.costs.pool_tap, s.prologue(shared=True), (), s.epilogue(shared=True))


def _plan(
    s: LaunchSketch, kind: str, tap: float, prologue: Steps, functions: tuple[Function, ...], epilogue: Steps
) -> Draft:
    c = s.target.lanes
    x, y = s.x.canonical(), s.y.canonical()
    window = Window.of(s.core)
    batch, channels, height, width = y.shape
    blocks = -(-channels // c)
    costs = s.target.costs
    rows = [choose_row(costs, vectors.window_row, width) for vectors in s.target.vectors]
    wide, narrow = rows[0], rows[-1]
    s.sizes.update(rows=height, columns=width)
    overhang = window.overhang(1, width, x.shape[3])
    bounded_rows = window.bounded(0, height, x.shape[2])
    # The number of an average's pixels changes where windows reach beyond the input.
    varies = kind == "average" and (bounded_rows or window.bounded(1, width, x.shape[3]))
    if bounded_rows or varies:
        s.size("height", x.shape[2])
    if overhang or varies:
        s.size("width", x.shape[3])
    description = WindowReduce(
        lanes=c,
        kind=kind,
        wide=wide,
        narrow=narrow,
        shifted=width % wide != 0 or width % narrow != 0,
        bounded_rows=bounded_rows,
        overhang=overhang,
        varies=varies,
        count_include_pad=isinstance(s.core, Pool) and s.core.count_include_pad,
        pad_after=(window.pads[0][1], window.pads[1][1]) if varies else (0, 0),
        x=s.named(x, "x"),
        y=s.named(y, "y"),
        stencil=window.stencil,
        samples=batch > 1,
        prologue=prologue,
        functions=functions,
        epilogue=epilogue,
    )
    name = kind if kind == "depthwise" else f"{kind}_pool"
    label = f"{name}{by(window.kernel)}_s{window.stride[1]}_{wide}{s.epilogue_label}"
    items = int(height * width * window.taps * tap / costs.item)
    return s.draft(description, label, (max(1, min(height, items)), blocks, batch))


def choose_row(costs: Costs, most: int, width: int) -> int:
    """Pixels of a tile: those that waste least at the end of a row, where the last tile is shifted back."""
    return min(range(1, min(width, most) + 1), key=lambda row: -(-width // row) * (row + costs.short_tile))
