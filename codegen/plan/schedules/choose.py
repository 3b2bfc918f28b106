"""The choice of schedules: a table by operator, and the candidates of each convolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codegen.graph.graph import Graph
from codegen.graph.ops import (
    Concat,
    Conv,
    Convert,
    ConvTranspose,
    Dense,
    GlobalPool,
    GridSample,
    Identity,
    MatMul,
    Op,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Resize,
    RunningSum,
    Select,
    Softmax,
    Take,
    TakeChannels,
    Top,
    Transpose,
)
from codegen.plan.homes import core_of, locate
from codegen.plan.plan import Draft
from codegen.plan.schedules import channels, convolution, dense, general, matmul, moves, rows, sample
from codegen.plan.schedules.launch import LaunchSketch
from codegen.plan.target import Target


def schedule(s: LaunchSketch, choice: str | None) -> Sequence[Draft]:
    """Plans a launch of the graph as one or several kernels; ``choice`` names the schedule of a convolution."""
    if isinstance(s.core, Conv):
        return convolution.plan_convolution(s, choice)
    if isinstance(s.core, Identity) and len(s.y.shape) > 4:
        return [moves.plan_reorder(s)]  # broadcasting over more axes than rows have
    return [_SCHEDULES[type(s.core)](s)]


_SCHEDULES: Mapping[type[Op], Callable[[LaunchSketch], Draft]] = {
    Convert: moves.plan_reorder,
    ConvTranspose: general.plan_transposed,
    Dense: dense.plan_dense,
    Pool: rows.plan_pool,
    GlobalPool: rows.plan_global_pool,
    Resize: rows.plan_resize,
    GridSample: sample.plan_sample,
    Identity: rows.plan_map,
    Concat: moves.plan_concat,
    Softmax: moves.plan_softmax,
    Transpose: moves.plan_reorder,
    MatMul: matmul.plan_matmul,
    Pad: moves.plan_reorder,
    Reduce: moves.plan_reduce,
    RunningSum: moves.plan_running_sum,
    Select: moves.plan_reorder,
    Take: moves.plan_reorder,
    TakeChannels: channels.plan_take_channels,
    Top: moves.plan_top,
    Reshape: moves.plan_reorder,
}


@dataclass(frozen=True)
class Alternatives:
    """The schedules that can compute a convolution; the first is the default.

    ``work`` describes the convolution's shapes and stages: convolutions with equal ``work`` take the same time.
    """

    work: str
    schedules: tuple[str, ...]


def alternatives(graph: Graph, target: Target) -> dict[str, Alternatives]:
    """The schedules that can compute each convolution, by the launch's name, in order of computation."""
    locations = locate(graph, target)
    layouts = {name: location.layout for name, location in locations.items()}
    sketches = [
        LaunchSketch(node, target, layouts)
        for node in graph.nodes
        if isinstance(core_of(node), Conv) and not locations[node.name].computed_elsewhere
    ]
    return {s.node.name: Alternatives(convolution.work(s), convolution.names(s)) for s in sketches}
