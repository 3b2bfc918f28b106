"""Functions of Keras and TensorFlow in the place of layers, for tests/programs/sweep_keras.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tests.support.sweep_keras_models import MAJOR, Case, L, keras

UNARY = (
    *["relu", "relu6", "sigmoid", "silu", "softplus", "hard_sigmoid", "hard_silu", "gelu", "softmax", "log_softmax"],
    *["elu", "selu", "celu", "leaky_relu", "softsign", "tanh", "negative", "abs", "exp", "square", "sqrt", "floor"],
    *["average", "mean", "max", "sum", "flip", "transpose", "sort", "absolute", "round", "sin", "ones_like", "sign"],
    *["glu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "log_sigmoid", "sparse_plus", "sparse_sigmoid"],
    *["squareplus", "sparsemax", "ceil", "trunc", "cos", "tan", "sinh", "cosh", "arcsin", "arctan", "arcsinh", "erf"],
    *["log", "log1p", "log2", "log10", "exp2", "expm1", "rsqrt", "reciprocal", "isnan", "isinf", "isfinite"],
    *["logical_not", "min", "prod", "var", "std", "any", "all", "argmax", "argmin", "argsort", "logsumexp", "cumsum"],
    *["count_nonzero", "amax", "amin", "norm", "normalize", "ravel", "squeeze", "copy", "stop_gradient", "zeros_like"],
    *["tril", "triu", "median", "cumprod", "fliplr", "rms_normalization", "layer_normalization", "size", "shape"],
)
BINARY = [
    *["add", "subtract", "multiply", "divide", "true_divide", "maximum", "minimum", "power", "mod", "floor_divide"],
    *["equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or"],
    *["logical_xor", "logaddexp", "arctan2", "matmul", "dot"],
]


def functions() -> Iterator[Case]:
    """Functions in the place of layers."""
    if MAJOR == 2:
        yield from functions_of_tensorflow()
        return
    ops = keras.ops

    def of(function: Callable[..., Any], sizes: Sequence[int] = (4, 5, 3)) -> Callable[[], Any]:
        def build() -> Any:
            x = keras.Input(tuple(sizes), name="x")
            return keras.Model(x, function(x))

        return build

    for name in UNARY:
        f = getattr(ops, name)
        yield Case(f"ops.{name}", of(f))
        yield Case(f"ops.{name} of halves", of(lambda x, f=f: f(ops.sigmoid(x))))
        yield Case(f"ops.{name} by keyword", of(lambda x, f=f: f(x=x)))
        yield Case(f"ops.{name} of a vector", of(f, (6,)))
        for key, value in (
            ("axis", 1), ("axis", -1), ("axis", (1, 2)), ("axis", 2), ("alpha", 0.5), ("negative_slope", 0.5),
            ("keepdims", True), ("threshold", 0.25), ("b", 2.0), ("k", 1), ("order", 1), ("approximate", False),
        ):  # fmt: skip
            yield Case(f"ops.{name} {key}={value}", of(lambda x, f=f, key=key, value=value: f(x, **{key: value})))
        yield Case(f"ops.{name} axis=-2 keepdims", of(lambda x, f=f: f(x, axis=-2, keepdims=True)))
    yield Case("ops.average weights", of(lambda x: ops.average(x, axis=-1, weights=np.ones(3, np.float32))))
    weights = np.arange(1, 6, dtype=np.float32)
    yield Case("ops.average of a middle axis", of(lambda x: ops.average(x, axis=2, weights=weights)))
    numbers, column = np.arange(1.0, 4.0, dtype=np.float32), np.arange(1.0, 6.0, dtype=np.float32).reshape(5, 1)
    for name in BINARY:
        f = getattr(ops, name)
        yield Case(f"ops.{name} of two", of(lambda x, f=f: f(x, ops.tanh(x))))
        yield Case(f"ops.{name} by keyword", of(lambda x, f=f: f(x2=ops.tanh(x), x1=x)))
        yield Case(f"ops.{name} of a number", of(lambda x, f=f: f(x, 2.5)))
        yield Case(f"ops.{name} of a whole number", of(lambda x, f=f: f(x, 2)))
        yield Case(f"ops.{name} with a number first", of(lambda x, f=f: f(2.5, ops.sigmoid(x))))
        yield Case(f"ops.{name} of an array", of(lambda x, f=f: f(x, numbers)))
        yield Case(f"ops.{name} of a column", of(lambda x, f=f: f(x, column)))
        yield Case(f"ops.{name} of a column first", of(lambda x, f=f: f(column, ops.sigmoid(x))))
        yield Case(f"ops.{name} of a larger array", of(lambda x, f=f: f(x, np.ones((2, 1, 4, 5, 3), np.float32))))
        yield Case(f"ops.{name} of wide and flat", of(lambda x, f=f: f(x, ops.max(x, axis=1))))
        yield Case(f"ops.{name} of one channel", of(lambda x, f=f: f(x[..., :1], x)))
        yield Case(f"ops.{name} of vectors", of(lambda x, f=f: f(x, ops.tanh(x)), (6,)))
    yield Case("ops.operators", of(lambda x: (3 - x) * (x + 1) / 2 - (-x)))
    for text, function in _expressions(ops).items():
        yield Case(f"ops: {text}", of(function))
        if "conv" not in text and "image" not in text and "pool" not in text:
            yield Case(f"ops behind Conv2D: {text}", of(lambda x, f=function: f(L.Conv2D(3, 1)(x))))
        # Backends differ in where they find equal numbers, such as those of padding.
        if not any(word in text for word in ("conv", "image", "pool", "places")):
            yield Case(f"ops in channels_first: {text}", of(_in_channels_first(function), (5, 4, 3)))
        yield Case(f"ops then Dense: {text}", of(lambda x, f=function: L.Dense(2)(L.Flatten()(f(x) * 1.0))))


def _in_channels_first(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def build(x: Any) -> Any:
        return function(L.ZeroPadding2D(((0, 0), (0, 2)), data_format="channels_first")(x[:, :4]))

    return build


def _expressions(ops: Any) -> dict[str, Callable[[Any], Any]]:
    """Functions of an image of 4x5 pixels and 3 channels, by what is computed."""
    f32 = np.float32
    kernel = np.linspace(-1, 1, 2 * 2 * 3 * 4, dtype=f32).reshape(2, 2, 3, 4)
    deep = np.linspace(-1, 1, 2 * 2 * 3 * 2, dtype=f32).reshape(2, 2, 3, 2)
    matrix = np.linspace(-1, 1, 12, dtype=f32).reshape(3, 4)
    return {
        "concatenate": lambda x: ops.concatenate([x, x * 2], axis=1),
        "concatenate channels": lambda x: ops.concatenate([x, ops.relu(x)], axis=-1),
        "concatenate with a constant": lambda x: ops.concatenate([x, np.ones((1, 4, 5, 2), f32)], axis=-1),
        "stack": lambda x: ops.stack([x, ops.relu(x)], axis=1),
        "stack behind": lambda x: ops.stack([x, ops.relu(x)], axis=-1),
        "split": lambda x: ops.add(*ops.split(x, 2, axis=1)),
        "split channels": lambda x: ops.split(x, 3, axis=-1)[1],
        "split at": lambda x: ops.split(x, [1, 3], axis=2)[1],
        "split at channels": lambda x: ops.split(x, [1], axis=-1),
        "unstack": lambda x: ops.unstack(x, axis=1)[2],
        "unstack channels": lambda x: ops.unstack(x, axis=-1),
        "slices": lambda x: x[:, 1:],
        "slices of channels": lambda x: x[..., :2],
        "slices backwards": lambda x: x[:, ::-1, 1:4:2],
        "slices to the end": lambda x: x[:, -3:-1],
        "a place": lambda x: x[:, 0],
        "a place from the end": lambda x: x[:, :, -1],
        "a channel": lambda x: x[..., 1],
        "a new axis": lambda x: x[:, None, :, 1],
        "a new axis behind": lambda x: x[..., 0, None],
        "reshape": lambda x: ops.reshape(x, (-1, 20, 3)),
        "reshape channels": lambda x: ops.reshape(x, (-1, 3, 20)),
        "reshape deep": lambda x: ops.reshape(x, (-1, 2, 2, 5, 3)),
        "reshape flat": lambda x: ops.reshape(x, (-1, 60)),
        "transpose": lambda x: ops.transpose(x, (0, 3, 1, 2)),
        "transpose space": lambda x: ops.transpose(x, (0, 2, 1, 3)),
        "swapaxes": lambda x: ops.swapaxes(x, 1, -1),
        "moveaxis": lambda x: ops.moveaxis(x, 1, -1),
        "moveaxis of two": lambda x: ops.moveaxis(x, (1, 2), (2, 3)),
        "expand_dims": lambda x: ops.expand_dims(x, 1),
        "expand_dims behind": lambda x: ops.expand_dims(x, -1),
        "expand_dims of two": lambda x: ops.expand_dims(x, (1, -1)),
        "squeeze": lambda x: ops.squeeze(x[:, :1], 1),
        "squeeze all": lambda x: ops.squeeze(ops.max(x, axis=(1, 2), keepdims=True)),
        "pad": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
        "pad a value": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=2.5),
        "pad channels": lambda x: ops.pad(x, ((0, 0), (1, 0), (0, 0), (1, 2)), constant_values=-1.0),
        "pad reflect": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="reflect"),
        "pad symmetric": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="symmetric"),
        "clip": lambda x: ops.clip(x, -0.5, 0.75),
        "repeat": lambda x: ops.repeat(x, 3, axis=2),
        "repeat channels": lambda x: ops.repeat(x, 2, axis=-1),
        "repeat each": lambda x: ops.repeat(x, [1, 2, 1, 3], axis=1),
        "tile": lambda x: ops.tile(x, (1, 2, 1, 2)),
        "tile short": lambda x: ops.tile(x, (2, 1)),
        "flip": lambda x: ops.flip(x, axis=(1, 3)),
        "roll": lambda x: ops.roll(x, 2, axis=2),
        "roll two": lambda x: ops.roll(x, (1, -1), axis=(1, 3)),
        "take": lambda x: ops.take(x, [2, 0, 2], axis=1),
        "take a place": lambda x: ops.take(x, 1, axis=-1),
        "take a table": lambda x: ops.take(x, [[0, 1], [2, 3]], axis=1),
        "broadcast_to": lambda x: ops.broadcast_to(x[:, :1], (1, 4, 5, 3)),
        "where": lambda x: ops.where(x > 0, x, x * 0.1),
        "where a number": lambda x: ops.where(x < 0.5, 0.0, x),
        "where an array": lambda x: ops.where(x <= 0.5, x, np.arange(3, dtype=f32)),
        "where both": lambda x: ops.where(ops.logical_and(x > -1, x < 1), x, 0.0),
        "mask": lambda x: x * ops.cast(x > 0.25, "float32"),
        "bool times": lambda x: x * (x > 0.25),
        "cast to whole": lambda x: ops.cast(x * 3, "int32"),
        "cast back": lambda x: ops.cast(ops.cast(x * 3, "int32"), "float32") / 2,
        "mean of a comparison": lambda x: ops.mean(x > 0, axis=(1, 2)),
        "any of a comparison": lambda x: ops.any(x > 2, axis=-1),
        "integers": lambda x: ops.argmax(x, axis=-1) + 1,
        "matmul": lambda x: ops.matmul(x, matrix),
        "matmul operator": lambda x: x @ matrix,
        "matmul first": lambda x: ops.matmul(np.ones((2, 5), f32), x),
        "matmul of two": lambda x: ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))),
        "matmul of three axes": lambda x: ops.matmul(x[:, 0], ops.swapaxes(x[:, 1], 1, 2)),
        "matmul of a vector": lambda x: ops.matmul(x, np.ones(3, f32)),
        "einsum": lambda x: ops.einsum("bhwc,cd->bhwd", x, matrix),
        "einsum of two": lambda x: ops.einsum("bhwc,bhvc->bhwv", x, ops.relu(x)),
        "einsum sums": lambda x: ops.einsum("bhwc,bhwd->bcd", x, x[..., :2]),
        "einsum of an ellipsis": lambda x: ops.einsum("...c,cd->...d", x, matrix),
        "einsum turns": lambda x: ops.einsum("bhwc,wd->bdch", x, np.ones((5, 2), f32)),
        "tensordot": lambda x: ops.tensordot(x, matrix, axes=1),
        "tensordot axes": lambda x: ops.tensordot(x, np.ones((5, 4, 2), f32), axes=[[1, 2], [1, 0]]),
        "top_k": lambda x: ops.top_k(x, 2)[0],
        "top_k places": lambda x: ops.cast(ops.top_k(x, 2)[1], "float32"),
        "one_hot": lambda x: ops.one_hot(ops.argmax(x, axis=-1), 3),
        "one_hot axis": lambda x: ops.one_hot(ops.argmax(x, axis=-1), 3, axis=1),
        "full_like": lambda x: x + ops.full_like(x, 2.0),
        "add constants": lambda x: ops.add(x, ops.ones_like(x)),
        "average_pool": lambda x: ops.average_pool(x, 2, strides=1, padding="same"),
        "max_pool": lambda x: ops.max_pool(x, (2, 1)),
        "adaptive_average_pool": lambda x: ops.adaptive_average_pool(x, (2, 1)),
        "conv": lambda x: ops.conv(x, kernel, strides=2, padding="same"),
        "conv dilated": lambda x: ops.conv(x, kernel, dilation_rate=2),
        "depthwise_conv": lambda x: ops.depthwise_conv(x, deep, padding="same"),
        "separable_conv": lambda x: ops.separable_conv(x, deep, np.ones((1, 1, 6, 2), f32)),
        "conv of a tensor": lambda x: ops.conv(x, ops.reshape(x, (1, 4, 5, 3))[:, :2, :2, :, None][0]),
        "image.resize": lambda x: ops.image.resize(x, (8, 3)),
        "image.resize nearest": lambda x: ops.image.resize(x, (7, 8), interpolation="nearest"),
        "image.resize bicubic": lambda x: ops.image.resize(x, (6, 9), interpolation="bicubic"),
        "image.rgb_to_grayscale": lambda x: ops.image.rgb_to_grayscale(x),
        "depth_to_space": lambda x: ops.depth_to_space(ops.concatenate([x, x, x, x], -1), 2),
        "space_to_depth": lambda x: ops.space_to_depth(x[:, :, :4], 2),
        "layer_normalization": lambda x: ops.layer_normalization(x, np.ones(3, f32) * 2, np.ones(3, f32)),
        "rms_normalization": lambda x: ops.rms_normalization(x, np.ones(3, f32) * 2, axis=-1),
        "dot_product_attention": lambda x: ops.dot_product_attention(x, x * 2, ops.relu(x)),
        "dot_product_attention causal": lambda x: ops.dot_product_attention(x, x, x, scale=0.3, is_causal=True),
        "power of numbers": lambda x: 2.0 ** ops.relu(x) + ops.relu(x) ** 3 + x**2 + ops.abs(x) ** 0.5,
        "remainders": lambda x: x % 0.75 + ops.mod(x, -0.5),
        "squeeze and excite": lambda x: x * ops.sigmoid(ops.mean(x, axis=(1, 2), keepdims=True)),
        "standardize": lambda x: (
            (x - ops.mean(x, axis=(1, 2), keepdims=True)) / (ops.std(x, axis=(1, 2), keepdims=True) + 1e-3)
        ),
        "l2": lambda x: x / ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-6),
        "shuffle": lambda x: ops.reshape(
            ops.transpose(ops.reshape(ops.concatenate([x, x], -1), (-1, 4, 5, 2, 3)), (0, 1, 2, 4, 3)), (-1, 4, 5, 6)
        ),
    }


def functions_of_tensorflow() -> Iterator[Case]:
    import tensorflow as tf

    def of(function: Callable[..., Any]) -> Callable[[], Any]:
        def build() -> Any:
            x = keras.Input((4, 5, 3), name="x")
            return keras.Model(x, function(x))

        return build

    for name in (
        "relu",
        "relu6",
        "sigmoid",
        "tanh",
        "silu",
        "softplus",
        "elu",
        "selu",
        "gelu",
        "softmax",
        "leaky_relu",
    ):
        f = getattr(tf.nn, name)
        yield Case(f"tf.nn.{name}", of(f))
        for key, value in (("beta", 2.0), ("alpha", 0.5), ("axis", 1), ("approximate", True), ("name", "n")):
            yield Case(f"tf.nn.{name} {key}={value}", of(lambda x, f=f, key=key, value=value: f(x, **{key: value})))
    for name in ("add", "subtract", "multiply", "divide", "truediv", "maximum", "pow", "floormod", "floordiv"):
        f = getattr(tf.math, name)
        yield Case(f"tf.{name} of two", of(lambda x, f=f: f(x, tf.nn.tanh(x))))
        yield Case(f"tf.{name} by keyword", of(lambda x, f=f: f(y=tf.nn.tanh(x), x=x)))
        yield Case(f"tf.{name} of a number", of(lambda x, f=f: f(x, 2.5)))
        yield Case(f"tf.{name} with a number first", of(lambda x, f=f: f(2.5, tf.nn.sigmoid(x))))
    yield Case("tf.operators", of(lambda x: (3 - x) * (x + 1) / 2 - (-x)))
    yield Case("tf.reduce", of(lambda x: tf.reduce_mean(x, axis=1)))
    yield Case("tf.cast", of(lambda x: tf.cast(x * 3, tf.int32)))
