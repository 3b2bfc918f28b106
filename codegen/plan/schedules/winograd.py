"""3x3 convolution by Winograd's minimal filtering: F(m x m, 3 x 3).

An output tile of m x m pixels needs a = m + 2 input pixels each way.  With the matrices B, G and A of size a,

    Y = A^T [ sum over input channels of (G g G^T) * (B^T d B) ] A        (* element by element)

(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015) costs a*a multiplications for each tile and
pair of channels, where the definition costs 9*m*m: 2.25 times fewer for m = 2, 4 times for m = 4.  The sum over
channels is a*a independent products of matrices, [tiles x Ci] by [Ci x Co], which the kernel of 1x1 convolutions does.

Where an image has many tiles, one launch does it all: a work-item takes a group of tiles from inputs to outputs, with
what is in between in a slot of scratch memory that stays in the cache.  Where it has few, there are three launches:
B^T d B of every tile, the products, and Y with bias and epilogue.

G g G^T is computed once, by a launch at create: in the artefact the weights would take a*a/9 times their space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from codegen.graph.ops.winograd import POINTS
from codegen.plan import kernels
from codegen.plan.grid import Grid
from codegen.plan.layout import Named, blocked, plain, up
from codegen.plan.plan import Draft, Preparation
from codegen.plan.schedules import pointwise
from codegen.plan.schedules.launch import Candidate, LaunchSketch, sink
from codegen.plan.target import LINE_BYTES, Target
from codegen.plan.tile import fit, image_cycles
from codegen.plan.window import packed

# Of the transforms for m = 4, which evaluate polynomials at 0, infinity, a, -a, b and -b.  The usual 1 and 2 for a and
# b leave twice the rounding errors of these.
_, A, _, B, _ = POINTS[4]
NUMBERS = {
    "a": A,
    "b": B,
    "a2": A**2,
    "b2": B**2,
    "a3": A**3,
    "b3": B**3,
    "a2b2": A**2 * B**2,
    "a2_b2": A**2 + B**2,
    # What the weights' polynomial is divided by at 0, a and b: the product of the distances to the other points.
    "at_0": 1 / (A**2 * B**2),
    "at_a": 1 / (2 * A**2 * (A**2 - B**2)),
    "at_b": 1 / (2 * B**2 * (B**2 - A**2)),
}


@dataclass(frozen=True)
class Tiles:
    """The cut of an image into tiles of ``size`` pixels each way; ``down`` and ``across`` of them for each sample."""

    size: int
    down: int
    across: int
    batch: int

    @property
    def points(self) -> int:
        """Numbers of a transformed tile."""
        return (self.size + 2) ** 2

    @property
    def count(self) -> int:
        return self.batch * self.down * self.across


def candidates(s: LaunchSketch) -> dict[str, Candidate]:
    """The ways to compute the launch, by name; {} if it is no such convolution."""
    op = s.core
    fits = op.kernel == (3, 3) and op.stride == op.dilation == (1, 1) and op.groups == 1 and s.x.block > 1
    if not fits:
        return {}
    ways: dict[str, Candidate] = {}
    for size in s.target.winograd:
        tiles = _tiles(s, size)
        ways[f"winograd{size}"] = Candidate(partial(_three, s, tiles), partial(_three_cycles, s, tiles))
        if tiles.count >= least_group(s.target):
            ways[f"winograd{size}_groups"] = Candidate(partial(_whole, s, tiles), partial(_whole_cycles, s, tiles))
    return ways


def _tiles(s: LaunchSketch, size: int) -> Tiles:
    batch, _, height, width = s.y.shape
    return Tiles(size, -(-height // size), -(-width // size), batch)


def least_group(target: Target) -> int:
    """The least tiles of a group: they fill a register tile."""
    return target.narrow.most_pixels(1)


def _fitting(s: LaunchSketch, tiles: Tiles) -> int:
    """The number of tiles that fit into a slot."""
    co, ci = map(int, s.core.weight.shape[:2])
    assert s.target.caches is not None, "targets without caches cut no tiles"
    return s.target.dtype.count(s.target.caches[1] * s.target.costs.slot_share) // (tiles.points * (ci + co))


def _groups(s: LaunchSketch, tiles: Tiles) -> int:
    """The number of groups of tiles: groups as large as the second-level cache allows, enough for all workers."""
    costs, least = s.target.costs, least_group(s.target)
    group = min(max(_fitting(s, tiles), least), costs.most_group)
    return max(-(-tiles.count // group), min(costs.image_groups, tiles.count // least))


def _three_cycles(s: LaunchSketch, tiles: Tiles) -> float:
    """Cycles of three launches, which all cores share, with the transformed tiles in memory between them."""
    costs, blocks, between = s.target.costs, _blocks(s), tiles.count * _tile_bytes(s, tiles)
    moved = 2 * between * costs.memory_byte if between > costs.kept_bytes else 0.0
    transforms = tiles.points * tiles.count * sum(blocks) * costs.transform
    return _steps_cycles(s, tiles, tiles.count, 1) + transforms + moved + 2 * costs.launch


def _whole_cycles(s: LaunchSketch, tiles: Tiles) -> float:
    """Cycles of one launch, whose groups of tiles each read all weights, on as many cores as there are groups."""
    costs, groups = s.target.costs, _groups(s, tiles)
    each = -(-tiles.count // groups)
    slot = each * _tile_bytes(s, tiles)
    moved = 2 * groups * slot * costs.memory_byte if slot > costs.kept_bytes else 0.0
    transforms = tiles.points * tiles.count * sum(_blocks(s)) * costs.transform
    total = _steps_cycles(s, tiles, each, groups) + transforms + moved
    return total * -(-groups // costs.cores) * costs.cores / groups


def _steps_cycles(s: LaunchSketch, tiles: Tiles, count: int, times: int) -> float:
    """Cycles of the products of ``count`` tiles and of reading their weights, so many times."""
    x_blocks, y_blocks = _blocks(s)
    lanes = s.target.lanes
    tiling = fit(s.target, 1, count, y_blocks)
    products = image_cycles(s.target, tiling, 1, count, y_blocks) * x_blocks * lanes
    weights = s.target.dtype.bytes * x_blocks * lanes * y_blocks * lanes
    return times * tiles.points * (products + weights * s.target.costs.weight_byte)


def _blocks(s: LaunchSketch) -> tuple[int, int]:
    """The channel blocks of input and output."""
    co, ci = s.core.weight.shape[:2]
    return -(-ci // s.target.lanes), -(-co // s.target.lanes)


def _tile_bytes(s: LaunchSketch, tiles: Tiles) -> int:
    """The bytes of a transformed tile of all channels, and of its products."""
    return tiles.points * sum(_blocks(s)) * s.target.lanes * s.target.dtype.bytes


def _three(s: LaunchSketch, tiles: Tiles) -> Sequence[Draft]:
    co, ci = s.core.weight.shape[:2]
    v = _scratch(s, "transformed", tiles, ci)
    m = _scratch(s, "products", tiles, co)
    return [_input(s, tiles, v), _products(s, tiles, v, m), _output(s, tiles, m)]


def _whole(s: LaunchSketch, tiles: Tiles) -> Sequence[Draft]:
    groups = _groups(s, tiles)
    part = LaunchSketch(s.node, s.target, s.layouts)
    c = s.target.lanes
    x, y = s.x.canonical(), s.y.canonical()
    ((top, _), (left, _)) = s.core.pads
    x_blocks, y_blocks = -(-x.shape[1] // c), -(-y.shape[1] // c)
    smallest, largest = tiles.count // groups, -(-tiles.count // groups)
    tiling = fit(s.target, 1, largest, y_blocks, longest=smallest)
    items = min(groups, s.target.costs.slots)
    scratch = f"{s.node.name}/slots"
    v_point = _apart(s.target, largest * x_blocks * c)
    # Whole wide vectors of products.
    m_packed = up(tiling.block_tile, 2 if s.target.wide else 1) * c
    y_tiles = -(-y_blocks // tiling.block_tile)
    m_point = _apart(s.target, largest * y_tiles * m_packed)
    slot = tiles.points * (v_point + m_point)
    s.scratch[scratch] = plain((items, slot), s.target.dtype)
    part.constant("bias", s.channels(s.core.bias, y.shape[1]))
    part.sizes.update(groups=groups, tiles=tiles.count, slot=slot, v_point=v_point, m_point=m_point)
    part.sizes.update(x_blocks=x_blocks, y_blocks=y_blocks, y_tiles=y_tiles)
    part.sizes.update(height=x.shape[2], width=x.shape[3], rows_out=y.shape[2], columns_out=y.shape[3])
    part.size("across", tiles.across)
    if tiles.batch > 1:
        part.size("down", tiles.down)
    preparation = _preparation(s, tiles, tiling)
    part.size("u_product", preparation.sizes["u_point"])
    description = kernels.WinogradGroups(
        lanes=c,
        tiling=tiling,
        tile=tiles.size,
        numbers=NUMBERS,
        m_packed=m_packed,
        first=(-top, -left),
        x=part.named(x, "x"),
        y=part.named(y, "y"),
        samples=tiles.batch > 1,
        prologue=part.prologue(),
        epilogue=part.epilogue(shared=True),
    )
    label, grid = f"winograd{tiles.size}{s.epilogue_label}", (items, 1, 1)
    return [part.draft(description, label, grid, prepared=preparation, scratch=scratch, winograd=tiles.size)]


def _scratch(s: LaunchSketch, what: str, tiles: Tiles, channels: int) -> str:
    """A tensor of the points' images, each [channels][tiles]."""
    name = f"{s.node.name}/{what}"
    layout = blocked((tiles.points, channels, 1, tiles.count), s.target.lanes, s.target.dtype)
    s.scratch[name] = replace(layout, strides=(_apart(s.target, layout.strides[0]), *layout.strides[1:]))
    return name


def _apart(target: Target, numbers: int) -> int:
    """The distance of points of a tile: at least so many numbers, so that the points spread over a whole cache.

    A cache has room for few lines at distances of multiples of 4096 bytes; an odd number of lines is never near one.
    """
    line = target.dtype.count(LINE_BYTES)
    return (-(-numbers // line) | 1) * line


def _input(s: LaunchSketch, tiles: Tiles, v: str) -> Draft:
    part = LaunchSketch(s.node, s.target, s.layouts)
    x, transformed = s.x.canonical(), s.scratch[v]
    ((top, _), (left, _)) = s.core.pads
    part.sizes.update(height=x.shape[2], width=x.shape[3], across=tiles.across)
    part.sizes.update(v_point=transformed.strides[0], v_block=transformed.strides[1])
    description = kernels.WinogradInput(
        lanes=s.target.lanes,
        tile=tiles.size,
        numbers=NUMBERS,
        first=(-top, -left),
        x=part.named(x, "x"),
        samples=tiles.batch > 1,
        prologue=part.prologue(),
    )
    grid = (tiles.down, x.blocks, tiles.batch)
    label = f"winograd{tiles.size}_input"
    return part.draft(description, label, grid, reads=s.node.inputs[:1], writes=v)


def _products(s: LaunchSketch, tiles: Tiles, v: str, m: str) -> Draft:
    part = LaunchSketch(s.node, s.target, s.layouts)
    c = s.target.lanes
    x, y = s.scratch[v], s.scratch[m]
    tiling = fit(s.target, 1, tiles.count, y.blocks)
    preparation = _preparation(s, tiles, tiling)
    y_tiles = -(-y.blocks // tiling.block_tile)
    part.sizes.update(x_blocks=x.blocks, x_block=x.strides[1], rows=1, x_row=0, columns=tiles.count, y_tiles=y_tiles)
    part.sizes.update(x_product=x.strides[0], u_product=preparation.sizes["u_point"], y_product=y.strides[0])
    part.sizes.update(y_block=y.strides[1], y_blocks=y.blocks)
    description = kernels.Pointwise(
        lanes=c,
        tiling=tiling,
        sink=sink((), Named((1,), (0, "y_block", 0, c), c)),  # one row of pixels, in channel blocks
        x_step=c,
        samples=False,
        products=True,
        prologue=(),
        gathered=False,
        staged_floats=0,
    )
    groups = pointwise.grid(s.target.costs, tiling, 1, tiles.count, y.blocks, x.blocks * c, tiles.points)
    label = f"products_{tiling.wide.row}x{tiling.block_tile * c}"
    return part.draft(description, label, groups, prepared=preparation, reads=(v,), writes=m)


def _preparation(s: LaunchSketch, tiles: Tiles, tiling: kernels.Tiling) -> Preparation:
    c = s.target.lanes
    tile = tiling.block_tile * c
    # [tiles of channels][Ci][3][3][tile]
    weight = np.moveaxis(packed(s.core.weight, c, tile), 3, 1)
    product = weight.size // 9
    return Preparation(
        what=f"the weights of F({tiles.size}x{tiles.size}, 3x3)",
        description=kernels.WinogradWeights(lanes=c, tile=tiles.size, numbers=NUMBERS, packed=tile),
        label=f"winograd{tiles.size}_weights_{tile}",
        sizes={"u_point": product},
        weight=s.target.dtype.rounded(weight).reshape(-1),
        # Behind the last channels of an odd number of blocks a wide vector reads on.
        count=tiles.points * product + c,
        grid=Grid((product // tile, 1, 1)),
    )


def _output(s: LaunchSketch, tiles: Tiles, m: str) -> Draft:
    part = LaunchSketch(s.node, s.target, s.layouts)
    c = s.target.lanes
    y, products = s.y.canonical(), s.scratch[m]
    blocks = -(-y.shape[1] // c)
    part.constant("bias", s.channels(s.core.bias, y.shape[1]))
    part.sizes.update(rows_out=y.shape[2], columns_out=y.shape[3], across=tiles.across)
    part.sizes.update(m_point=products.strides[0], m_block=products.strides[1])
    description = kernels.WinogradOutput(
        lanes=c,
        tile=tiles.size,
        numbers=NUMBERS,
        y=part.named(y, "y"),
        samples=tiles.batch > 1,
        epilogue=part.epilogue(shared=True),
    )
    label = f"winograd{tiles.size}_output{s.epilogue_label}"
    # The operands of the epilogue keep their names: r1 is the launch's second input.
    reads = (m, *s.node.inputs[1:])
    grid = (tiles.down, blocks, tiles.batch)
    return part.draft(description, label, grid, reads=reads, winograd=tiles.size)
