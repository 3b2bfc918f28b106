"""Merges layers: decomposed activations, Caffe's Scale, and BatchNorm and activations attached to a layer.

The patterns match layers, not a model's own nodes, as x/6, x*(1/6) and (1/6)*x have become the same ``scale`` layer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from codegen.frontend.operators.activation import ACTIVATION_OPERATORS
from codegen.importers.document import Document, Layer

_TOLERANCE = 1e-6  # relative error of a constant that was rounded to float32

_CARRIERS = frozenset({"conv", "depthwise_conv", "conv_transpose", "dense"})  # layers that may have a batch_norm
# Layers that read better without an activation attached.
_MOVES = frozenset({"reshape", "transpose", "flatten", "concat", "pad", "upsample", "max_pool"})


def simplify(document: Document) -> None:
    """Applies every pattern until none fits, then attaches BatchNorm and activations to the layer before."""
    again = True
    while again:
        again = False
        for name in list(document.layers):
            layer = document.layers.get(name)
            if layer is not None:
                again |= any(pattern(document, layer) for pattern in _PATTERNS)
    _attach(document)


# Matching a layer -----------------------------------------------------------------------------------------------------


def _maker(document: Document, name: str, op: str) -> Layer | None:
    layer = document.layers.get(name)
    return layer if layer is not None and layer.op == op else None


def _scalar(document: Document, tensor: str) -> float | None:
    """The value of a tensor of one element."""
    array = document.arrays[tensor]
    return float(array.reshape(-1)[0]) if array.size and (array == array.reshape(-1)[0]).all() else None


def _is(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=_TOLERANCE)


def _scaled(document: Document, name: str, factor: float) -> str | None:
    """Returns x if the value is ``factor`` times x."""
    layer = _maker(document, name, "scale")
    if layer is None or layer.options["bias"] is not False:
        return None
    if "divisor" in layer.options:
        return layer.inputs[0] if _is(_scalar(document, layer.options["divisor"]), 1 / factor) else None
    return layer.inputs[0] if _is(_scalar(document, layer.options["weight"]), factor) else None


def _shifted(document: Document, name: str, shift: float) -> str | None:
    """Returns x if the value is x + ``shift``."""
    layer = _maker(document, name, "bias")
    return layer.inputs[0] if layer and _is(_scalar(document, layer.options["bias"]), shift) else None


def _of(document: Document, name: str, op: str, **options: float) -> str | None:
    """Returns x if the value is the activation ``op`` of x with these parameters."""
    layer = _maker(document, name, op)
    if layer is None or any(not _is(layer.options.get(key), value) for key, value in options.items()):
        return None
    return layer.inputs[0]


def _become(layer: Layer, op: str, x: str, **options: float) -> bool:
    layer.op, layer.inputs, layer.options = op, [x], dict(options)
    return True


# Patterns -------------------------------------------------------------------------------------------------------------


def _six(document: Document, name: str) -> str | None:
    """Returns x if the value is min(max(x + 3, 0), 6)."""
    clipped = _of(document, name, "relu6")
    return None if clipped is None else _shifted(document, clipped, 3.0)


def _sixth(document: Document, name: str) -> str | None:
    """Returns x if the value is min(max(x + 3, 0), 6) / 6 or the same as a hard sigmoid."""
    hard = _of(document, name, "hard_sigmoid", alpha=1 / 6, beta=0.5)
    if hard is not None:
        return hard
    inner = _scaled(document, name, 1 / 6)
    return None if inner is None else _six(document, inner)


def _hard_sigmoid(document: Document, layer: Layer) -> bool:
    x = _sixth(document, layer.name) if layer.op == "scale" else None
    return x is not None and _become(layer, "hard_sigmoid", x, alpha=1 / 6, beta=0.5)


def _times(gate: Callable[[Document, str], str | None]) -> Callable[[Document, Layer], str | None]:
    """Returns x if the layer is x gate(x), in either order."""

    def find(document: Document, layer: Layer) -> str | None:
        if layer.op != "mul" or len(layer.inputs) != 2:
            return None
        for x, other in (layer.inputs, layer.inputs[::-1]):
            if gate(document, other) == x:
                return x
        return None

    return find


_X_SIX = _times(_six)
_X_SIXTH = _times(_sixth)
_X_SIGMOID = _times(lambda document, name: _of(document, name, "sigmoid"))


def _hard_swish(document: Document, layer: Layer) -> bool:
    x = _X_SIXTH(document, layer)
    if x is None and layer.op == "scale":  # (x six(x)) / 6
        product = _scaled(document, layer.name, 1 / 6)
        inner = document.layers.get(product) if product is not None else None
        x = None if inner is None else _X_SIX(document, inner)
    if x is None and layer.op == "mul" and len(layer.inputs) == 2:  # (x / 6) six(x)
        for scaled, other in (layer.inputs, layer.inputs[::-1]):
            start = _scaled(document, scaled, 1 / 6)
            if start is not None and _six(document, other) == start:
                x = start
    return x is not None and _become(layer, "hard_swish", x)


def _silu(document: Document, layer: Layer) -> bool:
    x = _X_SIGMOID(document, layer)
    return x is not None and _become(layer, "silu", x)


def _mish(document: Document, layer: Layer) -> bool:
    def gate(document: Document, name: str) -> str | None:
        inner = _of(document, name, "tanh")
        return None if inner is None else _of(document, inner, "softplus")

    x = _times(gate)(document, layer)
    return x is not None and _become(layer, "mish", x)


def _one_plus_erf(document: Document, name: str) -> str | None:
    """Returns x if the value is 1 + erf(x / sqrt(2))."""
    inner = _shifted(document, name, 1.0)
    root = None if inner is None else _of(document, inner, "erf")
    return None if root is None else _scaled(document, root, math.sqrt(0.5))


def _gelu(document: Document, layer: Layer) -> bool:
    """Returns x if the value is x (1 + erf(x / sqrt(2))) / 2, with the factor 1/2 in any position."""
    x = None
    if layer.op == "scale":
        product = _scaled(document, layer.name, 0.5)
        inner = document.layers.get(product) if product is not None else None
        x = None if inner is None else _times(_one_plus_erf)(document, inner)
    elif layer.op == "mul" and len(layer.inputs) == 2:
        for first, second in (layer.inputs, layer.inputs[::-1]):
            whole = _one_plus_erf(document, second)
            if whole is not None and _scaled(document, first, 0.5) == whole:
                x = whole
            halved = _scaled(document, second, 0.5)
            if halved is not None and _one_plus_erf(document, halved) == first:
                x = first
    return x is not None and _become(layer, "gelu", x)


def _caffe_scale(document: Document, layer: Layer, uses: Counter[str]) -> bool:
    """Merges a scale and the bias after it."""
    before = document.layers.get(layer.inputs[0]) if layer.op == "bias" else None
    if before is None or before.op != "scale" or before.options["bias"] is not False:
        return False
    if uses[before.name] != 1:
        return False
    layer.op = "scale"
    layer.options = {**before.options, "bias": layer.options["bias"]}
    layer.inputs = list(before.inputs)
    del document.layers[before.name]
    return True


_PATTERNS = (_hard_sigmoid, _hard_swish, _silu, _mish, _gelu)


# Attaching to a layer -------------------------------------------------------------------------------------------------


def _attach(document: Document) -> None:
    document.prune()
    uses = document.uses()
    for layer in list(document.layers.values()):
        _caffe_scale(document, layer, uses)
    renamed: dict[str, str] = {}
    for layer in list(document.layers.values()):
        layer.inputs = [renamed.get(name, name) for name in layer.inputs]
        before = document.layers.get(layer.inputs[0]) if len(layer.inputs) == 1 else None
        if before is not None and uses[before.name] == 1 and _attaches(layer, before, uses):
            renamed[layer.name] = before.name
            uses[before.name] = uses[layer.name]
            del document.layers[layer.name]
    document.outputs = [replace(port, value=renamed.get(port.value, port.value)) for port in document.outputs]


def _attaches(layer: Layer, before: Layer, uses: Counter[str]) -> bool:
    """Attaches the layer to the one before as a key of its table, if a spec allows that; returns whether it did."""
    if "activation" in before.options:
        return False
    if layer.op == "batch_norm" and before.op in _CARRIERS and "batch_norm" not in before.options:
        before.options["batch_norm"] = {"epsilon": layer.options["epsilon"], **layer.options}
        return True
    if layer.op in ACTIVATION_OPERATORS and layer.op not in ("softmax", "prelu") and before.op not in _MOVES:
        if before.op in ACTIVATION_OPERATORS:
            return False
        before.options["activation"] = {"op": layer.op, **layer.options} if layer.options else layer.op
        return True
    return False
