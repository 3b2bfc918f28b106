"""The one choice of register tiles, by their cost in cycles."""

from __future__ import annotations

from collections.abc import Sequence

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
    tiles = (tiling.wide, tiling.narrow) if target.wide else (tiling.narrow,)
    each = [
        cycles(target.costs, registers, rows * -(-columns // tile.row), tile)
        for registers, tile in zip(target.vectors, tiles, strict=True)
    ]
    return _mean(target, each) * -(-blocks // tiling.block_tile)


def padded(target: Target, tiling: Tiling, values: Array) -> Array:
    """Weights with room after them: with an odd number of blocks, the last wide vector is loaded only half full."""
    behind = target.lanes if target.wide and tiling.block_tile % 2 else 0
    return np.pad(values.reshape(-1), (0, behind))


def _mean(target: Target, each: Sequence[float]) -> float:
    """The mean of what each width of vector, the widest first, takes; wide vectors count by the work that they do."""
    floats = [registers.floats for registers in target.vectors]
    return sum(n * cost for n, cost in zip(floats, each, strict=True)) / sum(floats)


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
        fitting = [
            (cycles(costs, registers, rows * -(-columns // row), tile), tile)
            for vectors in range(1, needed + 1)
            if needed % vectors == 0 and not (one_pass and needed > vectors)
            for row in range(1, min(registers.most_pixels(vectors), columns, longest or columns) + 1)
            for tile in [Tile(row, vectors, needed // vectors)]
            if not inputs_in_registers or (row + 1) * (vectors + 1) <= registers.registers
        ]
        return min(fitting, key=lambda choice: choice[0])

    # Wide weights are read without gaps only in a single pass.
    found = [best(registers, one_pass=registers is target.wide) for registers in target.vectors]
    total = -(-blocks // block_tile) * _mean(target, [cost for cost, _ in found])
    return total * (1 + costs.small_tile / block_tile), Tiling(block_tile, found[0][1], found[-1][1])
