"""Kernels whose work-item makes one row of one channel block: pools, resizing, elementwise launches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from codegen.graph.bounded import sum_block
from codegen.graph.ops import GlobalPool, Pool, Resize
from codegen.graph.ops.resize import Taps
from codegen.plan.plan import Draft
from codegen.plan.schedules import pool
from codegen.plan.schedules.launch import LaunchSketch, by, size_label, volume, window_axes

# Most taps of one output element that are unrolled: bicubic's 4x4.
UNROLLED_TAPS = 16


def plan_pool(s: LaunchSketch) -> Draft:
    if pool.takes(s):
        return pool.plan_pool(s)
    op: Pool = s.core
    axes = window_axes(op, s.x)
    variables = {
        **_common(s),
        **volume(s.x, s.y),
        "kind": op.kind,
        "p": float(op.p),
        "axes": axes,
        "count_include_pad": op.count_include_pad,
        "sum_block": 0 if op.kind == "max" else sum_block(math.prod(op.kernel)),
        "prologue": s.prologue(),
    }
    kernel = by(axis["kernel"] for axis in axes)
    label = f"{op.kind}_pool{kernel}_s{axes[-1]['stride']}_{size_label(s.x.canonical())}"
    return _rows(s, "pool_general.cl.jinja", label, variables)


def plan_global_pool(s: LaunchSketch) -> Draft:
    op: GlobalPool = s.core
    block = sum_block(math.prod(s.x.shape[2:])) if op.kind == "average" else 0
    variables = {**_common(s), "kind": op.kind, "sum_block": block, "prologue": s.prologue()}
    return _rows(s, "global_pool.cl.jinja", f"global_{op.kind}_pool_{size_label(s.x.canonical())}", variables)


def plan_resize(s: LaunchSketch) -> Draft:
    op: Resize = s.core
    taps = [op.taps(axis, n) for axis, n in enumerate(s.x.shape[2:])]
    if len(taps) == 1:
        taps.insert(0, Taps(np.zeros((1, 1), np.int64), np.ones((1, 1)), np.ones(1, bool)))
    s.constant("index", np.concatenate([t.index.reshape(-1) for t in taps]))
    variables = {**_common(s), **volume(s.x, s.y), "mode": op.mode}
    label = f"{op.mode}_{size_label(s.x.canonical())}_to_{size_label(s.y.canonical())}"
    counts = [t.index.shape[1] for t in taps]
    outside = not all(t.inside.all() for t in taps)
    if op.mode != "nearest" or outside or len(taps) > 2:
        s.constant("weight", np.concatenate([t.weight.reshape(-1) for t in taps]))
    if len(taps) == 2 and math.prod(counts) <= UNROLLED_TAPS and not outside:
        variables |= {"row_taps": counts[0], "column_taps": counts[1]}
        return _rows(s, "resize.cl.jinja", label, variables)
    starts = np.cumsum([0, *(t.index.size for t in taps)])
    variables["axes"] = [
        {"o": f"o{letter}", "i": f"i{letter}", "t": f"t{letter}", "w": f"w{letter}", "taps": count, "at": int(start)}
        for letter, count, start in zip("zyx"[-len(taps) :], counts, starts, strict=False)
    ]
    variables["sum_block"] = sum_block(math.prod(counts))
    variables["outside"] = None
    if outside:
        s.constant("inside", np.concatenate([t.inside for t in taps]))
        variables["outside"] = float(op.outside)
        for axis, start in zip(variables["axes"], np.cumsum([0, *(len(t.inside) for t in taps)]), strict=False):
            axis["inside_at"] = int(start)
    return _rows(s, "resize_general.cl.jinja", label, variables)


def plan_map(s: LaunchSketch) -> Draft:
    # A smaller operand in first place is repeated, like any other.
    x = s.x.repeated(s.y.shape).canonical()
    variables = {**_common(s), "x": x, "prologue": s.prologue(count=s.y.canonical().shape[1])}
    return _rows(s, "map.cl.jinja", f"map_{size_label(s.y.canonical())}", variables)


def _common(s: LaunchSketch) -> dict[str, Any]:
    y = s.y.canonical()
    return {"x": s.x.canonical(), "y": y, "batch": y.shape[0], "blocks": -(-y.shape[1] // s.target.lanes)}


def _rows(s: LaunchSketch, template: str, label: str, variables: dict[str, Any]) -> Draft:
    batch, _, height, _ = variables["y"].shape
    return s.draft(template, label, {**variables, "epilogue": s.epilogue()}, (1, height, batch * variables["blocks"]))
