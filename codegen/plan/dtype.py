"""Element types of tensors in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codegen.graph import types


@dataclass(frozen=True)
class DType:
    """An element type: its name in numpy, its size, and the type of a buffer's elements in the kernels."""

    name: str
    bytes: int
    storage: str


DTYPES: Mapping[str, DType] = {name: DType(name, types.size_of(name), types.CL_TYPES[name]) for name in types.TYPES}
FLOAT32 = DTYPES[types.FLOAT32]
