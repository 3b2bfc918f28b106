"""Reference in numpy, from Keras' documentation: arguments of a layer, and activations.

:mod:`codegen.importers.keras.evaluate` evaluates whole models with it, to check imports.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """The inputs and parameters of a layer.

    ``inputs`` is an array, or a list of arrays for layers that merge several; ``parts`` are the arrays of layers that
    the layer creates itself, ``options`` the call's arguments besides the inputs.
    """

    config: Mapping[str, Any]
    inputs: Any
    arrays: Sequence[Array]
    major: int
    parts: Mapping[str, Sequence[Array]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: str, default: Any) -> Any:
        value = self.config.get(key)
        return default if value is None else plain(value)

    @property
    def last(self) -> Array:
        """The input with its channels last."""
        return np.moveaxis(self.inputs, 1, -1) if self.first else np.asarray(self.inputs)

    @property
    def first(self) -> bool:
        return bool(self.get("data_format", "channels_last") == "channels_first")

    def back(self, y: Array) -> Array:
        """A channels-last result in the input's order of axes."""
        return np.moveaxis(y, -1, 1) if self.first else y

    def activated(self, y: Array) -> Array:
        return activate(y, self.config.get("activation"), self.major)

    def each(self, key: str, default: Any) -> list[int]:
        """A number for each spatial axis."""
        value, axes = self.get(key, default), np.ndim(self.inputs) - 2
        return list(value) if isinstance(value, (list, tuple)) else [value] * axes

    def pairs(self, key: str) -> list[tuple[int, int]]:
        value, axes = self.config[key], np.ndim(self.inputs) - 2
        if axes == 1 and isinstance(value, list) and len(value) == 2:
            value = [value]
        value = value if isinstance(value, list) else [value] * axes
        return [(item[0], item[1]) if isinstance(item, list) else (item, item) for item in value]


def plain(value: Any) -> Any:
    """Converts numpy's arrays, which Keras 3 writes as tables."""
    array = isinstance(value, Mapping) and value.get("class_name") in ("__numpy__", "__tensor__")
    return value["config"]["value"] if array else value


# Activations ----------------------------------------------------------------------------------------------------------


def softmax(x: Array, axis: Any = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


def relu(x: Array, most: float | None = None, slope: float = 0.0, threshold: float = 0.0) -> Array:
    """Keras' ReLU: x above the threshold, clipped to 0 and ``most``; slope * (x - threshold) below is added."""
    y = np.maximum(x, 0.0) if threshold == 0 else x * (x > threshold)
    y = y if most is None else np.clip(y, 0.0, most)
    return np.asarray(y - slope * np.maximum(threshold - x, 0.0) if slope else y)


def elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


_SELU = 1.0507009873554805, 1.6732632423543772  # scale, alpha
_ERF = np.vectorize(math.erf, otypes=[np.float64])


def log_softmax(x: Array, axis: int = -1) -> Array:
    below = x - x.max(axis, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(axis, keepdims=True)))


def gelu(x: Array, approximate: bool = False) -> Array:
    if approximate:
        y: Array = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        return y
    return np.asarray(x * (1 + _ERF(x / math.sqrt(2))) / 2)


def celu(x: Array, alpha: float = 1.0) -> Array:
    return np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha)


def glu(x: Array, axis: int = -1) -> Array:
    first, second = np.split(x, 2, axis)
    return first * sigmoid(second)


def soft_shrink(x: Array, threshold: float = 0.5) -> Array:
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def hard_shrink(x: Array, threshold: float = 0.5) -> Array:
    return np.where(np.abs(x) > threshold, x, 0)


def squareplus(x: Array, b: float = 4) -> Array:
    return np.asarray((x + np.sqrt(x * x + b)) / 2)


def sparse_plus(x: Array) -> Array:
    return np.select([x <= -1, x < 1], [np.zeros_like(x), (x + 1) ** 2 / 4], x)


def erf(x: Array) -> Array:
    return np.asarray(_ERF(x))


NAMED: Mapping[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": relu,
    "relu6": lambda x: relu(x, 6.0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "elu": elu,
    "selu": lambda x: _SELU[0] * elu(x, _SELU[1]),
    "celu": celu,
    "glu": glu,
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "exponential": np.exp,
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "gelu": gelu,
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "hard_sigmoid": lambda x: relu(x + 3, 6.0) / 6,
    "hard_silu": lambda x: x * relu(x + 3, 6.0) / 6,
    "hard_swish": lambda x: x * relu(x + 3, 6.0) / 6,
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: relu(x, slope=0.2),
    "soft_shrink": soft_shrink,
    "hard_shrink": hard_shrink,
    "tanh_shrink": lambda x: x - np.tanh(x),
    "squareplus": squareplus,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
}
"""Activations by name, as Keras 3 defines them."""


def relu_layer(g: Given) -> Array:
    return relu(g.inputs, g.get("max_value", None), g.get("negative_slope", 0.0), g.get("threshold", 0.0))


def softmax_layer(g: Given) -> Array:
    axis = g.get("axis", -1)
    axis = tuple(axis) if isinstance(axis, list) else axis
    power = np.exp(g.inputs - g.inputs.max(axis, keepdims=True))
    return np.asarray(power / power.sum(axis, keepdims=True))


ACTIVATION_LAYERS: Mapping[str, Callable[[Given], Array]] = {
    "Activation": lambda g: g.activated(g.inputs),
    "ReLU": relu_layer,
    "LeakyReLU": lambda g: relu(g.inputs, slope=g.get("negative_slope", g.get("alpha", 0.3))),
    "ThresholdedReLU": lambda g: g.inputs * (g.inputs > g.get("theta", 1.0)),
    "PReLU": lambda g: np.where(g.inputs < 0, g.arrays[0] * g.inputs, g.inputs),
    "ELU": lambda g: elu(g.inputs, g.get("alpha", 1.0)),
    "Softmax": softmax_layer,
}


def activate(x: Array, activation: Any, major: int) -> Array:
    """Applies the value of a layer's key "activation": null, a name, or the table of a function or layer."""
    if isinstance(activation, Mapping):
        config = activation["config"]
        if activation["class_name"] != "function":
            return ACTIVATION_LAYERS[activation["class_name"]](Given(config, x, (), major))
        activation = config
    if activation == "hard_sigmoid" and major < 3:
        return np.clip(0.2 * x + 0.5, 0, 1)
    return NAMED[activation or "linear"](x)
