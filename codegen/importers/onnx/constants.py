"""Evaluation of nodes at import: nodes of constants, and nodes that query shapes, which are known."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from codegen.importers.onnx.node import Constant, Live, Node, Refused, is_floating, type_of

Array = NDArray[Any]

MAX_ELEMENTS = 2**26  # elements of one folded tensor
MAX_TOTAL = 2**28  # elements of all folded tensors of a model
_SMALL = 1024  # elements of a constant that may specify a shape

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
EVALUATED_FROM = {"DequantizeLinear": 19, "QuantizeLinear": 19}
"""The first opset that the onnx package evaluates, for operators whose meaning was the same before."""

_MOST_WIDENED = 2**22  # elements of constants that are evaluated in float64, which takes twice the memory
_TYPED = frozenset({"BitCast", "Cast", "CastLike", "DequantizeLinear", "QuantizeLinear"})
"""Operators whose result depends on the type of their inputs."""

Compute = Callable[[Node], list[Array]]
"""A function that evaluates a node of constants in float64 through the layers of its import."""


class Folder:
    """Evaluates nodes of constants within memory limits.

    Most nodes are evaluated by the reference implementation of the onnx package, in the model's own types.  Operators
    in ``layers``, for which that implementation differs from engines, are evaluated by ``compute``.
    """

    def __init__(self, opset: int, layers: frozenset[str], compute: Compute) -> None:
        self._opset = opset
        self._layers = layers
        self._compute = compute
        self._total = 0

    def fold(self, node: Node, proto: onnx.NodeProto) -> list[Array] | None:
        """The outputs if they are known; None if the network computes them."""
        first = node.input(0)
        if node.op in ("EyeLike", "Shape", "Size") and isinstance(first, Live):
            return [_of_shape(node, first)]
        if node.op == "CastLike" and isinstance(first, Constant):
            return [_cast_like(first, node)]
        if any(isinstance(value, Live) for value in node.inputs) or node.op in _RANDOM | _CONTROL_FLOW:
            return None
        arrays = [value.values if isinstance(value, Constant) else None for value in node.inputs]
        self._count(_stored(node) if node.op == "Constant" else _elements(proto, self._opset, arrays))
        if node.op in self._layers and isinstance(first, Constant) and first.values.dtype.kind == "f":
            with contextlib.suppress(Refused):  # no layer can, as for BatchNorm in training mode
                return [y.astype(first.values.dtype) for y in self._compute(node)]
        return _evaluated(proto, self._opset, arrays)

    def _count(self, elements: int) -> None:
        self._total += elements
        if elements > MAX_ELEMENTS:
            raise Refused(f"it makes a constant of {elements} elements; at most {MAX_ELEMENTS} are allowed")
        if self._total > MAX_TOTAL:
            raise Refused(f"with its constant the model's have {self._total} elements; at most {MAX_TOTAL} are allowed")


def _of_shape(node: Node, x: Live) -> Array:
    if node.op == "Size":
        return np.array(math.prod(x.shape), dtype=np.int64)
    if node.op == "EyeLike":
        if len(x.shape) != 2:
            raise Refused(f"its input {list(x.shape)} should be a matrix")
        kind = helper.tensor_dtype_to_np_dtype(node.get("dtype")) if "dtype" in node.attributes else type_of(x)
        return np.eye(*x.shape, k=node.get("k", 0), dtype=kind)
    return np.array(x.shape[slice(node.get("start", 0), node.get("end"))], dtype=np.int64)


def _stored(node: Node) -> int:
    """The number of elements of a sparse Constant, which the file stores in less space; 0 for other Constants."""
    sparse = node.get("sparse_value")
    return math.prod(sparse.sparse_tensor.dims) if sparse is not None else 0


def _cast_like(x: Constant, node: Node) -> Array:
    """The constant cast to the type of the second input, whose values do not matter."""
    like = node.input(1)
    if isinstance(like, Live):
        return x.values.astype(type_of(like))
    assert isinstance(like, Constant)
    return x.values.astype(like.values.dtype)


def _model(proto: onnx.NodeProto, opset: int, arrays: Sequence[Array | None], small: int) -> onnx.ModelProto:
    """A model of one node; inputs of at most ``small`` elements become initializers."""
    given = {name: array for name, array in zip(proto.input, arrays, strict=True) if array is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
        if array.size > small
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in given.items() if array.size <= small]
    outputs = [helper.make_empty_tensor_value_info(name) for name in proto.output if name]
    graph = helper.make_graph([proto], "constant", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _evaluated(proto: onnx.NodeProto, opset: int, arrays: Sequence[Array | None]) -> list[Array]:
    """The node's outputs by the onnx package, in float64 if only precision differs, and rounded once at the end."""
    given = [array for array in arrays if array is not None and is_floating(array.dtype)]
    wider = proto.op_type not in _TYPED and bool(given) and sum(x.size for x in given) <= _MOST_WIDENED
    arrays = [x.astype(np.float64) if wider and x is not None and is_floating(x.dtype) else x for x in arrays]
    feeds = {name: array for name, array in zip(proto.input, arrays, strict=True) if array is not None}
    known = max(opset, EVALUATED_FROM.get(proto.op_type, opset))
    try:
        with np.errstate(all="ignore"):
            results: Any = ReferenceEvaluator(_model(proto, known, arrays, -1)).run(None, feeds)
    except Exception as error:  # the reference raises exceptions of any kind on wrong arguments
        raise Refused(f"it cannot be computed: {_first_line(error)}") from error
    if not all(isinstance(array, (np.ndarray, np.generic)) for array in results):
        raise Refused("its result is not a tensor")
    if wider:
        results = [y.astype(given[0].dtype) if y.dtype == np.float64 else y for y in results]
    by_name = dict(zip((name for name in proto.output if name), results, strict=True))
    return [np.asarray(by_name.get(name)) for name in proto.output]


def _elements(proto: onnx.NodeProto, opset: int, arrays: Sequence[Array | None]) -> int:
    """An upper bound on the number of output elements, from ONNX's shape inference if it gives sizes."""
    present = [array for array in arrays if array is not None]
    try:
        model = onnx.shape_inference.infer_shapes(_model(proto, opset, arrays, _SMALL))
    except Exception as error:  # shape inference raises exceptions of any kind
        raise Refused(f"it cannot be computed: {_first_line(error)}") from error
    sizes = [_size(value) for value in model.graph.output]
    if sizes and None not in sizes:
        return sum(size for size in sizes if size is not None)
    # Each element may have an index per axis, and a whole number among the inputs may be a size.
    numbers = [int(np.abs(array).max()) for array in present if 0 < array.size <= _SMALL and array.dtype.kind in "iu"]
    return max([sum(array.size * max(array.ndim, 1) for array in present), *numbers])


def _size(value: onnx.ValueInfoProto) -> int | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return math.prod(int(d.dim_value) for d in tensor.shape.dim)


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
