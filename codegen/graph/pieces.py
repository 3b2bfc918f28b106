"""An operator's output piece by piece, so that what is needed on the way does not grow with the image.

A convolution's reference, say, multiplies a matrix that has each input element once for every tap.
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
"""What computes an operator's output from its inputs, in float64."""

PIECE = 2**19
"""Elements of a piece, of its input or output, whichever has more channels."""

STEP = 4
"""Pieces start at multiples of this along each axis of space: at a tile of Winograd's, of which no piece has a part."""


def reference(op: Op, inputs: Sequence[Array]) -> Array:
    """The output in float64."""
    return op.reference(*inputs)


def slices(box: Box) -> tuple[slice, ...]:
    """The box as an index of an array."""
    return tuple(slice(start, stop) for start, stop in box)


def in_pieces(op: Op, inputs: Sequence[NDArray[Any]], apply: Apply = reference) -> Array:
    """The operator's whole output, from inputs of any type of floating-point numbers."""
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
    """Boxes of PIECE elements or fewer, if STEP rows are not more, that make up an output of this shape.

    All are whole along axis 1.
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
