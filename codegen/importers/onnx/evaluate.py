"""Evaluates ONNX nodes in float64 by independent code, as a reference for the check of imports.

Results come from the package onnx, or from numpy code that follows ONNX's specification (:mod:`reference_numpy`);
nothing is shared with the importer or :mod:`codegen.graph`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from codegen.importers.onnx.reference_numpy import OWN

Array = NDArray[Any]

_FLOATING = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)

# Operators whose results depend on the types of their inputs.
_TYPED = frozenset({"BitCast", "Cast", "CastLike", "DequantizeLinear", "QuantizeLinear"})

SMALL = 16  # constants of up to this size may be decimal numbers in a spec


class NotEvaluated(Exception):
    """Raised for a node that the reference cannot evaluate; the message says why."""


@dataclass(frozen=True)
class Reading:
    """Interpretation of float32 constants: as their exact value, or as the shortest decimal that rounds to it.

    1e-5 in a model is 9.99999974e-06 in float32; a spec has 1e-05 for either of them.
    """

    short_attributes: bool = False
    short_constants: bool = False


READINGS = (Reading(), Reading(short_attributes=True), Reading(short_constants=True), Reading(True, True))


def wide(values: Array) -> Array:
    """Floating-point numbers of any type as float64; other types unchanged."""
    floating = values.dtype.kind == "f" or values.dtype.name.startswith(("bfloat", "float"))
    return values.astype(np.float64) if floating else values


def evaluate(
    proto: onnx.NodeProto,
    opset: int,
    inputs: Sequence[Array | None],
    constant: Sequence[bool],
    reading: Reading = READINGS[0],
) -> list[Array | None]:
    """The node's outputs, with floating-point numbers in float64.

    ``constant`` tells which inputs are constants of the model.  Raises NotEvaluated if the reference lacks the operator
    or fails.
    """
    arrays = [
        None if x is None else _shortened(x) if known and reading.short_constants else wide(x)
        for x, known in zip(inputs, constant, strict=True)
    ]
    with np.errstate(all="ignore"):
        try:
            if proto.op_type in OWN:
                results = _own(proto, opset, arrays, reading)
            else:
                results = _by_onnx(proto, opset, arrays, reading)
        except Exception as error:  # numpy and the reference raise exceptions of any kind
            cause = error.__cause__ or error
            line = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
            raise NotEvaluated(line) from error
    return [None if y is None else wide(np.asarray(y)) for y in results]


def evaluate_constants(proto: onnx.NodeProto, opset: int, inputs: Sequence[Array | None]) -> list[Array | None]:
    """The outputs of a node of constants, in the model's own types, as any engine computes them."""
    first = inputs[0] if inputs else None
    with np.errstate(all="ignore"):
        try:
            training = any(a.name == "training_mode" and a.i for a in proto.attribute)
            if first is not None and first.dtype.kind == "f" and proto.op_type not in _TYPED and not training:
                found = evaluate(proto, opset, inputs, [False] * len(inputs))
                return [y.astype(first.dtype) if y is not None and y.dtype == np.float64 else y for y in found]
            return _run(_evaluator(proto, opset, inputs), proto, inputs)
        except Exception as error:
            raise NotEvaluated(str(error)[:200]) from error


def _shortened(values: Array) -> Array:
    if values.size > SMALL or not (values.dtype in (np.float16, np.float32) or values.dtype.name == "bfloat16"):
        return wide(values)
    floats = values.astype(np.float32).reshape(-1)
    return np.array([float(str(v)) for v in floats], dtype=np.float64).reshape(values.shape)


def _own(proto: onnx.NodeProto, opset: int, arrays: list[Array | None], reading: Reading) -> list[Array | None]:
    attributes = {a.name: _attribute(a, reading) for a in proto.attribute}
    result = OWN[proto.op_type]({**attributes, "opset": opset}, *arrays)
    results = list(result) if isinstance(result, tuple) else [result]
    first = next(x for x in arrays if x is not None)
    if first.dtype.kind in "iu":
        results = [np.trunc(y).astype(first.dtype) for y in results]
    return [*results, *[None] * (len(proto.output) - len(results))][: len(proto.output)]


def _attribute(attribute: onnx.AttributeProto, reading: Reading) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return _short(value) if reading.short_attributes else value
    if attribute.type == AttributeProto.FLOATS:
        return [_short(v) if reading.short_attributes else float(v) for v in value]
    return value


def _short(value: float) -> float:
    return float(str(np.float32(value)))


def _by_onnx(proto: onnx.NodeProto, opset: int, arrays: list[Array | None], reading: Reading) -> list[Array | None]:
    """Evaluates a node by onnx.reference, with every floating-point type, also a Cast's, replaced by float64."""
    node = onnx.NodeProto()
    node.CopyFrom(proto)
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _FLOATING:
            attribute.i = TensorProto.DOUBLE
    evaluator = _evaluator(node, opset, arrays)
    for runner in evaluator.rt_nodes_:
        for name, value in vars(runner).items():
            if isinstance(value, np.float32):  # an attribute, or the operator's default for it
                setattr(runner, name, np.float64(_short(float(value)) if reading.short_attributes else value))
    return _run(evaluator, node, arrays)


def _evaluator(node: onnx.NodeProto, opset: int, arrays: Sequence[Array | None]) -> ReferenceEvaluator:
    types = {
        name: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), list(x.shape))
        for name, x in zip(node.input, arrays, strict=True)
        if x is not None
    }
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "node", list(types.values()), outputs)
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def _run(evaluator: ReferenceEvaluator, node: onnx.NodeProto, arrays: Sequence[Array | None]) -> list[Array | None]:
    feeds = {name: x for name, x in zip(node.input, arrays, strict=True) if x is not None}
    found: Any = evaluator.run(None, feeds)
    if not all(isinstance(y, (np.ndarray, np.generic)) for y in found):
        raise NotEvaluated("its result is not a tensor")
    results = dict(zip((name for name in node.output if name), found, strict=True))
    return [np.asarray(results[name]) if name else None for name in node.output]
