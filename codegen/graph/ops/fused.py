"""A launch as one operator: a core, with elementwise stages before and after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Box, Op, Part, Shape, broadcast_box

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Stage:
    """An elementwise operator of a prologue or epilogue.

    ``operand`` is the index of a binary operator's other operand among the launch's inputs; the unary stages of
    ``through`` are applied to that operand first.  With ``swapped`` the launch's own value is the right-hand side.
    """

    op: Op
    operand: int | None = None
    swapped: bool = False
    through: tuple[Stage, ...] = ()

    def infer(self, value: Shape, inputs: tuple[Shape, ...]) -> Shape:
        """The shape after the stage, for a value of this shape and a launch with inputs of these shapes."""
        return self.op.infer(value) if self.operand is None else self.op.infer(value, inputs[self.operand])


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
        return self._flow(shapes, lambda op, *xs: op.infer(*xs))

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        boxes: dict[int, Box] = {}
        x = shapes[0]
        before = [x, *(x := stage.infer(x, shapes) for stage in self.prologue)]
        y = self.core.infer(x, *shapes[1 : self.arity])
        behind = [y, *(y := stage.infer(y, shapes) for stage in self.epilogue)]

        def back(stages: tuple[Stage, ...], reached: list[Shape], box: Box) -> Box:
            """The box of the value before the stages that a box of the value after them depends on."""
            for stage, shape in zip(reversed(stages), reversed(reached[:-1]), strict=True):
                if stage.operand is not None:
                    boxes[stage.operand] = broadcast_box(box, shapes[stage.operand])
                box = broadcast_box(box, shape)
            return box

        core = self.core.for_box(back(self.epilogue, behind, box), x, *shapes[1 : self.arity])
        if core is None:
            return None
        boxes |= enumerate(core.boxes)
        boxes[0] = back(self.prologue, before, core.boxes[0])
        return Part(replace(self, core=core.op), tuple(boxes[k] for k in range(len(shapes))))

    def multiply_adds(self, *shapes: Shape) -> int:
        """The multiply-adds of the core; stages have none."""
        return self.core.multiply_adds(*shapes[: self.arity])

    def reference(self, *inputs: Array) -> Array:
        return self._flow(inputs, lambda op, *xs: op.reference(*xs))

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        return self.bounded(*inputs, rounding=rounding).error

    def bounded(self, *inputs: Bounded, rounding: Rounding) -> Bounded:
        return self._flow(inputs, lambda op, *xs: op.bounded(*xs, rounding=rounding))

    def _flow(self, inputs: tuple[T, ...], apply: Callable[..., T]) -> T:
        """Evaluates the launch from its inputs to its output with ``apply``, on shapes, values or bounds."""

        def through(stages: tuple[Stage, ...], value: T) -> T:
            for stage in stages:
                if stage.operand is None:
                    value = apply(stage.op, value)
                    continue
                other = through(stage.through, inputs[stage.operand])
                value = apply(stage.op, other, value) if stage.swapped else apply(stage.op, value, other)
            return value

        y = apply(self.core, through(self.prologue, inputs[0]), *inputs[1 : self.arity])
        return through(self.epilogue, y)
