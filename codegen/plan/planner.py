"""Graph of launches + target -> Plan: locations, then schedules, then memory, then kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

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
from codegen.plan.bake import with_blob, with_tables
from codegen.plan.blob import Constants
from codegen.plan.homes import Location, core_of, locate
from codegen.plan.memory import share_memory
from codegen.plan.plan import Draft, Place, Plan
from codegen.plan.schedules import channels, convolution, dense, general, moves, rows, sample
from codegen.plan.schedules.launch import LaunchSketch
from codegen.plan.target import TABLE_BYTES, Target


def plan(
    graph: Graph,
    target: Target,
    notes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    choices: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Decides everything that the templates print.

    ``notes`` are lines about a launch for people; ``choices`` are schedules by the launch's name, for those that should
    not be what estimates say.
    """
    locations = locate(graph, target)
    layouts = {name: location.layout for name, location in locations.items()}
    drafts: list[Draft] = []
    constants, stored = Constants(), {}
    for node in graph.nodes:
        if not locations[node.name].computed_elsewhere:
            sketch, before = LaunchSketch(node, target, layouts), constants.floats
            drafts += (_with_known(draft, constants) for draft in _schedule(sketch, choices.get(node.name)))
            stored[node.name] = constants.floats - before
            locations |= {name: Location(name, "arena", 0, 0, layout) for name, layout in sketch.scratch.items()}
    offsets, arena, separate = share_memory(locations, drafts)
    places = {
        name: Place(location.buffer, location.index, offsets.get(location.root, 0) + location.offset, location.layout)
        for name, location in locations.items()
    }
    outputs = tuple(places[output.value] for output in graph.outputs)
    weights_bytes = 4 * sum(a.size for d in drafts for a in d.parameters.values())
    if weights_bytes <= TABLE_BYTES and not graph.constants and not any(d.prepared for d in drafts):
        baked = with_tables(graph.name, drafts, places, notes)
    else:
        baked = with_blob(graph, drafts, places, notes)
    return Plan(
        graph=graph,
        target=target,
        places=places,
        outputs=outputs,
        kernels=baked.kernels,
        preparations=baked.preparations,
        launches=baked.launches,
        prepared_floats=baked.prepared_floats,
        arena_floats=arena,
        separate_floats=separate,
        weights=baked.weights,
        zeros=max((d.zeros for d in drafts), default=0),
        stored=stored,
    )


def _with_known(draft: Draft, constants: Constants) -> Draft:
    """The draft with known arrays in place of equal constants: layers may name the same tensor, however large."""
    parameters = {k: constants.shared(values) for k, values in draft.parameters.items()}
    prepared = draft.prepared
    if prepared is not None:
        prepared = replace(prepared, weight=constants.shared(prepared.weight))
    return replace(draft, parameters=parameters, prepared=prepared)


@dataclass(frozen=True)
class Alternatives:
    """The schedules that a convolution can have, first the one it has unless another is chosen.

    ``work`` is the same for convolutions that differ in their numbers only.
    """

    work: str
    schedules: tuple[str, ...]


def alternatives(graph: Graph, target: Target) -> dict[str, Alternatives]:
    """What can be chosen for each convolution, by the launch's name, in order of computation."""
    locations = locate(graph, target)
    layouts = {name: location.layout for name, location in locations.items()}
    sketches = [
        LaunchSketch(node, target, layouts)
        for node in graph.nodes
        if isinstance(core_of(node), Conv) and not locations[node.name].computed_elsewhere
    ]
    return {s.node.name: Alternatives(convolution.work(s), convolution.names(s)) for s in sketches}


def _schedule(s: LaunchSketch, choice: str | None) -> Sequence[Draft]:
    if isinstance(s.core, Conv):
        return convolution.plan_convolution(s, choice)
    if isinstance(s.core, Identity) and len(s.y.shape) > 4:
        return [moves.plan_reorder(s)]  # broadcasting over more axes than rows have
    return [_SCHEDULES[type(s.core)](s)]


_SCHEDULES: Mapping[type[Op], Callable[[LaunchSketch], Draft]] = {
    Convert: moves.plan_convert,
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
    MatMul: moves.plan_matmul,
    Pad: moves.plan_reorder,
    Reduce: moves.plan_reduce,
    RunningSum: moves.plan_running_sum,
    Select: moves.plan_reorder,
    Take: moves.plan_reorder,
    TakeChannels: channels.plan_take_channels,
    Top: moves.plan_top,
    Reshape: moves.plan_reorder,
}
