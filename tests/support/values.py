"""Numbers for tests of operators, and how far results may be off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DOMAIN = {
    "log": (1e-3, 50.0), "sqrt": (0.0, 50.0), "asin": (-1.0, 1.0), "acos": (-1.0, 1.0), "acosh": (1.0, 50.0),
    "atanh": (-0.99, 0.99), "reciprocal": (0.01, 50.0), "exp": (-30.0, 30.0), "sinh": (-30.0, 30.0),
    "cosh": (-30.0, 30.0), "tan": (-1.5, 1.5),
}  # fmt: skip
"""Intervals in which a function is defined and finite in float32; the other functions are tried everywhere."""


SLIGHTLY_WRONG = 1 + 2.0**-10
"""The factor by which a constant is changed, which a test has to notice."""


def f32(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded to float32."""
    return x.astype(np.float32).astype(np.float64)


def whole(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Whole numbers so small that float32 sums of their products are exact."""
    return rng.integers(-8, 9, shape).astype(np.float64)


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """float32 numbers, as float64."""
    return f32(rng.standard_normal(shape))


def worst(error: NDArray[np.floating], bound: NDArray[np.float64]) -> float:
    """The largest error in units of its bound."""
    return float(np.max(np.divide(np.abs(error), bound, out=np.zeros(error.shape), where=error != 0)))


def save_npz(path: Path, arrays: Mapping[str, NDArray[Any]], compressed: bool = False) -> None:
    """Writes arrays by name."""
    named: dict[str, Any] = dict(arrays)  # numpy's stubs would have one of them be an option
    (np.savez_compressed if compressed else np.savez)(path, **named)
