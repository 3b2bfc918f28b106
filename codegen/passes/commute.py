"""Graph -> Graph: an average pool behind a 1x1 convolution goes before it, where fewer pixels are left to compute.

Both are linear, one within a pixel and one within a channel, and the pool's factors add up to one, which leaves the
bias as it is: conv(pool(x)) = pool(conv(x)), exactly, as long as no padding is counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Conv, Pool


def pool_first(graph: Graph) -> tuple[Graph, Mapping[str, str]]:
    """The graph with such pools first, and the new names of the convolutions, which make the pools' tensors now."""
    replaced: dict[str, tuple[Node, ...]] = {}
    renamed: dict[str, str] = {}
    for pool in graph.nodes:
        conv = graph.by_name.get(pool.inputs[0])
        if conv is None or not _swaps(graph, pool, conv):
            continue
        first = f"{pool.name}/first"
        if first in graph.shapes:
            continue
        replaced[pool.name] = (Node(first, pool.op, conv.inputs), Node(pool.name, conv.op, (first,)))
        renamed[conv.name] = pool.name
    return graph.rewritten(replaced, {}), renamed


def _swaps(graph: Graph, pool: Node, conv: Node) -> bool:
    if not isinstance(pool.op, Pool) or not isinstance(conv.op, Conv) or not conv.op.pointwise:
        return False
    plain = pool.op.kind == "average" and not pool.op.ceil_mode and not any(p for pair in pool.op.pads for p in pair)
    smaller = any(stride > 1 for stride in pool.op.stride)
    # A pool that has more channels to read than before should not eat up what the convolution saves.
    worth = conv.op.weight.shape[1] <= 4 * conv.op.weight.shape[0]
    return plain and smaller and worth and graph.uses[conv.name] == 1
