"""Evaluation of parts of a network's tensors, from the parts of its inputs that they depend on.

A tensor is released as soon as its last reader has been computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array
from codegen.graph.graph import Graph, Node
from codegen.graph.ops.op import Box, Op, Shape, extents, whole
from codegen.graph.pieces import Apply, in_pieces, reference, slices
from codegen.graph.room import require_room

Source = Callable[[Box], NDArray[Any]]
"""A function that returns a box of a tensor."""

LARGE = 2**24
"""Networks without a tensor of more elements than this are evaluated whole."""

WINDOW = 16
"""Elements along each spatial axis of the windows of outputs that are computed for larger networks."""


def sources(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Source]:
    """Wraps arrays as sources, by name."""

    def source(array: NDArray[Any]) -> Source:
        return lambda box: array[slices(box)]

    return {name: source(array) for name, array in arrays.items()}


def all_outputs(graph: Graph) -> dict[str, Box]:
    """Boxes that cover all output tensors."""
    return {output.value: whole(graph.shapes[output.value]) for output in graph.outputs}


def evaluate(
    graph: Graph, given: Mapping[str, Source], wanted: Mapping[str, Box], apply: Apply = reference
) -> dict[str, Array]:
    """The boxes of the ``wanted`` tensors, by name; ``given`` are the inputs.

    ``apply`` computes an operator or a part of one.  Raises SpecError, with the tensor's name, if memory is too small.
    """
    given = {**given, **sources(graph.constant_values)}
    needed = _needed(graph, wanted)
    readers = Counter(name for node in graph.nodes if node.name in needed for name in node.inputs)
    readers.update(wanted.keys())
    held: dict[str, NDArray[Any]] = {name: given[name](needed[name]) for name in given if name in needed}
    with np.errstate(all="ignore"):  # infinity and NaN are ordinary values
        for node in graph.nodes:
            if node.name not in needed:
                continue
            op, boxes = _part(graph, node, needed[node.name])
            inputs = [_cut(held[n], needed[n], box) for n, box in zip(node.inputs, boxes, strict=True)]
            shape = op.infer(*(x.shape for x in inputs))
            require_room(8 * math.prod(shape), f"tensor {node.name!r} {list(shape)} in float64")
            y = in_pieces(op, inputs, apply)
            del inputs
            for name in node.inputs:
                readers[name] -= 1
                if readers[name] == 0:
                    del held[name]
            held[node.name] = y[slices(_within(needed[node.name], graph.shapes[node.name], y.shape))]
            del y
    return {name: np.asarray(_cut(held[name], needed[name], box), dtype=np.float64) for name, box in wanted.items()}


def evaluate_each(
    graph: Graph, given: Mapping[str, NDArray[Any]], apply: Apply = reference
) -> Iterator[tuple[Node, list[NDArray[Any]], Array]]:
    """Every node with the tensors that it reads and its result, in order, from the whole inputs.

    ``apply`` computes an operator or a part of one.  Raises SpecError, with the tensor's name, if memory is too small.
    """
    held: dict[str, NDArray[Any]] = {**given, **graph.constant_values}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    for node in graph.nodes:
        inputs = [held[name] for name in node.inputs]
        shape = graph.shapes[node.name]
        require_room(8 * math.prod(shape), f"tensor {node.name!r} {list(shape)} in float64")
        with np.errstate(all="ignore"):  # infinity and NaN are ordinary values
            y = in_pieces(node.op, inputs, apply)
        yield node, inputs, y
        del inputs
        readers.subtract(node.inputs)
        for name in set(node.inputs):
            if readers[name] == 0:
                del held[name]
        if readers[node.name]:
            held[node.name] = y


def windows(graph: Graph) -> list[dict[str, Box]]:
    """The boxes of the outputs to evaluate, in batches: all at once, or windows of large images one after the other.

    The windows are at the corners, in the middle of the edges and in the middle of the image.  If computing them takes
    more than computing everything, because they depend on most of the network, the outputs are computed whole.
    """
    all_of_it = all_outputs(graph)
    if max(map(math.prod, graph.shapes.values())) <= LARGE:
        return [all_of_it]
    rank = max(len(box) for box in all_of_it.values())
    chosen = [{name: _window(graph.shapes[name], k) for name in all_of_it} for k in range(3 ** max(rank - 2, 0))]
    return chosen if sum(_cost(graph, part) for part in chosen) < _cost(graph, all_of_it) else [all_of_it]


def _window(shape: Shape, k: int) -> Box:
    """The k-th window: the digits of k in base 3 say where it is along each axis, at the start, midway or at the end.

    Short axes are covered whole, so that two windows of a tensor are either equal or disjoint.
    """
    box = []
    for axis, n in enumerate(shape):
        size = n if axis < 2 or n <= 3 * WINDOW else WINDOW
        start = (n - size) * (k // 3 ** max(axis - 2, 0) % 3) // 2
        box.append((start, start + size))
    return tuple(box)


def _cost(graph: Graph, wanted: Mapping[str, Box]) -> int:
    """The number of elements that have to be computed."""
    return sum(math.prod(extents(box)) for box in _needed(graph, wanted).values())


def _needed(graph: Graph, wanted: Mapping[str, Box]) -> dict[str, Box]:
    """The box of each tensor that the wanted boxes depend on."""
    needed = {name: _whole_channels(box, graph.shapes[name]) for name, box in wanted.items()}
    for node in reversed(graph.nodes):
        if node.name in needed:
            _, boxes = _part(graph, node, needed[node.name])
            for name, box in zip(node.inputs, boxes, strict=True):
                box = _whole_channels(box, graph.shapes[name])
                needed[name] = _hull(needed[name], box) if name in needed else box
    return needed


def _part(graph: Graph, node: Node, box: Box) -> tuple[Op, tuple[Box, ...]]:
    """The operator for a box of a node's output (or for the whole), and the boxes of inputs that it reads."""
    shapes = tuple(graph.shapes[name] for name in node.inputs)
    part = None if box == whole(graph.shapes[node.name]) else node.op.for_box(box, *shapes)
    return (node.op, tuple(map(whole, shapes))) if part is None else (part.op, part.boxes)


def _whole_channels(box: Box, shape: Shape) -> Box:
    parts = enumerate(zip(box, shape, strict=True))
    return tuple((0, n) if axis == 1 or len(shape) < 3 else part for axis, (part, n) in parts)


def _hull(a: Box, b: Box) -> Box:
    return tuple((min(s, t), max(e, f)) for (s, e), (t, f) in zip(a, b, strict=True))


def _cut(array: NDArray[Any], held: Box, box: Box) -> NDArray[Any]:
    """A box of a tensor, taken from a larger box of the tensor."""
    return array[tuple(slice(s - first, e - first) for (s, e), (first, _) in zip(box, held, strict=True))]


def _within(box: Box, shape: Shape, computed: Shape) -> Box:
    """The box that is computed in order to have this one: the box itself, or the whole tensor."""
    return box if computed == shape else whole(computed)
