"""Kernels that go element by element over any number of axes: transposing, padding, joining, softmax.

A work-item walks the last axis; the axes before it are one index, taken apart by division.
"""

from __future__ import annotations

import math

from codegen.graph.ops import Concat, Pad, Softmax, Transpose
from codegen.plan.layout import Layout, plain
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch


def plan_reorder(s: LaunchSketch) -> Draft:
    """Copy, reshape, transpose and pad: each output element is one input element, or a constant."""
    op, x, y = s.core, s.x, s.y
    rank = len(y.shape)
    kind, axes, before, value = "copy", tuple(range(rank)), (0,) * rank, 0.0
    inside = [f"i1 < {y.shape[1]}"] if _filled(y) else []
    if isinstance(op, Transpose):
        axes = tuple(op.axes.index(a) for a in range(rank))
    elif isinstance(op, Pad):
        kind, before, value = "pad", tuple(b for b, _ in op.pads), op.value
        for axis, (first, behind) in enumerate(op.pads):
            inside += [f"j{axis} >= 0"] * (first > 0) + [f"j{axis} < {x.shape[axis]}"] * (behind > 0)
    elif x.shape != y.shape:
        kind = "reshape"
    variables = {
        "x": x,
        "y": y,
        "rows": plain(y.shape),
        "dims": _dims(y),
        "source": {"kind": kind, "axes": axes, "before": before, "value": value},
        "inside": inside,
        "to_names": _names("i", rank),
        "from_names": _names("j", len(x.shape)),
        "epilogue": s.epilogue(_same),
    }
    return s.draft("reorder.cl.jinja", f"{kind}_{_label(x)}_to_{_label(y)}", variables, _grid(y))


def plan_concat(s: LaunchSketch) -> Draft:
    op: Concat = s.core
    names = _names("i", len(s.y.shape))
    parts, start = [], 0
    for k, name in enumerate(s.node.inputs):
        layout = s.layouts[name]
        coordinates = list(names)
        if start:
            coordinates[op.axis] = f"{names[op.axis]} - {start}"
        start += layout.shape[op.axis]
        parts.append({"pointer": s.operand_name(k), "layout": layout, "coordinates": tuple(coordinates), "stop": start})
    variables = {
        "y": s.y,
        "dims": _dims(s.y),
        "axis": op.axis,
        "parts": parts,
        "to_names": names,
        "guard": f"i1 < {s.y.shape[1]}" if _filled(s.y) and op.axis != 1 else "",
    }
    return s.draft("concat.cl.jinja", f"concat{len(parts)}_{_label(s.y)}", variables, _grid(s.y))


def plan_softmax(s: LaunchSketch) -> Draft:
    op: Softmax = s.core
    others = tuple(1 if a == op.axis else n for a, n in enumerate(s.y.shape))
    variables = {
        "x": s.x,
        "y": s.y,
        "dims": others,
        "axis": op.axis,
        "count": s.y.shape[op.axis],
        "names": _names("i", len(others)),
        "epilogue": s.epilogue(_same),
    }
    return s.draft("softmax.cl.jinja", f"softmax_{_label(s.y)}", variables, (math.prod(others), 1, 1))


def _same(layout: Layout) -> Layout:
    return layout


def _names(prefix: str, rank: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{axis}" for axis in range(rank))


def _filled(y: Layout) -> bool:
    """Whether the last block has lanes behind the last channel."""
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
