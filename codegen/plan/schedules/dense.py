"""Fully connected layers: a work-item computes a tile of samples times vectors of outputs, by the micro-kernel.

A sample is read in the order in which it lies in memory, the padding lanes of its channel blocks included: these are
zeros, and so are their weights.
"""

from __future__ import annotations

import numpy as np

from codegen.graph import ops
from codegen.graph.bounded import sum_block
from codegen.plan.kernels import Dense, Tile, Tiling
from codegen.plan.layout import Layout, up
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, sink
from codegen.plan.target import Target
from codegen.plan.tile import padded

BLOCKS = 4  # of outputs that a work-item computes: enough sums that none waits for its own last multiply-add
SAMPLES = 2  # that a tile has at most: on 16 registers, their sums leave room for the weights


def plan_dense(s: LaunchSketch) -> Draft:
    op: ops.Dense = s.core
    c = s.target.lanes
    batch, outputs = s.y.shape
    places = _places(s.x)
    inputs, blocks = int(places.max()) + 1, -(-outputs // c)
    tiling = choose_tiling(s.target, batch, blocks)
    tile = tiling.block_tile * c
    weight = np.zeros((up(outputs, tile), inputs))
    weight[:outputs, places.reshape(-1)] = op.weight
    s.constant("weight", padded(s.target, tiling, weight.reshape(-1, tile, inputs).transpose(0, 2, 1)))
    s.constant("bias", padded(s.target, tiling, s.channels(op.bias, up(outputs, tile))))

    def spread(values: np.ndarray, filling: float) -> np.ndarray:
        spread_out = np.full(inputs, filling)
        spread_out[places] = values.reshape((-1, *(1,) * (len(s.x.shape) - 2)))
        return spread_out

    y_tiles = -(-blocks // tiling.block_tile)
    description = Dense(
        lanes=c,
        tiling=tiling,
        x_stride=s.x.strides[0],
        inputs=inputs,
        sum_block=sum_block(inputs),
        blocks=blocks,
        y_tiles=y_tiles,
        batch=batch,
        prologue=s.prologue(spread, vector=False),
        sink=sink(s.epilogue(), s.y.canonical()),
    )
    grid = (y_tiles, -(-batch // tiling.narrow.row), 1)
    return s.draft(description, f"dense_{inputs}_to_{outputs}", grid)


def choose_tiling(target: Target, batch: int, blocks: int) -> Tiling:
    """A tile of samples and outputs, in one pass at both widths of vector, so that weights are read in one stream."""
    tiles = -(-blocks // BLOCKS) if target.cached_private else blocks
    block_tile = -(-blocks // tiles)
    row = min(SAMPLES, batch)
    narrow = Tile(row, block_tile, 1)
    return Tiling(block_tile, Tile(row, -(-block_tile // 2), 1) if target.wide else narrow, narrow)


def _places(x: Layout) -> np.ndarray:
    """The offset of each element of a sample, in floats; only padding lanes are between them."""
    places: np.ndarray = x.offsets()[0]
    filled = x.blocks * x.block * int(np.prod(x.shape[2:]))
    assert np.unique(places).size == places.size and places.max() < filled, x
    return places
