"""A value with a bound on its error: what the reference says a device may be off by.

The model of rounding is the standard one (Higham, *Accuracy and Stability of Numerical Algorithms*, section 2.2 and
3.1): every operation returns ``(a op b)(1 + d)`` with ``|d| <= u``, and a sum of n terms in any order, fused
multiply-adds or not, is off by at most ``gamma_n = n u / (1 - n u)`` times the sum of the terms' absolute values.
Results below the smallest normal number may be flushed to zero, which OpenCL allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rounding:
    """An arithmetic: ``unit`` is its unit roundoff u, ``tiny`` its smallest normal number."""

    unit: float
    tiny: float

    def gamma(self, operations: int) -> float:
        """Relative error of a chain of this many operations."""
        return operations * self.unit / (1 - operations * self.unit)


FLOAT32 = Rounding(2.0**-24, 2.0**-126)
FLOAT64 = Rounding(2.0**-53, 2.0**-1022)


@dataclass(frozen=True)
class Bounded:
    """``value`` in float64 and the largest absolute ``error`` an implementation may have, of the same shape."""

    value: Array
    error: Array

    @property
    def magnitude(self) -> Array:
        """The largest absolute value an implementation may see here."""
        return np.abs(self.value) + self.error

    @staticmethod
    def exact(value: NDArray[np.floating]) -> Bounded:
        array = np.asarray(value, dtype=np.float64)
        return Bounded(array, np.zeros_like(array))
