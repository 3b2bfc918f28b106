"""Products of computed matrices by the micro-kernel: rows of the first matrix are its pixels, columns its channels.

A work-item computes a run of tiles of rows times some columns of one product.  Where private memory is cached, it
copies its columns of the second matrix there, once for the run: they may lie anywhere in memory, even transposed.
"""

from __future__ import annotations

import math

from codegen.graph.bounded import sum_block
from codegen.plan.kernels import MatMul
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, by
from codegen.plan.schedules.pointwise import grid
from codegen.plan.tile import fit


def plan_matmul(s: LaunchSketch) -> Draft:
    a, b = s.x, s.layouts[s.node.inputs[1]]
    *before, rows, columns = s.y.shape
    count, terms = math.prod(before), a.shape[-1]
    blocks = -(-columns // s.target.lanes)
    tiling = fit(s.target, 1, rows, blocks)
    # A wide vector may reach beyond an odd number of blocks.
    staged = s.target.cached_private and (tiling.block_tile + 1) * s.target.lanes * terms <= s.most_staged
    runs, y_tiles, _ = grid(s.target.costs, tiling, 1, rows, blocks, terms, count)
    if staged and s.target.work_items is not None:
        # Long runs share the copy of their columns, as long as all cores have work.
        runs = min(runs, -(-s.target.work_items // (y_tiles * count)))
    description = MatMul(
        lanes=s.target.lanes,
        tiling=tiling,
        x=a.repeated((*before, *a.shape[-2:])),
        b=b.repeated((*before, *b.shape[-2:])),
        y=s.y,
        dims=s.y.shape,
        terms=terms,
        sum_block=sum_block(terms),
        staged=staged,
        epilogue=s.epilogue(lambda layout: layout, vector=False),
    )
    return s.draft(description, f"matmul_{by(a.shape)}_by_{by(b.shape)}", (runs, y_tiles, count))
