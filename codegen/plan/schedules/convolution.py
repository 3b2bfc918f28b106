"""The schedules that can compute a convolution, by name, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from codegen.graph.ops import Conv, Stage
from codegen.plan.plan import Draft
from codegen.plan.schedules import conv, general, pointwise, stem, window, winograd
from codegen.plan.schedules.launch import Candidate, LaunchSketch


def candidates(s: LaunchSketch) -> dict[str, Candidate]:
    """The schedules that a convolution can have, by name: never none."""
    op: Conv = s.core

    def one(plan: Callable[[LaunchSketch], Draft], cycles: Callable[[LaunchSketch], float] = _only) -> Candidate:
        return Candidate(lambda: [plan(s)], lambda: cycles(s))

    if len(op.kernel) > 2:
        return {"general": one(general.plan_grouped)}
    if pointwise.takes(s):
        return {"pointwise": one(pointwise.plan_pointwise)}
    if stem.takes(s):
        return {"stem": one(stem.plan_stem)}
    if conv.tiled(op, s.target):
        ways = {**winograd.candidates(s), "direct": one(conv.plan_tiled, conv.cycles)}
        if pointwise.gathers(s):
            ways["gathered"] = one(pointwise.plan_pointwise, pointwise.gathered_cycles)
        return ways
    if op.depthwise:
        return {"depthwise": one(window.plan_depthwise)}
    return {"general": one(general.plan_grouped)}


def _only(_: LaunchSketch) -> float:
    """The cost of a schedule that is compared with no other."""
    return 0.0


def names(s: LaunchSketch) -> tuple[str, ...]:
    """The schedules that a convolution can have; first the one that takes the fewest cycles."""
    ways = candidates(s)
    first = min(ways, key=lambda name: ways[name].cycles())
    return (first, *(name for name in ways if name != first))


def work(s: LaunchSketch) -> str:
    """The same for launches that do the same work on other numbers."""
    op: Conv = s.core
    attributes = (op.weight.shape, op.stride, op.dilation, op.pads, op.groups)
    stages = [_stage(stage) for stage in (*s.op.prologue, *s.op.epilogue)]
    return repr((attributes, stages, [s.layouts[name] for name in s.node.inputs], s.y))


def _stage(stage: Stage) -> tuple[Any, ...]:
    return (stage.op.title, stage.operand, stage.swapped, [_stage(inner) for inner in stage.through])


def plan_convolution(s: LaunchSketch, choice: str | None = None) -> Sequence[Draft]:
    """The launches of the schedule of that name, or of the one that takes the fewest cycles."""
    ways = candidates(s)
    return ways[choice if choice in ways else names(s)[0]].plan()
