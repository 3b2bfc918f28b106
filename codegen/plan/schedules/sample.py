"""Sampling at places of a grid: a work-item makes one row of one channel block."""

from __future__ import annotations

from codegen.graph.ops import GridSample
from codegen.plan import kernels
from codegen.plan.layout import plain
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, size_label, volume

_TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}


def plan_sample(s: LaunchSketch) -> Draft:
    op: GridSample = s.core
    x, y = s.x.canonical(), s.y.canonical()
    if op.grid is None:
        grid = s.layouts[s.node.inputs[1]]
    else:
        s.constant("grid", op.grid)
        grid = plain(op.grid.shape)
    space = s.x.shape[2:]
    axes = tuple(
        kernels.SampleAxis(
            letter,
            # A place is (x, y, z), counted from the innermost axis on.
            component=len(space) - 1 - k,
            size=n,
            low=0.0 if op.align_corners else -0.5,
            high=n - 1.0 if op.align_corners else n - 0.5,
            span=n - 1.0 if op.align_corners else float(n),
        )
        for k, (letter, n) in enumerate(zip("zyx"[-len(space) :], space, strict=True))
    )
    description = kernels.Sample(
        **volume(s),
        grid=grid,
        constant=op.grid is not None,
        axes=axes,
        mode=op.mode,
        taps=_TAPS[op.mode],
        border=op.border,
        align_corners=op.align_corners,
        epilogue=s.epilogue(),
    )
    label = f"sample_{op.mode}_{op.border}_{size_label(x)}_to_{size_label(y)}"
    return s.draft(description, label, (1, y.shape[2], description.batch * description.blocks))
