"""The number types of a network's inputs and outputs.  Between them a network computes in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT32 = "float32"
TYPES = (
    *("float32", "float16", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    "bool",
)
"""Supported types, by numpy's names.  bool is a byte: 0 is false, anything else true."""

CL_TYPES: Mapping[str, str] = {
    **{FLOAT32: "float", "float16": "half", "float64": "ulong", "bool": "uchar"},
    **{"int8": "char", "int16": "short", "int32": "int", "int64": "long"},
    **{"uint8": "uchar", "uint16": "ushort", "uint32": "uint", "uint64": "ulong"},
}
"""OpenCL C types of buffers of these types.  float64 is passed as its bits, so that devices without doubles read it."""


def is_whole(dtype: str) -> bool:
    """True if numbers of this type are whole: integers and bool."""
    return np.dtype(dtype).kind in "iub"


def size_of(dtype: str) -> int:
    """Size of an element in bytes."""
    return np.dtype(dtype).itemsize


def limits(dtype: str) -> tuple[float, float]:
    """The least and the largest finite number of a type; for integers these are exact Python integers."""
    if dtype == "bool":
        return 0, 1
    if is_whole(dtype):
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return float(np.finfo(dtype).min), float(np.finfo(dtype).max)


def to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """The nearest float32 of each number, ties to even; true is 1."""
    with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite
        return values.astype(np.float32)


def from_float32(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Results converted to another type.

    For integers, numbers are truncated towards zero and clamped to the type's range; NaN becomes 0.  bool is true for
    all but zero.  float16 is rounded to nearest, ties to even, and infinite beyond its range.
    """
    if dtype == "bool":
        y: NDArray[Any] = values != 0
        return y
    if not is_whole(dtype):
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    low, high = limits(dtype)
    whole = np.trunc(np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
    inside = (whole >= low) & (whole < float(high) + 1)
    with np.errstate(invalid="ignore"):
        result = np.where(inside, whole, 0.0).astype(dtype)
    result[whole < low] = low
    result[(whole >= low) & ~inside] = high
    return result
