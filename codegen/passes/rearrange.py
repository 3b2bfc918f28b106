"""Graph -> Graph: replaces chains of operators that only reorder channels by one step.

ShuffleNet splits, shuffles (two reshapes around a transpose) and concatenates channels in every unit, which moves each
channel several times.  This pass tracks for each channel of a tensor the computed tensor that it comes from.  An
operator that computes with reordered channels reads them through one step from there; tensors in between are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Concat, Reshape, Select, Take, TakeChannels, Transpose

Channel = tuple[str, int]
MOST_SOURCES = 16  # read by one step


def rearrange(graph: Graph) -> Graph:
    """Returns the graph with one such step in place of each chain of operators."""
    maps: dict[str, tuple[Channel, ...]] = {}
    moved: set[str] = set()  # tensors that are not just a concatenation of computed tensors
    for node in graph.nodes:
        channels = _channels(graph, node, maps)
        if channels is not None and len({source for source, _ in channels}) <= MOST_SOURCES:
            maps[node.name] = channels
            if not isinstance(node.op, Concat) or not moved.isdisjoint(node.inputs):
                moved.add(node.name)
    return graph.with_nodes(_step(node, maps[node.name]) if node.name in moved else node for node in graph.nodes)


def _step(node: Node, channels: Sequence[Channel]) -> Node:
    sources = tuple(dict.fromkeys(source for source, _ in channels))
    places = tuple((sources.index(source), channel) for source, channel in channels)
    return Node(node.name, TakeChannels(places), sources)


def _channels(graph: Graph, node: Node, maps: dict[str, tuple[Channel, ...]]) -> tuple[Channel, ...] | None:
    """The origin of each channel of an image, if the node only moves channels."""
    shape = graph.shapes[node.name]
    if len(shape) not in (3, 4):
        return None

    def of(name: str) -> tuple[Channel, ...]:
        return maps.get(name) or tuple((name, c) for c in range(graph.shapes[name][1]))

    op = node.op
    if isinstance(op, Concat) and op.axis == 1:
        return tuple(channel for name in node.inputs for channel in of(name))
    if isinstance(op, Take) and op.axis == 1:
        return tuple(of(node.inputs[0])[int(i)] for i in op.index)
    if isinstance(op, Select):
        whole = graph.shapes[node.inputs[0]]
        others = [a for a in range(len(shape)) if a != 1]
        if all((op.starts[a], op.steps[a], op.counts[a]) == (0, 1, whole[a]) for a in others):
            source = of(node.inputs[0])
            return tuple(source[(op.starts[1] + op.steps[1] * i) % len(source)] for i in range(op.counts[1]))
    if isinstance(op, Reshape) and (split := _shuffled(graph, node)) is not None:
        name, groups = split
        source, each = of(name), shape[1] // groups
        return tuple(source[i % groups * each + i // groups] for i in range(shape[1]))
    return None


def _shuffled(graph: Graph, node: Node) -> tuple[str, int] | None:
    """The tensor whose channels are shuffled by the reshape-transpose-reshape that ends here, and the group count."""
    swap = graph.by_name.get(node.inputs[0])
    split = None if swap is None else graph.by_name.get(swap.inputs[0])
    if swap is None or split is None or not isinstance(swap.op, Transpose) or not isinstance(split.op, Reshape):
        return None
    x, parts = graph.shapes[split.inputs[0]], graph.shapes[split.name]
    whole = graph.shapes[node.name]
    swaps = swap.op.axes[:3] == (0, 2, 1) and swap.op.axes[3:] == tuple(range(3, len(parts)))
    keeps = x == whole and len(parts) == len(x) + 1 and parts[0] == x[0] and parts[3:] == x[2:]
    return (split.inputs[0], parts[1]) if swaps and keeps else None
