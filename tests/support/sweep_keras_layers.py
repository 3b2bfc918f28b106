"""Layers of Keras x their options x data_format, for tests/programs/sweep_keras.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from tests.support.sweep_keras_models import MAJOR, ORDERS, Case, L, keras, one, shape, stack, within


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
        for most, slope, threshold in product((None, 6.0, 0.5), (0.0, 0.25), (0.0, 0.5, -0.5)):
            yield within("ReLU", sizes, order, max_value=most, negative_slope=slope, threshold=threshold)
        yield within("LeakyReLU", sizes, order)
        yield within("LeakyReLU", sizes, order, **{"negative_slope" if MAJOR > 2 else "alpha": 0.125})
        yield within("ELU", sizes, order, alpha=0.5)
        for axis in [*range(1, axes + 2), -1, -2, [1], [1, 2], [-1, 1]]:
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
        said: dict[str, Any] = {} if MAJOR == 2 else {"data_format": order}
        yield one("Resizing", shape(2, order), height=size[0], width=size[1], interpolation=mode, **said)
    for flag in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        told: dict[str, Any] = {flag: True}
        yield one("Resizing", shape(2), height=9, width=3, **told)


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

    three: list[Sequence[tuple[int, ...]]] = [
        [(4, 5, 3), (4, 5, 3)], [(4, 5, 3)] * 3, [(4, 5, 3), (1, 1, 3)], [(4, 5, 3), (4, 5, 1)], [(4, 5, 3), (5, 3)],
        [(3,), (4, 5, 3)], [(6,), (6,)], [(4, 1, 3), (1, 5, 3)], [(4, 5, 3), (5, 1)],
    ]  # fmt: skip
    shapes: Sequence[tuple[int, ...]]
    kinds = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
    for kind, shapes, order in product(kinds, three, ORDERS):
        if order == "channels_last" or max(map(len, shapes)) == 3:
            yield merged(kind, shapes, order)
    for axis, order in product((-1, 1, 2, 3, -2), ORDERS):
        for shapes in ([(4, 5, 3), (4, 5, 2)], [(4, 5, 3), (4, 2, 3)], [(4, 5, 3), (1, 5, 3)], [(4, 5, 3)] * 3):
            yield merged("Concatenate", shapes, order, axis=axis)
    for order, normalize in product(ORDERS, (False, True)):
        for shapes, axes in (
            ([(4, 3), (4, 3)], 1), ([(4, 3), (4, 3)], 2), ([(4, 3), (3, 5)], (2, 1)), ([(4, 3), (5, 3)], -1),
            ([(3,), (3,)], 1), ([(4, 5, 3), (3,)], (3, 1)), ([(4, 5, 3), (5, 2)], (2, 1)), ([(3,), (4, 3)], (1, 2)),
        ):  # fmt: skip
            if order == "channels_last":
                yield merged("Dot", shapes, order, axes=axes, normalize=normalize)


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
    "AugMix": {},
    "CutMix": {},
    "Equalization": {},
    "MaxNumBoundingBoxes": {"max_number": 3},
    "MixUp": {},
    "RandAugment": {},
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomContrast": {"factor": 0.2},
    "RandomBrightness": {"factor": 0.2},
    "RandomColorJitter": {"brightness_factor": 0.2, "hue_factor": 0.1},
    "RandomGrayscale": {"factor": 0.2},
    "RandomPerspective": {"factor": 0.2},
    "RandomShear": {"x_factor": 0.2},
    "RandomGaussianBlur": {},
    **{kind: {"factor": 0.2} for kind in ("RandomHeight", "RandomWidth", "RandomHue", "RandomSharpness")},
    **{kind: {"factor": 0.2} for kind in ("RandomInvert", "RandomErasing", "RandomElasticTransform")},
    **{kind: {"factor": 0.2} for kind in ("RandomColorDegeneration", "RandomPosterization", "RandomSaturation")},
    "Solarization": {},
    # Not known to the import: these must be refused, or equal.
    "AutoContrast": {},
    "ContrastLimitedAdaptiveHistogramEqualization": {},
    "Discretization": {"bin_boundaries": [0.0, 1.0]},
    "Masking": {},
    "Lambda": {"function": abs},
}


def others() -> Iterator[Case]:
    for kind, options in INERT.items():
        for order in ORDERS:
            yield within(kind, shape(2, order, 3), order, **options)
    for kind in ("Dropout", "BatchNormalization"):
        options = {"rate": 0.5} if kind == "Dropout" else {}

        def called(kind: str = kind, options: Mapping[str, Any] = options) -> Any:
            x = keras.Input((4, 5, 3), name="x")
            return keras.Model(x, getattr(L, kind)(**options)(L.ReLU()(x), training=True))

        yield Case(f"{kind} training=True", called)


def normalizations() -> Iterator[Case]:
    """Layers that normalize by statistics of their input."""
    for axes, order in [(0, "channels_last"), *product((1, 2, 3), ORDERS)]:
        sizes = shape(axes, order) if axes else (6,)
        for axis in [-1, 1, *range(2, axes + 2), [1, 2], [-1, -2]]:
            for scale, center in ((True, True), (False, True), (True, False), (False, False)):
                yield within("LayerNormalization", sizes, order, axis=axis, scale=scale, center=center)
                if not isinstance(axis, list):
                    for groups in (1, 2, -1):
                        yield within(
                            "GroupNormalization", sizes, order, axis=axis, groups=groups, scale=scale, center=center
                        )
            yield within("LayerNormalization", sizes, order, axis=axis, epsilon=0.1)
            yield within("LayerNormalization", sizes, order, axis=axis, rms_scaling=True)
            yield within("RMSNormalization", sizes, order, axis=axis, epsilon=0.1)
            yield within("UnitNormalization", sizes, order, axis=axis)
