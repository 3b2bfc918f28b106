"""The number types of a network.  Specs compute in float32; what that would change is refused or noted.

Integers are the application's floats with whole values.  They may be moved, and be turned into floating-point numbers
by the layers that Keras has for that; everything else computes with integers in Keras (they wrap around, // and %
round) and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codegen.frontend.place import Place, show
from codegen.importers.document import Document
from codegen.importers.keras.layers import AUGMENTATIONS, NOTHING_TO_DO
from codegen.importers.keras.network import Layer, Origin
from codegen.importers.keras.options import Options, Unsupported

OWN = "a class of your own, whose code is not in the file"

_FLOAT32 = "float32"
_OTHER_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))

_TURN_INTO_FLOATS = frozenset({"Rescaling", "Normalization"})
_MOVE = frozenset(
    {"Flatten", "Reshape", "Permute", "Concatenate", "UpSampling1D", "UpSampling3D", *NOTHING_TO_DO, *AUGMENTATIONS}
    | {f"{kind}{n}D" for kind in ("ZeroPadding", "Cropping", "MaxPooling") for n in (1, 2, 3)}
)


def is_integer(kind: str) -> bool:
    return kind in _INTEGERS


def input_type(layer: Layer | None, document: Document) -> str:
    """The type of an InputLayer's numbers; Unsupported if a spec has no such input."""
    if layer is None or layer.class_name != "InputLayer":
        return _FLOAT32
    if layer.origin is Origin.OWN:
        raise Unsupported(OWN)
    options = Options(Place("", f"layer {show(layer.name)}"), layer.config)
    for key in ("sparse", "ragged", "optional"):
        options.require(key, False)
    kind = options.text("dtype", _FLOAT32)
    options.refuse_unread()
    if is_integer(kind):
        _note(document, f"input {show(layer.name)} is of {kind}: the application passes whole numbers as floats")
    elif kind in _OTHER_FLOATS:
        _note(document, f"input {show(layer.name)} is of {kind}; it is float32 here")
    elif kind != _FLOAT32:
        raise Unsupported(f"dtype = {show(kind)}")
    return kind


def check_layer(layer: Layer, document: Document) -> None:
    """Unsupported unless the layer computes in floating point."""
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


def made_type(layer: Layer, kinds: Sequence[str]) -> str:
    """What a layer makes of operands of these types."""
    if not any(map(is_integer, kinds)):
        return _FLOAT32
    if layer.function or layer.class_name not in (_TURN_INTO_FLOATS | _MOVE):
        raise Unsupported(f"integers ({next(filter(is_integer, kinds))})")
    if layer.class_name in _TURN_INTO_FLOATS:
        return _FLOAT32
    if len(set(kinds)) > 1:
        raise Unsupported(f"numbers of types {' and '.join(sorted(set(kinds)))}")
    return kinds[0]


def _note(document: Document, text: str) -> None:
    if text not in document.notes:
        document.notes.append(text)
