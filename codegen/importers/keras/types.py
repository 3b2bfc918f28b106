"""The number types of a network.  Specs compute in float32; differences that this causes are refused or noted.

Integers are floats with whole values, truth values are 0 and 1.  They may be moved, compared, selected and cast, and
converted to floating point as Keras does it.  Everything else is integer arithmetic in Keras (it wraps around, // and %
round) and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codegen.frontend.spec.place import Place, show
from codegen.importers.document import Document
from codegen.importers.keras.inert import AUGMENTATIONS, NOTHING_TO_DO
from codegen.importers.keras.network import Layer, Origin
from codegen.importers.keras.options import Options, Unsupported
from codegen.importers.keras.site import Operand

OWN = "a class of your own, whose code is not in the file"

_FLOAT32 = "float32"
_BOOL = "bool"
_OTHER_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))

_TURN_INTO_FLOATS = frozenset({"Rescaling", "Normalization"})
_MOVE = frozenset(
    {"Flatten", "Reshape", "Permute", "RepeatVector", "Concatenate", "UpSampling1D", "UpSampling3D", "CenterCrop"}
    | {f"{kind}{n}D" for kind in ("ZeroPadding", "Cropping", "MaxPooling") for n in (1, 2, 3)}
    | {*NOTHING_TO_DO, *AUGMENTATIONS}
)


def is_integer(dtype: str) -> bool:
    return dtype in _INTEGERS


def _is_float(dtype: str) -> bool:
    return not is_integer(dtype) and dtype != _BOOL


def input_type(layer: Layer | None, document: Document) -> str:
    """The type of an InputLayer's numbers; raises Unsupported if a spec has no such input."""
    if layer is None or layer.class_name != "InputLayer":
        return _FLOAT32
    if layer.origin is Origin.OWN:
        raise Unsupported(OWN)
    options = Options(Place("", f"layer {show(layer.name)}"), layer.config)
    for key in ("sparse", "ragged", "optional"):
        options.require(key, False)
    dtype = options.get("dtype", _FLOAT32)
    options.refuse_unread()
    if is_integer(dtype):
        _note(document, f"input {show(layer.name)} is of {dtype}: the application passes whole numbers as floats")
    elif dtype in _OTHER_FLOATS:
        _note(document, f"input {show(layer.name)} is of {dtype}; it is float32 here")
    elif dtype != _FLOAT32:
        raise Unsupported(f"dtype = {show(dtype)}")
    return str(dtype)


def check_layer(layer: Layer, document: Document) -> None:
    """Raises Unsupported unless the layer computes in floating point."""
    policy: Any = layer.config.get("dtype")
    name = policy
    if isinstance(policy, Mapping):
        config = policy.get("config")
        name = config.get("name") if isinstance(config, Mapping) else None
        if policy.get("class_name") not in ("DTypePolicy", "FloatDTypePolicy", "Policy"):
            raise Unsupported(f"dtype = {show(policy.get('class_name'))}")
    if name in _OTHER_FLOATS:
        _note(document, f"layers of dtype {name} are computed in float32")
    elif name not in (None, _FLOAT32):
        raise Unsupported(f"dtype = {show(name)}")


def result_type(layer: Layer, types: Sequence[str]) -> str:
    """The type of a layer's result for operands of these types."""
    others = [dtype for dtype in types if not _is_float(dtype)]
    if not others:
        return _FLOAT32
    if layer.class_name not in (_TURN_INTO_FLOATS | _MOVE):
        raise Unsupported(f"integers ({others[0]})")
    if layer.class_name in _TURN_INTO_FLOATS:
        return _FLOAT32
    if len(set(types)) > 1:
        raise Unsupported(f"numbers of types {' and '.join(sorted(set(types)))}")
    return types[0]


# Functions ------------------------------------------------------------------------------------------------------------

Rule = Callable[[Sequence[Operand], Mapping[str, str], Options], str]
"""A function that returns a result's type, given the operands, the types of tensors among them, and the options."""


def arithmetic(operands: Sequence[Operand], types: Mapping[str, str], o: Options) -> str:
    """Keras' promotion to floating point, of a float and any other type."""
    found = [_dtype(operand, types) for operand in _flat(operands)]
    if any(map(_is_float, found)):
        return _FLOAT32
    tensors = {_dtype(operand, types) for operand in _flat(operands) if isinstance(operand, str)}
    raise Unsupported(f"integers ({' and '.join(sorted(tensors))})")


def same(operands: Sequence[Operand], types: Mapping[str, str], o: Options) -> str:
    """The common type of all operands, for functions that move numbers."""
    found = {_dtype(operand, types) for operand in _flat(operands) if isinstance(operand, str)}
    return found.pop() if len(found) == 1 else arithmetic(operands, types, o)


def chosen(operands: Sequence[Operand], types: Mapping[str, str], o: Options) -> str:
    """The result's type for a condition with two operands."""
    found = {_dtype(operand, types) for operand in operands[1:] if operand is not None}
    return found.pop() if len(found) == 1 else arithmetic(operands[1:], types, o)


def always_bool(operands: Sequence[Operand], types: Mapping[str, str], o: Options) -> str:
    return _BOOL


def always_int32(operands: Sequence[Operand], types: Mapping[str, str], o: Options) -> str:
    return "int32"


def mean_of(operands: Sequence[Operand], types: Mapping[str, str], o: Options) -> str:
    """The type of a mean: fractional for truth values; for integers the sum is computed in their own type."""
    found = _dtype(operands[0], types)
    return _FLOAT32 if found == _BOOL else arithmetic(operands[:1], types, o)


def requested(operands: Sequence[Operand], types: Mapping[str, str], o: Options) -> str:
    """The option dtype, else the first operand's type."""
    wanted = o.get("dtype")
    before = _dtype(operands[0], types)
    if wanted is None:
        return before
    if wanted == _FLOAT32 or wanted in _OTHER_FLOATS:
        return _FLOAT32
    if wanted in (_BOOL, before, "int32", "int64") or (before == _BOOL and wanted in _INTEGERS):
        return str(wanted)
    raise Unsupported(f"dtype = {show(wanted)}")


def one_hot(operands: Sequence[Operand], types: Mapping[str, str], o: Options) -> str:
    """Floating point unless the option dtype says otherwise."""
    if not is_integer(_dtype(operands[0], types)):
        raise Unsupported(f"classes of type {_dtype(operands[0], types)}")
    return _FLOAT32 if o.get("dtype") is None else requested(operands, types, o)


def _flat(operands: Sequence[Operand]) -> list[Operand]:
    found: list[Operand] = []
    for operand in operands:
        if isinstance(operand, (list, tuple)):
            found += _flat(operand)
        elif operand is not None:
            found.append(operand)
    return found


def _dtype(operand: Operand, types: Mapping[str, str]) -> str:
    if isinstance(operand, str):
        return types[operand]
    if isinstance(operand, np.ndarray):
        return {"f": _FLOAT32, "b": _BOOL}.get(operand.dtype.kind, "int32")
    return _FLOAT32 if isinstance(operand, float) else "int32"


def _note(document: Document, text: str) -> None:
    if text not in document.notes:
        document.notes.append(text)
