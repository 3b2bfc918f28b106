"""Reference of functions of Keras and TensorFlow in numpy, from their documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codegen.importers.keras import reference as r
from codegen.importers.keras.reference import Array, Given
from codegen.importers.keras.reference_layers import attended, resized_image
from codegen.importers.keras.reference_windows import WINDOW_LAYERS

# TensorFlow's names of the parameters that Keras 3 calls x, x1 and x2.
_FIRST = ("x", "x1", "features", "input", "input_tensor", "tensor", "logits", "t", "images", "inputs", "variable")
_SECOND = ("y", "b")


def called(name: str, args: Sequence[Any], given: Mapping[str, Any]) -> list[Array]:
    """The result of the function for the arguments of its call and of its configuration, by name."""
    function = FUNCTIONS[name]
    known = list(inspect.signature(function).parameters)
    named = {}
    for key, value in given.items():
        word = key if key in known else known[0] if key in _FIRST else known[1] if key in _SECOND else None
        if word is not None and (value is not None or word == "axis"):
            named[word] = value
    made = function(*args, **named)
    return [np.asarray(value, np.float64) for value in (made if isinstance(made, (list, tuple)) else [made])]


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


def _one(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda x: function(x)


def _two(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda x1, x2: function(x1, x2)


def _along(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(x: Array, axis: Any = None, keepdims: bool = False) -> Any:
        return function(x, axis=_axes(axis), keepdims=keepdims)

    return reduce


def _norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    where = _axes(axis)
    total = np.sum(np.abs(x) ** (ord or 2), axis=where, keepdims=keepdims)
    return total ** (1 / (ord or 2))


def _log_sum_exp(x: Array, axis: Any = None, keepdims: bool = False) -> Any:
    highest = x.max(_axes(axis), keepdims=True)
    y = highest + np.log(np.sum(np.exp(x - highest), axis=_axes(axis), keepdims=True))
    return y if keepdims else np.squeeze(y, _axes(axis))


def _average(x: Array, weights: Any = None, axis: Any = None) -> Any:
    return np.average(x, axis=_axes(axis), weights=weights)


def _clip(x: Array, x_min: Any, x_max: Any) -> Any:
    return np.clip(x, np.asarray(r.plain(x_min)), np.asarray(r.plain(x_max)))


def _cast(x: Array, dtype: str) -> Any:
    return x != 0 if dtype == "bool" else np.trunc(x) if "int" in dtype else x


def _one_hot(x: Array, num_classes: int, axis: int = -1) -> Any:
    return np.moveaxis(x[..., None] == np.arange(num_classes), -1, axis)


def _get_item(x: Array, key: Any) -> Any:
    return x[tuple(key) if isinstance(key, list) else key]


def _pad(x: Array, constant_values: Any = None, pad_width: Any = 0, mode: str = "constant") -> Any:
    return np.pad(x, pad_width, mode, **({"constant_values": constant_values or 0} if mode == "constant" else {}))  # type: ignore[call-overload]


def _split(x: Array, indices_or_sections: Any, axis: int = 0) -> Any:
    sections = r.plain(indices_or_sections)
    return np.split(x, sections, axis)


def _unstack(x: Array, axis: int = 0) -> Any:
    return [np.take(x, i, axis) for i in range(x.shape[axis])]


def _squeeze(x: Array, axis: Any = None) -> Any:
    return np.squeeze(x, tuple(a for a in range(1, x.ndim) if x.shape[a] == 1) if axis is None else _axes(axis))


def _take(x: Array, indices: Any, axis: Any = None) -> Any:
    return np.take(x, np.asarray(indices).astype(int), axis)


def _top_k(x: Array, k: int) -> Any:
    order = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    return [np.take_along_axis(x, order, -1), order]


def _depth_to_space(x: Array, block_size: int, data_format: str = "channels_last") -> Any:
    x = np.moveaxis(x, 1, -1) if data_format == "channels_first" else x
    n, h, w, c = x.shape
    y = np.zeros((n, h * block_size, w * block_size, c // block_size**2))
    for i, j in np.ndindex(block_size, block_size):
        start = (i * block_size + j) * y.shape[-1]
        y[:, i::block_size, j::block_size] = x[..., start : start + y.shape[-1]]
    return np.moveaxis(y, -1, 1) if data_format == "channels_first" else y


def _space_to_depth(x: Array, block_size: int, data_format: str = "channels_last") -> Any:
    x = np.moveaxis(x, 1, -1) if data_format == "channels_first" else x
    y = np.concatenate([x[:, i::block_size, j::block_size] for i, j in np.ndindex(block_size, block_size)], -1)
    return np.moveaxis(y, -1, 1) if data_format == "channels_first" else y


def _normalize(x: Array, axis: Any = -1, order: int = 2, epsilon: float = 1e-7) -> Any:
    return x / np.maximum(_norm(x, order, axis, True), epsilon)


def _layer_norm(
    x: Array, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: float = 1e-7, rms_scaling: bool = False
) -> Any:
    where = _axes(axis)
    shape = [n if a in np.arange(x.ndim)[np.atleast_1d(axis)] else 1 for a, n in enumerate(x.shape)]
    centred = x if rms_scaling else x - x.mean(where, keepdims=True)
    y = centred / np.sqrt(x.var(where, keepdims=True) + epsilon)
    y = y if gamma is None else y * np.reshape(gamma, shape)
    return y if beta is None else y + np.reshape(beta, shape)


def _rms_norm(x: Array, scale: Any = None, axis: Any = -1, epsilon: float = 1e-7) -> Any:
    y = x / np.sqrt(np.mean(x * x, axis=_axes(axis), keepdims=True) + epsilon)
    return y if scale is None else y * scale


def _attention(
    query: Array,
    key: Array,
    value: Array,
    bias: None = None,
    mask: None = None,
    scale: Any = None,
    is_causal: bool = False,
) -> Any:
    return attended(query, key, value, query.shape[-1] ** -0.5 if scale is None else scale, is_causal)


def _window(layer: str, arrays: int = 0) -> Callable[..., Any]:
    """The function of a layer, with kernels as arguments, and without the layer's defaults."""

    def compute(inputs: Array, *kernels: Array, **config: Any) -> Any:
        rank = inputs.ndim - 2
        axis = 1 if config.get("data_format") == "channels_first" else -1
        more = {"groups": inputs.shape[axis] // kernels[0].shape[-2]} if layer == "Conv" else {}
        given = {"use_bias": False, **more, **config}
        return WINDOW_LAYERS[f"{layer}{rank}D"](Given(given, inputs, [np.asarray(k, float) for k in kernels], 3))

    keys = ("strides", "padding", "data_format", "dilation_rate", "pool_size", "output_size")
    words = [inspect.Parameter("inputs", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    words += [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY) for key in keys]
    compute.__signature__ = inspect.Signature(words)  # type: ignore[attr-defined]
    return compute


def _resize(
    images: Array,
    size: Sequence[int],
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Any:
    first = data_format == "channels_first"
    x = np.moveaxis(images, 1, -1) if first else images
    y = resized_image(x, size, interpolation, antialias, crop_to_aspect_ratio, pad_to_aspect_ratio, fill_value)
    return np.moveaxis(y, -1, 1) if first else y


def _gray(images: Array, data_format: str | None = None) -> Any:
    axis = 1 if data_format == "channels_first" else -1
    return np.expand_dims(np.tensordot(images, [0.2989, 0.587, 0.114], ([axis], [0])), axis)


_ACTIVATIONS: Mapping[str, Callable[..., Any]] = {
    **{name.title().replace("_", ""): _one(function) for name, function in r.NAMED.items()},
    "Celu": lambda x, alpha=1.0: r.celu(x, alpha),
    "Elu": lambda x, alpha=1.0: r.elu(x, alpha),
    "Gelu": lambda x, approximate=True: r.gelu(x, approximate),
    "Glu": lambda x, axis=-1: r.glu(x, axis),
    "HardShrink": lambda x, threshold=0.5: r.hard_shrink(x, threshold),
    "LeakyRelu": lambda x, negative_slope=0.2: r.relu(x, slope=negative_slope),
    "LogSoftmax": lambda x, axis=-1: r.log_softmax(x, axis),
    "ReLU": lambda x, max_value=None, negative_slope=0.0, threshold=0.0: r.relu(
        x, max_value, negative_slope, threshold
    ),
    "SoftShrink": lambda x, threshold=0.5: r.soft_shrink(x, threshold),
    "Softmax": lambda x, axis=-1: r.softmax(x, _axes(axis)),
    "Squareplus": lambda x, b=4: r.squareplus(x, b),
    "Threshold": lambda x, threshold, default_value: np.where(x > threshold, x, default_value),
}

_ELEMENTS: Mapping[str, Callable[..., Any]] = {
    **{
        name.capitalize(): _one(getattr(np, name))
        for name in [
            "abs",
            "absolute",
            "ceil",
            "cos",
            "cosh",
            "exp",
            "exp2",
            "expm1",
            "floor",
            "log",
            "log10",
            "log1p",
            "log2",
            "negative",
            "sign",
            "sin",
            "sinh",
            "sqrt",
            "square",
            "tan",
            "trunc",
        ]
    },
    **{f"Arc{name}": _one(getattr(np, f"arc{name}")) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{f"Is{name}": _one(getattr(np, f"is{name}")) for name in ("nan", "inf", "finite")},
    "Erf": r.erf,
    "Reciprocal": lambda x: 1 / x,
    "Round": lambda x, decimals=0: np.round(x, decimals),
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "LogicalNot": lambda x: x == 0,
    "Clip": _clip,
    "Cast": _cast,
    "Copy": lambda x: x,
    "StopGradient": lambda variable: variable,
    "FullLike": lambda x, fill_value: np.full(x.shape, fill_value),
    "OnesLike": lambda x: np.ones(x.shape),
    "ZerosLike": lambda x: np.zeros(x.shape),
    "OneHot": _one_hot,
    "Tril": lambda x, k=0: np.tril(x, k),
    "Triu": lambda x, k=0: np.triu(x, k),
    "Where": lambda condition, x1, x2: np.where(condition, x1, x2),
}

_PAIRS: Mapping[str, Callable[..., Any]] = {
    **{
        name.title(): _two(getattr(np, name))
        for name in [
            "add",
            "divide",
            "equal",
            "greater",
            "less",
            "logaddexp",
            "matmul",
            "maximum",
            "minimum",
            "mod",
            "multiply",
            "subtract",
        ]
    },
    "TrueDivide": _two(np.divide),
    "Power": lambda x1, x2: np.power(np.asarray(x1, float), np.asarray(x2, float)),
    "GreaterEqual": _two(np.greater_equal),
    "LessEqual": _two(np.less_equal),
    "NotEqual": _two(np.not_equal),
    "LogicalAnd": _two(np.logical_and),
    "LogicalOr": _two(np.logical_or),
    "LogicalXor": _two(np.logical_xor),
    "Tensordot": lambda x1, x2, axes=2: np.tensordot(x1, x2, axes),
}

_REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    **{
        name.title(): _along(getattr(np, name))
        for name in [
            "all",
            "amax",
            "amin",
            "any",
            "argmax",
            "argmin",
            "max",
            "mean",
            "min",
            "prod",
            "std",
            "sum",
            "var",
        ]
    },
    "Argsort": lambda x, axis=-1: np.argsort(x, axis, kind="stable"),
    "Average": _average,
    "CountNonzero": lambda x, axis=None: np.count_nonzero(x, axis=_axes(axis)),
    "Cumsum": lambda x, axis=None: np.cumsum(x, axis),
    "Logsumexp": _log_sum_exp,
    "Norm": _norm,
    "Sort": lambda x, axis=-1: np.sort(x, axis),
    "TopK": _top_k,
}

_SHAPES: Mapping[str, Callable[..., Any]] = {
    "BroadcastTo": lambda x, shape: np.broadcast_to(x, shape),
    "Concatenate": lambda xs, axis=0: np.concatenate(xs, axis),
    "DepthToSpace": _depth_to_space,
    "Einsum": lambda *operands, subscripts: np.einsum(subscripts, *operands),
    "ExpandDims": lambda x, axis: np.expand_dims(x, _axes(axis)),
    "Flip": lambda x, axis=None: np.flip(x, _axes(axis)),
    "GetItem": _get_item,
    "Moveaxis": lambda x, source, destination: np.moveaxis(x, source, destination),
    "Pad": _pad,
    "Ravel": lambda x: np.ravel(x),
    "Repeat": lambda x, repeats, axis=None: np.repeat(x, r.plain(repeats), axis),
    "Reshape": lambda x, newshape: np.reshape(x, newshape),
    "Roll": lambda x, shift, axis=None: np.roll(x, shift, axis),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Stack": lambda x, axis=0: np.stack(x, axis),
    "Swapaxes": lambda x, axis1, axis2: np.swapaxes(x, axis1, axis2),
    "Take": _take,
    "Tile": lambda x, repeats: np.tile(x, repeats),
    "Transpose": lambda x, axes=None: np.transpose(x, axes),
    "Unstack": _unstack,
}

_OF_LAYERS: Mapping[str, Callable[..., Any]] = {
    "AdaptiveAveragePool": _window("AdaptiveAveragePooling"),
    "AdaptiveMaxPool": _window("AdaptiveMaxPooling"),
    "AveragePool": _window("AveragePooling"),
    "Conv": _window("Conv"),
    "DepthwiseConv": _window("DepthwiseConv"),
    "DotProductAttention": _attention,
    "LayerNorm": _layer_norm,
    "MaxPool": _window("MaxPooling"),
    "Normalize": _normalize,
    "RGBToGrayscale": _gray,
    "RMSNorm": _rms_norm,
    "Resize": _resize,
    "SeparableConv": _window("SeparableConv"),
}

_KERAS: Mapping[str, Callable[..., Any]] = {
    **{**_ACTIVATIONS, **_ELEMENTS, **_PAIRS},
    **{**_REDUCTIONS, **_SHAPES, **_OF_LAYERS},
}

_TENSORFLOW: Mapping[str, Callable[..., Any]] = {
    **{
        f"nn.{name}": _KERAS[name.title()]
        for name in ["elu", "relu", "relu6", "selu", "sigmoid", "softmax", "softplus", "softsign", "tanh"]
    },
    "nn.silu": lambda x, beta=1.0: x * r.sigmoid(beta * x),
    "nn.leaky_relu": lambda x, alpha=0.2: r.relu(x, slope=alpha),
    **{
        f"math.{name}": _KERAS[name.title()]
        for name in [
            "abs",
            "add",
            "divide",
            "exp",
            "log",
            "maximum",
            "minimum",
            "multiply",
            "negative",
            "rsqrt",
            "sigmoid",
            "softplus",
            "sqrt",
            "square",
            "subtract",
            "tanh",
        ]
    },
    **{f"math.reduce_{name}": _KERAS[name.title()] for name in ("max", "mean", "min", "sum")},
    **dict.fromkeys(("math.truediv", "__operators__.truediv"), _KERAS["Divide"]),
    **dict.fromkeys(("math.pow", "__operators__.pow"), _KERAS["Power"]),
    "__operators__.add": _KERAS["Add"],
    "__operators__.mul": _KERAS["Multiply"],
    "__operators__.neg": _KERAS["Negative"],
    "__operators__.sub": _KERAS["Subtract"],
    "clip_by_value": lambda t, clip_value_min, clip_value_max: np.clip(t, clip_value_min, clip_value_max),
    "expand_dims": _KERAS["ExpandDims"],
    "reshape": lambda tensor, shape: np.reshape(tensor, shape),
    "squeeze": _KERAS["Squeeze"],
}

FUNCTIONS: Mapping[str, Callable[..., Any]] = {**_KERAS, **_TENSORFLOW}
"""Functions by Keras 3's names, and by TensorFlow's with the prefix "tf."."""
