"""Arithmetic on two tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape, require

FUNCTIONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": np.power,
    "fmod": np.fmod,
    "prelu": lambda x, slope: np.where(x < 0, x * slope, x),
    "mask": lambda x, condition: np.where(condition != 0, x, 0.0),
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}
"""Comparisons give 1 for true and 0 for false."""

COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal")


@dataclass(frozen=True, eq=False)
class Binary(Op):
    """``kind`` is a key of FUNCTIONS; axes of size 1 broadcast."""

    kind: str

    takes_prologue = True
    takes_epilogue = True

    def __post_init__(self) -> None:
        require(self.kind in FUNCTIONS, f"unknown binary operator {self.kind!r}")

    @property
    def elementwise(self) -> bool:
        return True

    @property
    def finite(self) -> bool:
        return self.kind not in ("div", "pow", "fmod")

    @property
    def jumps(self) -> bool:
        return self.kind in (*COMPARISONS, "fmod", "mask")

    @property
    def title(self) -> str:
        return self.kind

    def infer(self, *shapes: Shape) -> Shape:
        a, b = shapes
        require(
            len(a) == len(b) and all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=True)),
            f"inputs {list(a)} and {list(b)} should have the same shape, or 1 where an axis is to be repeated",
        )
        return tuple(max(m, n) for m, n in zip(a, b, strict=True))

    def reference(self, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):  # division by zero is infinity on the device too
            return np.asarray(FUNCTIONS[self.kind](*inputs), dtype=np.float64)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        a, b = inputs
        if self.kind == "mul":
            propagated = np.abs(a.value) * b.error + np.abs(b.value) * a.error + a.error * b.error
        elif self.kind == "prelu":
            steepness = np.fmax(np.abs(b.value) + b.error, 1.0)
            propagated = steepness * a.error + np.where(a.value - a.error < 0, np.abs(a.value) * b.error, 0.0)
        elif self.kind in ("div", "pow"):
            propagated = self._at_corners(y, a, b)
        elif self.kind in ("min", "max"):
            return np.fmax(a.error, b.error) + rounding.tiny
        elif self.kind in (*COMPARISONS, "mask", "fmod"):
            return self._at_jumps(a, b, rounding) + rounding.tiny
        else:
            propagated = a.error + b.error
        # OpenCL's division is off by 2.5 ulp, its pow by 16.
        ulps = {"div": 8, "pow": 40}.get(self.kind, 2)
        rounded = np.where(np.isfinite(y), np.abs(y) + propagated, 0.0)
        return propagated + rounding.gamma(ulps) * rounded + rounding.tiny

    def _at_jumps(self, a: Bounded, b: Bounded, rounding: Rounding) -> Array:
        """The error bound of a function with jumps: 0 unless errors or flushing can carry operands across a jump."""
        exact = (a.error == 0) & (b.error == 0)
        if self.kind == "fmod":  # a remainder is always smaller than the divisor
            return np.where(exact, 0.0, 2 * b.magnitude)
        if self.kind == "mask":
            exact = (b.error == 0) & ((b.value == 0) | np.isnan(b.value))
            certain = (np.abs(b.value) > b.error + rounding.tiny) | exact
            return np.where(certain, np.where(b.value != 0, a.error, 0.0), a.magnitude)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            apart = np.abs(a.value - b.value) > a.error + b.error + rounding.tiny
        nan = np.isnan(a.value) | np.isnan(b.value)
        return np.where(apart | (exact & (nan | (a.value == b.value))), 0.0, 1.0)

    def _at_corners(self, y: Array, a: Bounded, b: Bounded) -> Array:
        """The error bound of pow and div, monotone in each argument on either side of zero: extremes are at corners."""
        moved = np.zeros_like(y)
        for x in (a.value - a.error, a.value + a.error):
            for z in (b.value - b.error, b.value + b.error):
                with np.errstate(all="ignore"):
                    difference = np.abs(self.reference(x, z) - y)
                moved = np.fmax(moved, np.where(np.isnan(difference), np.inf, difference))
        exact = (a.error == 0) & (b.error == 0)
        pivot = b if self.kind == "div" else a
        certain = np.abs(pivot.value) > pivot.error
        return np.where(exact, 0.0, np.where(certain, moved, np.inf))
