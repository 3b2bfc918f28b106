"""Convolution as the product of two matrices in register tiles.

y[p][o] = sum over i of x[p][i] w[i][o], p counting pixels, i and o channels.  A work-item computes a run of tiles of
``row`` neighbouring pixels times ``block_tile`` channel blocks, all sums in registers: for every input channel it loads
the vectors of weights, broadcasts ``row`` numbers of input, and multiplies each with each.

That is a 1x1 convolution.  Where something has to be done to the input first, a work-item puts what its pixels see side
by side in private memory, once for all channels.  What pixels see through a window, or with steps between them, can be
gathered there too (im2col, of one tile at a time): taps of the window then count as further channels, and a tile's
pixels may lie in several rows.

The kernel knows no sizes but its tiles': all else are parameters, so that one compiled kernel serves many layers.  It
is written for two widths of vector at once, like all convolutions; grid, layout and weights are the same for both.
"""

from __future__ import annotations

from collections.abc import Callable

from codegen.graph.ops import Conv
from codegen.plan.grid import Three
from codegen.plan.kernels import Pointwise, Tiling
from codegen.plan.layout import Layout, up
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, as_one_row, rows_merge, sink
from codegen.plan.target import Costs
from codegen.plan.tile import fit, image_cycles, padded
from codegen.plan.window import Window, packed


def takes(s: LaunchSketch) -> bool:
    """True if the kernel can compute the launch: a 1x1 convolution of channel blocks."""
    op = s.core
    single = len(op.kernel) < 3 and all(n == 1 for n in op.kernel) and op.groups == 1 and not op.padded
    return single and s.x.block > 1 and (s.target.cached_private or not s.op.prologue)


def gathers(s: LaunchSketch) -> bool:
    """True if the inputs of a tile, through a window or with steps between pixels, can be gathered."""
    op: Conv = s.core
    blocked = len(op.kernel) < 3 and op.groups == 1 and s.x.block > 1
    return blocked and s.target.cached_private and rows_merge(s, reads=False) and _most_staged(s) > 0


def gathered_cycles(s: LaunchSketch) -> float:
    """Cycles of the convolution with gathered windows."""
    batch, channels, height, width = s.y.canonical().shape
    blocks, pixels = -(-channels // s.target.lanes), height * width
    inputs = Window.of(s.core).taps * s.x.blocks
    tiling = fit(s.target, 1, pixels, blocks, longest=max(_most_staged(s), 1))
    products = image_cycles(s.target, tiling, 1, pixels, blocks) * inputs * s.target.lanes
    return batch * (products + pixels * inputs * s.target.costs.gather)


def plan_pointwise(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    c = s.target.lanes
    window = Window.of(op)
    # Pixels with steps between them are gathered from as many rows as a tile has.
    gathered = (window.taps > 1 or window.stride != (1, 1)) and gathers(s)
    step = (1, 1) if gathered else window.stride
    view: Callable[[Layout], Layout] = Layout.canonical
    if gathered or (step == (1, 1) and rows_merge(s)):
        view = as_one_row
    x, y = s.x.canonical() if gathered else view(s.x), view(s.y)
    batch, channels, rows, columns = y.shape
    blocks = -(-channels // c)
    inputs = window.taps * x.blocks  # blocks of channels that an output pixel depends on
    staged = gathered or bool(s.op.prologue)
    tiling = fit(s.target, rows, columns, blocks, longest=max(_most_staged(s), 1) if staged else None)
    y_tiles = -(-blocks // tiling.block_tile)
    tile = tiling.block_tile * c
    s.constant("weight", padded(s.target, tiling, packed(op.weight, c, tile)))
    s.constant("bias", padded(s.target, tiling, s.channels(op.bias, up(channels, tile))))
    s.sizes.update(x_blocks=x.blocks, x_block=x.strides[1], columns=columns, y_tiles=y_tiles)
    if batch > 1:
        s.size("x_sample", x.strides[0])
    s.sizes.update(rows=rows, x_row=step[0] * x.strides[2], y_blocks=blocks)
    if gathered:
        _window_sizes(s, window)
    description = Pointwise(
        lanes=c,
        tiling=tiling,
        sink=sink(s.epilogue(view, shared=True), s.named(y, "y")),
        x_step=step[1] * x.strides[3],
        samples=batch > 1,
        products=False,
        prologue=s.prologue(shared=True),
        gathered=gathered,
        # The same for layers of any number of channels, so that they share kernels; but for one that is out of bounds.
        staged_floats=max(s.most_staged, inputs * c) if staged else 0,
    )
    groups = grid(s.target.costs, tiling, rows, columns, blocks, inputs * c, batch, staged)
    label = f"{'gathered' if gathered else 'pointwise'}_{tiling.wide.row}x{tile}{s.epilogue_label}"
    return s.draft(description, label, groups)


def _most_staged(s: LaunchSketch) -> int:
    """The largest number of pixels whose inputs, windows included, fit into private memory."""
    return s.most_staged // (s.target.lanes * Window.of(s.core).taps * s.x.blocks)


def _window_sizes(s: LaunchSketch, window: Window) -> None:
    for what, (down, across) in (("window", window.kernel), ("step", window.stride), ("dilation", window.dilation)):
        s.sizes.update({f"{what}_rows": down, f"{what}_columns": across})
    (top, left), (*_, rows, columns), y = window.pad, s.x.canonical().shape, s.y.canonical()
    s.sizes.update(top=top, left=left, x_rows=rows, x_columns=columns, y_columns=y.shape[3])


def grid(
    costs: Costs, tiling: Tiling, rows: int, columns: int, blocks: int, inputs: int, count: int, once: bool = False
) -> Three:
    """Runs of tiles of pixels, runs of tiles of channels, and whatever is counted on top.

    Runs are as long as makes them worth a work-item.  With ``once`` all channels of a pixel should be one run, as long
    as all cores have one.
    """
    tiles = rows * -(-columns // tiling.wide.row)
    y_tiles = -(-blocks // tiling.block_tile)
    work = tiling.wide.row * tiling.block_tile * inputs * costs.multiply_add
    if once:
        return (tiles, min(y_tiles, -(-costs.cores // tiles)), count)
    return (max(1, min(tiles, int(tiles * work / costs.product_item))), y_tiles, count)
