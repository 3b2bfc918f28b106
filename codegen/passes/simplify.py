"""Graph -> Graph: replaces operators by simpler ones, and lets neighbours do the work of moves.

Nodes that depend on constants alone become constants; transposes and reshapes meet their inverse; BatchNorm, and
arithmetic with a constant per channel, become affine maps; a division next to weights becomes a product; zero padding
joins the convolution after it; flattening joins the dense layer after it; an average over a window as large as the
image becomes a global average; operators without effect are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from codegen.graph.graph import Constant, Graph, Node
from codegen.graph.ops import (
    Affine,
    BatchNorm,
    Binary,
    Conv,
    Convert,
    Dense,
    Divide,
    GlobalPool,
    Identity,
    Pad,
    Pool,
    PRelu,
    Reduce,
    Reshape,
    Transpose,
    Weighted,
    frozen,
)
from codegen.graph.ops.window import Pads
from codegen.passes.layouts import cancel_moves

MOST_FOLDED = 2**16  # a constant of at most this many elements is always folded


def simplify(graph: Graph) -> tuple[Graph, Mapping[str, str]]:
    """Returns an equal, simpler graph, and the new names of nodes whose axes are now in another order."""
    graph = _fold_constants(graph)
    graph, renamed = cancel_moves(graph.with_nodes(map(_without_batch_norm, graph.nodes)))
    graph = graph.with_nodes(_without_channel_constant(graph, node) for node in graph.nodes)
    graph = _multiply_beside_weights(graph)
    graph = _drop_identities(graph)
    graph = graph.with_nodes(_over_all_of_space(graph, node) for node in graph.nodes)
    graph = _join_padding(graph)
    return _join_flatten(graph), renamed


def _fold_constants(graph: Graph) -> Graph:
    """Evaluates the nodes that depend on constants alone, unless the result is far larger than its inputs."""
    known, kept = dict(graph.constant_values), []
    for node in graph.nodes:
        # An output of another type is written by a kernel that converts.
        if not isinstance(node.op, Convert) and all(name in known for name in node.inputs):
            given = [known[name] for name in node.inputs]
            if math.prod(graph.shapes[node.name]) <= max(MOST_FOLDED, 4 * sum(x.size for x in given)):
                with np.errstate(all="ignore"):  # infinity and NaN are values like others
                    known[node.name] = frozen(node.op.reference(*given))
                continue
        kept.append(node)
    return graph.with_nodes(kept, constants=tuple(Constant(name, values) for name, values in known.items()))


def _without_channel_constant(graph: Graph, node: Node) -> Node:
    """Turns a binary operator with a finite constant, one number or one per channel, into a per-channel map."""
    op = node.op
    if not isinstance(op, Binary) or op.kind not in ("add", "sub", "mul", "div", "prelu"):
        return node
    shape = graph.shapes[node.name]
    for side, name in enumerate(node.inputs):
        values, x = graph.constant_values.get(name), node.inputs[1 - side]
        if values is None or graph.shapes[x] != shape or len(shape) < 2 or not np.isfinite(values).all():
            continue
        if any(n != 1 for axis, n in enumerate(values.shape) if axis != 1):
            continue
        channels = frozen(np.broadcast_to(values.reshape(-1), shape[1]))
        one, zero = np.ones_like(channels), np.zeros_like(channels)
        if op.kind == "add":
            return Node(node.name, Affine(one, channels), (x,))
        if op.kind == "sub":
            return Node(node.name, Affine(one, -channels) if side == 1 else Affine(-one, channels), (x,))
        if op.kind == "mul":
            return Node(node.name, Affine(channels, zero), (x,))
        if op.kind == "div" and side == 1 and channels.all():
            return Node(node.name, Divide(channels), (x,))
        if op.kind == "prelu" and side == 1:
            return Node(node.name, PRelu(channels), (x,))
    return node


def affine_of(op: BatchNorm) -> Affine:
    """The affine map of a BatchNorm: gamma/sqrt(var + eps) and beta - mean gamma/sqrt(var + eps), in float64."""
    scale = op.gamma / np.sqrt(op.variance + op.epsilon)
    return Affine(scale, op.beta - op.mean * scale)


def _without_batch_norm(node: Node) -> Node:
    return Node(node.name, affine_of(node.op), node.inputs) if isinstance(node.op, BatchNorm) else node


def _over_all_of_space(graph: Graph, node: Node) -> Node:
    op = node.op
    space = graph.shapes[node.inputs[0]][2:] if node.inputs else ()
    whole = (
        isinstance(op, Pool)
        and op.kind == "average"
        and op.kernel == space
        and op.dilation == (1,) * len(op.kernel)
        and not any(map(any, op.pads))
    )
    if whole:
        return Node(node.name, GlobalPool("average"), node.inputs)
    if isinstance(op, Reduce) and op.kind in ("mean", "max") and space:
        within = all(axis >= 2 for axis in op.axes)
        if within and all(n == 1 or axis in op.axes for axis, n in enumerate(space, 2)):
            return Node(node.name, GlobalPool("average" if op.kind == "mean" else "max"), node.inputs)
    return node


def _multiply_beside_weights(graph: Graph) -> Graph:
    """Turns divisions next to a layer with weights into products with the reciprocal, which fold into the weights.

    A division stays if a discontinuous function may read its result: floor(x / 41) is 1 for 41, but 41 times the
    rounded reciprocal may be less than 1.
    """
    if not any(isinstance(node.op, Divide) for node in graph.nodes):
        return graph
    ends, starts, jumps = _ends_in_weights(graph), _starts_at_weights(graph), _jumps_behind(graph)
    replaced = {
        node.name: (Node(node.name, Affine(1 / node.op.divisor, np.zeros_like(node.op.divisor)), node.inputs),)
        for node in graph.nodes
        if isinstance(node.op, Divide)
        and np.all(np.abs(node.op.divisor) >= np.finfo(np.float32).tiny)
        and np.all(np.abs(node.op.divisor) <= 1 / np.finfo(np.float32).tiny)
        and (
            (node.name in ends and (node.name, 1) not in jumps) or (node.name in starts and (node.name, 0) not in jumps)
        )
    }
    return graph.rewritten(replaced, {})


def _ends_in_weights(graph: Graph) -> set[str]:
    """Nodes whose only readers, also through per-channel maps, are layers with weights."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        readers = graph.consumers.get(node.name, ())
        if node.name not in graph.results and all(
            isinstance(r.op, Weighted) or (r.op.scales_channels and r.name in found) for r in readers
        ):
            found.add(node.name)
    return found


def _starts_at_weights(graph: Graph) -> set[str]:
    """Nodes that are the only reader, also through per-channel maps, of a layer with weights."""
    found: set[str] = set()
    for node in graph.nodes:
        source = graph.by_name.get(node.inputs[0])
        if source is None or graph.uses[source.name] != 1:
            continue
        if isinstance(source.op, Weighted) or (source.op.scales_channels and source.name in found):
            found.add(node.name)
    return found


def _jumps_behind(graph: Graph) -> set[tuple[str, int]]:
    """Nodes that a discontinuous function depends on through at most 0 or 1 layers with weights.

    After more layers, the rounding of their sums decides on which side of a jump a value falls.
    """
    found: set[tuple[str, int]] = set()
    for node in reversed(graph.nodes):
        for reader in graph.consumers.get(node.name, ()):
            weighted = isinstance(reader.op, Weighted)
            found.update((node.name, k) for k in (0, 1) if reader.op.jumps or (reader.name, k - weighted) in found)
    return found


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
    """True if the pool copies its input: its windows are single elements, and it takes no norm (absolute values)."""
    return op.kind != "lp" and op.kernel == op.stride == (1,) * len(op.kernel) and not any(map(any, op.pads))


def _join_padding(graph: Graph) -> Graph:
    replaced: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Conv):
            continue
        pads, (name,) = node.op.pads, node.inputs
        while (pad := _zero_padding(graph.by_name.get(name))) is not None:
            pads = tuple((a + c, b + d) for (a, b), (c, d) in zip(pads, pad[2:], strict=True))
            (name,) = graph.by_name[name].inputs
        if name != node.inputs[0]:
            replaced[node.name] = (Node(node.name, replace(node.op, pads=pads), (name,)),)
    return graph.rewritten(replaced, {})


def _zero_padding(node: Node | None) -> Pads | None:
    """The (before, after) padding of every axis by a node that puts zeros around images."""
    if node is None or not isinstance(node.op, Pad) or node.op.mode != "constant" or node.op.value != 0:
        return None
    return None if any(map(any, node.op.pads[:2])) else node.op.pads


def _join_flatten(graph: Graph) -> Graph:
    replaced: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        source = graph.by_name.get(node.inputs[0])
        if isinstance(node.op, Dense) and source is not None and isinstance(source.op, Reshape):
            before, after = graph.shapes[source.inputs[0]], graph.shapes[source.name]
            if len(before) > 1 and before[0] == after[0]:
                replaced[node.name] = (Node(node.name, node.op, source.inputs),)
    return graph.rewritten(replaced, {})
