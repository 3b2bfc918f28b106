"""Kernels that go element by element over any number of axes: transposing, padding, joining, softmax.

A work-item walks the last axis; the axes before it are one index, taken apart by division.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from codegen.graph.bounded import sum_block
from codegen.graph.ops import Concat, Convert, Identity, Pad, Reduce, RunningSum, Select, Softmax, Take, Top, Transpose
from codegen.plan import kernels
from codegen.plan.layout import Layout
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch


def plan_reorder(s: LaunchSketch) -> Draft:
    """Copy, reshape, transpose, select, take, pad and convert: an output element is an input element, or a constant."""
    op, x, y = s.core, s.x, s.y
    axes = range(len(y.shape))
    kind, value = "copy", 0.0
    indices: tuple[kernels.Index, ...] | None = tuple(kernels.SameIndex(axis) for axis in axes)
    if isinstance(op, Take):
        kind, table = "take", s.constant("index", op.index)
        indices = tuple(kernels.TableIndex(a, table) if a == op.axis else kernels.SameIndex(a) for a in axes)
    elif isinstance(op, Transpose):
        indices = tuple(kernels.SameIndex(op.axes.index(axis)) for axis in axes)
    elif isinstance(op, Select):
        kind = "select"
        indices = tuple(
            kernels.SelectedIndex(*numbers)
            for numbers in zip(axes, op.starts, op.steps, op.counts, x.shape, strict=True)
        )
    elif isinstance(op, Pad):
        kind, value = "pad", op.value
        indices = tuple(
            kernels.PaddedIndex(axis, op.mode, *pair, n) for axis, pair, n in zip(axes, op.pads, x.shape, strict=True)
        )
    elif isinstance(op, Convert):
        kind = "convert"
    elif isinstance(op, Identity):
        x = x.repeated(y.shape)
    elif x.shape != y.shape:
        kind, indices = "reshape", None
    description = kernels.Reorder(
        lanes=s.target.lanes,
        x=x,
        y=y,
        dims=_dims(y),
        kind=kind,
        value=value,
        indices=indices,
        filled=_filled(y),
        prologue=s.prologue(vector=False),
        epilogue=s.epilogue(_same, vector=False),
    )
    what = op.title if kind == "convert" else f"{kind}_{_label(x)}_to"
    return s.draft(description, f"{what}_{_label(y)}", _grid(y))


def plan_reduce(s: LaunchSketch) -> Draft:
    op: Reduce = s.core
    # Every axis that goes is a loop of the work-item.
    kept = tuple(1 if a in op.axes else n for a, n in enumerate(s.x.shape))
    terms = math.prod(s.x.shape[a] for a in op.axes)
    description = kernels.Reduce(
        **_elements(s, kept),
        kind=op.kind,
        axes=tuple(sorted(op.axes)),
        terms=terms,
        sum_block=sum_block(terms) if op.kind in ("sum", "mean") else 0,
        prologue=s.prologue(vector=False),
        epilogue=s.epilogue(_same, vector=False),
    )
    return s.draft(description, f"reduce_{op.kind}_{_label(s.x)}", (math.prod(kept), 1, 1))


def plan_concat(s: LaunchSketch) -> Draft:
    op: Concat = s.core
    layouts = [s.layouts[name] for name in s.node.inputs]
    stops = [*itertools.accumulate(layout.shape[op.axis] for layout in layouts)]
    description = kernels.Concat(
        lanes=s.target.lanes,
        y=s.y,
        dims=_dims(s.y),
        axis=op.axis,
        parts=tuple(
            kernels.Part(s.operand_name(k), layout, -start, stop)
            for k, (layout, start, stop) in enumerate(zip(layouts, [0, *stops], stops, strict=False))
        ),
        channels=s.y.shape[1] if _filled(s.y) and op.axis != 1 else None,
    )
    return s.draft(description, f"concat{len(layouts)}_{_label(s.y)}", _grid(s.y))


def plan_softmax(s: LaunchSketch) -> Draft:
    op: Softmax = s.core
    count = s.y.shape[op.axis]
    return _along(s, kernels.Softmax, f"softmax_{_label(s.y)}", count=count, sum_block=sum_block(count))


def plan_running_sum(s: LaunchSketch) -> Draft:
    op: RunningSum = s.core
    count = s.y.shape[op.axis]
    own = {"count": count, "exclusive": op.exclusive, "reverse": op.reverse, "sum_block": sum_block(count)}
    return _along(s, kernels.RunningSum, f"running_sum_{_label(s.y)}", **own)


def plan_top(s: LaunchSketch) -> Draft:
    op: Top = s.core
    own = {"count": op.count, "largest": op.largest, "last": op.last, "part": op.part, "nan_last": op.nan_last}
    return _along(s, kernels.Top, f"{op.title}_{_label(s.x)}", size=s.x.shape[op.axis], **own)


def _along(s: LaunchSketch, kernel: type[kernels.AlongAxis], label: str, **own: Any) -> Draft:
    """A launch of a kernel along the operator's axis, with fields of its own."""
    axis = s.core.axis
    dims = tuple(1 if a == axis else n for a, n in enumerate(s.y.shape))
    description = kernel(**_elements(s, dims), axis=axis, epilogue=s.epilogue(_same, vector=False), **own)
    return s.draft(description, label, (math.prod(dims), 1, 1))


def _elements(s: LaunchSketch, dims: tuple[int, ...]) -> dict[str, Any]:
    """The fields of :class:`codegen.plan.kernels.Elements` but the epilogue."""
    return {"lanes": s.target.lanes, "x": s.x, "y": s.y, "dims": dims}


def _same(layout: Layout) -> Layout:
    return layout


def _filled(y: Layout) -> bool:
    """True if the last block has padding lanes."""
    return y.block > 1 and y.shape[1] % y.block != 0


def _dims(y: Layout) -> tuple[int, ...]:
    """The axes to walk: channels up to the end of the last block, whose filling is written too."""
    dims = list(y.shape)
    if y.block > 1:
        dims[1] = y.blocks * y.block
    return tuple(dims)


def _grid(y: Layout) -> tuple[int, int, int]:
    return (math.prod(_dims(y)[:-1]), 1, 1)


def _label(layout: Layout) -> str:
    return "x".join(map(str, layout.shape))
