"""Activation functions: each of the graph's table, by name or alias, as an operator or attached to a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen.frontend.operators.layer import Layer, Operator, Step
from codegen.frontend.operators.weights import channel_values
from codegen.frontend.spec.place import Place, known, show, suggestion
from codegen.frontend.spec.reader import read_table
from codegen.frontend.spec.value_types import TEXT, Key, Keys, choice, number, table, whole
from codegen.graph.ops import Activation, Binary, PRelu, Softmax
from codegen.graph.ops.activation import ACTIVATIONS, ALIASES

AXIS = whole(-5, 4)

_NOTES = {
    "clip": "min(max(x, min), max); without one of the bounds only the other.",
    "elu": "x, or alpha (exp(x) - 1) where x < 0.",
    "gelu": 'approximate = "tanh" makes it gelu_tanh.',
    "hard_sigmoid": "min(max(alpha x + beta, 0), 1); alpha is 1/6 in PyTorch and Keras 3, 0.2 in ONNX and Keras 2.",
    "hard_swish": "x min(max(x/6 + 1/2, 0), 1).",
    "leaky_relu": "x, or alpha x where x < 0; alpha is 0.01 in PyTorch and ONNX, 0.3 or 0.2 in Keras.",
    "relu6": "min(max(x, 0), 6).",
    "silu": "x sigmoid(x).",
    "swish": "x sigmoid(x); another name of silu.",
}


def _activation(kind: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        options = dict(layer.options)
        tanh = kind == "gelu" and options["approximate"] == "tanh"
        rule = ACTIVATIONS.get(kind)
        given = {name: options[name] for name in rule.defaults} if rule else {}
        parameters = {name: value for name, value in given.items() if value is not None}
        if kind == "clip" and not parameters:
            raise layer.place.spec_error("should have one of min and max, or both")
        return [Step(kind, Activation.of("gelu_tanh" if tanh else kind, **parameters))]

    return Operator(_NOTES.get(kind, f"The activation {kind}."), build, _parameter_keys(kind))


def _parameter_keys(kind: str) -> Keys:
    if kind == "gelu":
        return {
            "approximate": Key(
                choice("none", "tanh"), "none: the exact function; tanh: its approximation, which is gelu_tanh.", "none"
            )
        }
    if kind not in ACTIVATIONS:
        return {}
    if kind == "clip":
        return {name: Key(number(), f"The {name}imum. Default: no bound.") for name in ("min", "max")}
    defaults = ACTIVATIONS[kind].defaults
    return {name: Key(number(), f"The function's parameter {name}.", default) for name, default in defaults.items()}


def _prelu(layer: Layer) -> list[Step]:
    if len(layer.inputs) > 1 and not layer.attached:
        if layer.options["slope"] is not None:
            raise layer.place.key("slope").spec_error("has no meaning beside a second input, which is the slope")
        return [Step("prelu", Binary("prelu"), layer.inputs[1:])]
    # <layer>.weight belongs to the operator that this activation is attached to.
    suffixes = ("slope", "alpha") if layer.attached else ("slope", "alpha", "weight")
    return [Step("prelu", PRelu(channel_values(layer, "slope", *suffixes)))]


def _softmax(layer: Layer) -> list[Step]:
    return [Step("softmax", Softmax(layer.axis("axis")))]


ACTIVATION_OPERATORS: Mapping[str, Operator] = {
    **{kind: _activation(kind) for kind in sorted([*ACTIVATIONS, *ALIASES])},
    "prelu": Operator(
        "x, or slope x where x < 0. The slopes are a tensor with one for each channel, or a second input.",
        _prelu,
        {
            "slope": Key(
                TEXT,
                "Name of the tensor, [C] or [1]. Default: <layer>.slope, .alpha or (for a layer of its own) .weight.",
            )
        },
        1,
        2,
    ),
    "softmax": Operator(
        "exp(x) / sum of exp(x) along one axis.",
        _softmax,
        {"axis": Key(AXIS, "The axis, counted in NCHW order: 0 is the batch.", 1)},
    ),
}

ACTIVATION = table(
    'the name of an activation or a table such as { op = "leaky_relu", alpha = 0.1 }', "attached_activation", word=True
)


def read_activation(value: Any, place: Place) -> tuple[Operator, dict[str, Any]]:
    """The operator and its options, from ``"relu"`` or ``{ op = "leaky_relu", alpha = 0.1 }``."""
    written = {"op": value} if isinstance(value, str) else value
    kind = written.get("op")
    at = place if isinstance(value, str) else place.key("op")
    if kind is None:
        raise at.spec_error("is missing; it should name the activation")
    if not isinstance(kind, str) or kind not in ACTIVATION_OPERATORS:
        if isinstance(kind, str) and kind.lower() in ("none", "linear", "identity", ""):
            raise at.spec_error(f"{show(kind)} changes nothing: leave the key out")
        near = suggestion(kind, ACTIVATION_OPERATORS) if isinstance(kind, str) else ""
        raise at.spec_error(f"unknown activation {show(kind)}{near or known(ACTIVATION_OPERATORS)}")
    operator = ACTIVATION_OPERATORS[kind]
    rest = {name: item for name, item in written.items() if name != "op"}
    return operator, read_table(rest, operator.keys, place)
