"""A value with a bound on its error: what the reference says a device may be off by.

The model of rounding is the standard one (Higham, *Accuracy and Stability of Numerical Algorithms*, section 2.2 and
3.1): every operation returns ``(a op b)(1 + d)`` with ``|d| <= u``, and a sum of n terms in any order, fused
multiply-adds or not, is off by at most ``gamma_n = n u / (1 - n u)`` times the sum of the terms' absolute values.
A term that goes through fewer additions is off by less: kernels add long sums in two levels, see :func:`additions`.
Results below the smallest normal number may be flushed to zero, which OpenCL allows.

Infinity and NaN are ordinary values: if the exact result is infinite or NaN because an input is, a device has to return
the same (error 0).  If intermediate results of finite numbers may exceed the arithmetic's range, the error is infinite:
a device may return anything there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHORT_SUM = 64  # terms


def sum_block(terms: int) -> int:
    """The number of terms that kernels add up before they add the result to the total; 0 for one plain sum.

    It is a power of two near the square root of the number of terms, so that rounding errors grow like that root.
    """
    return 0 if terms <= SHORT_SUM else 2 ** math.ceil(math.log2(terms) / 2)


def additions(terms: int) -> int:
    """The most additions that a term of a sum goes through: those of its block, then one for each later block."""
    block = sum_block(terms)
    return block + -(-terms // block) if block else terms


@dataclass(frozen=True)
class Rounding:
    """An arithmetic: its unit roundoff u, its smallest normal number, its largest finite number."""

    unit: float
    tiny: float
    largest: float

    def gamma(self, operations: int) -> float:
        """Bound on the relative error of a chain of this many operations."""
        return operations * self.unit / (1 - operations * self.unit)

    def sum_error(self, operations: int, sums: Array) -> Array:
        """Bound on the error of sums that take this many operations; ``sums`` are the sums of absolute values of terms.

        The bound is infinite where partial sums may exceed the range.  ``sums`` must leave out infinite and NaN terms.
        """
        return np.where(sums > self.largest, np.inf, self.gamma(operations) * sums)


FLOAT32 = Rounding(2.0**-24, 2.0**-126, float(np.finfo(np.float32).max))
FLOAT64 = Rounding(2.0**-53, 2.0**-1022, float(np.finfo(np.float64).max))
ROUNDINGS: Mapping[str, Rounding] = {
    "float16": Rounding(2.0**-11, 2.0**-14, float(np.finfo(np.float16).max)),
    "float32": FLOAT32,
    "float64": FLOAT64,
}
"""The arithmetic of each type that tensors can be stored in."""


@dataclass(frozen=True)
class Bounded:
    """A ``value`` in float64 and the largest absolute ``error`` of an implementation, of the same shape."""

    value: Array
    error: Array

    @property
    def magnitude(self) -> Array:
        """The largest absolute value an implementation may see here; 0 for infinity and NaN, which do not round."""
        return np.where(np.isfinite(self.value), np.abs(self.value) + self.error, 0.0)

    def flushed(self, rounding: Rounding) -> Bounded:
        """This value for an implementation that may read numbers below the smallest normal one as zero."""
        size = np.abs(self.value)
        return Bounded(self.value, np.where(size < rounding.tiny, np.maximum(self.error, size), self.error))

    @staticmethod
    def exact(value: NDArray[np.floating]) -> Bounded:
        array = np.asarray(value, dtype=np.float64)
        return Bounded(array, np.zeros_like(array))

    @staticmethod
    def rounded(value: Array, rounding: Rounding) -> Bounded:
        """Values that an implementation has rounded to its arithmetic, with the error of that rounding."""
        return Bounded(value, rounding.unit * np.abs(finite_part(value)))


def finite_part(values: Array) -> Array:
    """The values, with 0 in place of infinity and NaN."""
    return np.where(np.isfinite(values), values, 0.0)


def settled(y: Array, error: Array, rounding: Rounding) -> Bounded:
    """A result and its bound, with the bound's entries for infinity, NaN and overflow set to what is meant.

    Many bound formulas give NaN if an input is infinite or NaN.  The bound is then 0 where the reference is infinite or
    NaN, as the device must return the same, and infinite elsewhere.  It is also infinite where the result may overflow.
    """
    finite = np.isfinite(y)
    error = np.where(np.isnan(error), np.where(finite, np.inf, 0.0), error)
    return Bounded(y, np.where(finite & (np.abs(y) + error > rounding.largest), np.inf, error))
