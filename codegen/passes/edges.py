"""Moves at the edges of a network that need no launch, because kernels read inputs and write outputs by strides.

A model whose images have their channels last begins with a transpose of its input and often ends with a transpose of
its output.  Convolutions read such an input in place, and the launch that computes an output can write it in this
order.  A reshape that keeps the row-major order needs no launch in any case.
"""

from __future__ import annotations

from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Conv, Convert, Fused, Op, Shape, Transpose
from codegen.passes.moves import Move

WIDE_INPUT = 8
"""An input of at least this many channels is first copied to channel blocks, as a convolution reads it once a tap."""


def is_image_of_input(graph: Graph, node: Node) -> bool:
    """True if the node is a transpose of an input that only gives its readers a channels-last image.

    The graph may be one of launches or one of plain operators.
    """
    if not isinstance(bare(node), Transpose) or node.name in graph.results:
        return False
    name, move = node.name, Move.identity(graph.shapes[node.name])
    while name in graph.by_name and not isinstance(bare(graph.by_name[name]), Convert):
        maker = graph.by_name[name]
        name = maker.inputs[0]
        step = Move.of(bare(maker), graph.shapes[name])
        before = None if step is None else step.then(move)
        if before is None:
            return False
        move = before
    given = graph.input_by_name.get(name)
    if (given is not None and given.channels_last) or name in graph.constant_values or not can_read(move):
        return False
    readers = [bare(reader) for reader in graph.consumers.get(node.name, ())]
    narrow = graph.shapes[node.name][1] < WIDE_INPUT
    return narrow or all(isinstance(reader, Conv) and reader.pointwise for reader in readers)


def can_read(move: Move) -> bool:
    """True if the move turns an input into an image whose channels are last in the input's memory."""
    if len(move.shape) not in (3, 4):
        return False
    order = move.then(in_memory(move.shape, True))
    return order is not None and order.keeps_order


def bare(node: Node) -> Op:
    """The operator of a node, or of a launch without prologue and epilogue."""
    op = node.op
    return op.core if isinstance(op, Fused) and not (op.prologue or op.epilogue) else op


def can_write(move: Move) -> bool:
    """True if a launch can write the result of this move of its tensor directly, in row-major order."""
    return written_order(move) is not None


def written_order(move: Move) -> Move | None:
    """The order in memory of the launch's tensor that makes the moved tensor row-major; None if there is none."""
    for last in (False, True) if 2 < len(move.source) < 6 else (False,):
        order = in_memory(move.source, last)
        after = order.inverse().then(move)
        if after is not None and after.keeps_order:
            return order
    return None


def in_memory(shape: Shape, channels_last: bool) -> Move:
    """The move from a tensor's axes to the order that its elements have in memory."""
    axes = tuple(range(len(shape)))
    return Move.transpose(shape, (0, *axes[2:], 1) if channels_last else axes)
