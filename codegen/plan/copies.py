"""Graph of launches -> Graph of launches with copies of inputs and outputs to another layout.

Inputs are copied to channel blocks, outputs to the user's layout.  Kernels read inputs and write outputs by strides, so
that most need no copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from codegen.graph.graph import Graph, Node, Output
from codegen.graph.ops import Conv, Fused, Identity, Reshape
from codegen.passes.edges import WIDE_INPUT, bare, in_memory, written_order
from codegen.passes.moves import Move, row_major


def with_copies(graph: Graph) -> Graph:
    """Adds a launch for every copy."""
    return _with_output_copies(_with_input_copies(graph))


def _with_input_copies(graph: Graph) -> Graph:
    """Adds a copy to channel blocks for inputs of many channels; kernels read narrow inputs directly.

    A convolution reads each input once per tap and block of outputs.  If its channels are far apart in memory, all
    these reads cost more than one copy.  A 1x1 convolution has a single tap, and its kernel gathers the channels
    itself.
    """
    wide = {i.name for i in graph.inputs if len(i.shape) in (3, 4) and i.shape[1] >= WIDE_INPUT}
    copied: list[Node] = []
    nodes = []
    for node in graph.nodes:
        name = node.inputs[0]
        core = node.op.core if isinstance(node.op, Fused) else None
        if name in wide and isinstance(core, Conv) and not core.pointwise:
            copy = f"{name}/copy"
            if all(c.name != copy for c in copied):
                copied.append(Node(copy, Fused(Identity(), 1), (name,)))
            node = Node(node.name, node.op, (copy, *node.inputs[1:]))
        nodes.append(node)
    return Graph(graph.name, graph.inputs, (*copied, *nodes), graph.outputs, graph.constants)


def _with_output_copies(graph: Graph) -> Graph:
    """Adds a copy for every output that is also an input, has other readers, or is returned twice."""
    nodes, outputs = list(graph.nodes), []
    for k, output in enumerate(graph.outputs):
        if written(graph, output) is not None:
            outputs.append(output)
            continue
        name = f"{output.value}/output{k}"
        nodes.append(Node(name, Fused(Identity(), 1), (output.value,)))
        outputs.append(replace(output, value=name))
    return Graph(graph.name, graph.inputs, tuple(nodes), tuple(outputs), graph.constants)


@dataclass(frozen=True)
class Written:
    """A launch that writes an output directly: its own tensor in row-major order, or with ``channels_last``.

    ``views`` are the tensors after it that share its memory, the output's last, with the strides of their axes.
    """

    launch: str
    channels_last: bool
    views: Mapping[str, tuple[int, ...]]


def written(graph: Graph, output: Output) -> Written | None:
    """The launch that can write an output directly, as only moves separate its tensor from the output; else None.

    ``graph`` is one of launches.
    """
    found: Written | None = None
    chain: list[tuple[str, Move]] = []
    name, move = output.value, in_memory(graph.shapes[output.value], output.channels_last)
    while name in graph.by_name and graph.uses[name] == 1:
        node = graph.by_name[name]
        if not (chain and isinstance(bare(node), Reshape)):
            found = _written(name, move, chain) or found
        step = Move.of(bare(node), graph.shapes[node.inputs[0]])
        before = None if step is None else step.then(move)
        if before is None or step is None:
            break
        chain.insert(0, (name, step))
        name, move = node.inputs[0], before
    return found


def _written(launch: str, move: Move, chain: list[tuple[str, Move]]) -> Written | None:
    """The launch as direct writer of an output, ``move`` and ``chain`` lying in between; None if impossible."""
    order = written_order(move)
    if order is None:
        return None
    from_memory = order.inverse()
    strides: tuple[int, ...] | None = from_memory.strides(row_major(from_memory.source))
    views: dict[str, tuple[int, ...]] = {}
    for name, step in chain:
        strides = None if strides is None else step.strides(strides)
        if strides is not None:
            views[name] = strides
    return Written(launch, not order.keeps_all, views) if len(views) == len(chain) else None
