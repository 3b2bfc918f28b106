"""Graph -> Graph: swaps an average pool with the 1x1 convolution before it, so that fewer pixels are convolved.

The convolution is linear within a pixel and the pool within a channel.  The pool's weights add up to one, so the bias
is unchanged too: conv(pool(x)) = pool(conv(x)), exactly, as long as the pool counts no padding.
"""

from __future__ import annotations

from collections.abc import Mapping

from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Conv, Pool


def pool_first(graph: Graph) -> tuple[Graph, Mapping[str, str]]:
    """Returns the graph with such pools moved first, and the new name of each moved convolution.

    The pool keeps its name, which the convolution's result now carries; the convolution gets a new one.
    """
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
    # If the pool would read more channels than before, it could cost more than the convolution saves.
    worth = conv.op.weight.shape[1] <= 4 * conv.op.weight.shape[0]
    return plain and smaller and worth and graph.uses[conv.name] == 1
