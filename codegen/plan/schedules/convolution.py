"""The schedules that can compute a convolution, by name, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from codegen.graph.ops import Conv, Stage
from codegen.plan.plan import Draft
from codegen.plan.schedules import conv, general, pointwise, stem, window, winograd
from codegen.plan.schedules.launch import LaunchSketch


def candidates(s: LaunchSketch) -> dict[str, Callable[[], Sequence[Draft]]]:
    """The schedules that a convolution can have, by name: never none."""
    op: Conv = s.core

    def one(plan: Callable[[LaunchSketch], Draft]) -> Callable[[], Sequence[Draft]]:
        return lambda: [plan(s)]

    if len(op.kernel) > 2:
        return {"general": one(general.plan_grouped)}
    ways: dict[str, Callable[[], Sequence[Draft]]] = {}
    if pointwise.takes(s):
        ways["pointwise"] = one(pointwise.plan_pointwise)
    elif stem.takes(s):
        ways["stem"] = one(stem.plan_stem)
    elif conv.tiled(op, s.target):
        ways |= winograd.candidates(s)
        ways["direct"] = one(conv.plan_tiled)
        if pointwise.gathers(s):
            ways["gathered"] = one(pointwise.plan_pointwise)
    elif op.depthwise:
        ways["depthwise"] = one(window.plan_depthwise)
    return ways or {"general": one(general.plan_grouped)}


def names(s: LaunchSketch) -> tuple[str, ...]:
    """The schedules that a convolution can have; first the one that estimates say is fastest."""
    ways = candidates(s)
    gathered = "gathered" if "gathered" in ways and pointwise.gathering_pays(s) else None
    first = winograd.choose(s) or gathered or next(name for name in ways if not name.startswith("winograd"))
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
    """The launches of the schedule of that name, or of the one that estimates say is fastest."""
    ways = candidates(s)
    return ways[choice if choice in ways else names(s)[0]]()
