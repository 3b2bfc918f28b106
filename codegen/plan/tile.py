"""The one choice of register tiles, by their cost in cycles."""

from __future__ import annotations

import numpy as np

from codegen.graph.bounded import Array
from codegen.plan.kernels import Tile, Tiling
from codegen.plan.target import Costs, Target, Vectors


def cycles(costs: Costs, registers: Vectors, tiles: int, tile: Tile) -> float:
    """Cycles for one input channel of so many tiles of pixels, all passes.

    The first tile waits for its weights to come from memory, and little else can be done meanwhile.
    """
    row, vectors = tile.row, tile.vectors
    work = max(row * vectors * costs.multiply_add, (row + vectors) * registers.load)
    each = max(work, costs.tile_latency) + costs.loop + vectors * costs.weight_vector
    return tile.passes * (max(each, vectors * costs.far_vector) + (tiles - 1) * each)


def fit(
    target: Target,
    rows: int,
    columns: int,
    blocks: int,
    *,
    longest: int | None = None,
    whole: bool = False,
    inputs_in_registers: bool = False,
) -> Tiling:
    """The cheapest tiles, of up to ``longest`` pixels, for an image with ``blocks`` channel blocks.

    With ``whole`` all tiles have equally many blocks: no tile may span two groups.
    """
    sizes = [n for n in range(1, min(blocks, target.costs.blocks) + 1) if not (whole and blocks % n)]
    return min((_both(target, rows, columns, blocks, n, longest, inputs_in_registers) for n in sizes), key=_first)[1]


def image_cycles(target: Target, tiling: Tiling, rows: int, columns: int, blocks: int) -> float:
    """Cycles for one input channel of an image with ``blocks`` channel blocks: the mean of both widths of vector."""
    total = 0.0
    widths = [(target.narrow, tiling.narrow)] + ([(target.wide, tiling.wide)] if target.wide else [])
    for registers, tile in widths:
        # A vector of the one width is as much work as two of the other.
        share = registers.floats / sum(r.floats for r, _ in widths)
        total += share * cycles(target.costs, registers, rows * -(-columns // tile.row), tile)
    return total * -(-blocks // tiling.block_tile)


def padded(target: Target, tiling: Tiling, values: Array) -> Array:
    """Weights with room after them: with an odd number of blocks, the last wide vector is loaded only half full."""
    behind = target.lanes if target.wide and tiling.block_tile % 2 else 0
    return np.pad(values.reshape(-1), (0, behind))


def _first(choice: tuple[float, Tiling]) -> float:
    return choice[0]


def _both(
    target: Target,
    rows: int,
    columns: int,
    blocks: int,
    block_tile: int,
    longest: int | None,
    inputs_in_registers: bool,
) -> tuple[float, Tiling]:
    """The best tiles of so many blocks at both widths of vector, and their cost."""
    costs = target.costs

    def best(registers: Vectors, one_pass: bool) -> tuple[float, Tile]:
        needed = -(-block_tile // (registers.floats // target.lanes))
        found = [
            (cycles(costs, registers, rows * -(-columns // row), tile), tile)
            for vectors in range(1, needed + 1)
            if needed % vectors == 0 and not (one_pass and needed > vectors)
            for row in range(1, min(registers.most_pixels(vectors), columns, longest or columns) + 1)
            for tile in [Tile(row, vectors, needed // vectors)]
            if not inputs_in_registers or (row + 1) * (vectors + 1) <= registers.registers
        ]
        return min(found, key=lambda choice: choice[0])

    narrow_cost, narrow = best(target.narrow, one_pass=False)
    # Weights are read without gaps only in a single pass.
    wide_cost, wide = best(target.wide, one_pass=True) if target.wide else (narrow_cost, narrow)
    # A vector of the one width is as much work as two of the other.
    total = -(-blocks // block_tile) * (2 * wide_cost + narrow_cost)
    return total * (1 + costs.small_tile / block_tile), Tiling(block_tile, wide, narrow)
