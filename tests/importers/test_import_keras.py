"""Keras models as specs: layers in both of Keras' formats against numpy in NHWC, refusals, a trained network.

The formats are those of Keras 3.15 and of TensorFlow 2's Keras, of which no copy is needed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from codegen import build
from codegen.cli import main
from codegen.errors import ParameterError, SpecError
from codegen.frontend.spec.place import Place
from codegen.importers.keras.evaluate import evaluate_keras, input_names
from codegen.importers.keras.file import open_keras
from codegen.importers.keras.network import read_model
from codegen.importers.open import import_model, open_model
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from tests.support.keras_models import Layer, Net, source, write_h5, write_keras
from tests.support.needs import trained

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return rng.uniform(0.3, 2, shape).astype(np.float32)


WRITERS: dict[str, Callable[[Path, Net], Path]] = {
    "keras": lambda folder, net: write_keras(folder / "net.keras", net),
    "h5 of Keras 3": lambda folder, net: write_h5(folder / "net.h5", net, 3),
    "h5 of Keras 2": lambda folder, net: write_h5(folder / "net.hdf5", net, 2),
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Net], Path]:
    """Each format in turn."""
    return lambda net: WRITERS[request.param](tmp_path, net)


def evaluate(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of the imported network, in the application's layout; inputs are too."""
    graph = open_model(path).graph
    values = {}
    for port, x in zip(graph.inputs, inputs, strict=True):
        values[port.name] = np.moveaxis(x, -1, 1) if port.channels_last else x
    made = graph.evaluate(values)
    ours = [np.moveaxis(made[o.value], 1, -1) if o.channels_last else made[o.value] for o in graph.outputs]
    # The values by hand that tests expect are expected of the evaluator too, which imports are compared with.
    names = input_names(read_model(open_keras(path).config, Place("")))
    theirs = evaluate_keras(path, {}, dict(zip(names, inputs, strict=True)))
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)
    return ours


def close(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


def one(layer: Layer, *shape: int) -> Net:
    """The layer, on one input."""
    layer.reads = [["x"]]
    return Net([source("x", *shape), layer], [layer.name])


# What layers compute, in Keras' own order of axes --------------------------------------------------------------------


def same(n: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    extra = max((-(-n // stride) - 1) * stride + dilation * (kernel - 1) + 1 - n, 0)
    return extra // 2, extra - extra // 2


def patches(x: np.ndarray, kernel: tuple[int, int], stride: int, dilation: int = 1, fill: float = 0.0) -> np.ndarray:
    """[n, oh, ow, kh, kw, c], padded as "same" has it."""
    pads = [same(n, k, stride, dilation) for n, k in zip(x.shape[1:3], kernel, strict=True)]
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)), constant_values=fill)
    rows, columns = ((n - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(x.shape[1:3], kernel, strict=True))
    found = np.empty((x.shape[0], rows, columns, *kernel, x.shape[3]))
    for a in range(rows):
        for b in range(columns):
            i, j = a * stride, b * stride
            window = x[:, i : i + dilation * kernel[0] : dilation, j : j + dilation * kernel[1] : dilation]
            found[:, a, b] = window[:, : kernel[0], : kernel[1]]
    return found


def conv(x: np.ndarray, kernel: np.ndarray, stride: int = 1, dilation: int = 1) -> np.ndarray:
    return np.einsum("nabijc,ijco->nabo", patches(x, kernel.shape[:2], stride, dilation), kernel.astype(np.float64))


def depthwise(x: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
    y = np.einsum("nabijc,ijcm->nabcm", patches(x, kernel.shape[:2], stride), kernel.astype(np.float64))
    return y.reshape(*y.shape[:3], -1)


def windows_3d(x: np.ndarray, kernel: int, stride: int = 1) -> np.ndarray:
    """[n, d, h, w, k, k, k, c], without padding."""
    view = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (kernel,) * 3, (1, 2, 3))
    return np.moveaxis(view[:, ::stride, ::stride, ::stride], 4, -1)


def test_volumes(write: Callable[[Net], Path]) -> None:
    """Conv3D, BatchNormalization, pools, transposed convolution; all in NDHWC."""
    kernel, other, bias = normal(2, 2, 2, 3, 4), normal(2, 2, 2, 5, 4), normal(4)
    arrays = {"gamma": normal(4), "beta": normal(4), "moving_mean": normal(4), "moving_variance": positive(4)}
    layers = [
        source("x", 5, 6, 4, 3),
        Layer("Conv3D", "c", {"kernel_size": [2, 2, 2], "padding": "valid"}, [["x"]], {"kernel": kernel, "bias": bias}),
        Layer("BatchNormalization", "b", {}, [["c"]], arrays),
        Layer("MaxPooling3D", "p", {"pool_size": [2, 2, 2], "strides": [1, 1, 1]}, [["b"]]),
        Layer("AveragePooling3D", "a", {"pool_size": 2}, [["b"]]),
        Layer("Conv3DTranspose", "t", {"kernel_size": 2, "strides": 2, "use_bias": False}, [["a"]], {"kernel": other}),
        Layer("GlobalMaxPooling3D", "g", {}, [["t"]]),
    ]
    x = normal(1, 5, 6, 4, 3)
    path = write(Net(layers, ["p", "t", "g"]))
    y = np.einsum("ndhwijkc,ijkco->ndhwo", windows_3d(x, 2), kernel.astype(np.float64)) + bias
    y = (y - arrays["moving_mean"]) / np.sqrt(arrays["moving_variance"].astype(np.float64) + 1e-3)
    y = y * arrays["gamma"] + arrays["beta"]
    mean = windows_3d(y, 2, 2).mean((4, 5, 6))
    spread = np.einsum("ndhwc,ijkoc->ndihjwko", mean, other.astype(np.float64))
    n, d, i, h, j, w, k, o = spread.shape
    spread = spread.reshape(n, d * i, h * j, w * k, o)
    got = evaluate(path, x)
    close(got[0], windows_3d(y, 2).max((4, 5, 6)))
    close(got[1], spread)
    close(got[2], spread.max((1, 2, 3)))


ONE_AND_THREE: dict[str, tuple[str, dict[str, Any], tuple[int, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "max": ("MaxPooling1D", {"pool_size": 2, "strides": 2}, (6, 3), lambda x: x.reshape(1, 3, 2, 3).max(2)),
    "average": ("AveragePooling1D", {"pool_size": [3]}, (6, 3), lambda x: x.reshape(1, 2, 3, 3).mean(2)),
    "mean": ("GlobalAveragePooling1D", {}, (6, 3), lambda x: x.mean(1)),
    "means": ("GlobalAveragePooling3D", {"keepdims": True}, (2, 3, 2, 3), lambda x: x.mean((1, 2, 3), keepdims=True)),
    "repeated": ("UpSampling1D", {"size": 3}, (4, 3), lambda x: x.repeat(3, 1)),
    "volume": (
        "UpSampling3D", {"size": [1, 2, 3]}, (2, 3, 2, 3), lambda x: x.repeat(2, 2).repeat(3, 3),
    ),
    "padded": ("ZeroPadding1D", {"padding": [2, 1]}, (4, 3), lambda x: np.pad(x, ((0, 0), (2, 1), (0, 0)))),
    "padded volume": (
        "ZeroPadding3D", {"padding": [[1, 0], [0, 2], [1, 1]]}, (2, 3, 2, 3),
        lambda x: np.pad(x, ((0, 0), (1, 0), (0, 2), (1, 1), (0, 0))),
    ),
    "cropped": ("Cropping1D", {"cropping": [1, 2]}, (6, 3), lambda x: x[:, 1:-2]),
    "cropped image": ("Cropping2D", {"cropping": [[1, 0], [0, 2]]}, (4, 5, 3), lambda x: x[:, 1:, :-2]),
    "cropped volume": ("Cropping3D", {"cropping": 1}, (3, 4, 3, 3), lambda x: x[:, 1:-1, 1:-1, 1:-1]),
}  # fmt: skip


@pytest.mark.parametrize("case", ONE_AND_THREE)
def test_layers_of_other_dimensions(write: Callable[[Net], Path], case: str) -> None:
    class_name, settings, shape, function = ONE_AND_THREE[case]
    x = normal(1, *shape)
    close(evaluate(write(one(Layer(class_name, "layer", settings), *shape)), x)[0], function(x.astype(np.float64)))


CONV = {"kernel_size": [3, 2], "padding": "same", "data_format": "channels_last"}


def test_conv(write: Callable[[Net], Path]) -> None:
    kernel, bias, x = normal(3, 2, 3, 4), normal(4), normal(1, 7, 6, 3)
    settings = {**CONV, "strides": [2, 2], "activation": "relu", "use_bias": True}
    path = write(one(Layer("Conv2D", "c", settings, arrays={"kernel": kernel, "bias": bias}), 7, 6, 3))
    close(evaluate(path, x)[0], np.maximum(conv(x, kernel, 2) + bias, 0))


def test_dilated_grouped_conv(write: Callable[[Net], Path]) -> None:
    kernel, x = normal(3, 2, 2, 6), normal(1, 7, 6, 4)
    settings = {**CONV, "dilation_rate": [2, 2], "groups": 2, "use_bias": False}
    path = write(one(Layer("Conv2D", "c", settings, arrays={"kernel": kernel}), 7, 6, 4))
    halves = [conv(x[..., 2 * g : 2 * g + 2], kernel[..., 3 * g : 3 * g + 3], 1, 2) for g in range(2)]
    close(evaluate(path, x)[0], np.concatenate(halves, -1))


@pytest.mark.parametrize("word", ["kernel", "depthwise_kernel"])
def test_depthwise(write: Callable[[Net], Path], word: str) -> None:
    kernel, x = normal(3, 2, 3, 2), normal(1, 7, 6, 3)
    settings = {**CONV, "strides": [2, 2], "use_bias": False, "depth_multiplier": 2}
    path = write(one(Layer("DepthwiseConv2D", "d", settings, arrays={word: kernel}), 7, 6, 3))
    close(evaluate(path, x)[0], depthwise(x, kernel, 2))


def test_separable(write: Callable[[Net], Path]) -> None:
    first, second, bias, x = normal(3, 2, 3, 2), normal(1, 1, 6, 5), normal(5), normal(1, 7, 6, 3)
    arrays = {"depthwise_kernel": first, "pointwise_kernel": second, "bias": bias}
    path = write(one(Layer("SeparableConv2D", "s", {**CONV, "activation": "linear"}, arrays=arrays), 7, 6, 3))
    close(evaluate(path, x)[0], conv(depthwise(x, first), second) + bias)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_conv_transpose(write: Callable[[Net], Path], padding: str) -> None:
    kernel, x = normal(3, 3, 2, 4), normal(1, 4, 5, 4)
    settings = {"kernel_size": [3, 3], "strides": [2, 2], "padding": padding, "use_bias": False, "output_padding": None}
    path = write(one(Layer("Conv2DTranspose", "t", settings, arrays={"kernel": kernel}), 4, 5, 4))
    full = np.zeros((1, 9, 11, 2))
    for i in range(4):
        for j in range(5):
            full[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.einsum("nc,ijoc->nijo", x[:, i, j], kernel)
    close(evaluate(path, x)[0], full if padding == "valid" else full[:, :8, :10])


def test_conv1d(write: Callable[[Net], Path]) -> None:
    kernel, x = normal(3, 2, 4), normal(1, 9, 2)
    settings = {"kernel_size": [3], "padding": "causal", "dilation_rate": [2], "use_bias": False}
    path = write(one(Layer("Conv1D", "c", settings, arrays={"kernel": kernel}), 9, 2))
    padded = np.pad(x, ((0, 0), (4, 0), (0, 0)))
    close(evaluate(path, x)[0], sum(padded[:, 2 * k : 2 * k + 9] @ kernel[k].astype(np.float64) for k in range(3)))


@pytest.mark.parametrize(("scale", "center"), [(True, True), (False, True), (True, False), (False, False)])
def test_batch_norm(write: Callable[[Net], Path], scale: bool, center: bool) -> None:
    x, mean, variance = normal(1, 4, 5, 3), normal(3), positive(3)
    optional = {"gamma": normal(3)} if scale else {}
    if center:
        optional["beta"] = normal(3)
    arrays = {**optional, "moving_mean": mean, "moving_variance": variance}
    # Keras' default epsilon is 1e-3, whatever the file leaves out.
    path = write(one(Layer("BatchNormalization", "b", {"scale": scale, "center": center}, arrays=arrays), 4, 5, 3))
    y = (x - mean) / np.sqrt(variance.astype(np.float64) + 1e-3)
    close(evaluate(path, x)[0], y * optional.get("gamma", 1.0) + optional.get("beta", 0.0))


def test_batch_norm_is_folded(write: Callable[[Net], Path]) -> None:
    arrays = {"gamma": normal(4), "beta": normal(4), "moving_mean": normal(4), "moving_variance": positive(4)}
    net = one(Layer("Conv2D", "c", {**CONV, "use_bias": False}, arrays={"kernel": normal(3, 2, 3, 4)}), 7, 6, 3)
    net.layers.append(Layer("BatchNormalization", "b", {"epsilon": 1e-3}, [["c"]], arrays))
    net.layers.append(Layer("Activation", "r", {"activation": "relu"}, [["b"]]))
    net.outputs = ["r"]
    assert len(build.lower(write(net)).launches.nodes) == 1


ACTIVATIONS: dict[str, tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    "relu6": ("ReLU", {"max_value": 6.0, "negative_slope": 0.0}, lambda x: np.clip(x, 0, 6)),
    "most": ("ReLU", {"max_value": 0.25}, lambda x: np.clip(x, 0, 0.25)),
    "slope": (
        "ReLU",
        {"max_value": 0.25, "negative_slope": 0.5},
        lambda x: np.minimum(np.where(x < 0, x / 2, x), 0.25),
    ),
    "leaky of Keras 2": ("LeakyReLU", {"alpha": 0.25}, lambda x: np.where(x < 0, x / 4, x)),
    "leaky of Keras 3": ("LeakyReLU", {"negative_slope": 0.25}, lambda x: np.where(x < 0, x / 4, x)),
    "leaky": ("LeakyReLU", {}, lambda x: np.where(x < 0, 0.3 * x, x)),
    "leaky by name": ("Activation", {"activation": "leaky_relu"}, lambda x: np.where(x < 0, 0.2 * x, x)),
    "elu": ("ELU", {"alpha": 0.5}, lambda x: np.where(x < 0, 0.5 * np.expm1(x), x)),
    "softmax": ("Softmax", {"axis": -1}, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    "softmax of rows": ("Softmax", {"axis": 1}, lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "swish": ("Activation", {"activation": "swish"}, lambda x: x / (1 + np.exp(-x))),
    "linear": ("Activation", {"activation": "linear"}, lambda x: x),
    "dropout": ("Dropout", {"rate": 0.5}, lambda x: x),
    "rescaling": ("Rescaling", {"scale": 0.5, "offset": [1.0, 2.0, 3.0]}, lambda x: x / 2 + np.array([1, 2, 3])),
    "padding": ("ZeroPadding2D", {"padding": [[1, 0], [2, 3]]}, lambda x: np.pad(x, ((0, 0), (1, 0), (2, 3), (0, 0)))),
    "repeated": ("UpSampling2D", {"size": [2, 3]}, lambda x: x.repeat(2, 1).repeat(3, 2)),
    "flat": ("Flatten", {}, lambda x: x.reshape(1, -1)),
    "reshaped": ("Reshape", {"target_shape": [5, -1]}, lambda x: x.reshape(1, 5, 12)),
    "split": ("Reshape", {"target_shape": [2, 2, 15]}, lambda x: x.reshape(1, 2, 2, 15)),
    "permuted": ("Permute", {"dims": [3, 1, 2]}, lambda x: x.transpose(0, 3, 1, 2)),
    "largest": ("GlobalMaxPooling2D", {}, lambda x: x.max((1, 2))),
    "mean": ("GlobalAveragePooling2D", {"keepdims": True}, lambda x: x.mean((1, 2), keepdims=True)),
    "max": (
        "MaxPooling2D",
        {"pool_size": [3, 2], "strides": [2, 2], "padding": "same"},
        lambda x: patches(x, (3, 2), 2, fill=-np.inf).max((3, 4)),
    ),
    "average": (
        "AveragePooling2D",
        {"pool_size": [3, 2], "strides": [2, 2], "padding": "same"},
        lambda x: np.nanmean(patches(x, (3, 2), 2, fill=np.nan), (3, 4)),
    ),
}


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_layers_without_arrays(write: Callable[[Net], Path], case: str) -> None:
    class_name, settings, function = ACTIVATIONS[case]
    x = normal(1, 4, 5, 3)
    net = one(Layer(class_name, "layer", settings), 4, 5, 3)
    # A layer that does nothing must not be all of a network.
    net.layers.insert(1, Layer("Rescaling", "double", {"scale": 2.0, "offset": 0.0}, [["x"]]))
    net.layers[2].reads = [["double"]]
    close(evaluate(write(net), x)[0], function(2 * x.astype(np.float64)))


def test_hard_sigmoid_changed(tmp_path: Path) -> None:
    net = one(Layer("Activation", "h", {"activation": "hard_sigmoid"}), 4, 5, 3)
    x = normal(1, 4, 5, 3)
    close(evaluate(write_h5(tmp_path / "two.h5", net, 2), x)[0], np.clip(0.2 * x + 0.5, 0, 1))
    close(evaluate(write_h5(tmp_path / "three.h5", net, 3), x)[0], np.clip(x / 6 + 0.5, 0, 1))


def test_prelu_and_dense_on_images(write: Callable[[Net], Path]) -> None:
    alpha, kernel, bias, x = normal(1, 1, 3), normal(3, 2), normal(2), normal(1, 4, 5, 3)
    net = one(Layer("PReLU", "p", {"shared_axes": [1, 2]}, arrays={"alpha": alpha}), 4, 5, 3)
    net.layers.append(Layer("Dense", "d", {"units": 2}, [["p"]], {"kernel": kernel, "bias": bias}))
    net.outputs = ["d"]
    close(evaluate(write(net), x)[0], np.where(x < 0, alpha * x, x).astype(np.float64) @ kernel + bias)


def test_normalization(write: Callable[[Net], Path]) -> None:
    mean, variance, x = normal(3), positive(3), normal(1, 4, 5, 3)
    arrays = {"mean": mean, "variance": variance, "count": np.array(7, np.int64)}
    net = one(Layer("Normalization", "n", {"axis": [-1], "mean": None, "variance": None}, arrays=arrays), 4, 5, 3)
    close(evaluate(write(net), x)[0], (x - mean) / np.sqrt(variance))


@pytest.mark.parametrize(
    ("class_name", "function"),
    [
        ("Add", lambda a, b: a + b),
        ("Subtract", lambda a, b: a - b),
        ("Multiply", lambda a, b: a * b),
        ("Average", lambda a, b: (a + b) / 2),
        ("Concatenate", lambda a, b: np.concatenate([a, b], -1)),
    ],
)
def test_merging(write: Callable[[Net], Path], class_name: str, function: Callable[..., np.ndarray]) -> None:
    a, b = normal(1, 4, 5, 3), normal(1, 4, 5, 3)
    net = Net([source("a", 4, 5, 3), source("b", 4, 5, 3), Layer(class_name, "m", {}, [["a", "b"]])], ["m"])
    close(evaluate(write(net), a, b)[0], function(a.astype(np.float64), b))


def test_functions_of_keras_3(tmp_path: Path) -> None:
    """(x + 3) * x - 0.5, where Add and Multiply are functions, not the layers of the same names."""

    def function(name: str, kind: str, *reads: Any) -> Layer:
        return Layer(kind, name, {}, [list(reads)], module="keras.src.ops.numpy")

    layers = [function("a", "Add", "x", 3.0), function("m", "Multiply", "a", "x"), function("s", "Subtract", "m", 0.5)]
    x = normal(1, 4, 5, 3)
    path = write_keras(tmp_path / "net.keras", Net([source("x", 4, 5, 3), *layers], ["s"]))
    close(evaluate(path, x)[0], (x.astype(np.float64) + 3) * x - 0.5)


# Networks ------------------------------------------------------------------------------------------------------------


def nested(first_call: int) -> tuple[Net, np.ndarray, np.ndarray]:
    """A model that is called twice within another; calls are counted from ``first_call``."""
    kernel, other = normal(1, 1, 3, 3), normal(1, 1, 3, 3)
    arrays = {"gamma": normal(3), "beta": normal(3), "moving_mean": normal(3), "moving_variance": positive(3)}
    inner = [
        Layer("Conv2D", "c", {"kernel_size": [1, 1], "use_bias": False}, [["i"]], {"kernel": kernel}),
        Layer("BatchNormalization", "b", {"epsilon": 1e-3}, [["c"]], arrays),
    ]
    block = Net([source("i", 4, 5, 3), *inner], ["b"], name="block")
    layers = [
        source("x", 4, 5, 3),
        Layer("Functional", "block", {}, [["x"], [("block", first_call, 0)]], model=block),
        Layer("Conv2D", "c", {"kernel_size": [1, 1], "use_bias": False}, [["x"]], {"kernel": other}),
        Layer("Add", "sum", {}, [[("block", first_call + 1, 0), "c"]]),
    ]
    x = normal(1, 4, 5, 3)
    y = x.astype(np.float64)
    for _ in range(2):
        y = (y @ kernel[0, 0] - arrays["moving_mean"]) / np.sqrt(arrays["moving_variance"].astype(np.float64) + 1e-3)
        y = y * arrays["gamma"] + arrays["beta"]
    return Net(layers, ["sum"]), x, y + x @ other[0, 0].astype(np.float64)


@pytest.mark.parametrize("form", WRITERS)
def test_nested_models_are_shared(tmp_path: Path, form: str) -> None:
    # Keras 2 counts the making of a model as its first call.
    net, x, y = nested(1 if form.endswith("2") else 0)
    path = WRITERS[form](tmp_path, net)
    close(evaluate(path, x)[0], y)
    with_weights = import_model(path)
    assert with_weights.text.count(b'op = "conv"') == 3
    assert len(with_weights.weights) < 1500  # each array once


def test_sequential(write: Callable[[Net], Path]) -> None:
    kernel, dense, x = normal(3, 2, 3, 4), normal(168, 5), normal(1, 7, 6, 3)
    settings = {**CONV, "use_bias": False}
    layers = [
        source("x", 7, 6, 3),
        Layer("Conv2D", "c", settings, arrays={"kernel": kernel}),
        Layer("Flatten", "f"),
        Layer("Dense", "d", {"use_bias": False}, arrays={"kernel": dense}),
    ]
    close(evaluate(write(Net(layers, sequential=True)), x)[0], conv(x, kernel).reshape(1, -1) @ dense)


def test_channels_first(write: Callable[[Net], Path]) -> None:
    kernel, dense, x = normal(3, 2, 3, 4), normal(168, 5), normal(1, 3, 7, 6)
    net = one(
        Layer("Conv2D", "c", {**CONV, "use_bias": False, "data_format": "channels_first"}, arrays={"kernel": kernel}),
        3,
        7,
        6,
    )
    net.layers.append(Layer("Flatten", "f", {"data_format": "channels_last"}, [["c"]]))
    net.layers.append(Layer("Dense", "d", {"use_bias": False}, [["f"]], {"kernel": dense}))
    net.outputs = ["d"]
    y = np.moveaxis(conv(np.moveaxis(x, 1, -1), kernel), -1, 1)
    close(evaluate(write(net), x)[0], y.reshape(1, -1) @ dense)


def simple(folder: Path) -> Path:
    arrays = {"kernel": normal(3, 2, 3, 4), "bias": normal(4)}
    return write_keras(folder / "net.keras", one(Layer("Conv2D", "c", CONV, arrays=arrays), 7, 6, 3))


def test_layout_option(tmp_path: Path) -> None:
    path, runner = simple(tmp_path), CliRunner()
    for word, shape in (("nchw", "shape = [3, 7, 6]"), ("nhwc", "shape = [7, 6, 3]")):
        done = runner.invoke(main, ["import", str(path), "-o", str(tmp_path / word), "--layout", word])
        assert done.exit_code == 0, done.output
        text = (tmp_path / word / "net.toml").read_text()
        assert shape in text
        assert ('layout = "NHWC"' in text) == (word == "nhwc")


def test_round_trip(tmp_path: Path) -> None:
    path = simple(tmp_path)
    spec, _ = build.imported(path, tmp_path / "spec", None, {})
    again, direct = (build.rendered(build.lower(p), "cpu") for p in (spec, path))
    assert again.keys() == direct.keys()
    assert all(again[name] == direct[name] for name in again)


def test_open_sizes_are_asked_for(tmp_path: Path) -> None:
    net = one(Layer("ReLU", "r"), 1, 1, 3)
    net.layers[0] = source("x", None, None, 3)
    path = write_keras(tmp_path / "net.keras", net)
    with pytest.raises(SpecError, match=r"open: x .*--shape x="):
        open_model(path)
    assert open_model(path, {"x": (2, 7, 6, 3)}).graph.inputs[0].shape == (2, 3, 7, 6)


# Refusals ------------------------------------------------------------------------------------------------------------


def test_every_unsupported_layer_is_named(write: Callable[[Net], Path]) -> None:
    layers = [
        source("x", 4, 5, 3),
        Layer("LSTM", "memory", {"units": 3}, [["x"]]),
        Layer("ReLU", "between", {}, [["memory"]]),
        Layer("Lambda", "code", {"function": ["4wEAAAA", None, None]}, [["between"]]),
        Layer("Custom>Block", "own", {}, [["code"]], module="my.layers"),
        Layer("UpSampling2D", "odd", {"interpolation": "lanczos3"}, [["x"]]),
        Layer("Add", "sum", {}, [["own", "odd"]]),
    ]
    with pytest.raises(SpecError) as error:
        open_model(write(Net(layers, ["sum"])))
    text = str(error.value)
    assert "4 layers" in text
    odd = '"odd" (UpSampling2D) with interpolation = "lanczos3"'
    for part in ('"memory" (LSTM)', '"code" (Lambda)', '"own" (Custom>Block)', odd):
        assert part in text


@pytest.mark.parametrize(
    ("class_name", "settings", "reason"),
    [
        ("Conv2DTranspose", {"kernel_size": [3, 3], "output_padding": [1, 1]}, "output_padding"),
        ("Activation", {"activation": "sparsemax"}, 'activation "sparsemax"'),
        ("Activation", {"activation": {"class_name": "function", "module": "mine", "config": "f"}}, "custom"),
        ("UpSampling2D", {"size": [2, 2], "interpolation": "lanczos5"}, "lanczos5"),
        ("MaxPooling3D", {"pool_size": [2, 2, 2]}, "should read 5 axes; its input has 4"),
    ],
)
def test_unsupported_options(tmp_path: Path, class_name: str, settings: dict[str, Any], reason: str) -> None:
    path = write_keras(tmp_path / "net.keras", one(Layer(class_name, "layer", settings), 4, 5, 3))
    with pytest.raises(SpecError, match=reason):
        open_model(path)


def test_weights_that_are_missing(tmp_path: Path) -> None:
    path = write_keras(
        tmp_path / "net.keras", one(Layer("Conv2D", "c", CONV, arrays={"kernel": normal(3, 2, 3, 4)}), 7, 6, 3)
    )
    with pytest.raises(ParameterError, match='layer "c": has 1 arrays'):
        open_model(path)


def test_subclassed_models_and_weights_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "MyNet", "config": {}}))
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file["layers/conv2d/vars/0"] = normal(3)
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    with pytest.raises(SpecError, match='class "MyNet"'):
        open_model(tmp_path / "net.keras")
    with pytest.raises(SpecError, match="model_config"):
        open_model(tmp_path / "w.h5")


def test_links_into_other_files_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = normal(3, 2, 3, 4)
    net = one(Layer("Conv2D", "c", {**CONV, "use_bias": False}, arrays={"kernel": normal(3, 2, 3, 4)}), 7, 6, 3)
    path = write_h5(tmp_path / "net.h5", net, 3)
    with h5py.File(path, "a") as file:
        del file["model_weights/c/c/kernel"]
        file["model_weights/c/c/kernel"] = h5py.ExternalLink("secret.h5", "/kernel")
    with pytest.raises(ParameterError, match="not in the file"):
        open_model(path)


# A trained network ---------------------------------------------------------------------------------------------------


def test_fer_mini_xception(tmp_path: Path, device: DeviceInfo) -> None:
    """Checks the network of test_cases from its original file; ``tf_y`` is what Keras itself computed."""
    folder = trained("fer_mini_xception")
    lowered = build.lower(folder / "emotion_model.hdf5")
    assert not any(node.op.title == "batch_norm" for node in lowered.launches.nodes)
    generated, _ = build.build(lowered, tmp_path, "cpu")
    artefact = artefacts.read(generated)
    session, expected = Session(artefact, device), np.load(folder / "ref.npz")
    for x, y, tf_y in zip(expected["x"], expected["y0"], expected["tf_y"], strict=True):
        got = session.run({artefact.inputs[0]["name"]: np.moveaxis(x, 1, -1)})[artefact.outputs[0]["name"]]
        for wanted in (y, tf_y[None]):
            assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()
