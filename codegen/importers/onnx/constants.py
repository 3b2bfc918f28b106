"""Nodes that are computed here and now: those of constants, and those that ask for shapes, which are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from codegen.importers.onnx.node import Constant, Live, Node, Refused
from codegen.importers.onnx.supported import BROADCAST, SAME_OR_LESS

MAX_ELEMENTS = 2**26  # of one folded tensor
MAX_TOTAL = 2**28  # of all of a model

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


class Folder:
    """Evaluates nodes with the reference implementation of the onnx package, within bounds on memory."""

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._total = 0

    def fold(self, node: Node, proto: onnx.NodeProto) -> list[NDArray[Any]] | None:
        """The outputs, if they are known; None if the network computes them."""
        if node.op in ("Shape", "Size") and isinstance(node.input(0), Live):
            return [_of_shape(node)]
        if any(isinstance(value, Live) for value in node.inputs) or node.op in _RANDOM:
            return None
        arrays = [value.values if isinstance(value, Constant) else None for value in node.inputs]
        self._count(_elements(node, arrays))
        return self._evaluate(node, proto, arrays)

    def _evaluate(self, node: Node, proto: onnx.NodeProto, arrays: Sequence[NDArray[Any] | None]) -> list[NDArray[Any]]:
        feeds = {name: array for name, array in zip(proto.input, arrays, strict=True) if array is not None}
        inputs = [helper.make_empty_tensor_value_info(name) for name in feeds]
        outputs = [helper.make_empty_tensor_value_info(name) for name in proto.output if name]
        graph = helper.make_graph([proto], "constant", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self._opset)])
        try:
            with np.errstate(all="ignore"):
                results = ReferenceEvaluator(model).run(None, feeds)
        except Exception as error:  # the reference raises whatever numpy and its own code make of wrong arguments
            raise Refused(f"it cannot be computed: {_first_line(error)}") from error
        by_name = dict(zip((name for name in proto.output if name), results, strict=True))
        arrays_out = [by_name.get(name) for name in proto.output]
        if not all(array is None or isinstance(array, (np.ndarray, np.generic)) for array in arrays_out):
            raise Refused("it makes something else than tensors")
        return [np.asarray(array) for array in arrays_out]

    def _count(self, elements: int) -> None:
        self._total += elements
        if elements > MAX_ELEMENTS or self._total > MAX_TOTAL:
            raise Refused(f"it makes a constant of {elements} elements; {MAX_ELEMENTS} are the most")


def _of_shape(node: Node) -> NDArray[np.int64]:
    shape = node.live_shape()
    if node.op == "Size":
        return np.array(math.prod(shape), dtype=np.int64)
    return np.array(shape[slice(node.get("start", 0), node.get("end"))], dtype=np.int64)


def _elements(node: Node, arrays: Sequence[NDArray[Any] | None]) -> int:
    """At most how many elements the outputs have."""
    present = [array for array in arrays if array is not None]
    sizes = [array.size for array in present]
    try:
        if node.op in SAME_OR_LESS:
            return sum(sizes) * (max(sizes) if node.op.startswith("Gather") else 1)
        if node.op == "Expand":
            return math.prod(np.broadcast_shapes(present[0].shape, _counts(present[1])))
        if node.op in BROADCAST:
            return math.prod(np.broadcast_shapes(*(array.shape for array in present)))
        if node.op == "ConstantOfShape":
            return math.prod(_counts(present[0]))
        if node.op == "AffineGrid":
            return math.prod(_counts(present[1])) * 3
        if node.op == "Tile":
            return present[0].size * math.prod(_counts(present[1]))
        if node.op == "Range":
            start, limit, delta = (float(array) for array in present)
            return max(0, math.ceil((limit - start) / delta))
        if node.op in ("MatMul", "Gemm"):
            return math.prod(sizes[:2])
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        raise Refused(f"it cannot be computed: {_first_line(error)}") from error
    raise Refused("it is computed from constants only, but is not one of the operators that are computed in advance")


def _counts(values: NDArray[Any]) -> tuple[int, ...]:
    counts = tuple(int(n) for n in values.reshape(-1))
    if len(counts) > 16 or min(counts, default=0) < 0:
        raise ValueError(f"{list(counts[:16])} is not a shape")
    return counts


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
