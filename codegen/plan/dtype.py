"""Element types of tensors in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph import types


@dataclass(frozen=True)
class DType:
    """An element type: its name in numpy, and its size."""

    name: str
    bytes: int

    def rounded(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values in row-major order, each rounded once to this type, to infinity if it is beyond its range."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values, dtype=self.name)

    def count(self, size: float) -> int:
        """The number of elements that so many bytes hold."""
        return int(size) // self.bytes


DTYPES: Mapping[str, DType] = {name: DType(name, types.size_of(name)) for name in types.TYPES}
FLOAT32 = DTYPES[types.FLOAT32]
