"""Evaluation of an operator piece by piece, so that temporary memory does not grow with the image.

For example, a convolution's reference multiplies a matrix that holds each input element once per tap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array
from codegen.graph.ops.op import Box, Op, Shape, whole

Apply = Callable[[Op, Sequence[Array]], Array]
"""A function that computes an operator's output from its inputs, in float64."""

PIECE = 2**19
"""Elements of a piece, counted in its input or output, whichever has more channels."""

STEP = 4
"""Pieces start at multiples of this along each spatial axis, so that they never cut a Winograd tile."""


def reference(op: Op, inputs: Sequence[Array]) -> Array:
    """The output in float64."""
    return op.reference(*inputs)


def slices(box: Box) -> tuple[slice, ...]:
    """The box as an index of an array."""
    return tuple(slice(start, stop) for start, stop in box)


def in_pieces(op: Op, inputs: Sequence[NDArray[Any]], apply: Apply = reference) -> Array:
    """The operator's whole output, from inputs of any floating-point type."""
    shapes = [x.shape for x in inputs]
    shape = op.infer(*shapes)
    boxes = list(pieces(shape, shapes))
    if len(boxes) == 1:
        return apply(op, [_float64(x) for x in inputs])
    y = np.empty(shape)
    for box in boxes:
        part = op.for_box(box, *shapes)
        if part is None:
            return apply(op, [_float64(x) for x in inputs])
        y[slices(box)] = apply(part.op, [_float64(x[slices(read)]) for x, read in zip(inputs, part.boxes, strict=True)])
    return y


def pieces(shape: Shape, inputs: Sequence[Shape]) -> Iterator[Box]:
    """Boxes that make up an output of this shape, each of PIECE elements or fewer unless STEP rows are more.

    All boxes cover axis 1 whole.
    """
    if len(shape) < 3:
        yield whole(shape)
        return
    room = PIECE // max(x[1] for x in (shape, *inputs) if len(x) > 1)
    if math.prod(shape) <= room * shape[1]:
        yield whole(shape)
        return
    steps = list(shape)
    for axis in reversed([0, *range(2, len(shape))]):
        least = min(shape[axis], STEP if axis else 1)
        steps[axis] = min(shape[axis], max(room // least * least, least))
        room //= steps[axis]
    ranges = (range(0, n, step) for n, step in zip(shape, steps, strict=True))
    for starts in itertools.product(*ranges):
        yield tuple((start, min(start + step, n)) for start, step, n in zip(starts, steps, shape, strict=True))


def _float64(x: NDArray[Any]) -> Array:
    return np.asarray(x, dtype=np.float64)
