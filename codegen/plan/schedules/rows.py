"""Kernels whose work-item makes one row of one channel block: pools, resizing, elementwise launches."""

from __future__ import annotations

from typing import Any

import numpy as np

from codegen.graph.ops import GlobalPool, Pool, Resize
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, by, size_label, volume, window_axes


def plan_pool(s: LaunchSketch) -> Draft:
    op: Pool = s.core
    axes = window_axes(op, s.x)
    variables = {
        **_common(s),
        **volume(s.x, s.y),
        "kind": op.kind,
        "p": float(op.p),
        "axes": axes,
        "count_include_pad": op.count_include_pad,
        "prologue": s.prologue(),
    }
    kernel = by(axis["kernel"] for axis in axes)
    label = f"{op.kind}_pool{kernel}_s{axes[-1]['stride']}_{size_label(s.x.canonical())}"
    return _rows(s, "pool.cl.jinja", label, variables)


def plan_global_pool(s: LaunchSketch) -> Draft:
    op: GlobalPool = s.core
    variables = {**_common(s), "kind": op.kind, "prologue": s.prologue()}
    return _rows(s, "global_pool.cl.jinja", f"global_{op.kind}_pool_{size_label(s.x.canonical())}", variables)


def plan_resize(s: LaunchSketch) -> Draft:
    op: Resize = s.core
    rows, columns = (op.taps(axis, n) for axis, n in enumerate(s.x.shape[2:]))
    s.constant("index", np.concatenate([rows.index.reshape(-1), columns.index.reshape(-1)]))
    if op.mode != "nearest":
        s.constant("weight", np.concatenate([rows.weight.reshape(-1), columns.weight.reshape(-1)]))
    variables = {**_common(s), "mode": op.mode, "taps": rows.index.shape[1]}
    label = f"{op.mode}_{size_label(s.x.canonical())}_to_{size_label(s.y.canonical())}"
    return _rows(s, "resize.cl.jinja", label, variables)


def plan_map(s: LaunchSketch) -> Draft:
    # A smaller operand in first place is repeated, like any other.
    x = s.x.repeated(s.y.shape).canonical()
    variables = {**_common(s), "x": x, "prologue": s.prologue(count=s.y.shape[1])}
    return _rows(s, "map.cl.jinja", f"map_{size_label(s.y.canonical())}", variables)


def _common(s: LaunchSketch) -> dict[str, Any]:
    y = s.y.canonical()
    return {"x": s.x.canonical(), "y": y, "batch": y.shape[0], "blocks": -(-y.shape[1] // s.target.lanes)}


def _rows(s: LaunchSketch, template: str, label: str, variables: dict[str, Any]) -> Draft:
    batch, _, height, _ = variables["y"].shape
    return s.draft(template, label, {**variables, "epilogue": s.epilogue()}, (1, height, batch * variables["blocks"]))
