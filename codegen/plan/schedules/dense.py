"""Fully connected layers: a work-item computes a tile of samples times vectors of outputs, by the micro-kernel.

A sample is read in the order in which it lies in memory, without the padding lanes of its channel blocks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from codegen.graph import ops
from codegen.graph.bounded import Array, sum_block
from codegen.plan.kernels import Dense, Tile, Tiling
from codegen.plan.layout import Layout, up
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, sink
from codegen.plan.target import Target
from codegen.plan.tile import padded


def plan_dense(s: LaunchSketch) -> Draft:
    op: ops.Dense = s.core
    c = s.target.lanes
    batch, outputs = s.y.shape
    sample = s.x.offsets()[0].reshape(-1)
    order = np.argsort(sample)
    inputs, blocks = sample.size, -(-outputs // c)
    whole, lanes = _gaps(s.x)
    assert np.array_equal(sample[order], _places(np.arange(inputs), whole, lanes, c)), s.x
    tiling = choose_tiling(s.target, batch, blocks)
    tile = tiling.block_tile * c
    weight = np.zeros((up(outputs, tile), inputs))
    weight[:outputs] = op.weight[:, order]
    s.constant("weight", padded(s.target, tiling, weight.reshape(-1, tile, inputs).transpose(0, 2, 1)))
    s.constant("bias", padded(s.target, tiling, s.channels(op.bias, up(outputs, tile))))

    def spread(values: Array, filling: float) -> Array:
        shape = (-1, *(1,) * (len(s.x.shape) - 2))
        per_element: Array = np.broadcast_to(values.reshape(shape), s.x.shape[1:]).reshape(-1)[order]
        return per_element

    y_tiles = -(-blocks // tiling.block_tile)
    description = Dense(
        lanes=c,
        tiling=tiling,
        x_stride=s.x.strides[0],
        inputs=inputs,
        whole=whole,
        gap_lanes=lanes,
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
    """A tile of samples and outputs, in one pass at both widths of vector, so that weights are read in one stream.

    Tiles have as many blocks as fit, of those sizes that need the fewest blocks in all: all weights are stored.
    """
    samples = target.costs.samples
    most = min(target.narrow.most_vectors(samples), blocks) if target.cached_private else 1
    block_tile = min(range(most, 0, -1), key=lambda size: -(-blocks // size) * size)
    row = min(samples, batch)
    narrow = Tile(row, block_tile, 1)
    return Tiling(block_tile, Tile(row, -(-block_tile // 2), 1) if target.wide else narrow, narrow)


def _gaps(x: Layout) -> tuple[int, int]:
    """The inputs before the first padding lane, and the lanes of each block from there on that are inputs.

    (0, 0) if there are no padding lanes between inputs.
    """
    channels, pixels = x.shape[1], math.prod(x.shape[2:])
    lanes = channels % x.block
    return (0, 0) if lanes == 0 or pixels == 1 else ((channels - lanes) * pixels, lanes)


def _places(index: NDArray[np.int64], whole: int, lanes: int, block: int) -> NDArray[np.int64]:
    """The offsets of inputs of these indices, in floats: the template prints the same."""
    if lanes == 0:
        return index
    rest = index - whole
    return np.where(index < whole, index, whole + rest // lanes * block + rest % lanes)
