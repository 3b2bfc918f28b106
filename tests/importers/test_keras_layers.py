"""Layers of Keras 3 that a spec says in several layers, against numpy in the model's own order of axes.

The formulas are those of Keras' documentation; tests/programs/sweep_keras.py compares them with Keras itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.errors import SpecError
from codegen.importers.open import open_model
from tests.importers.test_import_keras import evaluate, normal, positive
from tests.support.keras_models import Layer, Net, source, write_h5, write_keras

X = np.linspace(-2, 2, 4 * 5 * 6).reshape(1, 4, 5, 6)[..., ::-1] * np.linspace(0.3, 1.7, 5).reshape(5, 1)


def made(folder: Path, *layers: Layer, x: np.ndarray = X) -> list[np.ndarray]:
    """The result of each of the layers for ``x``."""
    for layer in layers:
        layer.reads = layer.reads or [["x"]]
    net = Net([source("x", *x.shape[1:]), *layers], [layer.name for layer in layers])
    return evaluate(write_keras(folder / "net.keras", net), x)


def close(got: np.ndarray, expected: Any) -> None:
    assert got.shape == np.shape(expected)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def normalized(x: np.ndarray, axes: Any, epsilon: float = 1e-3) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


# Normalizations ------------------------------------------------------------------------------------------------------


def test_layer_normalization(tmp_path: Path) -> None:
    gamma, beta, wide = normal(6), normal(6), normal(4, 6)
    one, bare, two, space = made(
        tmp_path,
        Layer("LayerNormalization", "one", {"axis": [-1]}, arrays={"gamma": gamma, "beta": beta}),
        Layer("LayerNormalization", "bare", {"axis": -1, "epsilon": 0.5, "scale": False, "center": False}),
        Layer("LayerNormalization", "two", {"axis": [1, 3], "center": False}, arrays={"gamma": wide}),
        Layer("LayerNormalization", "space", {"axis": 2, "scale": False}, arrays={"beta": beta[:5]}),
    )
    close(one, normalized(X, -1) * gamma + beta)
    close(bare, normalized(X, -1, 0.5))
    close(two, normalized(X, (1, 3)) * wide[:, None])
    close(space, normalized(X, 2) + beta[:5, None])


def test_rms_and_unit_normalization(tmp_path: Path) -> None:
    scale = normal(6)
    rms, unit, space = made(
        tmp_path,
        Layer("RMSNormalization", "rms", {"axis": -1, "epsilon": 0.25}, arrays={"scale": scale}),
        Layer("UnitNormalization", "unit", {"axis": -1}),
        Layer("UnitNormalization", "space", {"axis": [1, 2]}),
    )
    close(rms, X / np.sqrt(np.mean(X * X, -1, keepdims=True) + 0.25) * scale)
    close(unit, X / np.sqrt(np.sum(X * X, -1, keepdims=True)))
    close(space, X / np.sqrt(np.sum(X * X, (1, 2), keepdims=True)))


def test_scales_of_rms_normalization_are_along_the_last_axis(tmp_path: Path) -> None:
    """Keras' scale is along the last axis, even if another axis is normalized."""
    x, scale = X[..., :5], normal(5)
    (got,) = made(tmp_path, Layer("RMSNormalization", "rms", {"axis": [2], "epsilon": 0.25}, arrays={"s": scale}), x=x)
    close(got, x / np.sqrt(np.mean(x * x, 2, keepdims=True) + 0.25) * scale)


def test_unit_normalization_of_zeros(tmp_path: Path) -> None:
    """The norm is at least 1e-12: there is no division by 0."""
    (got,) = made(tmp_path, Layer("UnitNormalization", "unit", {}), x=np.zeros((1, 2, 3)))
    close(got, np.zeros((1, 2, 3)))


@pytest.mark.parametrize(("groups", "count"), [(1, 1), (2, 2), (3, 3), (-1, 6)])
def test_group_normalization(tmp_path: Path, groups: int, count: int) -> None:
    gamma, beta = normal(6), normal(6)
    layer = Layer("GroupNormalization", "g", {"groups": groups, "axis": -1}, arrays={"gamma": gamma, "beta": beta})
    (got,) = made(tmp_path, layer)
    parts = [normalized(part, (1, 2, 3)) for part in np.split(X, count, -1)]
    close(got, np.concatenate(parts, -1) * gamma + beta)


def test_group_normalization_of_another_axis(tmp_path: Path) -> None:
    beta = normal(4)
    layer = Layer("GroupNormalization", "g", {"groups": 2, "axis": 1, "scale": False}, arrays={"beta": beta})
    (got,) = made(tmp_path, layer)
    parts = [normalized(part, (1, 2, 3)) for part in np.split(X, 2, 1)]
    close(got, np.concatenate(parts, 1) + beta[:, None, None])


def test_batch_normalization_of_another_axis(tmp_path: Path) -> None:
    arrays = {"gamma": normal(5), "beta": normal(5), "moving_mean": normal(5), "moving_variance": positive(5)}
    (got,) = made(tmp_path, Layer("BatchNormalization", "b", {"axis": 2}, arrays=arrays))
    gamma, beta, mean, variance = (array.reshape(5, 1) for array in arrays.values())
    close(got, (X - mean) / np.sqrt(variance + 1e-3) * gamma + beta)


def test_numbers_for_each_element(tmp_path: Path) -> None:
    rows = np.arange(1.0, 5.0).reshape(4, 1, 1)
    got, standard = made(
        tmp_path,
        Layer("Rescaling", "r", {"scale": rows.tolist(), "offset": 2.0}),
        Layer("Normalization", "n", {"axis": 1, "mean": rows.tolist(), "variance": rows.tolist()}),
    )
    close(got, X * rows + 2)
    close(standard, (X - rows) / np.sqrt(rows))


# Activations ---------------------------------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


FORMULAS: Mapping[str, Callable[[np.ndarray], Any]] = {
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_sigmoid": lambda x: np.log(sigmoid(x)),
    "exponential": np.exp,
    "celu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "glu": lambda x: x[..., :3] * sigmoid(x[..., 3:]),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "soft_shrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "hard_shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2,
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "log_softmax": lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)),
}


def test_activations_by_name(tmp_path: Path) -> None:
    layers = [Layer("Activation", name, {"activation": name}) for name in FORMULAS]
    for name, got in zip(FORMULAS, made(tmp_path, *layers), strict=True):
        close(got, FORMULAS[name](X))


def test_composite_activations_behind_convolutions(tmp_path: Path) -> None:
    kernel, bias = normal(1, 1, 6, 4), normal(4)
    layers = [
        Layer(
            "Conv2D", name, {"kernel_size": [1, 1], "filters": 4, "activation": name}, arrays={"k": kernel, "b": bias}
        )
        for name in ("squareplus", "tanh_shrink", "log_softmax")
    ]
    linear = X @ kernel[0, 0].astype(np.float64) + bias
    for layer, got in zip(layers, made(tmp_path, *layers), strict=True):
        close(got, FORMULAS[layer.name](linear))


@pytest.mark.parametrize("threshold", [0.5, -0.5])
@pytest.mark.parametrize("slope", [0.0, 0.25])
@pytest.mark.parametrize("most", [None, 1.0])
def test_relu(tmp_path: Path, threshold: float, slope: float, most: float | None) -> None:
    """Keras: x where it is above the threshold, clipped, less slope * max(threshold - x, 0)."""
    settings = {"threshold": threshold, "negative_slope": slope, "max_value": most}
    (got,) = made(tmp_path, Layer("ReLU", "r", settings))
    above = np.where(threshold < X, X, 0.0)
    above = above if most is None else np.clip(above, 0, most)
    close(got, above - slope * np.maximum(threshold - X, 0))


def test_prelu_with_a_slope_for_each_element(tmp_path: Path) -> None:
    alpha, rows = normal(4, 5, 6), normal(4, 1, 6)
    each, shared = made(
        tmp_path,
        Layer("PReLU", "each", {"shared_axes": None}, arrays={"alpha": alpha}),
        Layer("PReLU", "shared", {"shared_axes": [2]}, arrays={"alpha": rows}),
    )
    close(each, np.where(X < 0, alpha * X, X))
    close(shared, np.where(X < 0, rows * X, X))


def test_softmax_over_several_axes(tmp_path: Path) -> None:
    (got,) = made(tmp_path, Layer("Softmax", "s", {"axis": [1, 2]}))
    close(got, np.exp(X) / np.exp(X).sum((1, 2), keepdims=True))


# Wrappers ------------------------------------------------------------------------------------------------------------

CLIP = np.linspace(-1, 1, 2 * 3 * 4 * 5 * 2).reshape(2, 3, 4, 5, 2)[:1]


def wrapper(inner: Layer, kind: str = "TimeDistributed") -> Layer:
    return Layer(kind, "steps", {}, [["x"]], inner=inner)


def conv(kernel: np.ndarray, bias: np.ndarray) -> Layer:
    return Layer("Conv2D", "conv", {"kernel_size": [1, 1], "filters": 3}, arrays={"kernel": kernel, "bias": bias})


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_time_distributed(tmp_path: Path, form: str) -> None:
    kernel, bias = normal(1, 1, 2, 3), normal(3)
    net = Net([source("x", 3, 4, 5, 2), wrapper(conv(kernel, bias))], ["steps"])
    write = write_keras if form == "keras" else lambda path, net: write_h5(path, net, 3)
    (got,) = evaluate(write(tmp_path / f"net.{form}", net), CLIP)
    close(got, CLIP @ kernel[0, 0].astype(np.float64) + bias)


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_time_distributed_model(tmp_path: Path, form: str) -> None:
    """A model of several layers, the last of which joins axes; a batch norm folds into the convolution."""
    kernel, bias = normal(1, 1, 2, 3), normal(3)
    arrays = {"gamma": normal(3), "beta": normal(3), "moving_mean": normal(3), "moving_variance": positive(3)}
    inner = Net(
        [
            source("inner_x", 4, 5, 2),
            conv(kernel, bias),
            Layer("BatchNormalization", "bn", arrays=arrays),
            Layer("Flatten", "flat"),
        ],
        sequential=True,
    )
    net = Net([source("x", 3, 4, 5, 2), wrapper(Layer("Sequential", "net", model=inner))], ["steps"])
    write = write_keras if form == "keras" else lambda path, net: write_h5(path, net, 3)
    (got,) = evaluate(write(tmp_path / f"net.{form}", net), CLIP)
    linear = CLIP @ kernel[0, 0].astype(np.float64) + bias
    gamma, beta, mean, variance = arrays.values()
    close(got, ((linear - mean) / np.sqrt(variance + 1e-3) * gamma + beta).reshape(1, 3, 60))


def test_time_distributed_recurrence_is_refused(tmp_path: Path) -> None:
    net = Net([source("x", 3, 4, 2), wrapper(Layer("LSTM", "memory", {"units": 3}))], ["steps"])
    with pytest.raises(SpecError, match=r'"steps/memory" \(LSTM\)'):
        open_model(write_keras(tmp_path / "net.keras", net))


def test_spectral_normalization(tmp_path: Path) -> None:
    """The layer itself in inference, with the weights of the file."""
    kernel, bias = normal(1, 1, 6, 3), normal(3)
    layer = wrapper(conv(kernel, bias), "SpectralNormalization")
    layer.config = {"power_iterations": 1}
    layer.arrays = {"kernel": kernel, "vector_u": normal(1, 3)}
    (got,) = made(tmp_path, layer)
    close(got, X @ kernel[0, 0].astype(np.float64) + bias)


# Several inputs ------------------------------------------------------------------------------------------------------


def two(folder: Path, layer: Layer, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    layer.reads = [["a", "b"]]
    net = Net([source("a", *a.shape[1:]), source("b", *b.shape[1:]), layer], [layer.name])
    return evaluate(write_keras(folder / "net.keras", net), a, b)[0]


def test_maximum_and_minimum(tmp_path: Path) -> None:
    row = normal(1, 6).astype(np.float64)
    close(two(tmp_path, Layer("Maximum", "m"), X, row), np.maximum(X, row))
    close(two(tmp_path, Layer("Minimum", "m"), X, -X), -np.abs(X))


@pytest.mark.parametrize(
    ("shapes", "axes", "equation"),
    [
        (((1, 4, 3), (1, 4, 3)), 1, "nab,nac->nbc"),
        (((1, 4, 3), (1, 5, 3)), -1, "nab,ncb->nac"),
        (((1, 4, 5, 3), (1, 5, 2)), [2, 1], "nabc,nbd->nacd"),
        (((1, 4, 5, 3), (1, 3)), [3, 1], "nabc,nc->nab"),
    ],
)
def test_dot(tmp_path: Path, shapes: Any, axes: Any, equation: str) -> None:
    a, b = (normal(*shape).astype(np.float64) for shape in shapes)
    close(two(tmp_path, Layer("Dot", "d", {"axes": axes}), a, b), np.einsum(equation, a, b))


def test_dot_of_unit_vectors(tmp_path: Path) -> None:
    a, b = np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]])
    close(two(tmp_path, Layer("Dot", "d", {"axes": 1, "normalize": True}), a, b), [[0.96]])


def softmax(x: np.ndarray) -> np.ndarray:
    power = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(power / power.sum(-1, keepdims=True))


@pytest.mark.parametrize("causal", [False, True])
def test_attention(tmp_path: Path, causal: bool) -> None:
    query, value = normal(1, 5, 4).astype(np.float64), normal(1, 5, 4).astype(np.float64)
    layer = Layer("Attention", "attended", {"use_scale": False, "score_mode": "dot", "dropout": 0.0})
    layer.keywords = {"use_causal_mask": causal}
    scores = query @ value.transpose(0, 2, 1)
    scores = np.where(np.tri(5) == 1, scores, -np.inf) if causal else scores
    close(two(tmp_path, layer, query, value), softmax(scores) @ value)


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_multi_head_attention(tmp_path: Path, form: str) -> None:
    kernels = {name: normal(6, 2, 4) for name in ("query", "key", "value")}
    biases = {name: normal(2, 4) for name in kernels}
    out, bias = normal(2, 4, 6), normal(6)
    arrays: dict[str, np.ndarray] = {}
    for name in kernels:
        arrays |= {f"{name}_dense/kernel": kernels[name], f"{name}_dense/bias": biases[name]}
    arrays |= {"output_dense/kernel": out, "output_dense/bias": bias}
    settings = {"num_heads": 2, "key_dim": 4, "value_dim": 4, "attention_axes": [1], "dropout": 0.1}
    net = Net([source("x", 5, 6), Layer("MultiHeadAttention", "mha", settings, [["x", "x"]], arrays)], ["mha"])
    write = write_keras if form == "keras" else lambda path, net: write_h5(path, net, 3)
    x = normal(1, 5, 6).astype(np.float64)
    (got,) = evaluate(write(tmp_path / f"net.{form}", net), x)
    q, k, v = (np.einsum("btc,chd->bhtd", x, kernels[n]) + biases[n][:, None] for n in ("query", "key", "value"))
    weights = softmax(q @ k.transpose(0, 1, 3, 2) / math.sqrt(4))
    close(got, np.einsum("bhtd,hdc->btc", weights @ v, out) + bias)


def test_einsum_dense(tmp_path: Path) -> None:
    kernel, bias = normal(6, 2, 3), normal(2, 3)
    settings = {"equation": "abcd,def->abcef", "output_shape": [None, None, 2, 3], "bias_axes": "ef"}
    layer = Layer("EinsumDense", "e", {**settings, "activation": "relu"}, arrays={"kernel": kernel, "bias": bias})
    (got,) = made(tmp_path, layer)
    close(got, np.maximum(np.einsum("abcd,def->abcef", X, kernel) + bias, 0))


# Sizes ---------------------------------------------------------------------------------------------------------------


def test_crops_and_repeats(tmp_path: Path) -> None:
    middle, same, row = made(
        tmp_path,
        Layer("CenterCrop", "middle", {"height": 3, "width": 2}),
        Layer("RandomCrop", "same", {"height": 4, "width": 5, "seed": None}),
        Layer("AdaptiveAveragePooling2D", "pool", {"output_size": [2, 1]}),
    )
    close(middle, X[:, 0:3, 1:3])
    close(same, X)
    close(row, X.reshape(1, 2, 2, 5, 6).mean((2, 3))[:, :, None])
    vector = normal(1, 6).astype(np.float64)
    close(made(tmp_path, Layer("RepeatVector", "r", {"n": 3}), x=vector)[0], np.repeat(vector[:, None], 3, 1))


def test_a_model_that_does_nothing_in_inference(tmp_path: Path) -> None:
    """A spec must have a layer: it copies."""
    (got,) = made(tmp_path, Layer("Dropout", "d", {"rate": 0.5}))
    close(got, X)


def test_center_crop_of_a_small_image(tmp_path: Path) -> None:
    """The largest part with the sides' ratio, 2 x 4, made twice as large: weights 1/4 and 3/4 between pixels."""
    x = np.arange(4.0).reshape(1, 1, 4, 1) * np.ones((1, 3, 1, 1))
    (got,) = made(tmp_path, Layer("CenterCrop", "c", {"height": 4, "width": 8}), x=x)
    close(got[0, 0, :, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    assert got.shape == (1, 4, 8, 1)


def test_random_crop_of_another_size_is_refused(tmp_path: Path) -> None:
    """Versions of Keras differ in what it does in inference."""
    net = Net([source("x", 4, 5, 6), Layer("RandomCrop", "crop", {"height": 2, "width": 2}, [["x"]])], ["crop"])
    with pytest.raises(SpecError, match=r'"crop" \(RandomCrop\) with a size'):
        open_model(write_keras(tmp_path / "net.keras", net))


def test_resizing_to_the_ratio_of_the_sides(tmp_path: Path) -> None:
    """Crops to the middle 4 columns of 5 x 8 pixels; pads 1 x 5 with two rows above and below."""
    x = np.arange(8.0).reshape(1, 1, 8, 1) * np.ones((1, 5, 1, 1))
    settings: dict[str, Any] = {"height": 5, "width": 4, "crop_to_aspect_ratio": True}
    (cropped,) = made(tmp_path, Layer("Resizing", "c", settings), x=x)
    close(cropped, x[:, :, 2:6])
    line = np.arange(1.0, 6.0).reshape(1, 1, 5, 1)
    settings = {"height": 5, "width": 5, "pad_to_aspect_ratio": True, "fill_value": -1.0}
    (padded,) = made(tmp_path, Layer("Resizing", "p", settings), x=line)
    close(padded[0, :, :, 0], [[-1] * 5] * 2 + [[1, 2, 3, 4, 5]] + [[-1] * 5] * 2)


def test_nearest_resizing_to_any_size(tmp_path: Path) -> None:
    """Output i is the pixel floor((i + 1/2) 5 / 3)."""
    (got,) = made(tmp_path, Layer("Resizing", "r", {"height": 4, "width": 3, "interpolation": "nearest"}))
    close(got, X[:, :, [0, 2, 4]])


def test_bicubic_upsampling(tmp_path: Path) -> None:
    """Keys' kernel with a = -1/2, normalized at the edges: of the places -1/4 and 1/4 of two pixels."""
    x = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    (got,) = made(tmp_path, Layer("UpSampling2D", "u", {"size": [1, 2], "interpolation": "bicubic"}), x=x)

    def cubic(t: float) -> float:
        return 1.5 * t**3 - 2.5 * t**2 + 1 if t < 1 else -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2

    shares = [cubic(abs(at - 1)) / (cubic(abs(at)) + cubic(abs(at - 1))) for at in (-0.25, 0.25, 0.75, 1.25)]
    close(got[0, 0, :, 0], shares)


def test_dense_in_a_network_with_channels_first(tmp_path: Path) -> None:
    """Keras' Dense is over the last axis, wherever the channels are."""
    kernel, bias = normal(6, 3), normal(3)
    layers = [
        source("x", 4, 5, 6),
        Layer("ZeroPadding2D", "pad", {"padding": [[0, 0], [0, 0]], "data_format": "channels_first"}, [["x"]]),
        Layer("Dense", "d", {"units": 3, "activation": "relu"}, [["pad"]], {"kernel": kernel, "bias": bias}),
    ]
    (got,) = evaluate(write_keras(tmp_path / "net.keras", Net(layers, ["d"])), X)
    close(got, np.maximum(X @ kernel.astype(np.float64) + bias, 0))
