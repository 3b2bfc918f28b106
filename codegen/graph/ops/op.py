"""The interface of all operators."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array, Bounded, Rounding, settled

Shape = tuple[int, ...]

Box = tuple[tuple[int, int], ...]
"""A part of a tensor: (start, stop) along each axis."""


PADDING = "<padding>"  # placeholder of the padding in messages of ShapeError


class ShapeError(ValueError):
    """An operator cannot be applied to inputs of these shapes, or with these attributes.

    PADDING in ``message`` stands for ``pads``, a (before, after) pair for each axis.
    """

    def __init__(self, message: str, pads: tuple[tuple[int, int], ...] = ()) -> None:
        super().__init__(message)
        self._message = message
        self._pads = pads

    def __str__(self) -> str:
        return self.with_padding(str([list(pair) for pair in self._pads]))

    def with_padding(self, written: str) -> str:
        """The message with the padding in the user's notation, such as 1 or "same"."""
        return self._message.replace(PADDING, written)


class Op(ABC):
    """An operator with its attributes and parameters: immutable, independent of any graph.

    Activations are in the order batch, channels, space (NCHW); parameters are float64 arrays that are never modified.

    The traits say what passes and plan may do with an operator, whatever its class is.  The defaults are safe: nothing
    is fused with an operator that says nothing, and its multiply-adds are not counted.
    """

    is_map: ClassVar[bool] = False
    """True if the operator can be fused into another one's launch, which applies it to each element of one tensor."""

    takes_prologue: ClassVar[bool] = False
    """True if the operator's launch can apply maps to the elements that it reads."""

    takes_epilogue: ClassVar[bool] = False
    """True if the operator's launch can apply maps and binary operators to the elements that it makes.

    False also for operators that often need no launch, because what they make is a view of what they read.
    """

    row_major: ClassVar[bool] = False
    """True if the operator's kernels make row-major tensors only: they do not write the padding lanes of blocks."""

    rearranges: ClassVar[bool] = False
    """True if the output has exactly the input's elements, in another order or shape."""

    scales_channels: ClassVar[bool] = False
    """True if the operator is a scale and a shift for each channel, so that a neighbour's weights can take it."""

    @abstractmethod
    def infer(self, *shapes: Shape) -> Shape:
        """The output's shape; raises :class:`ShapeError` if the inputs' shapes do not fit."""

    @abstractmethod
    def reference(self, *inputs: Array) -> Array:
        """The output in float64, computed from the operator's definition."""

    @abstractmethod
    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        """The largest error of an implementation in this arithmetic, for result ``y`` and inputs with these errors."""

    def bounded(self, *inputs: Bounded, rounding: Rounding) -> Bounded:
        """The reference and its bound.  Infinity or NaN of one element does not affect the bounds of other elements."""
        with np.errstate(all="ignore"):  # infinity less infinity, and the like
            y = self.reference(*(x.value for x in inputs))
            read = tuple(x.flushed(rounding) for x in inputs)
            return settled(y, self.bound(y, read, rounding), rounding)

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        """The operator for a box of the output and boxes of inputs of these shapes; None if it needs the whole inputs.

        The box always covers axis 1 whole: only pixels of an image are left out.
        """
        if not self.elementwise:
            return None
        return Part(self, tuple(broadcast_box(box, shape) for shape in shapes))

    @property
    def elementwise(self) -> bool:
        """True if each output element depends only on the same element of the inputs, and on its channel."""
        return False

    @property
    def finite(self) -> bool:
        """True if finite inputs of moderate size always give finite outputs.

        If not, the padding lanes after the last channel of a block could become infinite or NaN and spoil sums.
        """
        return True

    @property
    def jumps(self) -> bool:
        """True if the function is discontinuous, so that a rounding error of the input can change the output much."""
        return False

    def multiply_adds(self, *shapes: Shape) -> int:
        """The multiply-adds of the operator's definition for inputs of these shapes, padding included."""
        return 0

    def of_channels(self, start: int, stop: int) -> Op:
        """The operator for a tensor that has only the channels from ``start`` to before ``stop``.

        Only maps have one: their callers ask ``is_map`` first, and another operator here is a fault of theirs.
        """
        raise NotImplementedError(f"{self.title} is no map")

    def arrays(self) -> Iterator[Array]:
        """The arrays among the operator's parameters, those of operators that are fused into it included."""
        yield from _arrays(self)

    @property
    def title(self) -> str:
        """The operator's name in reports, in the field's words."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()


def _arrays(value: object) -> Iterator[Array]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _arrays(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _arrays(getattr(value, field.name))


@dataclass(frozen=True, eq=False)
class Part:
    """An operator for a part of another's output: it reads these boxes of the other's inputs."""

    op: Op
    boxes: tuple[Box, ...]


def whole(shape: Shape) -> Box:
    """The box that is all of a tensor."""
    return tuple((0, n) for n in shape)


def extents(box: Box) -> Shape:
    """The shape of a box."""
    return tuple(stop - start for start, stop in box)


def broadcast_box(box: Box, shape: Shape) -> Box:
    """The box of an operand that an elementwise operator reads for a box of its output, axes of size 1 broadcast."""
    return tuple((0, 1) if n == 1 else part for part, n in zip(box, shape, strict=True))


def frozen(array: NDArray[Any]) -> Array:
    """A read-only float64 copy: parameters are shared between operators and never changed."""
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def require(condition: bool, message: str, pads: tuple[tuple[int, int], ...] = ()) -> None:
    """Raises :class:`ShapeError` with the message and the padding that it mentions, unless the condition holds."""
    if not condition:
        raise ShapeError(message, pads)
