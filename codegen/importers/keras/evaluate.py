"""A Keras model in float64 numpy, straight from its configuration: what an import is compared with.

Written from Keras' documentation, in the model's own order of axes, and apart from the import: nothing here is shared
with the translations of layers or with the graph that they lead to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.place import Place
from codegen.importers.keras.file import open_keras
from codegen.importers.keras.network import Call, Layer, Model, Ref, read_model, refs_of, walk
from codegen.importers.keras.shared import Homes
from codegen.importers.keras.weights import Weights

Array = NDArray[np.float64]


def evaluate_keras(
    path: Path,
    shapes: Mapping[str, Sequence[int]],
    inputs: Mapping[str, NDArray[Any]],
    seen: list[tuple[str, Array]] | None = None,
) -> list[Array]:
    """The outputs of the model in a .keras or .h5 file, in their order: two of them may have one name.

    ``inputs`` are by the names of the model's inputs, in the model's own order of axes, as the outputs are; where
    ``shapes`` names an input, it has that shape.  ``seen`` gets the values of all layers by their names, in the order
    of computation.  Raises SpecError or ParameterError where the file is not one that an import takes.
    """
    place = Place(str(path))
    for name, shape in shapes.items():
        if name in inputs and list(np.shape(inputs[name])) != list(shape):
            raise place.spec_error(f"input {name} has the shape {list(np.shape(inputs[name]))}, not {list(shape)}")
    file = open_keras(path)
    model = read_model(file.config, place)
    run = _Run(place, file.major, Homes(model, file.weights, place), [] if seen is None else seen)
    names = input_names(model)
    # An import leaves out inputs that no output depends on, so that their values may be missing.
    given = [np.asarray(inputs[name], np.float64) if name in inputs else None for name in names]
    return run.model(model, file.weights, given)


def input_names(model: Model) -> list[str]:
    """The names of the model's inputs, in their order."""
    if not model.sequential:
        return [name for name, _ in model.inputs]
    first = model.layers[0]
    if first.model is not None:
        return input_names(first.model)
    return [first.name if first.class_name == "InputLayer" else f"{first.name}_input"]


class _Run:
    """One evaluation of a file that Keras of the version ``major`` wrote."""

    def __init__(self, place: Place, major: int, homes: Homes, seen: list[tuple[str, Array]]) -> None:
        self._place, self._major, self._homes, self._seen = place, major, homes, seen

    def _arrays(self, layer: Layer, weights: Weights) -> list[Array]:
        """The layer's arrays in Keras' order."""
        if layer.class_name not in _WITH_ARRAYS:
            return []
        home, owner = self._homes.of(layer, weights)
        return [
            np.asarray(entry.array.values, np.float64) for entry in home.entries(owner.name, owner.group, self._place)
        ]

    def model(self, model: Model, weights: Weights, inputs: Sequence[Any]) -> list[Array]:
        """The tensors that the model makes of its inputs; None for an input that it does not need."""
        if model.sequential:
            values = list(inputs)
            for layer in model.layers:
                if layer.class_name != "InputLayer":
                    values = self._compute(layer, weights, values if len(values) > 1 else values[0])
            return values
        layers = {layer.name: layer for layer in model.layers}
        made = {(ref.layer, ref.call): [value] for (_, ref), value in zip(model.inputs, inputs, strict=True)}
        waiting = [(ref.layer, ref.call) for _, ref in model.outputs]
        while waiting:
            name, number = waiting[-1]
            if (name, number) in made:
                waiting.pop()
                continue
            call = layers[name].calls[number]
            missing = [key for key in ((r.layer, r.call) for r in refs_of(call)) if key not in made]
            waiting += missing
            if not missing:
                made[name, number] = self._call(layers[name], call, weights, made)
        return [made[ref.layer, ref.call][ref.tensor] for _, ref in model.outputs]

    def _call(
        self, layer: Layer, call: Call, weights: Weights, made: Mapping[tuple[str, int], list[Array]]
    ) -> list[Array]:
        def filled(value: Any) -> Any:
            if isinstance(value, Ref):
                return made[value.layer, value.call][value.tensor]
            if isinstance(value, list):
                return [filled(item) for item in value]
            return {key: filled(item) for key, item in value.items()} if isinstance(value, Mapping) else value

        args, kwargs = filled(call.args), filled(call.kwargs)
        if layer.function:
            named = [kwargs[key] for key in ("x1", "x", "features", "x2", "y") if key in kwargs]
            return [FUNCTIONS[layer.function](*args, *named)]
        if call.flat and len(args) > 1:
            return self._compute(layer, weights, args)
        return self._compute(layer, weights, args[0] if args else kwargs["inputs"])

    def _compute(self, layer: Layer, weights: Weights, inputs: Any) -> list[Array]:
        """A layer or nested model of its first argument: an array, or a list or table of them."""
        if layer.model is not None:
            names = input_names(layer.model)
            given = [inputs[name] for name in names] if isinstance(inputs, Mapping) else list(walk(inputs))
            return self.model(layer.model, weights.nested(layer.name, layer.group, self._place), given)
        arrays = self._arrays(layer, weights)
        compute = LAYERS.get(layer.class_name)
        # All others do nothing in inference.
        value = compute(Given(layer.config, inputs, arrays, self._major)) if compute else inputs
        self._seen.append((layer.name, value))
        return [value]


@dataclass(frozen=True)
class Given:
    """What a layer computes with.  ``inputs`` is an array, or a list of arrays for layers that merge several."""

    config: Mapping[str, Any]
    inputs: Any
    arrays: Sequence[Array]
    major: int

    def get(self, key: str, default: Any) -> Any:
        value = self.config.get(key)
        return default if value is None else _plain(value)

    @property
    def last(self) -> Array:
        """The input with its channels last."""
        return np.moveaxis(self.inputs, 1, -1) if self.first else np.asarray(self.inputs)

    @property
    def first(self) -> bool:
        return bool(self.get("data_format", "channels_last") == "channels_first")

    def back(self, y: Array) -> Array:
        """A result with channels last in the input's order of axes."""
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


def _plain(value: Any) -> Any:
    """Keras 3 writes numpy's arrays as tables."""
    array = isinstance(value, Mapping) and value.get("class_name") in ("__numpy__", "__tensor__")
    return value["config"]["value"] if array else value


# Activations ---------------------------------------------------------------------------------------------------------


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


def relu(x: Array, most: float | None = None, slope: float = 0.0, threshold: float = 0.0) -> Array:
    """Keras' own: x from the threshold on, up to ``most``; slope * (x - threshold) below."""
    y = np.where(x >= threshold, x, slope * (x - threshold)) if slope or threshold else np.maximum(x, 0.0)
    return np.asarray(y if most is None else np.minimum(y, most))


def elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


_SELU = 1.0507009873554805, 1.6732632423543772  # scale, alpha
_ERF = np.vectorize(math.erf, otypes=[np.float64])

_NAMED: Mapping[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": relu,
    "relu6": lambda x: relu(x, 6.0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softmax": softmax,
    "elu": elu,
    "selu": lambda x: _SELU[0] * elu(x, _SELU[1]),
    "softplus": lambda x: np.logaddexp(x, 0),
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * (1 + _ERF(x / math.sqrt(2))) / 2,
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "hard_sigmoid": lambda x: relu(x + 3, 6.0) / 6,
    "hard_silu": lambda x: x * relu(x + 3, 6.0) / 6,
    "hard_swish": lambda x: x * relu(x + 3, 6.0) / 6,
    "leaky_relu": lambda x: relu(x, slope=0.2),
}


def activate(x: Array, said: Any, major: int) -> Array:
    """What the key "activation" of a layer says: nothing, a name, or the table of a function or layer."""
    if isinstance(said, Mapping):
        config = said["config"]
        if said["class_name"] != "function":
            return LAYERS[said["class_name"]](Given(config, x, (), major))
        said = config
    if said == "hard_sigmoid" and major < 3:
        return np.clip(0.2 * x + 0.5, 0, 1)
    return _NAMED[said or "linear"](x)


# Convolutions and pools ----------------------------------------------------------------------------------------------


def _margins(
    sizes: Sequence[int], taps: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str
) -> list[tuple[int, int]]:
    """What is added to each spatial axis; more behind than before for "same"."""
    found = []
    for n, k, s, d in zip(sizes, taps, strides, dilations, strict=True):
        reach = d * (k - 1) + 1
        total = max((-(-n // s) - 1) * s + reach - n, 0) if padding == "same" else 0
        found.append((reach - 1, 0) if padding == "causal" else (total // 2, total - total // 2))
    return found


def _windows(
    x: Array, taps: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str, fill: float = 0.0
) -> list[tuple[tuple[int, ...], Array]]:
    """What all windows see at each tap, one array per tap: [n, *places, c]."""
    margins = _margins(x.shape[1:-1], taps, strides, dilations, padding)
    x = np.pad(x, [(0, 0), *margins, (0, 0)], constant_values=fill)
    reaches = [d * (k - 1) + 1 for k, d in zip(taps, dilations, strict=True)]
    places = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:-1], reaches, strides, strict=True)]
    found = []
    for tap in np.ndindex(*taps):
        seen = [
            slice(t * d, t * d + (m - 1) * s + 1, s) for t, d, m, s in zip(tap, dilations, places, strides, strict=True)
        ]
        found.append((tap, x[(slice(None), *seen)]))
    return found


def _correlate(g: Given, x: Array, kernel: Array, padding: str, groups: int = 1) -> Array:
    """``kernel`` is [*taps, c / groups, o]."""
    parts = []
    windows = _windows(x, kernel.shape[:-2], g.each("strides", 1), g.each("dilation_rate", 1), padding)
    ci, co = kernel.shape[-2], kernel.shape[-1] // groups
    for i in range(groups):
        part = kernel[..., i * co : (i + 1) * co]
        parts.append(sum(seen[..., i * ci : (i + 1) * ci] @ part[tap] for tap, seen in windows))
    return np.concatenate(parts, -1)


def _each_channel(g: Given, x: Array, kernel: Array) -> Array:
    """``kernel`` is [*taps, c, m]; channel c makes the channels c * m to c * m + m - 1."""
    windows = _windows(
        x, kernel.shape[:-2], g.each("strides", 1), g.each("dilation_rate", 1), g.get("padding", "valid")
    )
    y = np.asarray(sum(seen[..., None] * kernel[tap] for tap, seen in windows))
    return y.reshape(*y.shape[:-2], -1)


def _biased(g: Given, y: Array) -> Array:
    return y + g.arrays[-1] if g.get("use_bias", True) else y


def _finished(g: Given, y: Array) -> Array:
    return g.activated(g.back(_biased(g, y)))


def conv(g: Given) -> Array:
    return _finished(g, _correlate(g, g.last, g.arrays[0], g.get("padding", "valid"), g.get("groups", 1)))


def depthwise_conv(g: Given) -> Array:
    return _finished(g, _each_channel(g, g.last, g.arrays[0]))


def separable_conv(g: Given) -> Array:
    y, kernel = _each_channel(g, g.last, g.arrays[0]), g.arrays[1]
    return _finished(g, y @ kernel.reshape(kernel.shape[-2:]))


def conv_transpose(g: Given) -> Array:
    """The gradient of a convolution: each input pixel is spread over a window.  ``kernel`` is [*taps, o, c]."""
    x, kernel = g.last, g.arrays[0]
    taps, strides, dilations = kernel.shape[:-2], g.each("strides", 1), g.each("dilation_rate", 1)
    reaches = [d * (k - 1) + 1 for k, d in zip(taps, dilations, strict=True)]
    full = [(n - 1) * s + max(r, s) for n, s, r in zip(x.shape[1:-1], strides, reaches, strict=True)]
    y = np.zeros((x.shape[0], *full, kernel.shape[-2]))
    for tap in np.ndindex(*taps):
        reached = [
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilations, x.shape[1:-1], strides, strict=True)
        ]
        y[(slice(None), *reached)] += x @ kernel[tap].T
    if g.get("padding", "valid") == "same":
        kept = []
        for n, s, r in zip(x.shape[1:-1], strides, reaches, strict=True):
            before = max(r - s, 0) // 2
            kept.append(slice(before, before + n * s))
        y = y[(slice(None), *kept)]
    return _finished(g, y)


def dense(g: Given) -> Array:
    return g.activated(_biased(g, g.inputs @ g.arrays[0]))


def _pool(g: Given, x: Array, fill: float) -> list[Array]:
    taps = g.each("pool_size", 2)
    windows = _windows(x, taps, g.each("strides", taps), [1] * len(taps), g.get("padding", "valid"), fill)
    return [seen for _, seen in windows]


def max_pool(g: Given) -> Array:
    return g.back(np.max(_pool(g, g.last, -math.inf), axis=0))


def average_pool(g: Given) -> Array:
    """What is added at the borders does not count."""
    x = g.last
    return g.back(np.sum(_pool(g, x, 0.0), axis=0) / np.sum(_pool(g, np.ones_like(x), 0.0), axis=0))


def _global(reduce: Callable[..., Any]) -> Callable[[Given], Array]:
    def compute(g: Given) -> Array:
        axes = range(2, np.ndim(g.inputs)) if g.first else range(1, np.ndim(g.inputs) - 1)
        return np.asarray(reduce(g.inputs, axis=tuple(axes), keepdims=bool(g.get("keepdims", False))))

    return compute


# Sizes ---------------------------------------------------------------------------------------------------------------


def zero_padding(g: Given) -> Array:
    return g.back(np.pad(g.last, [(0, 0), *g.pairs("padding"), (0, 0)]))


def cropping(g: Given) -> Array:
    x, cuts = g.last, g.pairs("cropping")
    kept = [slice(before, n - behind) for (before, behind), n in zip(cuts, x.shape[1:-1], strict=True)]
    return g.back(x[(slice(None), *kept)])


def _resized(x: Array, axis: int, size: int, mode: str) -> Array:
    """Pixels have their centres at halves: output i looks at (i + 1/2) n / size - 1/2 of the input."""
    n = x.shape[axis]
    at = (np.arange(size) + 0.5) * n / size - 0.5
    if mode == "nearest":
        return np.take(x, np.clip(np.floor(at + 0.5).astype(int), 0, n - 1), axis)
    at = np.clip(at, 0, n - 1)
    low = np.floor(at).astype(int)
    weight = (at - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return np.take(x, low, axis) * (1 - weight) + np.take(x, np.minimum(low + 1, n - 1), axis) * weight


def upsampling(g: Given) -> Array:
    x, mode = g.last, g.get("interpolation", "nearest")
    for axis, factor in enumerate(g.each("size", 2), 1):
        x = np.repeat(x, factor, axis) if mode == "nearest" else _resized(x, axis, x.shape[axis] * factor, mode)
    return g.back(x)


def resizing(g: Given) -> Array:
    x = g.last
    for axis, key in ((1, "height"), (2, "width")):
        x = _resized(x, axis, g.config[key], g.get("interpolation", "bilinear"))
    return g.back(x)


def flatten(g: Given) -> Array:
    return g.last.reshape(len(g.inputs), -1)


def reshape(g: Given) -> Array:
    return np.reshape(g.inputs, (len(g.inputs), *g.config["target_shape"]))


def permute(g: Given) -> Array:
    return np.transpose(g.inputs, (0, *g.config["dims"]))


# Numbers for each channel --------------------------------------------------------------------------------------------


def batch_normalization(g: Given) -> Array:
    axis = g.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) else axis
    shape = [-1 if a == axis % g.inputs.ndim else 1 for a in range(g.inputs.ndim)]
    arrays = [array.reshape(shape) for array in g.arrays]
    gamma = arrays.pop(0) if g.get("scale", True) else 1.0
    beta = arrays.pop(0) if g.get("center", True) else 0.0
    mean, variance = arrays
    return np.asarray((g.inputs - mean) / np.sqrt(variance + g.get("epsilon", 1e-3)) * gamma + beta)


def rescaling(g: Given) -> Array:
    scale, offset = (np.asarray(g.get(key, default), np.float64) for key, default in (("scale", 1.0), ("offset", 0.0)))
    return np.asarray(g.inputs * scale + offset)


def normalization(g: Given) -> Array:
    """``mean`` and ``variance`` have the axes that are kept, in order."""
    x, axis = g.inputs, g.config.get("axis", -1)
    kept = sorted(a % x.ndim for a in (axis if isinstance(axis, list) else [] if axis is None else [axis]))
    said = [g.get(key, None) for key in ("mean", "variance")]
    mean, variance = g.arrays[:2] if None in said else (np.asarray(value, np.float64) for value in said)
    shape = [x.shape[a] if a in kept else 1 for a in range(x.ndim)]
    sizes = [x.shape[a] for a in kept]
    mean, variance = (np.broadcast_to(array, sizes or array.shape).reshape(shape) for array in (mean, variance))
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    return np.asarray(x * deviation + mean if g.get("invert", False) else (x - mean) / deviation)


def relu_layer(g: Given) -> Array:
    return relu(g.inputs, g.get("max_value", None), g.get("negative_slope", 0.0), g.get("threshold", 0.0))


def leaky_relu(g: Given) -> Array:
    return relu(g.inputs, slope=g.get("negative_slope", g.get("alpha", 0.3)))


def prelu(g: Given) -> Array:
    return np.where(g.inputs < 0, g.arrays[0] * g.inputs, g.inputs)


# Several inputs ------------------------------------------------------------------------------------------------------


def _merged(compute: Callable[[list[Array]], Any]) -> Callable[[Given], Array]:
    def merge(g: Given) -> Array:
        arrays = g.inputs if isinstance(g.inputs, list) else [g.inputs]
        rank = max(array.ndim for array in arrays)
        # Axes of size 1 behind the batch.
        wide = [array.reshape(len(array), *[1] * (rank - array.ndim), *array.shape[1:]) for array in arrays]
        return np.asarray(compute(wide))

    return merge


def concatenate(g: Given) -> Array:
    return np.concatenate(g.inputs if isinstance(g.inputs, list) else [g.inputs], g.get("axis", -1))


LAYERS: Mapping[str, Callable[[Given], Array]] = {
    **{f"Conv{n}D": conv for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": depthwise_conv for n in (1, 2)},
    **{f"SeparableConv{n}D": separable_conv for n in (1, 2)},
    **{f"Conv{n}DTranspose": conv_transpose for n in (1, 2, 3)},
    **{f"MaxPooling{n}D": max_pool for n in (1, 2, 3)},
    **{f"AveragePooling{n}D": average_pool for n in (1, 2, 3)},
    **{f"GlobalMaxPooling{n}D": _global(np.max) for n in (1, 2, 3)},
    **{f"GlobalAveragePooling{n}D": _global(np.mean) for n in (1, 2, 3)},
    **{f"ZeroPadding{n}D": zero_padding for n in (1, 2, 3)},
    **{f"Cropping{n}D": cropping for n in (1, 2, 3)},
    **{f"UpSampling{n}D": upsampling for n in (1, 2, 3)},
    "Dense": dense,
    "BatchNormalization": batch_normalization,
    "Rescaling": rescaling,
    "Normalization": normalization,
    "Activation": lambda g: g.activated(g.inputs),
    "ReLU": relu_layer,
    "LeakyReLU": leaky_relu,
    "PReLU": prelu,
    "ELU": lambda g: elu(g.inputs, g.get("alpha", 1.0)),
    "Softmax": lambda g: softmax(g.inputs, _one(g.get("axis", -1))),
    "Resizing": resizing,
    "Add": _merged(sum),
    "Subtract": _merged(lambda arrays: arrays[0] - arrays[1]),
    "Multiply": _merged(lambda arrays: math.prod(arrays[1:], start=arrays[0])),
    "Average": _merged(lambda arrays: sum(arrays) / len(arrays)),
    "Concatenate": concatenate,
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
}

_WITH_ARRAYS = frozenset(
    {name for name in LAYERS if "Conv" in name} | {"Dense", "BatchNormalization", "Normalization", "PReLU"}
)


def _one(axis: Any) -> int:
    return int(axis[0] if isinstance(axis, list) else axis)


# Functions -----------------------------------------------------------------------------------------------------------


def _named(*names: str) -> dict[str, Callable[..., Any]]:
    """The functions with the names that Keras 3 and TensorFlow have for them."""
    return {
        name: _NAMED[function]
        for function in names
        for name in (function.title().replace("_", ""), f"nn.{function}", f"math.{function}")
    }


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **_named("relu", "relu6", "sigmoid", "tanh", "silu", "hard_sigmoid", "hard_silu", "softplus"),
    **dict.fromkeys(("Add", "__operators__.add", "math.add"), np.add),
    **dict.fromkeys(("Subtract", "__operators__.sub", "math.subtract"), np.subtract),
    **dict.fromkeys(("Multiply", "__operators__.mul", "math.multiply"), np.multiply),
    **dict.fromkeys(("Divide", "TrueDivide", "__operators__.truediv", "math.truediv", "math.divide"), np.divide),
    **dict.fromkeys(("Negative", "__operators__.neg", "math.negative"), np.negative),
}
