"""Direct convolution in register tiles, and depthwise convolution.

A work-item computes ``row_tile`` neighbouring pixels of a row times ``block_tile`` channel blocks, all in registers.
For every input channel and tap it loads ``block_tile`` vectors of weights and ``row_tile`` numbers of input, and does
``row_tile * block_tile`` multiply-adds with them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from codegen.graph.bounded import Array
from codegen.graph.ops import Conv
from codegen.plan.layout import Layout
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, size_label, spatial
from codegen.plan.target import Target


def tiled(op: Conv, target: Target) -> bool:
    """Whether groups are whole channel blocks, so that a vector of outputs shares its inputs."""
    ci, co = op.weight.shape[1], op.weight.shape[0] // op.groups
    return op.groups == 1 or (ci % target.lanes == 0 and co % target.lanes == 0)


def plan_tiled(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    c = s.target.lanes
    kernel, stride, dilation = spatial(op.kernel), spatial(op.stride), spatial(op.dilation)
    (top, _), (left, _) = ((0, 0), *op.pads)[-2:]
    view: Callable[[Layout], Layout] = Layout.canonical
    if kernel == (1, 1) and stride == (1, 1) and not op.padded and _rows_merge(s):
        # A 1x1 convolution sees no rows: all pixels are one.
        view = _as_one_row
    x, y = view(s.x), view(s.y)
    batch, channels, _height, width = y.shape
    blocks = -(-channels // c)
    group_blocks = blocks // op.groups
    row_tile, block_tile = choose_tile(s.target, width, group_blocks, whole=op.groups > 1)
    # A plain input has no blocks; channels at a distance are read like the lanes of one.
    lanes, lane_stride = (c, 1) if x.block > 1 else (_divisor(op.weight.shape[1], c), x.strides[1])
    vector_input = x.block > 1 and bool(s.op.prologue)
    input_blocks = -(-op.weight.shape[1] // lanes)
    s.constant("weight", pack(op.weight, lanes, block_tile, c, op.groups))
    s.constant("bias", s.channels(op.bias, _up(channels, c * block_tile)))
    sides = _sides(row_tile, kernel[1], stride[1], dilation[1], left, width, x.shape[3])
    variables = {
        "sides": sides,
        "bounded_rows": _bounded(kernel[0], stride[0], dilation[0], top, y.shape[2], x.shape[2]),
        "x": x,
        "y": y,
        "row_tile": row_tile,
        "block_tile": block_tile,
        "groups": op.groups,
        "group_blocks": group_blocks,
        "tile_groups": -(-blocks // block_tile),
        "input_blocks": input_blocks,
        "lanes": lanes,
        "lane_stride": lane_stride,
        "input_block_stride": x.strides[1] * (1 if x.block > 1 else lanes),
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "pad": (top, left),
        "batch": batch,
        "prologue": s.prologue(vector=vector_input),
        "epilogue": s.epilogue(view),
        "partial_row": width % row_tile != 0,
        "partial_blocks": blocks % block_tile != 0,
        "vector_input": vector_input,
        "zeros": any(sides) and x.block > 1,
        "step": lanes * block_tile * c,
    }
    grid = (-(-width // row_tile), y.shape[2], batch * -(-blocks // block_tile))
    label = f"conv{kernel[0]}x{kernel[1]}_s{stride[1]}_{size_label(x)}_to_{size_label(y)}"
    return s.draft("conv.cl.jinja", label, variables, grid, zeros=c if variables["zeros"] else 0)


def plan_depthwise(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    c = s.target.lanes
    x, y = s.x.canonical(), s.y.canonical()
    kernel, stride, dilation = spatial(op.kernel), spatial(op.stride), spatial(op.dilation)
    (top, _), (left, _) = ((0, 0), *op.pads)[-2:]
    batch, channels, height, width = y.shape
    blocks = -(-channels // c)
    row_tile, _ = choose_tile(s.target, width, 1)
    filled = np.zeros((blocks * c, *kernel))
    filled[:channels] = op.weight.reshape(channels, *kernel)
    s.constant("weight", np.moveaxis(filled.reshape(blocks, c, *kernel), 1, -1))
    s.constant("bias", s.channels(op.bias, channels))
    variables = {
        "sides": _sides(row_tile, kernel[1], stride[1], dilation[1], left, width, x.shape[3]),
        "bounded_rows": _bounded(kernel[0], stride[0], dilation[0], top, height, x.shape[2]),
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


def choose_tile(target: Target, width: int, blocks: int, whole: bool = False) -> tuple[int, int]:
    """Pixels and channel blocks per work-item: the target's tile with the fewest cycles for the whole layer.

    By a model of two loads and two multiply-adds a cycle; at least eight multiply-adds hide each other's latency.  With
    ``whole`` tiles divide the blocks: those of a group share inputs, and no tile may reach into the next group.
    """

    def cost(tile: tuple[int, int]) -> float:
        row, block = tile
        tiles = -(-width // row) * -(-blocks // block)
        return tiles * (max(row * block, 8) + 0.5 * (row + block))

    fitting = [
        (row, block)
        for row, block in target.tiles
        if row <= max(width, 1) and block <= blocks and not (whole and blocks % block)
    ]
    return min(fitting, key=cost)


def pack(weight: Array, lanes: int, block_tile: int, c: int, groups: int) -> Array:
    """[Co, Ci, ky, kx] -> [tiles of blocks][Ci / lanes][ky][kx][lanes][block_tile][c], zeros where channels end."""
    co, ci = weight.shape[:2]
    kernel = spatial(weight.shape[2:])
    rows, columns = _up(co, block_tile * c), _up(ci, lanes)
    filled = np.zeros((rows, columns, *kernel))
    filled[:co, :ci] = weight.reshape(co, ci, *kernel)
    split = filled.reshape(rows // (block_tile * c), block_tile, c, columns // lanes, lanes, *kernel)
    return split.transpose(0, 3, 5, 6, 4, 1, 2)


def _as_one_row(layout: Layout) -> Layout:
    merged = layout.canonical().merged_rows()
    assert merged is not None
    return merged


def _rows_merge(s: LaunchSketch) -> bool:
    """Whether rows follow each other without gaps in every tensor of the launch."""
    operands = [s.layouts[s.node.inputs[e.operand]].repeated(s.y.shape) for e in s.op.epilogue if e.operand is not None]
    return all(layout.canonical().merged_rows() is not None for layout in (s.x, s.y, *operands))


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


def _bounded(kernel: int, stride: int, dilation: int, before: int, count: int, available: int) -> bool:
    """Whether a tap can fall above or below the input."""
    return before > 0 or (count - 1) * stride + (kernel - 1) * dilation - before > available - 1


def _divisor(value: int, limit: int) -> int:
    """The largest divisor up to the limit."""
    return next(d for d in range(min(value, limit), 0, -1) if value % d == 0)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
