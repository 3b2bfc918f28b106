"""Operators that move elements without arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import PADDING, Box, Op, Part, Shape, extents, require
from codegen.graph.ops.window import Ints, Pads, input_box


class _Move(Op):
    """Base of operators whose elements keep their value, so that the error moves with the element."""

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        return self.reference(*(x.error for x in inputs)) + rounding.tiny


@dataclass(frozen=True, eq=False)
class Reshape(_Move):
    """The same elements in row-major order; ``shape`` is the whole new shape, batch included."""

    shape: Ints

    row_major = True
    rearranges = True

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(
            math.prod(x) == math.prod(self.shape),
            f"input {list(x)} has {math.prod(x)} elements, but shape {list(self.shape)} has {math.prod(self.shape)}",
        )
        return self.shape

    def reference(self, *inputs: Array) -> Array:
        return inputs[0].reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Transpose(_Move):
    """Output axis i is input axis ``axes[i]``."""

    axes: Ints

    takes_epilogue = True
    rearranges = True

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(
            sorted(self.axes) == list(range(len(x))),
            f"axes {list(self.axes)} should name each of the {len(x)} axes of input {list(x)} once",
        )
        return tuple(x[a] for a in self.axes)

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        return Part(self, (tuple(box[self.axes.index(a)] for a in range(len(box))),))

    def reference(self, *inputs: Array) -> Array:
        return inputs[0].transpose(self.axes)


@dataclass(frozen=True, eq=False)
class Select(_Move):
    """Picks elements ``start + step * i``, i below ``count``, along each axis, modulo its size.

    This covers slices (steps may be negative), repetitions of the whole tensor (step 1, count a multiple of the size)
    and repetitions of single elements (step 0).
    """

    starts: Ints
    steps: Ints
    counts: Ints

    takes_epilogue = True

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(
            len(self.starts) == len(self.steps) == len(self.counts) == len(x),
            f"starts, steps and counts should have a number for each of the {len(x)} axes of input {list(x)}",
        )
        require(
            all(0 <= s < n for s, n in zip(self.starts, x, strict=True)),
            f"starts {list(self.starts)} should lie inside input {list(x)}",
        )
        require(min(self.counts) >= 1, f"counts {list(self.counts)} should be at least 1")
        return self.counts

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        space, starts = [], []
        for n, start, step, (low, high) in zip(shapes[0], self.starts, self.steps, box, strict=True):
            first, last = start + step * low, start + step * (high - 1)
            below, above = min(first, last), max(first, last)
            inside = below >= 0 and above < n
            space.append((below, above + 1) if inside else (0, n))
            starts.append(first - below if inside else first % n)
        return Part(Select(tuple(starts), self.steps, extents(box)), (tuple(space),))

    def reference(self, *inputs: Array) -> Array:
        (y,) = inputs
        for axis, (start, step, count) in enumerate(zip(self.starts, self.steps, self.counts, strict=True)):
            y = np.take(y, (start + step * np.arange(count)) % y.shape[axis], axis=axis)
        return y


@dataclass(frozen=True, eq=False)
class Take(_Move):
    """Picks the elements at ``index``, a list of whole numbers, along ``axis``."""

    axis: int
    index: Array

    takes_epilogue = True

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(0 <= self.axis < len(x), f"axis {self.axis} should be below the {len(x)} axes of input {list(x)}")
        require(self.index.ndim == 1 and self.index.size > 0, f"index {list(self.index.shape)} should be a list")
        require(
            bool(((self.index >= 0) & (self.index < x[self.axis]) & (self.index == np.floor(self.index))).all()),
            f"index should be whole numbers from 0 to {x[self.axis] - 1} along axis {self.axis} of input {list(x)}",
        )
        return (*x[: self.axis], self.index.size, *x[self.axis + 1 :])

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        (x,), (low, high) = shapes, box[self.axis]
        read = (*box[: self.axis], (0, x[self.axis]), *box[self.axis + 1 :])
        return Part(Take(self.axis, self.index[low:high]), (read,))

    def reference(self, *inputs: Array) -> Array:
        return np.take(inputs[0], self.index.astype(np.int64), axis=self.axis)


@dataclass(frozen=True, eq=False)
class TakeChannels(_Move):
    """Gathers channels of several tensors: output channel i is channel ``places[i][1]`` of input ``places[i][0]``."""

    places: tuple[tuple[int, int], ...]

    takes_epilogue = True

    def infer(self, *shapes: Shape) -> Shape:
        first = shapes[0]
        require(
            all(len(s) == len(first) >= 2 and s[:1] + s[2:] == first[:1] + first[2:] for s in shapes),
            f"inputs {[list(s) for s in shapes]} should differ in their channels only",
        )
        require(
            all(0 <= source < len(shapes) and 0 <= c < shapes[source][1] for source, c in self.places),
            "places should name channels that are there",
        )
        return (first[0], len(self.places), *first[2:])

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        return Part(self, tuple((box[0], (0, shape[1]), *box[2:]) for shape in shapes))

    def reference(self, *inputs: Array) -> Array:
        return np.stack([inputs[source][:, c] for source, c in self.places], axis=1)


PAD_MODES = ("constant", "edge", "reflect", "wrap")


@dataclass(frozen=True, eq=False)
class Pad(_Move):
    """Adds elements around the input: ``pads`` is (before, after) of every axis, batch included.

    ``mode`` is "constant" (adds ``value``), "edge", "reflect" (a mirror image without the edge), or "wrap".
    """

    pads: Pads
    value: float = 0.0
    mode: str = "constant"

    takes_epilogue = True

    @property
    def finite(self) -> bool:
        return self.mode != "constant" or bool(np.isfinite(self.value))

    def __post_init__(self) -> None:
        require(self.mode in PAD_MODES, f"unknown mode {self.mode!r}")

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(
            len(self.pads) == len(x),
            f"padding {PADDING} should have a pair for each axis of input {list(x)}",
            self.pads,
        )
        fewest = min(p for pair in self.pads for p in pair)
        require(fewest >= 0, f"padding {PADDING} should not be negative", self.pads)
        if self.mode in ("reflect", "wrap"):
            most = 1 if self.mode == "reflect" else 0
            require(
                all(max(pair) <= n - most for pair, n in zip(self.pads, x, strict=True)),
                f"padding {PADDING} should not exceed the input {list(x)}, less {most}, in mode {self.mode}",
                self.pads,
            )
        return tuple(n + before + after for n, (before, after) in zip(x, self.pads, strict=True))

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        ones = (1,) * len(box)
        found = input_box(box, shapes[0], ones, ones, ones, self.pads)
        if found is None or self.mode != "constant":
            return None
        return Part(Pad(found[1], self.value), (found[0],))

    def reference(self, *inputs: Array) -> Array:
        if self.mode == "constant":
            return np.pad(inputs[0], self.pads, constant_values=self.value)
        y: Array = np.pad(inputs[0], self.pads, mode=self.mode)  # type: ignore[call-overload]
        return y

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        if self.mode != "constant":
            return self.reference(inputs[0].error) + rounding.tiny
        around = rounding.unit * abs(self.value) if np.isfinite(self.value) else 0.0
        error = np.pad(inputs[0].error, self.pads, constant_values=around)
        return error + rounding.tiny


@dataclass(frozen=True, eq=False)
class Concat(_Move):
    """Concatenation of the inputs along ``axis``."""

    axis: int

    def infer(self, *shapes: Shape) -> Shape:
        first = shapes[0]
        require(
            0 <= self.axis < len(first),
            f"axis {self.axis} should be below the {len(first)} axes of {list(first)}",
        )
        for other in shapes[1:]:
            require(
                len(other) == len(first)
                and all(m == n for a, (m, n) in enumerate(zip(first, other, strict=True)) if a != self.axis),
                f"inputs {list(first)} and {list(other)} should differ along axis {self.axis} only",
            )
        return (*first[: self.axis], sum(s[self.axis] for s in shapes), *first[self.axis + 1 :])

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        if box[self.axis] != (0, sum(shape[self.axis] for shape in shapes)):
            return None
        a = self.axis
        return Part(self, tuple((*box[:a], (0, shape[a]), *box[a + 1 :]) for shape in shapes))

    def reference(self, *inputs: Array) -> Array:
        return np.concatenate(inputs, axis=self.axis)


@dataclass(frozen=True, eq=False)
class Identity(_Move):
    """The input itself: the core of launches that are purely elementwise."""

    takes_prologue = True
    takes_epilogue = True

    def infer(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        return Part(self, (box,))

    def reference(self, *inputs: Array) -> Array:
        return inputs[0]
