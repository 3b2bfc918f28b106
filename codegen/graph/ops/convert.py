"""Conversion of number types, between a float32 network and its typed inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape, require
from codegen.graph.types import FLOAT32, TYPES, from_float32, is_whole, to_float32

HALF_UNIT = 2.0**-11
"""The unit roundoff of float16, whose smallest number is 2^-24."""


@dataclass(frozen=True, eq=False)
class Convert(Op):
    """Converts elements from type ``source`` to ``target``, one of which is float32, the network's own type.

    An input's numbers are rounded to float32: integers beyond 2^24 and most float64 numbers change.  Results are
    converted as :func:`codegen.graph.types.from_float32` does.
    """

    source: str
    target: str

    takes_epilogue = True

    def __post_init__(self) -> None:
        known = self.source in TYPES and self.target in TYPES
        require(known and (self.source == FLOAT32) != (self.target == FLOAT32), f"no conversion {self.title}")

    @property
    def elementwise(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"{self.source}_to_{self.target}"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        rounded = to_float32(x)
        return np.asarray(rounded if self.target == FLOAT32 else from_float32(rounded, self.target), dtype=np.float64)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        """The converted error of the input; the conversion itself is exact, or correctly rounded like the reference."""
        (x,) = inputs
        if self.target == FLOAT32 or not is_whole(self.target):
            unit = HALF_UNIT if self.target == "float16" else 2.0**-24
            error = np.where(x.error == 0, 0.0, x.error + 2 * unit * (np.abs(x.value) + x.error) + rounding.tiny)
            if self.target == "float16":
                error = np.where(x.error == 0, 0.0, error + 2.0**-24)
                near = np.abs(x.value) + x.error >= 65520.0  # 65520 and above round to infinity in float16
                error = np.where((x.error > 0) & near, np.inf, error)
            return error
        moved = np.zeros_like(y)
        for end in (x.value - x.error, x.value + x.error):
            moved = np.fmax(moved, np.abs(self.reference(end) - y))
        if self.target == "bool":  # both signs of a nonzero number are true
            moved = np.where((x.error > 0) & (np.abs(x.value) <= x.error), 1.0, moved)
        return moved
