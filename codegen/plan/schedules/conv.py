"""Direct convolution in register tiles.

A work-item computes a run of tiles, times ``block_tile`` channel blocks.  A tile is ``row`` neighbouring pixels times
``vectors`` vectors of output channels, all accumulators in registers: for every input channel and tap it loads
``vectors`` vectors of weights and ``row`` numbers of input, and does ``row * vectors`` multiply-adds with them.

Kernels are written for two widths of vector at once, and compiled for the one that a device has: layout, weights and
grid are the same for both, only the tiles differ.

Where the weights of a work-item do not fit the first-level cache, it goes over all its tiles for one chunk of input
channels after the other, so that each chunk of weights is fetched once; partial sums wait in private memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from codegen.graph.bounded import Array
from codegen.graph.ops import Conv
from codegen.plan.kernels import Cover, Direct, Tiling
from codegen.plan.layout import Layout, up
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, as_one_row, by, rows_merge, sink, size_label
from codegen.plan.target import Target
from codegen.plan.tile import fit, image_cycles, padded
from codegen.plan.window import Window, packed


@dataclass(frozen=True)
class Cut:
    """The cut of a convolution: ``items`` work-items for an image's pixels, and chunks of ``chunk`` input blocks."""

    tiling: Tiling
    items: int
    chunk: int
    wide: Cover
    narrow: Cover


def tiled(op: Conv, target: Target) -> bool:
    """True if groups are whole channel blocks, so that a vector of outputs shares its inputs."""
    ci, co = op.weight.shape[1], op.weight.shape[0] // op.groups
    return op.groups == 1 or (ci % target.lanes == 0 and co % target.lanes == 0)


def plan_tiled(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    c = s.target.lanes
    window = Window.of(op)
    view: Callable[[Layout], Layout] = Layout.canonical
    if op.pointwise and rows_merge(s):
        # A 1x1 convolution sees no rows: all pixels are one.
        view = as_one_row
    x, y = view(s.x), view(s.y)
    batch, channels, height, width = y.shape
    blocks = -(-channels // c)
    # A plain input has no blocks; channels at a distance are read like the lanes of one.
    lanes, lane_stride = (c, 1) if x.block > 1 else (_divisor(op.weight.shape[1], c), x.strides[1])
    # Pixels of channels that lie far apart are first put side by side.
    apart = x.block == 1 and x.strides[3] == 1 and x.shape[1] > 1
    staged = view is as_one_row and s.target.cached_private and apart
    vector_input = x.block > 1 and bool(s.op.prologue)
    input_blocks = -(-op.weight.shape[1] // lanes)
    cut = choose_cut(
        s.target,
        (height, width),
        blocks // op.groups,
        input_blocks,
        window.taps * lanes,
        op.groups > 1,
        vector_input,
    )
    tiling = cut.tiling
    tile = tiling.block_tile * c
    s.constant("weight", padded(s.target, tiling, pack(op.weight, lanes, tile)))
    s.constant("bias", padded(s.target, tiling, s.channels(op.bias, up(channels, tile))))
    wide = _with_edges(cut.wide, tiling.wide.row, window, width, x.shape[3])
    narrow = _with_edges(cut.narrow, tiling.narrow.row, window, width, x.shape[3])
    bounded_columns = any(_can_be_outside(t.row, e) for t, e in ((tiling.wide, wide), (tiling.narrow, narrow)))
    zeros = bounded_columns and x.block > 1
    description = Direct(
        lanes=c,
        tiling=tiling,
        items=cut.items,
        chunk=cut.chunk,
        wide=wide,
        narrow=narrow,
        bounded_columns=bounded_columns,
        bounded_rows=window.bounded(0, height, x.shape[2]),
        x=x,
        groups=op.groups,
        blocks=blocks,
        input_blocks=input_blocks,
        in_lanes=lanes,
        lane_stride=lane_stride,
        input_block_stride=x.strides[1] * (1 if x.block > 1 else lanes),
        stencil=window.stencil,
        batch=batch,
        prologue=s.prologue(vector=vector_input),
        sink=sink(s.epilogue(view), y),
        vector_input=vector_input,
        zeros=zeros,
        staged=staged,
    )
    grid = (cut.items, 1, batch * -(-blocks // tiling.block_tile))
    label = f"conv{by(window.kernel)}_s{window.stride[1]}_{size_label(x)}_to_{size_label(y)}"
    return s.draft(description, label, grid, zeros=c if zeros else 0)


def cycles(s: LaunchSketch) -> float:
    """Cycles of the direct convolution."""
    op: Conv = s.core
    batch, channels, height, width = s.y.canonical().shape
    blocks = -(-channels // s.target.lanes) // op.groups
    tiling = fit(s.target, height, width, blocks, whole=op.groups > 1)
    tiles = image_cycles(s.target, tiling, height, width, blocks)
    return (
        s.target.costs.direct * batch * op.groups * tiles * Window.of(op).taps * up(op.weight.shape[1], s.target.lanes)
    )


def choose_cut(
    target: Target,
    space: tuple[int, int],
    blocks: int,
    input_blocks: int,
    column: int,
    whole: bool = False,
    vector_input: bool = False,
) -> Cut:
    """The cheapest tiles of an image of ``space`` with ``blocks`` channel blocks in each group, and their work-items.

    ``column`` counts the multiply-adds of an output for each of the ``input_blocks``.  With ``whole`` work-items have
    equally many blocks: those of a group share inputs, and no work-item may reach into the next group.
    ``vector_input``: inputs are in registers too.
    """
    height, width = space
    costs = target.costs
    tiling = fit(target, height, width, blocks, whole=whole, inputs_in_registers=vector_input)
    wide, narrow = tiling.wide, tiling.narrow
    tiles = [height * -(-width // tile.row) for tile in (wide, narrow)]
    chunks, wanted = 1, tiles[0]
    if target.caches is not None:
        # As many chunks as let their weights stay in the cache; sums must find room beside them.
        panel = target.dtype.bytes * column * tiling.block_tile * target.lanes
        chunks = min(math.ceil(input_blocks * panel / (target.caches[0] * costs.weights_share)), input_blocks)
    if target.work_items is not None:
        pixels = height * width
        most = target.dtype.count(costs.waiting_bytes) // (tiling.block_tile * target.lanes)
        # A work-item has at least the pixels of a register tile.
        least = target.vectors[0].most_pixels(2)
        busy = -(-target.work_items // -(-blocks // tiling.block_tile))
        wanted = max(-(-pixels // most), min(busy, -(-pixels // least)))
    items = -(-tiles[0] // -(-tiles[0] // wanted))
    covers = [Cover(-(-width // t.row), -(-n // items), 0, 0) for t, n in zip((wide, narrow), tiles, strict=True)]
    if all(cover.tiles == 1 for cover in covers) and wide.passes == narrow.passes == 1:
        chunks = 1  # nothing would be read twice
    return Cut(tiling, items, -(-input_blocks // chunks), *covers)


def pack(weight: Array, lanes: int, tile: int) -> Array:
    """[Co, Ci, ky, kx] -> [tiles of channels][Ci / lanes][ky][kx][lanes][tile], zeros where channels end."""
    whole = packed(weight, lanes, tile)
    blocks = whole.reshape(*whole.shape[:3], -1, lanes, tile)
    return np.moveaxis(blocks, 3, 1)


def _with_edges(cover: Cover, row: int, window: Window, width: int, available: int) -> Cover:
    """The cover with the pixels of a tile whose taps can fall outside the input of ``available`` columns."""
    stride, left = window.stride[1], window.pad[1]
    reach = window.reach(1, 1) - 1 - left
    last = width - row  # where the last tile begins
    before = min(-(-left // stride), row)
    inside = sum((last + t) * stride + reach < available for t in range(row))
    return replace(cover, left=max(before, 0), right=inside)


def _can_be_outside(row: int, cover: Cover) -> bool:
    return cover.left > 0 or cover.right < row


def _divisor(value: int, limit: int) -> int:
    """The largest divisor up to the limit."""
    return next(d for d in range(min(value, limit), 0, -1) if value % d == 0)
