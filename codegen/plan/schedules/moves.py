"""Kernels that go element by element over any number of axes: transposing, padding, joining, softmax.

A work-item walks the last axis; the axes before it are one index, taken apart by division.
"""

from __future__ import annotations

import math
from typing import Any

from codegen.graph.bounded import sum_block
from codegen.graph.ops import Concat, Convert, Identity, Pad, Reduce, RunningSum, Select, Softmax, Take, Top, Transpose
from codegen.graph.types import CL_TYPES
from codegen.plan.layout import Layout, plain
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, scaled


def plan_reorder(s: LaunchSketch) -> Draft:
    """Copy, reshape, transpose, select, take and pad: each output element is one input element, or a constant."""
    op, x, y = s.core, s.x, s.y
    names = _names("i", len(y.shape))
    kind, value, sources = "copy", 0.0, list(names)
    inside: list[str] = []
    table: dict[str, Any] | None = None
    if isinstance(op, Take):
        kind, table = "take", {"axis": op.axis, "name": s.constant("index", op.index)}
    elif isinstance(op, Transpose):
        sources = [names[op.axes.index(a)] for a in range(len(names))]
    elif isinstance(op, Select):
        kind = "select"
        sources = [
            _selected(name, *axis) for name, *axis in zip(names, op.starts, op.steps, op.counts, x.shape, strict=True)
        ]
    elif isinstance(op, Pad):
        kind, value = "pad", op.value
        sources = [_padded(op.mode, name, pair, n) for name, pair, n in zip(names, op.pads, x.shape, strict=True)]
        if op.mode == "constant":
            for axis, (first, behind) in enumerate(op.pads):
                inside += [f"j{axis} >= 0"] * (first > 0) + [f"j{axis} < {x.shape[axis]}"] * (behind > 0)
    elif isinstance(op, Identity):
        x = x.repeated(y.shape)
    elif x.shape != y.shape:
        kind = "reshape"
    variables = {
        "x": x,
        "y": y,
        "rows": plain(y.shape),
        "dims": _dims(y),
        "kind": kind,
        "value": value,
        "sources": sources,
        "inside": inside,
        "table": table,
        "filled": _filled(y),
        "prologue": s.prologue(vector=False),
        "to_names": names,
        "from_names": _names("j", len(x.shape)),
        "epilogue": s.epilogue(_same, vector=False),
    }
    return s.draft("reorder.cl.jinja", f"{kind}_{_label(x)}_to_{_label(y)}", variables, _grid(y))


def _selected(name: str, start: int, step: int, count: int, size: int) -> str:
    index = scaled(name, step, start) if step else str(start)
    first, last = start, start + step * (count - 1)
    if min(first, last) >= 0 and max(first, last) < size:
        return index
    around = -(min(first, last) // size) * size  # C's remainder of a negative number is negative
    return f"({scaled(name, step, start + around)}) % {size}"


def _padded(mode: str, name: str, pair: tuple[int, int], size: int) -> str:
    index = scaled(name, 1, -pair[0])
    if pair == (0, 0) or mode == "constant":
        return index
    if mode == "edge":
        return f"clamp({index}, 0, {size - 1})"
    if mode == "wrap":
        return f"({scaled(name, 1, size - pair[0])}) % {size}"
    return f"{size - 1} - abs((int)({size - 1} - abs({index})))"


def plan_convert(s: LaunchSketch) -> Draft:
    """Converts each element between an input's or output's type and float32, and puts it in order on the way."""
    op: Convert = s.core
    variables = {
        "x": s.x,
        "y": s.y,
        "dims": _dims(s.y),
        "source": op.source,
        "target": op.target,
        "filled": _filled(s.y),
        "names": _names("i", len(s.y.shape)),
        "epilogue": s.epilogue(_same, vector=False),
    }
    label, x_type, y_type = f"{op.title}_{_label(s.y)}", CL_TYPES[op.source], CL_TYPES[op.target]
    return s.draft("convert.cl.jinja", label, variables, _grid(s.y), x_type=x_type, y_type=y_type)


def plan_reduce(s: LaunchSketch) -> Draft:
    op: Reduce = s.core
    names = _names("i", len(s.x.shape))
    # Every axis that goes is a loop of the work-item.
    kept = tuple(1 if a in op.axes else n for a, n in enumerate(s.x.shape))
    terms = math.prod(s.x.shape[a] for a in op.axes)
    variables = {
        "x": s.x,
        "y": s.y,
        "kind": op.kind,
        "dims": kept,
        "loops": [{"name": names[a], "count": s.x.shape[a]} for a in sorted(op.axes)],
        "terms": terms,
        "sum_block": sum_block(terms) if op.kind in ("sum", "mean") else 0,
        "names": names,
        "kept": [a for a in range(len(names)) if a not in op.axes],
        "prologue": s.prologue(vector=False),
        "epilogue": s.epilogue(_same, vector=False),
        "to_names": tuple("0" if a in op.axes else name for a, name in enumerate(names)),
    }
    return s.draft("reduce.cl.jinja", f"reduce_{op.kind}_{_label(s.x)}", variables, (math.prod(kept), 1, 1))


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
        "sum_block": sum_block(s.y.shape[op.axis]),
        "names": _names("i", len(others)),
        "epilogue": s.epilogue(_same, vector=False),
    }
    return s.draft("softmax.cl.jinja", f"softmax_{_label(s.y)}", variables, (math.prod(others), 1, 1))


def plan_running_sum(s: LaunchSketch) -> Draft:
    op: RunningSum = s.core
    others = tuple(1 if a == op.axis else n for a, n in enumerate(s.y.shape))
    count = s.y.shape[op.axis]
    variables = {
        "x": s.x,
        "y": s.y,
        "dims": others,
        "axis": op.axis,
        "count": count,
        "exclusive": op.exclusive,
        "reverse": op.reverse,
        "sum_block": sum_block(count),
        "names": _names("i", len(others)),
        "epilogue": s.epilogue(_same, vector=False),
    }
    return s.draft("running_sum.cl.jinja", f"running_sum_{_label(s.y)}", variables, (math.prod(others), 1, 1))


def plan_top(s: LaunchSketch) -> Draft:
    op: Top = s.core
    others = tuple(1 if a == op.axis else n for a, n in enumerate(s.y.shape))
    names = _names("i", len(others))
    variables = {
        "x": s.x,
        "y": s.y,
        "dims": others,
        "axis": op.axis,
        "size": s.x.shape[op.axis],
        "count": op.count,
        "largest": op.largest,
        "last": op.last,
        "part": op.part,
        "nan_last": op.nan_last,
        "names": names,
        "from_names": tuple("j" if a == op.axis else name for a, name in enumerate(names)),
        "epilogue": s.epilogue(_same, vector=False),
    }
    label = f"{s.core.title}_{_label(s.x)}"
    return s.draft("top.cl.jinja", label, variables, (math.prod(others), 1, 1))


def plan_matmul(s: LaunchSketch) -> Draft:
    a, b = s.x, s.layouts[s.node.inputs[1]]
    names = _names("i", len(s.y.shape))
    before = s.y.shape[:-2]
    variables = {
        "x": a.repeated((*before, *a.shape[-2:])),
        "b": b.repeated((*before, *b.shape[-2:])),
        "y": s.y,
        "dims": _dims(s.y),
        "terms": a.shape[-1],
        "sum_block": sum_block(a.shape[-1]),
        "names": names,
        "row_names": (*names[:-1], "k"),
        "column_names": (*names[:-2], "k", names[-1]),
        "epilogue": s.epilogue(_same, vector=False),
    }
    label = f"matmul_{_label(a)}_by_{_label(b)}"
    return s.draft("matmul.cl.jinja", label, variables, _grid(s.y))


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
