"""Sum, difference and product of two tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape, require


@dataclass(frozen=True, eq=False)
class Binary(Op):
    """``kind`` is "add", "sub" or "mul"; axes of size 1 broadcast."""

    kind: str

    def __post_init__(self) -> None:
        require(self.kind in ("add", "sub", "mul"), f"unknown binary operator {self.kind!r}")

    @property
    def elementwise(self) -> bool:
        return True

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
        a, b = inputs
        return {"add": np.add, "sub": np.subtract, "mul": np.multiply}[self.kind](a, b)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        a, b = inputs
        if self.kind == "mul":
            propagated = np.abs(a.value) * b.error + np.abs(b.value) * a.error + a.error * b.error
        else:
            propagated = a.error + b.error
        return propagated + rounding.gamma(2) * (np.abs(y) + propagated) + rounding.tiny
