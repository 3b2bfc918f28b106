"""What every operator says of itself."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array, Bounded, Rounding, settled

Shape = tuple[int, ...]


PADDING = "<padding>"  # in a message of ShapeError: the padding's value


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
        """The message with the padding as the user wrote it, such as 1 or "same"."""
        return self._message.replace(PADDING, written)


class Op(ABC):
    """An operator with its attributes and parameters: immutable, independent of any graph.

    Activations are laid out batch, channels, then space (NCHW); parameters are float64 arrays that nobody writes to.
    """

    @abstractmethod
    def infer(self, *shapes: Shape) -> Shape:
        """The output's shape; raises :class:`ShapeError` where the inputs' shapes do not fit."""

    @abstractmethod
    def reference(self, *inputs: Array) -> Array:
        """The output in float64, computed from the operator's definition."""

    @abstractmethod
    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        """How far an implementation in this arithmetic may be from ``y``, given inputs with these errors."""

    def bounded(self, *inputs: Bounded, rounding: Rounding) -> Bounded:
        """The reference and its bound together.  No element's infinity or NaN has a part in another element's bound."""
        with np.errstate(all="ignore"):  # infinity less infinity, and the like
            y = self.reference(*(x.value for x in inputs))
            read = tuple(x.flushed(rounding) for x in inputs)
            return settled(y, self.bound(y, read, rounding), rounding)

    @property
    def elementwise(self) -> bool:
        """Whether the output element depends on the same element of the inputs only, and on its channel."""
        return False

    @property
    def finite(self) -> bool:
        """Whether finite inputs of moderate size always give finite outputs.

        Where not, the filling behind the last channel of a block could become infinity or NaN, and poison sums.
        """
        return True

    @property
    def title(self) -> str:
        """The operator's name in reports, in the field's words."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()


def frozen(array: NDArray[Any]) -> Array:
    """A float64 copy that cannot be written to: parameters are shared between operators and never changed."""
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def require(condition: bool, message: str, pads: tuple[tuple[int, int], ...] = ()) -> None:
    """Raises :class:`ShapeError` with the message, and the padding that it mentions, unless the condition holds."""
    if not condition:
        raise ShapeError(message, pads)
