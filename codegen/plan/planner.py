"""Graph of launches + target -> Plan: locations, then schedules, then memory, then kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from codegen.graph.graph import Graph
from codegen.plan.bake import with_blob, with_tables
from codegen.plan.blob import Constants
from codegen.plan.homes import Location, locate
from codegen.plan.memory import share_memory
from codegen.plan.plan import Draft, LayerNote, Place, Plan
from codegen.plan.schedules.choose import schedule
from codegen.plan.schedules.launch import LaunchSketch
from codegen.plan.target import TABLE_BYTES, Target


def plan(
    graph: Graph,
    target: Target,
    notes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    choices: Mapping[str, str] = MappingProxyType({}),
    layers: Mapping[str, tuple[LayerNote, ...]] = MappingProxyType({}),
) -> Plan:
    """Takes all decisions that the templates print.

    ``notes`` are comments on launches, by name; ``choices`` are names of schedules by launch, which replace those that
    the cost model chooses; ``layers`` are the layers that each launch computes.
    """
    locations = locate(graph, target)
    layouts = {name: location.layout for name, location in locations.items()}
    drafts: list[Draft] = []
    constants, stored = Constants(), {}
    for node in graph.nodes:
        if not locations[node.name].computed_elsewhere:
            sketch, before = LaunchSketch(node, target, layouts), constants.count
            drafts += (_with_known(draft, constants) for draft in schedule(sketch, choices.get(node.name)))
            stored[node.name] = constants.count - before
            locations |= {name: Location(name, "arena", 0, 0, layout) for name, layout in sketch.scratch.items()}
    assert all(draft.grid.group <= target.work_group for draft in drafts)
    offsets, arena, separate = share_memory(locations, drafts)
    places = {
        name: Place(
            location.buffer,
            location.index,
            offsets.get(location.root, 0) // location.layout.dtype.bytes + location.offset,
            location.layout,
        )
        for name, location in locations.items()
    }
    outputs = tuple(places[output.value] for output in graph.outputs)
    weights_bytes = sum(a.nbytes for d in drafts for a in d.parameters.values())
    if weights_bytes <= TABLE_BYTES and not graph.constants and not any(d.prepared for d in drafts):
        baked = with_tables(graph.name, drafts, places, notes)
    else:
        baked = with_blob(graph, target.dtype, drafts, places, notes)
    return Plan(
        graph=graph,
        target=target,
        places=places,
        outputs=outputs,
        kernels=baked.kernels,
        preparations=baked.preparations,
        launches=baked.launches,
        prepared=baked.prepared,
        arena_bytes=arena,
        separate_bytes=separate,
        weights=baked.weights,
        zeros=max((d.zeros for d in drafts), default=0),
        stored=stored,
        layers=_with_views(layers, graph, locations),
    )


def _with_views(
    layers: Mapping[str, tuple[LayerNote, ...]], graph: Graph, locations: Mapping[str, Location]
) -> dict[str, tuple[LayerNote, ...]]:
    """The layers of each launch, with those that need no launch, as their tensors are views.

    A view, or a concatenation in place, belongs to the last launch that writes to it; a view of an input of the network
    to the launches that read it.
    """
    order = {node.name: k for k, node in enumerate(graph.nodes)}
    writers: dict[str, str] = {}  # the last launch that writes to a tensor
    unwritten: dict[str, tuple[LayerNote, ...]] = {}  # the layers of views of inputs
    found: dict[str, tuple[LayerNote, ...]] = {}
    for node in graph.nodes:
        read = [layer for name in node.inputs for layer in unwritten.get(name, ())]
        own = (*read, *layers.get(node.name, ()))
        before = [writers[name] for name in node.inputs if name in writers]
        if not locations[node.name].computed_elsewhere:
            writers[node.name], found[node.name] = node.name, own
        elif before:
            writer = writers[node.name] = max(before, key=order.__getitem__)
            found[writer] += own
        else:
            unwritten[node.name] = own
    return {launch: tuple(dict.fromkeys(notes)) for launch, notes in found.items()}


def _with_known(draft: Draft, constants: Constants) -> Draft:
    """Replaces the draft's constants by equal ones of earlier drafts, as layers may share large tensors."""
    parameters = {k: constants.shared(values) for k, values in draft.parameters.items()}
    prepared = draft.prepared
    if prepared is not None:
        prepared = replace(prepared, weight=constants.shared(prepared.weight))
    return replace(draft, parameters=parameters, prepared=prepared)
