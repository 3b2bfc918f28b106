"""Graph -> Graph: operators that are others in disguise, and moves that a neighbour can make.

BatchNorm becomes the affine map that it is; zero padding joins the convolution behind it; flattening joins the dense
layer behind it; an average over a window as large as the image is one over all of space; what changes nothing goes.
"""

from __future__ import annotations

import numpy as np

from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Affine, BatchNorm, Conv, Dense, GlobalPool, Identity, Pad, Pool, Reshape, Transpose


def simplify(graph: Graph) -> Graph:
    """The same function, said more simply."""
    graph = graph.with_nodes(_without_batch_norm(node) for node in graph.nodes)
    graph = _drop_identities(graph)
    graph = graph.with_nodes(_over_all_of_space(graph, node) for node in graph.nodes)
    graph = _join_padding(graph)
    return _join_flatten(graph)


def affine_of(op: BatchNorm) -> Affine:
    """gamma/sqrt(var + eps) and beta - mean gamma/sqrt(var + eps), in float64."""
    scale = op.gamma / np.sqrt(op.variance + op.epsilon)
    return Affine(scale, op.beta - op.mean * scale)


def _without_batch_norm(node: Node) -> Node:
    return Node(node.name, affine_of(node.op), node.inputs) if isinstance(node.op, BatchNorm) else node


def _over_all_of_space(graph: Graph, node: Node) -> Node:
    op = node.op
    whole = (
        isinstance(op, Pool)
        and op.kind == "average"
        and op.kernel == graph.shapes[node.inputs[0]][2:]
        and op.dilation == (1,) * len(op.kernel)
        and not any(map(any, op.pads))
    )
    return Node(node.name, GlobalPool("average"), node.inputs) if whole else node


def _drop_identities(graph: Graph) -> Graph:
    def idle(node: Node) -> bool:
        op, shape = node.op, graph.shapes[node.inputs[0]]
        return (
            isinstance(op, Identity)
            or (isinstance(op, Reshape) and op.shape == shape)
            or (isinstance(op, Transpose) and op.axes == tuple(range(len(shape))))
            or (isinstance(op, Pad) and not any(p for pair in op.pads for p in pair))
            or (isinstance(op, Pool) and _is_idle_pool(op))
        )

    renamed: dict[str, str] = {}
    for node in graph.nodes:
        if idle(node):
            renamed[node.name] = renamed.get(node.inputs[0], node.inputs[0])
    return graph.rewritten({}, renamed)


def _is_idle_pool(op: Pool) -> bool:
    """Of single elements; the norm of one is its absolute value."""
    return op.kind != "lp" and op.kernel == op.stride == (1,) * len(op.kernel) and not any(map(any, op.pads))


def _join_padding(graph: Graph) -> Graph:
    renamed: dict[str, str] = {}
    replaced: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Conv):
            continue
        pad = graph.by_name.get(node.inputs[0])
        if (
            pad is None
            or not isinstance(pad.op, Pad)
            or pad.op.value != 0
            or any(map(any, pad.op.pads[:2]))
            or pad.op.mode != "constant"
        ):
            continue
        pads = tuple(
            (a + before, b + after) for (a, b), (before, after) in zip(node.op.pads, pad.op.pads[2:], strict=True)
        )
        op = Conv(node.op.weight, node.op.bias, node.op.stride, node.op.dilation, pads, node.op.groups)
        replaced[node.name] = (Node(node.name, op, pad.inputs),)
    return graph.rewritten(replaced, renamed)


def _join_flatten(graph: Graph) -> Graph:
    replaced: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        source = graph.by_name.get(node.inputs[0])
        if isinstance(node.op, Dense) and source is not None and isinstance(source.op, Reshape):
            before, after = graph.shapes[source.inputs[0]], graph.shapes[source.name]
            if before[0] == after[0]:
                replaced[node.name] = (Node(node.name, node.op, source.inputs),)
    return graph.rewritten(replaced, {})
