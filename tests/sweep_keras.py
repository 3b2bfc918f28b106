"""Every layer of Keras x its options x file format x data_format, through the import, against Keras' own predict().

    pip install -e ".[sweep]"
    KERAS_BACKEND=numpy python tests/sweep_keras.py [--short] [--only WORD] [--refusals]

Each model is built and saved by Keras itself, imported, and computed three times: by predict(), by the float64
reference of the imported graph, and by the evaluator that an import is checked with.  A model is equal, or refused with
a reason, or DIFFERENT, which is a fault: the exit code is 1 then.  SWEEP_KERAS=tf_keras sweeps Keras 2.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "numpy")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np

from codegen.errors import ClgenError
from codegen.frontend.place import Place
from codegen.importers.keras import extract, hdf5
from codegen.importers.keras import file as keras_file
from codegen.importers.keras.evaluate import evaluate_keras, input_names
from codegen.importers.keras.network import read_model
from codegen.importers.open import open_model

keras: Any = importlib.import_module(os.environ.get("SWEEP_KERAS", "keras"))
L: Any = keras.layers
MAJOR = int(keras.__version__.split(".")[0])

FORMATS = ("keras", "h5")
ORDERS = ("channels_last", "channels_first")
TOLERANCE = 1e-4  # of max|y|, as predict() computes in float32
EXACT = 1e-9  # the same between two computations in float64


@dataclass(frozen=True)
class Case:
    """``build`` makes the model; ``formats`` are those in which the file says all that the model is."""

    name: str
    build: Callable[[], Any]
    formats: Sequence[str] = FORMATS

    @property
    def group(self) -> str:
        return self.name.split()[0]


@dataclass(frozen=True)
class Outcome:
    kind: str  # "equal", "refused", "DIFFERENT", "Keras fails"
    reason: str = ""


# Models --------------------------------------------------------------------------------------------------------------


def stack(shape: Sequence[int], *layers: Any, order: str = "channels_last", dtype: str = "float32") -> Any:
    """The layers on an input; in a network with channels first there is a layer that says so."""
    x = y = keras.Input(tuple(shape), name="x", dtype=dtype)
    if order == "channels_first":
        axes = len(shape) - 1
        nothing = 0 if axes == 1 else ((0, 0),) * axes
        y = getattr(L, f"ZeroPadding{axes}D")((0, 0) if axes == 1 else nothing, data_format=order)(y)
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y)


SPACE = {1: (7,), 2: (6, 5), 3: (4, 5, 4)}


def shape(axes: int, order: str = "channels_last", channels: int = 4) -> tuple[int, ...]:
    return (channels, *SPACE[axes]) if order == "channels_first" else (*SPACE[axes], channels)


def one(kind: str, sizes: Sequence[int], order: str = "", **options: Any) -> Case:
    """A network of one layer, whose ``order`` is its data_format."""
    said = {**options, **({"data_format": order} if order else {})}
    words = " ".join(f"{key}={value}" for key, value in said.items())
    return Case(f"{kind} {words} on {list(sizes)}", lambda: stack(sizes, getattr(L, kind)(**said)))


def within(kind: str, sizes: Sequence[int], order: str, **options: Any) -> Case:
    """The same for a layer that does not say where the channels are."""
    words = " ".join(f"{key}={value}" for key, value in options.items())
    return Case(
        f"{kind} {words} on {list(sizes)} in {order}",
        lambda: stack(sizes, getattr(L, kind)(**options), order=order),
    )


def convolutions() -> Iterator[Case]:
    for axes, order in product((1, 2, 3), ORDERS):
        kernels = {1: (2, 3), 2: ((3, 2),), 3: (2,)}[axes]
        sizes, paddings = shape(axes, order), ("valid", "same", "causal")[: 3 if axes == 1 else 2]
        for kernel, stride, padding, dilation, groups, bias in product(
            kernels, (1, 2), paddings, (1, 2), (1, 2), (True, False)
        ):
            if stride == 1 or dilation == 1:
                yield one(
                    f"Conv{axes}D", sizes, order, filters=6, kernel_size=kernel, strides=stride, padding=padding,
                    dilation_rate=dilation, groups=groups, use_bias=bias,
                )  # fmt: skip
        for kernel, stride, padding, dilation in product((1, 2, 3), (1, 2, 3), ("valid", "same"), (1, 2)):
            if stride == 1 or dilation == 1:
                yield one(
                    f"Conv{axes}DTranspose", sizes, order, filters=3, kernel_size=kernel, strides=stride,
                    padding=padding, dilation_rate=dilation,
                )  # fmt: skip
        yield one(f"Conv{axes}DTranspose", sizes, order, filters=3, kernel_size=3, strides=2, output_padding=1)
        if axes < 3:
            for kind, stride, padding, dilation, multiplier, bias in product(
                ("Depthwise", "Separable"), (1, 2), ("valid", "same"), (1, 2), (1, 2), (True, False)
            ):
                if stride == 1 or dilation == 1:
                    options = {"filters": 5} if kind == "Separable" else {}
                    yield one(
                        f"{kind}Conv{axes}D", sizes, order, kernel_size=3, strides=stride, padding=padding,
                        dilation_rate=dilation, depth_multiplier=multiplier, use_bias=bias, **options,
                    )  # fmt: skip


ACTIVATIONS = (
    *["linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus", "softsign", "silu", "gelu"],
    *["exponential", "hard_sigmoid", "leaky_relu", "mish", "hard_silu", "log_softmax", "celu", "glu", "sparsemax"],
    *["hard_tanh", "squareplus", "tanh_shrink", "soft_shrink", "hard_shrink", "threshold", "log_sigmoid"],
)


def activations() -> Iterator[Case]:
    for name in ACTIVATIONS:
        yield within("Activation", (6,), "channels_last", activation=name)
        for axes, order in product((1, 2, 3), ORDERS):
            yield within("Activation", shape(axes, order), order, activation=name)
        for order in ORDERS:
            yield one("Conv2D", shape(2, order), order, filters=3, kernel_size=2, activation=name)
            yield one("DepthwiseConv1D", shape(1, order), order, kernel_size=2, activation=name)
            yield one("SeparableConv2D", shape(2, order), order, filters=3, kernel_size=2, activation=name)
            yield one("Conv2DTranspose", shape(2, order), order, filters=3, kernel_size=2, activation=name)
        yield one("Dense", (6,), units=3, activation=name)
        yield one("Dense", (5, 6), units=3, activation=name)
    tables = {
        "ReLU(4)": lambda: L.ReLU(4.0),
        "ReLU(4, 0.1)": lambda: L.ReLU(4.0, 0.1),
        "ReLU(threshold)": lambda: L.ReLU(None, 0.0, 0.5),
        "LeakyReLU": lambda: L.LeakyReLU(),
        "ELU(0.5)": lambda: L.ELU(0.5),
        "Softmax": lambda: L.Softmax(),
        "Softmax(1)": lambda: L.Softmax(1),
        "PReLU": lambda: L.PReLU(),
    }
    for name, make in tables.items():
        yield Case(f"Dense activation={name}", lambda make=make: stack((5, 6), L.Dense(3, activation=make())))
        yield Case(f"Activation of layer {name}", lambda make=make: stack((5, 6), L.Activation(make())))


def activation_layers() -> Iterator[Case]:
    for axes, order in [(0, "channels_last"), *product((1, 2, 3), ORDERS)]:
        sizes = shape(axes, order) if axes else (6,)
        for most, slope, threshold in product((None, 6.0, 0.5), (0.0, 0.25), (0.0, 0.5)):
            yield within("ReLU", sizes, order, max_value=most, negative_slope=slope, threshold=threshold)
        yield within("LeakyReLU", sizes, order)
        yield within("LeakyReLU", sizes, order, **{"negative_slope" if MAJOR > 2 else "alpha": 0.125})
        yield within("ELU", sizes, order, alpha=0.5)
        for axis in [*range(1, axes + 2), -1, -2, [1], [1, 2]]:
            yield within("Softmax", sizes, order, axis=axis)
        space = list(range(1, axes + 1))
        for shared in (None, space, [n + 1 for n in space], [1], list(range(1, axes + 2))):
            yield within("PReLU", sizes, order, shared_axes=shared)


def pools() -> Iterator[Case]:
    for axes, order in product((1, 2, 3), ORDERS):
        sizes = shape(axes, order)
        for kind, size, stride, padding in product(("Max", "Average"), (2, 3), (None, 1, 2), ("valid", "same")):
            yield one(f"{kind}Pooling{axes}D", sizes, order, pool_size=size, strides=stride, padding=padding)
        for kind, keep in product(("Max", "Average"), (False, True)):
            yield one(f"Global{kind}Pooling{axes}D", sizes, order, keepdims=keep)
    yield one("MaxPooling2D", (6, 5, 2), pool_size=(3, 2), strides=(1, 2), padding="same")
    yield one("AveragePooling2D", (6, 5, 2), pool_size=(3, 2), strides=(1, 2), padding="same")


def sizes() -> Iterator[Case]:
    pairs: dict[int, tuple[Any, ...]] = {
        1: (1, (1, 2), (0, 2)),
        2: (1, (1, 2), ((1, 0), (0, 2))),
        3: (1, (1, 0, 1), ((1, 0), (0, 2), (1, 1))),
    }
    for axes, order in product((1, 2, 3), ORDERS):
        for value in pairs[axes]:
            for kind, key in (("ZeroPadding", "padding"), ("Cropping", "cropping")):
                if axes > 1:
                    yield one(f"{kind}{axes}D", shape(axes, order), order, **{key: value})
                else:
                    yield within(f"{kind}1D", shape(axes, order), order, **{key: value})
        if axes == 1:
            yield within("UpSampling1D", shape(1, order), order, size=3)
            yield one("ZeroPadding1D", shape(1, order), order, padding=(1, 2))
        for size in (2, (1, 3, 2)[:axes]):
            for mode in ("nearest", "bilinear", "bicubic", "lanczos3") if axes == 2 else ():
                yield one("UpSampling2D", shape(2, order), order, size=size, interpolation=mode)
            if axes == 3:
                yield one("UpSampling3D", shape(3, order), order, size=size)
    modes = ("nearest", "bilinear", "bicubic", "area", "lanczos3")
    for order, size, mode in product(ORDERS, ((12, 10), (12, 5), (9, 7), (3, 2), (6, 5)), modes):
        said = {} if MAJOR == 2 else {"data_format": order}
        yield one("Resizing", shape(2, order), height=size[0], width=size[1], interpolation=mode, **said)
    for flag in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        yield one("Resizing", shape(2), height=9, width=3, **{flag: True})


def statistics() -> Iterator[Case]:
    for axes, order in [(0, "channels_last"), *product((1, 2, 3), ORDERS)]:
        sizes = shape(axes, order) if axes else (6,)
        for axis in [-1, 1, *range(2, axes + 2)]:
            for scale, center in product((True, False), (True, False)):
                yield within("BatchNormalization", sizes, order, axis=axis, scale=scale, center=center)
        yield within("BatchNormalization", sizes, order, epsilon=0.1, momentum=0.5)
        if MAJOR > 2:
            yield within("BatchNormalization", sizes, order, renorm=True)
        for axis, invert in product((-1, 1, None, (1,), (1, -1)), (False, True)):
            yield within("Normalization", sizes, order, axis=axis, invert=invert)
            yield within("Normalization", sizes, order, axis=axis, invert=invert, mean=0.25, variance=2.0)
        means = [0.1 * n for n in range(1, sizes[-1] + 1)]
        for axis, wrap in product((-1, None), (lambda v: v, lambda v: [v], lambda v: [[v]])):
            yield within("Normalization", sizes, order, axis=axis, mean=wrap(means), variance=wrap(means))
        last, first = np.arange(1.0, sizes[-1] + 1), np.arange(1.0, sizes[0] + 1)
        constants = {
            "number": 0.5,
            "last": last.tolist(),
            "one": [2.0],
            "rows": first.reshape(-1, *[1] * axes).tolist(),
            "middle": np.arange(1.0, sizes[-2] + 1).reshape(-1, 1).tolist() if axes else [[3.0]],
            "two": np.outer(np.arange(1.0, sizes[-2] + 1), last).tolist() if axes else [last.tolist()],
            "batch": last.reshape(1, *[1] * axes, -1).tolist(),
            "array": last,
            "too many axes": last.reshape(1, 1, *[1] * axes, -1).tolist(),
            "larger": np.ones((3, 1)).tolist(),
        }
        for (a, scale), (b, offset) in product(constants.items(), constants.items()):
            if "number" in (a, b) or a == b:
                yield Case(
                    f"Rescaling scale={a} offset={b} on {list(sizes)} in {order}",
                    lambda s=scale, o=offset, z=sizes, r=order: stack(z, L.Rescaling(s, o), order=r),
                )


def merges() -> Iterator[Case]:
    def merged(kind: str, shapes: Sequence[Sequence[int]], order: str, **options: Any) -> Case:
        def build() -> Any:
            xs = [keras.Input(tuple(s), name=f"x{i}") for i, s in enumerate(shapes)]
            made = getattr(L, kind)(**options)(xs)
            if order == "channels_first":
                made = L.GlobalMaxPooling2D(data_format=order, keepdims=True)(made)
            return keras.Model(xs, made)

        return Case(f"{kind} {options} of {[list(s) for s in shapes]} in {order}", build)

    three = [
        [(4, 5, 3), (4, 5, 3)], [(4, 5, 3)] * 3, [(4, 5, 3), (1, 1, 3)], [(4, 5, 3), (4, 5, 1)], [(4, 5, 3), (5, 3)],
        [(3,), (4, 5, 3)], [(6,), (6,)], [(4, 1, 3), (1, 5, 3)], [(4, 5, 3), (5, 1)],
    ]  # fmt: skip
    kinds = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
    for kind, shapes, order in product(kinds, three, ORDERS):
        if order == "channels_last" or max(map(len, shapes)) == 3:
            yield merged(kind, shapes, order)
    for axis, order in product((-1, 1, 2, 3, -2), ORDERS):
        for shapes in ([(4, 5, 3), (4, 5, 2)], [(4, 5, 3), (4, 2, 3)], [(4, 5, 3), (1, 5, 3)], [(4, 5, 3)] * 3):
            yield merged("Concatenate", shapes, order, axis=axis)
    yield merged("Dot", [(4, 3), (4, 3)], "channels_last", axes=1)


def shapes() -> Iterator[Case]:
    for axes, order in [(0, "channels_last"), *product((1, 2, 3), ORDERS)]:
        sizes = shape(axes, order) if axes else (6,)
        for said in ORDERS:
            yield within("Flatten", sizes, order, data_format=said)
        total = int(np.prod(sizes))
        for target in ((-1,), (total,), (2, -1), (-1, 2), (2, 2, -1), (-1, 2, 2), sizes, (1, *sizes), (*sizes, 1)):
            yield within("Reshape", sizes, order, target_shape=target)
        if axes:
            turned = ((*range(2, axes + 2), 1), (axes + 1, *range(1, axes + 1)), tuple(range(axes + 1, 0, -1)))
            for dims in turned:
                yield within("Permute", sizes, order, dims=dims)
        yield within("Dense", sizes, order, units=3)
        yield within("Dense", sizes, order, units=3, use_bias=False)
    for first, then in product(((5, 12), (12, 5), (60,), (3, 4, 5)), ((3, 4, 5), (4, 15), (60,))):
        yield Case(
            f"Reshape {first} after Conv2D, then {then}",
            lambda a=first, b=then: stack((5, 6, 2), L.Conv2D(3, 2), L.Reshape(a), L.ReLU(), L.Reshape(b)),
        )


INERT: dict[str, dict[str, Any]] = {
    "Dropout": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 0.5},
    "SpatialDropout2D": {"rate": 0.5},
    "ActivityRegularization": {"l1": 0.1},
    "Identity": {},
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomContrast": {"factor": 0.2},
    "RandomBrightness": {"factor": 0.2},
    # Not known to the import: these must be refused, or equal.
    **{kind: {"factor": 0.2} for kind in ("RandomHeight", "RandomWidth", "RandomShear", "RandomGrayscale")},
    "RandomCrop": {"height": 3, "width": 2},
    "CenterCrop": {"height": 3, "width": 2},
    "AutoContrast": {},
    "Equalization": {},
    "Solarization": {},
    "RandAugment": {},
    "LayerNormalization": {},
    "GroupNormalization": {"groups": 2},
    "UnitNormalization": {},
    "RMSNormalization": {},
    "Masking": {},
    "Lambda": {"function": abs},
    "ThresholdedReLU": {},
    "AdaptiveAveragePooling2D": {"output_size": 2},
    "EinsumDense": {"equation": "abcd,de->abce", "output_shape": (None, None, 2)},
}


def others() -> Iterator[Case]:
    for kind, options in INERT.items():
        for order in ORDERS:
            yield within(kind, shape(2, order), order, **options)
    for kind in ("Dropout", "BatchNormalization"):
        options = {"rate": 0.5} if kind == "Dropout" else {}

        def called(kind: str = kind, options: Mapping[str, Any] = options) -> Any:
            x = keras.Input((4, 5, 3), name="x")
            return keras.Model(x, getattr(L, kind)(**options)(L.ReLU()(x), training=True))

        yield Case(f"{kind} training=True", called)


UNARY = (
    *["relu", "relu6", "sigmoid", "silu", "softplus", "hard_sigmoid", "hard_silu", "gelu", "softmax", "log_softmax"],
    *["elu", "selu", "celu", "leaky_relu", "softsign", "tanh", "negative", "abs", "exp", "square", "sqrt", "floor"],
    *["average", "mean", "max", "sum", "flip", "transpose", "sort", "absolute", "round", "sin", "ones_like", "sign"],
)
BINARY = ["add", "subtract", "multiply", "divide", "true_divide", "maximum", "minimum", "power", "mod", "floor_divide"]


def functions() -> Iterator[Case]:
    """Functions in the place of layers."""
    if MAJOR == 2:
        yield from functions_of_tensorflow()
        return
    ops = keras.ops

    def of(function: Callable[[Any], Any], sizes: Sequence[int] = (4, 5, 3)) -> Callable[[], Any]:
        def build() -> Any:
            x = keras.Input(tuple(sizes), name="x")
            return keras.Model(x, function(x))

        return build

    for name in UNARY:
        f = getattr(ops, name)
        yield Case(f"ops.{name}", of(f))
        yield Case(f"ops.{name} by keyword", of(lambda x, f=f: f(x=x)))
        for key, value in (("axis", 1), ("axis", -1), ("alpha", 0.5), ("negative_slope", 0.5), ("keepdims", True)):
            yield Case(f"ops.{name} {key}={value}", of(lambda x, f=f, key=key, value=value: f(x, **{key: value})))
    yield Case("ops.gelu exact", of(lambda x: ops.gelu(x, approximate=False)))
    yield Case("ops.average weights", of(lambda x: ops.average(x, axis=-1, weights=np.ones(3, np.float32))))
    for name in BINARY:
        f = getattr(ops, name)
        yield Case(f"ops.{name} of two", of(lambda x, f=f: f(x, ops.tanh(x))))
        yield Case(f"ops.{name} by keyword", of(lambda x, f=f: f(x2=ops.tanh(x), x1=x)))
        yield Case(f"ops.{name} of a number", of(lambda x, f=f: f(x, 2.5)))
        yield Case(f"ops.{name} of a whole number", of(lambda x, f=f: f(x, 2)))
        yield Case(f"ops.{name} with a number first", of(lambda x, f=f: f(2.5, ops.sigmoid(x))))
        yield Case(f"ops.{name} of an array", of(lambda x, f=f: f(x, np.arange(1.0, 4.0, dtype=np.float32))))
        yield Case(f"ops.{name} of wide and flat", of(lambda x, f=f: f(x, ops.max(x, axis=1))))
    yield Case("ops.operators", of(lambda x: (3 - x) * (x + 1) / 2 - (-x)))
    yield Case("ops.concatenate", of(lambda x: ops.concatenate([x, x], axis=1)))
    yield Case("ops.slices", of(lambda x: x[:, 1:]))


def functions_of_tensorflow() -> Iterator[Case]:
    import tensorflow as tf

    def of(function: Callable[[Any], Any]) -> Callable[[], Any]:
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


def structures() -> Iterator[Case]:
    """Models in models, tables of inputs and outputs, shared layers, types, classes of the user's own."""

    def block(name: str, sizes: Sequence[int] = (4, 5, 3)) -> Any:
        x = keras.Input(tuple(sizes), name=f"{name}_x")
        y = L.BatchNormalization(name=f"{name}_bn")(L.Conv2D(3, 1, name=f"{name}_conv")(x))
        return keras.Model(x, y, name=name)

    def nested() -> Any:
        x, inner = keras.Input((4, 5, 3), name="x"), block("inner")
        return keras.Model(x, L.Subtract()([inner(inner(x)), block("other")(x)]))

    def nested_training() -> Any:
        x = keras.Input((4, 5, 3), name="x")
        return keras.Model(x, block("inner")(L.ReLU()(x), training=True))

    def in_order(keys: str, outs: str) -> Callable[[], Any]:
        """A model that has tables of inputs and outputs, each in the given order of keys, in another."""

        def build() -> Any:
            ports = {key: keras.Input((3,), name=f"in_{key}") for key in keys}
            made = {key: L.Rescaling(i + 2.0)(ports[keys[0]]) for i, key in enumerate(outs)}
            last = L.Subtract()([ports[keys[0]], L.Rescaling(7.0)(ports[keys[1]])])
            inner = keras.Model(ports, {**made, outs[0]: last}, name="inner")
            x = keras.Input((3,), name="x")
            y = inner({key: L.Rescaling(float(ord(key)))(x) for key in reversed(keys)})
            return keras.Model(x, [L.Subtract()([y[outs[0]], y[outs[1]]]), y[outs[1]]])

        return build

    def tables() -> Any:
        ports = {key: keras.Input((3,), name=f"in_{key}") for key in ("b", "a")}
        return keras.Model(ports, {"z": L.Subtract()([ports["b"], ports["a"]]), "c": L.Rescaling(2.0)(ports["a"])})

    def named_inputs() -> Any:
        """Inputs in a list, given as a table."""
        ports = [keras.Input((3,), name=name) for name in ("second", "first")]
        inner = keras.Model(ports, L.Subtract()(ports), name="inner")
        x = keras.Input((3,), name="x")
        return keras.Model(x, inner({"first": L.Rescaling(3.0)(x), "second": x}))

    def shared(first: bool) -> Callable[[], Any]:
        """A layer in a nested model and outside."""

        def build() -> Any:
            layer, norm = L.Conv2D(3, 1, name="conv"), L.BatchNormalization(name="bn")
            i = keras.Input((4, 5, 3), name="i")
            inner = keras.Model(i, norm(layer(i)), name="inner")
            x = keras.Input((4, 5, 3), name="x")
            y = [inner(x), norm(layer(L.ReLU()(x)))] if first else [norm(layer(L.ReLU()(x))), inner(x)]
            return keras.Model(x, L.Subtract()(y))

        return build

    def shared_model() -> Any:
        one = block("one")
        i = keras.Input((4, 5, 3), name="i")
        wrapped = keras.Model(i, L.ReLU()(one(i)), name="wrapped")
        x = keras.Input((4, 5, 3), name="x")
        return keras.Model(x, L.Add()([wrapped(x), one(L.ReLU()(x))]))

    def twice() -> Any:
        x, layer = keras.Input((4, 5, 3), name="x"), L.Conv2D(3, 1)
        return keras.Model(x, layer(L.ReLU()(layer(x))))

    def in_sequential() -> Any:
        inner = keras.Sequential([keras.Input((4, 5, 3)), L.Conv2D(3, 1), L.BatchNormalization()], name="inner")
        return keras.Sequential([keras.Input((4, 5, 3), name="x"), L.ReLU(), inner, L.Flatten(), L.Dense(2)])

    def direct(order: Sequence[int]) -> Callable[[], Any]:
        """Calls of a nested model as outputs, in another order than they are made."""

        def build() -> Any:
            x, inner = keras.Input((4, 5, 3), name="x"), block("inner")
            calls = [inner(x), inner(L.ReLU()(x)), inner(L.Rescaling(2.0)(x))]
            return keras.Model(x, [calls[i] for i in order])

        return build

    for order in ((0,), (1,), (0, 1), (1, 0), (2, 0, 1), (2, 1)):
        yield Case(f"model calls {order} as outputs", direct(order))
    yield Case("model nested", nested)
    yield Case("model nested training=True", nested_training)
    for keys, outs in product(("ab", "ba"), ("cz", "zc")):
        yield Case(f"model tables {keys} {outs}", in_order(keys, outs))
    yield Case("model tables outside", tables)
    yield Case("model inputs by name", named_inputs)
    yield Case("model shared, nested first", shared(True))
    yield Case("model shared, nested last", shared(False))
    yield Case("model shared model", shared_model)
    yield Case("model called twice", twice)
    yield Case("model in Sequential", in_sequential)
    kinds: dict[str, Callable[[], Any]] = {
        "Rescaling": lambda: L.Rescaling(0.5, 1.0),
        "Normalization": lambda: L.Normalization(mean=3.0, variance=4.0),
        "Flatten": L.Flatten,
        "MaxPooling2D": L.MaxPooling2D,
        "AveragePooling2D": L.AveragePooling2D,
        "ZeroPadding2D": L.ZeroPadding2D,
        "ReLU": L.ReLU,
        "Dropout": lambda: L.Dropout(0.5),
        "RandomFlip": L.RandomFlip,
        "Reshape": lambda: L.Reshape((5, -1)),
        "UpSampling2D": L.UpSampling2D,
        "Dense": lambda: L.Dense(2),
        "BatchNormalization": L.BatchNormalization,
        "+ 200": lambda: lambda x: x + 200,
        "/ 2": lambda: lambda x: x / 2,
        "Add": lambda: lambda x: L.Add()([x, x]),
        "Resizing": lambda: L.Resizing(3, 3),
    }
    for dtype, (name, make) in product(("uint8", "int32", "float16", "float64", "bool"), kinds.items()):
        yield Case(f"input {dtype} {name}", lambda d=dtype, m=make: stack((4, 6, 3), m(), dtype=d))
    for policy in ("float16", "mixed_float16", "bfloat16", "float64"):
        yield Case(
            f"dtype {policy}",
            lambda p=policy: stack((4, 5, 3), L.Conv2D(2, 2, dtype=p), L.BatchNormalization(dtype=p)),
        )
    yield from own_classes()


def own_classes() -> Iterator[Case]:
    """Layers and functions of the user's own with names of Keras' own: .h5 cannot tell them apart."""

    def named(name: str, base: Any) -> Any:
        kind = type(name, (base,), {"__module__": "mine", "call": lambda self, x: x * 3.0})
        if base is L.Layer:
            kind.compute_output_shape = lambda self, shape: shape
        return kind

    for name in ("ReLU", "Activation", "Softmax", "Dropout", "Flatten", "Rescaling", "Identity", "RandomFlip"):
        base = getattr(L, name)
        options = {"Activation": {"activation": "relu"}, "Dropout": {"rate": 0.5}, "Rescaling": {"scale": 2.0}}
        yield Case(f"own {name} of Layer", lambda n=name: stack((4, 5, 3), L.ReLU(), named(n, L.Layer)()), ("keras",))
        yield Case(
            f"own {name} of {name}",
            lambda n=name, b=base, o=options: stack((4, 5, 3), L.ReLU(), named(n, b)(**o.get(n, {}))),
            ("keras",),
        )
    register = keras.saving.register_keras_serializable if MAJOR > 2 else keras.utils.register_keras_serializable

    def softsign(x: Any) -> Any:
        return x * 3.0

    def registered_relu(x: Any) -> Any:
        return x * 3.0

    registered_relu.__name__ = "relu"
    yield Case("own function relu", lambda: stack((6,), L.Dense(2, activation=register("mine")(registered_relu))))
    yield Case("own layer registered", lambda: stack((6,), register("mine")(named("ReLU", L.Layer))()))


GROUPS: Sequence[Callable[[], Iterator[Case]]] = (
    *(convolutions, activations, activation_layers, pools, sizes, statistics),
    *(merges, shapes, others, functions, structures),
)


def cases() -> Iterator[Case]:
    for group in GROUPS:
        yield from group()


# Comparison ----------------------------------------------------------------------------------------------------------


def read_here(path: Path, place: Place) -> hdf5.Group:
    """Reads a file as :func:`hdf5.read_hdf5` does, but in this process: thousands of processes take long."""
    with tempfile.TemporaryFile() as out:
        with h5py.File(path, "r") as file:
            extraction = extract.Extraction(out)
            extraction.write(extraction.group(file))
        out.seek(0)
        data = out.read()
    end = data.index(b"\n")
    return hdf5._group(json.loads(data[:end]), memoryview(data)[end + 1 :])


def randomize(model: Any, rng: np.random.Generator) -> None:
    for weight in model.weights:
        name = getattr(weight, "path", weight.name)
        if "float" in str(weight.dtype):
            spread = rng.uniform(0.3, 2, weight.shape) if "variance" in name else rng.normal(0, 0.5, weight.shape)
            weight.assign(spread.astype(np.float32))
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # Normalization computes with a copy of its arrays


def packed(structure: Any, values: list[np.ndarray]) -> Any:
    """The arrays as the model wants its inputs: Keras counts those of a table by sorted keys."""
    if isinstance(structure, dict):
        return dict(zip(sorted(structure), values, strict=True))
    return list(values) if isinstance(structure, (list, tuple)) else values[0]


def flat(made: Any) -> list[np.ndarray]:
    if isinstance(made, dict):
        return [np.asarray(made[key]) for key in sorted(made)]
    return [np.asarray(y) for y in (made if isinstance(made, (list, tuple)) else [made])]


def draw(tensor: Any, rng: np.random.Generator) -> np.ndarray:
    sizes, dtype = [n or 1 for n in tensor.shape], str(getattr(tensor.dtype, "name", tensor.dtype))
    if "float" in dtype:
        return rng.normal(0, 1.5, sizes).astype(np.float32)
    return rng.integers(0, 2 if dtype == "bool" else 100, sizes).astype(dtype)


def imported(path: Path, xs: Sequence[np.ndarray]) -> list[np.ndarray]:
    graph = open_model(path).graph
    moved = [np.moveaxis(x, -1, 1) if i.channels_last else x for i, x in zip(graph.inputs, xs, strict=True)]
    made = graph.evaluate({i.name: x.astype(np.float64) for i, x in zip(graph.inputs, moved, strict=True)})
    return [np.moveaxis(made[o.value], 1, -1) if o.channels_last else made[o.value] for o in graph.outputs]


def error(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """max|ours - theirs| / max|theirs|, infinity where shapes differ."""
    if [y.shape for y in ours] != [y.shape for y in theirs]:
        return float("inf")
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(ours, theirs, strict=True)]
    return max(float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b))))) for a, b in pairs)


def compare(case: Case, form: str, folder: Path) -> Outcome:
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    path = folder / f"net.{form}"
    try:
        keras.backend.clear_session()
        model = case.build()
        randomize(model, rng)
        xs = [draw(tensor, rng) for tensor in model.inputs]
        structure = model.inputs if isinstance(model, keras.Sequential) else model.input
        theirs = flat(model.predict(packed(structure, xs), verbose=0))
        model.save(path)
    except Exception as fault:  # whatever Keras or its backend raises on what it cannot do
        return Outcome("Keras fails", f"{type(fault).__name__}: {str(fault).splitlines()[0][:120]}")
    try:
        ours = imported(path, xs)
    except ClgenError as fault:
        return Outcome("refused", str(fault).removeprefix(f"{path}: "))
    tolerance = 2e-2 if "16" in case.name else TOLERANCE
    far = error(ours, theirs)
    if not far <= tolerance:
        return Outcome("DIFFERENT", f"{far:.2g} from Keras' predict()")
    named = dict(zip(input_names(read_model(keras_file.open_keras(path).config, Place(""))), xs, strict=True))
    far = error(ours, evaluate_keras(path, {}, named))
    return Outcome("equal") if far <= EXACT else Outcome("DIFFERENT", f"{far:.2g} from the evaluator")


def sweep(wanted: Sequence[Case], say: Callable[[str], None]) -> dict[tuple[str, str], Outcome]:
    """Outcomes by (name, format)."""
    keras_file.read_hdf5 = read_here
    outcomes: dict[tuple[str, str], Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        for case in wanted:
            for form in case.formats:
                outcomes[case.name, form] = found = compare(case, form, Path(folder))
                if found.kind == "DIFFERENT":
                    say(f"DIFFERENT: {case.name} ({form}): {found.reason}")
    return outcomes


def table(outcomes: Mapping[tuple[str, str], Outcome]) -> str:
    kinds = ("equal", "refused", "DIFFERENT", "Keras fails")
    counts = Counter((name.split()[0], found.kind) for (name, _), found in outcomes.items())
    groups = list(dict.fromkeys(name.split()[0] for name, _ in outcomes))
    lines = [f"{'':28}" + "".join(f"{kind:>13}" for kind in kinds)]
    lines += [f"{group:28}" + "".join(f"{counts[group, kind]:13}" for kind in kinds) for group in groups]
    sums = [sum(found.kind == kind for found in outcomes.values()) for kind in kinds]
    return "\n".join([*lines, f"{'all':28}" + "".join(f"{n:13}" for n in sums)])


def short(every: int = 23) -> list[Case]:
    """A part of the cases that has some of all groups."""
    return [case for i, case in enumerate(cases()) if i % every == 0 or case.name.startswith(("model", "own"))]


def main(arguments: Sequence[str]) -> int:
    wanted = short() if "--short" in arguments else list(cases())
    if "--only" in arguments:
        word = arguments[arguments.index("--only") + 1]
        wanted = [case for case in wanted if word in case.name]
    outcomes = sweep(wanted, print)
    if "--refusals" in arguments:
        for (name, form), found in outcomes.items():
            if found.kind in ("refused", "Keras fails"):
                print(f"{found.kind}: {name} ({form}): {found.reason}")
    print(f"Keras {keras.__version__}")
    print(table(outcomes))
    return int(any(found.kind == "DIFFERENT" for found in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
