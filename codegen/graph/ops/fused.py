"""A launch as one operator: a core, with elementwise stages before and after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Stage:
    """One elementwise step.

    ``operand`` is the index among the launch's inputs of a binary operator's other side; with ``swapped`` the value
    passing through is the right-hand side.
    """

    op: Op
    operand: int | None = None
    swapped: bool = False


@dataclass(frozen=True, eq=False)
class Fused(Op):
    """``core`` of the first ``arity`` inputs, the first through ``prologue``, the result through ``epilogue``."""

    core: Op
    arity: int
    prologue: tuple[Stage, ...] = ()
    epilogue: tuple[Stage, ...] = ()

    @property
    def title(self) -> str:
        before = "".join(f"{s.op.title} -> " for s in self.prologue)
        after = "".join(f" -> {s.op.title}" for s in self.epilogue)
        return f"{before}{self.core.title}{after}"

    def infer(self, *shapes: Shape) -> Shape:
        x = shapes[0]
        for stage in self.prologue:
            x = stage.op.infer(x)
        y = self.core.infer(x, *shapes[1 : self.arity])
        for stage in self.epilogue:
            y = stage.op.infer(*_sides(stage, y, shapes))
        return y

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0]
        for stage in self.prologue:
            x = stage.op.reference(x)
        y = self.core.reference(x, *inputs[1 : self.arity])
        for stage in self.epilogue:
            y = stage.op.reference(*_sides(stage, y, inputs))
        return y

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        return self.bounded(*inputs, rounding=rounding).error

    def bounded(self, *inputs: Bounded, rounding: Rounding) -> Bounded:
        x = inputs[0]
        for stage in self.prologue:
            x = stage.op.bounded(x, rounding=rounding)
        y = self.core.bounded(x, *inputs[1 : self.arity], rounding=rounding)
        for stage in self.epilogue:
            y = stage.op.bounded(*_sides(stage, y, inputs), rounding=rounding)
        return y


def _sides(stage: Stage, value: T, inputs: tuple[T, ...]) -> tuple[T, ...]:
    if stage.operand is None:
        return (value,)
    other = inputs[stage.operand]
    return (other, value) if stage.swapped else (value, other)
