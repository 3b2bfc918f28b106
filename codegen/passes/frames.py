"""Operators on tensors whose axes are in another arrangement.

A frame is a :class:`Move` from an operator's own arrangement of axes to another one.  An elementwise operator can be
computed in any frame that keeps the channel axis of its constants; an operator that works along an axis needs that axis
to stay one axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from codegen.graph.bounded import Array
from codegen.graph.ops import (
    Activation,
    Affine,
    Binary,
    Concat,
    Conv,
    Dense,
    Divide,
    GlobalPool,
    Op,
    Pad,
    PRelu,
    Reduce,
    RunningSum,
    Select,
    Shape,
    Softmax,
    Take,
    Top,
)
from codegen.passes.moves import Move


@dataclass(frozen=True)
class Carried:
    """An operator rewritten for a frame: ``operands`` and ``result`` are the frames of its inputs and its output."""

    op: Op
    operands: tuple[Move, ...]
    result: Move


def takes_frames(op: Op) -> bool:
    """True if the operator can be computed in some frame other than its own."""
    return type(op) in _RULES and (not isinstance(op, Conv) or op.pointwise)


def frame_shape(shapes: Sequence[Shape], result: Shape) -> Shape:
    """The shape that an operator's frame starts from: the output's if inputs are broadcast, else the input's."""
    return result if len(shapes) > 1 else shapes[0]


def carried(op: Op, frame: Move, shapes: Sequence[Shape], result: Shape) -> Carried | None:
    """The operator rewritten for this frame; None if it cannot be computed there."""
    moved = _RULES[type(op)](op, frame)
    if len(shapes) > 1:
        operands = tuple(o for o in map(frame.resized, shapes) if o is not None)
        return None if moved is None or len(operands) < len(shapes) else Carried(moved, operands, frame)
    after = frame if result == shapes[0] else frame.resized(result)
    return None if moved is None or after is None else Carried(moved, (frame,), after)


def reordered_dense(op: Dense, move: Move) -> Dense | None:
    """The dense layer with its weight columns reordered, so that it reads the input of ``move`` instead of the output.

    None if the move mixes samples.
    """
    x, y = move.source, move.shape
    if len(x) < 2 or x[0] != y[0] or (x[0] > 1 and move.axis(0) != 0):
        return None
    one = move.resized((1, *x[1:]))
    if one is None:
        return None
    places: Array = np.arange(math.prod(x[1:]), dtype=np.float64).reshape(one.source)
    for step in one.steps():
        places = step.reference(places)
    weight = np.empty_like(op.weight)
    weight[:, places.reshape(-1).astype(np.int64)] = op.weight
    return replace(op, weight=weight)


# One rule for each operator: the operator in the frame, or None ------------------------------------------


def _elementwise(op: Op, frame: Move) -> Op | None:
    return op


def _along_channels(key: str) -> Callable[[Any, Move], Op | None]:
    """An operator with constants per channel; if all its constants are equal, it fits every frame."""

    def rule(op: Any, frame: Move) -> Op | None:
        values: dict[str, Array] = {name: getattr(op, name) for name in key.split()}
        fitting: Op = op
        if frame.axis(1) != 1:
            if len(frame.shape) < 2 or any((v != v[0]).any() for v in values.values()):
                return None
            fitting = replace(op, **{name: np.full(frame.shape[1], v[0]) for name, v in values.items()})
        return fitting

    return rule


def _along_axis(op: Any, frame: Move) -> Op | None:
    axis = frame.axis(op.axis)
    return None if axis is None else replace(op, axis=axis)


def _reduce(op: Reduce, frame: Move) -> Op | None:
    axes = frame.axes(op.axes)
    return replace(op, axes=axes) if axes else None


def _pad(op: Pad, frame: Move) -> Op | None:
    pads = _by_axis(frame, op.pads, [(0, 0)] * len(op.pads), [(0, 0)] * len(frame.shape))
    return None if pads is None else replace(op, pads=tuple(pads))


def _select(op: Select, frame: Move) -> Op | None:
    chosen = list(zip(op.starts, op.steps, op.counts, strict=True))
    found = _by_axis(frame, chosen, [(0, 1, n) for n in frame.source], [(0, 1, n) for n in frame.shape])
    if found is None:
        return None
    starts, steps, counts = zip(*found, strict=True)
    return Select(starts, steps, counts)


def _by_axis(frame: Move, values: Sequence[Any], idle: Sequence[Any], there: list[Any]) -> list[Any] | None:
    """An operator's attribute per axis, rearranged for the frame's axes; ``idle`` is the value for untouched axes."""
    for a, (value, nothing) in enumerate(zip(values, idle, strict=True)):
        if value != nothing:
            axis = frame.axis(a)
            if axis is None:
                return None
            there[axis] = value
    return there


def _pointwise(op: Conv, frame: Move) -> Op | None:
    space = len(frame.shape) - 2
    if not op.pointwise or not _keeps_images(frame):
        return None
    ones = (1,) * space
    weight = op.weight.reshape(*op.weight.shape[:2], *ones)
    return Conv(weight, op.bias, ones, ones, ((0, 0),) * space, 1)


def _global_pool(op: GlobalPool, frame: Move) -> Op | None:
    return op if _keeps_images(frame) else None


def _keeps_images(frame: Move) -> bool:
    """True if batch and channels stay the first axes, and pixels only change places within their image."""
    return len(frame.shape) >= 3 and all(
        frame.axis(a) == a or (frame.source[a] == 1 and frame.shape[a] == 1) for a in (0, 1)
    )


_RULES: Mapping[type[Op], Callable[[Any, Move], Op | None]] = {
    Activation: _elementwise,
    Affine: _along_channels("scale shift"),
    Binary: _elementwise,
    Concat: _along_axis,
    Conv: _pointwise,
    Divide: _along_channels("divisor"),
    GlobalPool: _global_pool,
    PRelu: _along_channels("slope"),
    Pad: _pad,
    Reduce: _reduce,
    RunningSum: _along_axis,
    Select: _select,
    Softmax: _along_axis,
    Take: _along_axis,
    Top: _along_axis,
}
