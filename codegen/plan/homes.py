"""Locations of tensors: the buffer of each, and its layout there.

Images are stored in channel blocks.  Renamed tensors are views of their source, and parts of a concatenation are stored
directly in their place within it.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from codegen.graph.graph import Constant, Graph, Node
from codegen.graph.ops import Concat, Convert, Fused, Op, Reshape
from codegen.passes.edges import WIDE_INPUT, is_image_of_input
from codegen.passes.moves import Move
from codegen.plan.blob import Blob, packed
from codegen.plan.copies import written
from codegen.plan.dtype import DTYPES
from codegen.plan.layout import Layout, blocked, channels_last, plain
from codegen.plan.target import Target


@dataclass(frozen=True)
class Location:
    """The location of a tensor: in the memory of tensor ``root``, ``offset`` elements from its start."""

    root: str
    buffer: str
    index: int
    offset: int
    layout: Layout
    computed_elsewhere: bool = False


def locate(graph: Graph, target: Target) -> dict[str, Location]:
    """The location of every tensor of a graph of launches, by name."""
    locations: dict[str, Location] = {}
    for k, i in enumerate(graph.inputs):
        locations[i.name] = Location(
            i.name, "input", k, 0, (channels_last if i.channels_last else plain)(i.shape, DTYPES[i.type])
        )
    blob = Blob(target.dtype)
    for constant in graph.constants:
        layout = _constant_layout(graph, constant, target)
        (at,) = blob.place([packed(constant.values, layout)])
        locations[constant.name] = Location(constant.name, "weights", 0, at, layout)
    outputs = _output_locations(graph)
    joined = _concatenations(graph, target, outputs)
    for node in graph.nodes:
        shape = graph.shapes[node.name]
        if node.name in outputs:
            locations[node.name] = outputs[node.name]
        elif node.name in joined.slices:
            whole, start = joined.slices[node.name]
            around = blocked(graph.shapes[whole], target.lanes, target.dtype)
            layout = replace(around, shape=shape)
            offset = start // target.lanes * around.strides[1]
            locations[node.name] = Location(whole, "arena", 0, offset, layout, node.name in joined.made)
        elif node.name in joined.made:
            layout = blocked(shape, target.lanes, target.dtype)
            locations[node.name] = Location(node.name, "arena", 0, 0, layout, computed_elsewhere=True)
        elif (view := _view(graph, node, locations)) is not None:
            source = locations[node.inputs[0]]
            locations[node.name] = Location(source.root, source.buffer, source.index, source.offset, view, True)
        else:
            layout = plain(shape, target.dtype)
            if _prefers_blocks(graph, node):
                layout = blocked(shape, target.lanes, target.dtype)
            locations[node.name] = Location(node.name, "arena", 0, 0, layout)
    return locations


def _output_locations(graph: Graph) -> dict[str, Location]:
    """The locations of outputs, and of tensors that only moves separate from an output, in the output's order."""
    locations = {}
    for k, output in enumerate(graph.outputs):
        made = written(graph, output)
        assert made is not None, "a copy was to be made"
        shape = graph.shapes[made.launch]
        dtype = DTYPES[output.type]
        layout = (channels_last if made.channels_last else plain)(shape, dtype)
        locations[made.launch] = Location(made.launch, "output", k, 0, layout)
        for name, strides in made.views.items():
            locations[name] = Location(
                made.launch, "output", k, 0, Layout(graph.shapes[name], strides, dtype=dtype), True
            )
    return locations


def _constant_layout(graph: Graph, constant: Constant, target: Target) -> Layout:
    """Channel blocks if they need no padding lanes and a reader wants blocks, else row-major."""
    shape, readers = constant.values.shape, graph.consumers.get(constant.name, ())
    images = len(shape) in (3, 4) and shape[1] % target.lanes == 0
    if images and any(not core_of(reader).row_major for reader in readers):
        return blocked(shape, target.lanes, target.dtype)
    return plain(shape, target.dtype)


def core_of(node: Node) -> Op:
    """The core operator of a launch."""
    assert isinstance(node.op, Fused)
    return node.op.core


def _prefers_blocks(graph: Graph, node: Node) -> bool:
    """True if an image is stored in channel blocks: unless it only comes from or goes to row-major tensors."""
    if len(graph.shapes[node.name]) not in (3, 4) or core_of(node).row_major:
        return False
    if isinstance(core_of(node), Convert) and graph.shapes[node.name][1] < WIDE_INPUT:
        return False
    readers = graph.consumers[node.name]
    return not all(isinstance(core_of(reader), Reshape) or is_image_of_input(graph, reader) for reader in readers)


def _view(graph: Graph, node: Node, locations: Mapping[str, Location]) -> Layout | None:
    """The layout of a moved tensor as a view of the same memory, if its readers can read such a layout."""
    source, shape, core = locations[node.inputs[0]].layout, graph.shapes[node.name], core_of(node)
    if is_image_of_input(graph, node):
        return channels_last(shape, source.dtype)
    if not isinstance(core, Reshape):
        return None
    if source.contiguous:
        return plain(shape, source.dtype)
    before = source.shape
    if shape[:2] == before[:2] and {len(before), len(shape)} <= {3, 4}:
        space = Move.reshape(before[2:], shape[2:])
        strides = None if space is None else space.strides(source.strides[2:])
        return None if strides is None else replace(source, shape=shape, strides=(*source.strides[:2], *strides))
    if source.block == 1 or shape[:1] != before[:1]:
        return None
    one_pixel = len(shape) == 2 and all(n == 1 for n in before[2:])
    if one_pixel and (source.strides[1] == source.block or source.blocks == 1):
        # Channels within a block, and blocks, are contiguous.
        return Layout(shape, (source.strides[0], 1), dtype=source.dtype)
    return None


@dataclass(frozen=True)
class _Concatenations:
    """Tensors stored within a concatenation, with its name and their first channel; and nodes that need no launch."""

    slices: Mapping[str, tuple[str, int]]
    made: frozenset[str]


def _concatenations(graph: Graph, target: Target, outputs: Container[str]) -> _Concatenations:
    """Finds the inputs of concatenations that can be computed in place, also in nested concatenations.

    Largest first: in a DenseNet-style chain every concatenation becomes a view of the last one.
    """
    slices: dict[str, tuple[str, int]] = {}
    made = set()

    def placeable(name: str, width: int, last: bool) -> bool:
        return (
            name in graph.by_name
            and name not in slices
            and name not in outputs
            and (last or width % target.lanes == 0)
            and not core_of(graph.by_name[name]).row_major
        )

    def joins_blocks(node: Node) -> bool:
        core = core_of(node)
        if not isinstance(core, Concat) or core.axis != 1 or len(graph.shapes[node.name]) not in (3, 4):
            return False
        return node.name not in outputs and _prefers_blocks(graph, node)

    for node in sorted(filter(joins_blocks, graph.nodes), key=lambda n: graph.shapes[n.name][1], reverse=True):
        names = node.inputs
        widths = [graph.shapes[name][1] for name in names]
        starts = [0, *itertools.accumulate(widths)]
        whole, start = slices.get(node.name, (node.name, 0))
        if len(set(names)) == len(names) and all(
            placeable(name, width, name == names[-1]) for name, width in zip(names, widths, strict=True)
        ):
            slices.update({name: (whole, start + s) for name, s in zip(names, starts, strict=False)})
            made.add(node.name)
        elif node.name not in slices and names[0] in slices:
            whole, start = slices[names[0]]
            if all(slices.get(name) == (whole, start + s) for name, s in zip(names, starts, strict=False)):
                slices[node.name] = (whole, start)
                made.add(node.name)
    return _Concatenations(slices, frozenset(made))
