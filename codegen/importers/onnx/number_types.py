"""Number types of a model's tensors: types of ONNX, casts between them, arithmetic that wraps around.

Inside a network all numbers are float32.  A tensor's number type tells what they represent:

- "float": float32, float16, bfloat16 and float64, all stored as float32;
- "int": int32 and int64, whole numbers that are exact up to 2^24 and do not wrap around;
- "bool": 1 and 0;
- "int8", "uint8", "int16", "uint16", "uint32" and "uint64": whole numbers of that type.  ONNX computes with them
  modulo 2^bits.  Operators whose result always fits the type are imported, and casts, which wrap around.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from codegen.graph.types import FLOAT32, TYPES, limits, size_of
from codegen.importers.onnx.builder import Builder
from codegen.importers.onnx.node import Live, Node, Refused

WRAPPING = ("int8", "uint8", "int16", "uint16", "uint32", "uint64")
"""Number types whose arithmetic wraps around within the range of a network's numbers."""

_NUMBER_TYPES: Mapping[int, str] = {
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE), "float"),
    **{TensorProto.INT32: "int", TensorProto.INT64: "int", TensorProto.BOOL: "bool"},
    **{helper.np_dtype_to_tensor_dtype(np.dtype(number_type)): number_type for number_type in WRAPPING},
}
_PORTS = {"float": FLOAT32, "int": "int64", "bool": "bool", **{number_type: number_type for number_type in WRAPPING}}

_MOVES = (
    *("Compress", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
    *("Identity", "Pad", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Trilu"),
    *("Unsqueeze", "Where"),
)
_WITHIN = ("Clip", "Max", "MaxPool", "Min", "Mod", "ReduceMax", "ReduceMin", "Relu", "Sign", "TopK")
_WITHIN_UNSIGNED = ("Abs", "Div")


def number_type_of_element(element: int) -> str | None:
    """The number type of an ONNX type; None if a network cannot have it."""
    return _NUMBER_TYPES.get(element)


def number_type_of_array(values: NDArray[Any]) -> str | None:
    """The number type of a constant; None if a network cannot have it."""
    return number_type_of_element(helper.np_dtype_to_tensor_dtype(values.dtype))


def type_name(element: int) -> str:
    """The name of an ONNX type for people."""
    return str(TensorProto.DataType.Name(element)).lower() if element in TensorProto.DataType.values() else str(element)


def port_type(element: int, number_type: str) -> str:
    """The type of an input or output in a spec: the model's, or if that is unknown, that of the number type.

    bfloat16, which numpy does not have, is float32.
    """
    if element == TensorProto.BFLOAT16:
        return FLOAT32
    name = str(helper.tensor_dtype_to_np_dtype(element)) if element in _NUMBER_TYPES else ""
    return name if name in TYPES else _PORTS[number_type]


def check_arithmetic(node: Node, number_type: str) -> None:
    """Raises Refused if the node's output of this number type may have wrapped around."""
    if number_type not in WRAPPING or node.op in (*_MOVES, *_WITHIN, "Cast", "CastLike"):
        return
    if node.op in _WITHIN_UNSIGNED and number_type.startswith("u"):
        return
    if node.op in ("Resize", "Upsample") and node.get("mode", "nearest") == "nearest":
        return
    if node.op.startswith("Scatter") and node.get("reduction", "none") in ("none", "max", "min"):
        return
    raise Refused(
        f"it computes with numbers of type {number_type}, which wrap around in ONNX; Cast them to float before it, "
        "and back behind it if need be"
    )


def converted(x: Live, number_type: str, b: Builder) -> Live:
    """x converted to another number type.

    Floats are truncated towards zero; floats beyond the type's range, which ONNX leaves undefined, are clamped to it.
    Whole numbers keep the lowest bits that the type has.
    """
    if x.number_type == number_type or number_type == "float" or (x.number_type == "bool" and number_type != "bool"):
        return Live(x.name, x.shape, number_type)
    if number_type == "bool":
        y = b.affine(b.layer("equal", [x, b.number(0, x)], "false"), -1, 1)
    elif x.number_type == "float":
        y = b.layer("trunc", x, "" if number_type == "int" else "whole")
        if number_type != "int":
            low, high = limits(number_type)
            y = b.layer("clip", y, min=float(low), max=float(high))
    elif number_type == "int" or _holds(number_type, x.number_type):
        y = x
    else:
        y = _lowest_bits(x, number_type, b)
    return Live(y.name, y.shape, number_type)


def _holds(number_type: str, other: str) -> bool:
    """True if the first number type contains all numbers of the other one."""
    if other not in WRAPPING:
        return False
    low, high = limits(number_type)
    least, most = limits(other)
    return low <= least and most <= high


def _lowest_bits(x: Live, number_type: str, b: Builder) -> Live:
    """x - n floor((x - low) / n) for a type of n numbers that starts at low; exact below 2^23."""
    count, low = 2.0 ** (8 * size_of(number_type)), float(limits(number_type)[0])
    turns = b.layer("floor", b.affine(x, 1 / count, -low / count, "turns"), "whole_turns")
    return b.layer("add", b.aligned([x, b.affine(turns, -count, tag="beyond")]))
