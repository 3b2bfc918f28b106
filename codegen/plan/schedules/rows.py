"""Kernels whose work-item makes one row of one channel block: pools, resizing, elementwise launches."""

from __future__ import annotations

import itertools
import math

import numpy as np

from codegen.graph.bounded import sum_block
from codegen.graph.ops import GlobalPool, Pool, Resize
from codegen.plan import kernels
from codegen.plan.plan import Draft
from codegen.plan.schedules import window
from codegen.plan.schedules.launch import LaunchSketch, by, size_label, volume, window_axes


def plan_pool(s: LaunchSketch) -> Draft:
    if window.pools(s):
        return window.plan_pool(s)
    op: Pool = s.core
    axes = window_axes(op, s.x)
    description = kernels.GeneralPool(
        **volume(s),
        kind=op.kind,
        p=float(op.p),
        axes=axes,
        count_include_pad=op.count_include_pad,
        sum_block=0 if op.kind == "max" else sum_block(math.prod(op.kernel)),
        prologue=s.prologue(),
        epilogue=s.epilogue(),
    )
    kernel = by(axis.kernel for axis in axes)
    return _rows(s, description, f"{op.kind}_pool{kernel}_s{axes[-1].stride}_{size_label(description.x)}")


def plan_global_pool(s: LaunchSketch) -> Draft:
    op: GlobalPool = s.core
    block = sum_block(math.prod(s.x.shape[2:])) if op.kind == "average" else 0
    description = kernels.GlobalPool(
        **volume(s, flat=True), kind=op.kind, sum_block=block, prologue=s.prologue(), epilogue=s.epilogue()
    )
    return _rows(s, description, f"global_{op.kind}_pool_{size_label(description.x)}")


def plan_resize(s: LaunchSketch) -> Draft:
    op: Resize = s.core
    taps = [op.taps(axis, n) for axis, n in enumerate(s.x.shape[2:])]
    counts = [t.index.shape[1] for t in taps]
    weighted, outside = op.mode != "nearest", not all(t.inside.all() for t in taps)
    s.constant("index", np.concatenate([t.index.reshape(-1) for t in taps]))
    if weighted:
        s.constant("weight", np.concatenate([t.weight.reshape(-1) for t in taps]))
    if outside:
        s.constant("inside", np.concatenate([t.inside for t in taps]))
    starts = itertools.accumulate((t.index.size for t in taps), initial=0)
    inside_starts = itertools.accumulate((len(t.inside) for t in taps), initial=0)
    axes = tuple(
        kernels.ResizeAxis(letter, count, start, inside_start)
        for letter, count, start, inside_start in zip("zyx"[-len(taps) :], counts, starts, inside_starts, strict=False)
    )
    description = kernels.Resize(
        **volume(s),
        mode=op.mode,
        axes=axes,
        weighted=weighted,
        sum_block=sum_block(math.prod(counts)),
        outside=float(op.outside) if outside else None,
        epilogue=s.epilogue(),
    )
    return _rows(s, description, f"{op.mode}_{size_label(s.x.canonical())}_to_{size_label(s.y.canonical())}")


def plan_map(s: LaunchSketch) -> Draft:
    # A smaller operand in first place is repeated, like any other.
    common = {**volume(s, flat=True), "x": s.x.repeated(s.y.shape).canonical()}
    prologue = s.prologue(count=s.y.canonical().shape[1])
    description = kernels.Map(**common, prologue=prologue, epilogue=s.epilogue())
    return _rows(s, description, f"map_{size_label(s.y.canonical())}")


def _rows(s: LaunchSketch, description: kernels.Volume, label: str) -> Draft:
    return s.draft(description, label, (1, description.y.shape[2], description.batch * description.blocks))
