"""Value kinds of a model's tensors: types of ONNX, casts between them, arithmetic that wraps around.

Inside a network all numbers are float32.  A tensor's kind tells what they represent:

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
"""Kinds whose arithmetic wraps around within the range of a network's numbers."""

_KINDS: Mapping[int, str] = {
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE), "float"),
    **{TensorProto.INT32: "int", TensorProto.INT64: "int", TensorProto.BOOL: "bool"},
    **{helper.np_dtype_to_tensor_dtype(np.dtype(kind)): kind for kind in WRAPPING},
}
_PORTS = {"float": FLOAT32, "int": "int64", "bool": "bool", **{kind: kind for kind in WRAPPING}}

_MOVES = (
    *("Compress", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
    *("Identity", "Pad", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Trilu"),
    *("Unsqueeze", "Where"),
)
_WITHIN = ("Clip", "Max", "MaxPool", "Min", "Mod", "ReduceMax", "ReduceMin", "Relu", "Sign", "TopK")
_WITHIN_UNSIGNED = ("Abs", "Div")


def kind_of_type(element: int) -> str | None:
    """The kind of an ONNX type's numbers; None if a network cannot have them."""
    return _KINDS.get(element)


def kind_of_array(values: NDArray[Any]) -> str | None:
    """The kind of a constant's numbers; None if a network cannot have them."""
    return kind_of_type(helper.np_dtype_to_tensor_dtype(values.dtype))


def type_name(element: int) -> str:
    """The name of an ONNX type for people."""
    return str(TensorProto.DataType.Name(element)).lower() if element in TensorProto.DataType.values() else str(element)


def port_type(element: int, kind: str) -> str:
    """The type of an input or output in a spec: the model's, or if that is unknown, the kind's.

    bfloat16, which numpy does not have, is float32.
    """
    if element == TensorProto.BFLOAT16:
        return FLOAT32
    name = str(helper.tensor_dtype_to_np_dtype(element)) if element in _KINDS else ""
    return name if name in TYPES else _PORTS[kind]


def check_arithmetic(node: Node, kind: str) -> None:
    """Raises Refused if the node's output of this kind may have wrapped around."""
    if kind not in WRAPPING or node.op in (*_MOVES, *_WITHIN, "Cast", "CastLike"):
        return
    if node.op in _WITHIN_UNSIGNED and kind.startswith("u"):
        return
    if node.op in ("Resize", "Upsample") and node.get("mode", "nearest") == "nearest":
        return
    if node.op.startswith("Scatter") and node.get("reduction", "none") in ("none", "max", "min"):
        return
    raise Refused(
        f"it computes with numbers of type {kind}, which wrap around in ONNX; Cast them to float before it, and back "
        "behind it if need be"
    )


def converted(x: Live, kind: str, b: Builder) -> Live:
    """x converted to another kind.

    Floats are truncated towards zero; floats beyond the type's range, which ONNX leaves undefined, are clamped to it.
    Whole numbers keep the lowest bits that the type has.
    """
    if x.kind == kind or kind == "float" or (x.kind == "bool" and kind != "bool"):
        return Live(x.name, x.shape, kind)
    if kind == "bool":
        y = b.affine(b.layer("equal", [x, b.number(0, x)], "false"), -1, 1)
    elif x.kind == "float":
        y = b.layer("trunc", x, "" if kind == "int" else "whole")
        if kind != "int":
            low, high = limits(kind)
            y = b.layer("clip", y, min=float(low), max=float(high))
    elif kind == "int" or _holds(kind, x.kind):
        y = x
    else:
        y = _lowest_bits(x, kind, b)
    return Live(y.name, y.shape, kind)


def _holds(kind: str, other: str) -> bool:
    """True if the kind contains all numbers of the other kind."""
    if other not in WRAPPING:
        return False
    low, high = limits(kind)
    least, most = limits(other)
    return low <= least and most <= high


def _lowest_bits(x: Live, kind: str, b: Builder) -> Live:
    """x - n floor((x - low) / n) for a type of n numbers that starts at low; exact below 2^23."""
    count, low = 2.0 ** (8 * size_of(kind)), float(limits(kind)[0])
    turns = b.layer("floor", b.affine(x, 1 / count, -low / count, "turns"), "whole_turns")
    return b.layer("add", b.aligned([x, b.affine(turns, -count, tag="beyond")]))
