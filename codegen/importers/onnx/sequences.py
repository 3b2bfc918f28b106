"""Expands sequences of tensors, whose length is known at import, into nodes without sequences.

PyTorch's exporter writes them for chunk, split and unbind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from codegen.graph.ops import Shape
from codegen.importers.onnx.node import Refused

MAX_PARTS = 4096  # tensors in a sequence


@dataclass(frozen=True)
class Part:
    """A part of ``tensor``: elements ``start`` to ``end`` of one axis, or all of it if there is no axis.

    The axis itself is dropped unless ``keep``.
    """

    tensor: str
    axis: int | None = None
    start: int = 0
    end: int = 0
    keep: bool = True


@dataclass(frozen=True)
class Parts:
    """The value of a sequence."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Known:
    """Facts about a node's inputs that are known at import.

    ``sequence`` and ``shape`` take a name; ``constant`` returns None for tensors that the network computes.  ``shape``
    raises Refused for a sequence.
    """

    sequence: Callable[[str], Parts]
    shape: Callable[[str], Shape]
    constant: Callable[[str], NDArray[Any] | None]
    opset: int


Result = Parts | list[onnx.NodeProto]


def expanded(node: onnx.NodeProto, known: Known) -> Result:
    """The sequence that a node returns, or the nodes that compute its output.

    Raises Refused if that depends on the input's values.
    """
    return SEQUENCE_OPERATORS[node.op_type](node, known)


def _split(node: onnx.NodeProto, known: Known) -> Parts:
    tensor, name = node.input[0], _optional(node, 1)
    shape, axis = known.shape(tensor), _attribute(node, "axis", 0)
    if not -len(shape) <= axis < len(shape):
        raise Refused(f"axis {axis} is not an axis of {list(shape)}")
    axis %= len(shape)
    size = shape[axis]
    sizes = [1] * size
    if name:
        given = known.constant(name)
        if given is None or given.ndim > 1:
            raise Refused("the sizes of its parts are computed by the network")
        if given.ndim == 0 and int(given) > 0:
            step = int(given)
            sizes = [min(step, size - start) for start in range(0, size, step)]
        else:
            sizes = [int(n) for n in given.reshape(-1)]
    if sum(sizes) != size or min(sizes, default=0) < 0 or len(sizes) > MAX_PARTS:
        raise Refused(f"parts of {sizes[:MAX_PARTS]} do not make up axis {axis} of {list(shape)}")
    keep = bool(name) or bool(_attribute(node, "keepdims", 1))
    ends = np.cumsum(sizes)
    return Parts(tuple(Part(tensor, axis, int(end) - n, int(end), keep) for end, n in zip(ends, sizes, strict=True)))


def _construct(node: onnx.NodeProto, known: Known) -> Parts:
    for name in node.input:
        known.shape(name)
    return Parts(tuple(Part(name) for name in node.input))


def _empty(node: onnx.NodeProto, known: Known) -> Parts:
    return Parts(())


def _insert(node: onnx.NodeProto, known: Known) -> Parts:
    parts = list(known.sequence(node.input[0]).parts)
    known.shape(node.input[1])
    at = _position(node, 2, known, len(parts), len(parts)) if _optional(node, 2) else len(parts)
    return Parts((*parts[:at], Part(node.input[1]), *parts[at:]))


def _erase(node: onnx.NodeProto, known: Known) -> Parts:
    parts = list(known.sequence(node.input[0]).parts)
    at = _position(node, 1, known, len(parts), len(parts) - 1) if _optional(node, 1) else len(parts) - 1
    return Parts((*parts[:at], *parts[at + 1 :]))


def _at(node: onnx.NodeProto, known: Known) -> list[onnx.NodeProto]:
    parts = known.sequence(node.input[0]).parts
    return _taken(node, parts[_position(node, 1, known, len(parts), len(parts) - 1)], node.output[0])


def _length(node: onnx.NodeProto, known: Known) -> list[onnx.NodeProto]:
    return [_constant(node, node.output[0], len(known.sequence(node.input[0]).parts))]


def _concat(node: onnx.NodeProto, known: Known) -> list[onnx.NodeProto]:
    output, axis = node.output[0], _attribute(node, "axis", 0)
    nodes: list[onnx.NodeProto] = []
    names: list[str] = []
    for k, part in enumerate(known.sequence(node.input[0]).parts):
        name = f"{output}:part_{k}"
        nodes += _taken(node, part, name)
        if _attribute(node, "new_axis", 0):
            with_axis = f"{name}:axis"
            if known.opset < 13:
                nodes.append(helper.make_node("Unsqueeze", [name], [with_axis], name=node.name, axes=[axis]))
            else:
                nodes.append(_constant(node, f"{name}:axes", [axis]))
                nodes.append(helper.make_node("Unsqueeze", [name, f"{name}:axes"], [with_axis], name=node.name))
            name = with_axis
        names.append(name)
    if not names:
        raise Refused("its sequence is empty")
    return [*nodes, helper.make_node("Concat", names, [output], name=node.name, axis=axis)]


def _taken(node: onnx.NodeProto, part: Part, output: str) -> list[onnx.NodeProto]:
    """Nodes that compute a tensor from one part."""
    if part.axis is None:
        return [helper.make_node("Identity", [part.tensor], [output], name=node.name)]
    if not part.keep:
        index = _constant(node, f"{output}:index", part.start)
        return [
            index,
            helper.make_node("Gather", [part.tensor, index.output[0]], [output], name=node.name, axis=part.axis),
        ]
    bounds = [
        _constant(node, f"{output}:{word}", [value])
        for word, value in (("starts", part.start), ("ends", part.end), ("axes", part.axis))
    ]
    inputs = [part.tensor, *(bound.output[0] for bound in bounds)]
    return [*bounds, helper.make_node("Slice", inputs, [output], name=node.name)]


def _constant(node: onnx.NodeProto, output: str, value: int | list[int]) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.array(value, np.int64), output)
    return helper.make_node("Constant", [], [output], name=node.name, value=tensor)


def _position(node: onnx.NodeProto, i: int, known: Known, count: int, most: int) -> int:
    """The position that an input holds, counted from the front; a negative one is counted from the end."""
    given = known.constant(node.input[i])
    if given is None or given.size != 1:
        raise Refused("its position is computed by the network")
    position = int(given.reshape(-1)[0])
    at = position + count if position < 0 else position
    if not 0 <= at <= most:
        raise Refused(f"position {position} is not one of a sequence of {count}")
    return at


def _optional(node: onnx.NodeProto, i: int) -> str:
    return node.input[i] if i < len(node.input) else ""


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


SEQUENCE_OPERATORS: Mapping[str, Callable[[onnx.NodeProto, Known], Result]] = {
    "ConcatFromSequence": _concat,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": _empty,
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
    "SplitToSequence": _split,
}
