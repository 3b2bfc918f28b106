"""``clgen import --list-ops`` and docs/operators.md: the same, and each operator in them is imported.

Of Keras' functions test_keras_functions.py shows that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from codegen.cli import main
from codegen.importers.keras.inert import AUGMENTATIONS, NOTHING_TO_DO
from codegen.importers.keras.layers import LAYERS
from codegen.importers.keras.supported import LIMITS as KERAS_LIMITS
from codegen.importers.onnx.operators import OPERATORS
from codegen.importers.onnx.supported import LIMITS as ONNX_LIMITS
from codegen.importers.open import open_model
from tests.importers.test_conformance import NOT_IN_ONNXRUNTIME
from tests.importers.test_import_onnx import CASES
from tests.support.keras_models import Layer, Net, source, write_keras
from tests.support.needs import ROOT
from tests.support.onnx_models import Array, random


def test_the_page_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(main, ["import", "--list-ops"])
    assert printed.exit_code == 0
    page = (ROOT / "docs" / "operators.md").read_text()
    assert printed.output == page, "clgen import --list-ops > docs/operators.md"


def test_limits_are_of_operators() -> None:
    assert set(ONNX_LIMITS) <= set(OPERATORS)
    assert set(KERAS_LIMITS) <= set(LAYERS)


# ONNX ---------------------------------------------------------------------------------------------------------------


def test_every_onnx_operator_is_compared_with_onnxruntime() -> None:
    """Each is a case of test_operators_agree_with_onnxruntime, or of test_conformance.py if onnxruntime lacks it."""
    left = set(OPERATORS) - {proto.op_type for case in CASES for proto in case.nodes}
    assert left <= NOT_IN_ONNXRUNTIME


# Keras --------------------------------------------------------------------------------------------------------------

SPATIAL = {0: (4,), 1: (6, 4), 2: (6, 5, 4), 3: (6, 5, 4, 4)}  # inputs, channels last
MERGES = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")


def convolution(kind: str, axes: int) -> Layer:
    window, bias = (3,) * axes, np.ones(8, np.float32)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "Conv{}D": {"kernel": (*window, 4, 8)},
        "Conv{}DTranspose": {"kernel": (*window, 8, 4)},
        "DepthwiseConv{}D": {"depthwise_kernel": (*window, 4, 2)},
        "SeparableConv{}D": {"depthwise_kernel": (*window, 4, 2), "pointwise_kernel": (*(1,) * axes, 8, 8)},
    }
    arrays = {word: random(*shape) for word, shape in shapes[kind].items()}
    return Layer(kind.format(axes), "layer", {"kernel_size": list(window)}, arrays={**arrays, "bias": bias})


def keras_layers() -> dict[str, tuple[Layer, int]]:
    """An example of each, and the spatial axes of its input."""
    found: list[tuple[Layer, int]] = []
    for axes in (1, 2, 3):
        kinds = ("Conv{}D", "Conv{}DTranspose", "DepthwiseConv{}D", "SeparableConv{}D")
        found += [(convolution(kind, axes), axes) for kind in kinds if kind.format(axes) in LAYERS]
        for kind in ("MaxPooling", "AveragePooling"):
            found.append((Layer(f"{kind}{axes}D", "layer", {"pool_size": [2] * axes}), axes))
        found += [(Layer(f"Global{kind}Pooling{axes}D", "layer"), axes) for kind in ("Average", "Max")]
        found += [
            (Layer(f"Adaptive{kind}Pooling{axes}D", "layer", {"output_size": 1}), axes) for kind in ("Average", "Max")
        ]
        ends = [1, 2] if axes == 1 else [[1, 2]] * axes
        found.append((Layer(f"ZeroPadding{axes}D", "layer", {"padding": ends}), axes))
        found.append((Layer(f"Cropping{axes}D", "layer", {"cropping": ends}), axes))
        found.append((Layer(f"UpSampling{axes}D", "layer", {"size": 2 if axes == 1 else [2] * axes}), axes))
    four = {key: np.ones(4, np.float32) for key in ("gamma", "beta", "moving_mean", "moving_variance")}
    settings: dict[str, tuple[dict[str, Any], dict[str, Array]]] = {
        "Activation": ({"activation": "relu"}, {}),
        "BatchNormalization": ({}, four),
        "CenterCrop": ({"height": 3, "width": 2}, {}),
        "Dot": ({"axes": 3}, {}),
        "EinsumDense": ({"equation": "abcd,de->abce", "output_shape": [None, None, 2]}, {"kernel": random(4, 2)}),
        "GroupNormalization": ({"groups": 2}, {key: four[key] for key in ("gamma", "beta")}),
        "LayerNormalization": ({}, {key: four[key] for key in ("gamma", "beta")}),
        "RMSNormalization": ({}, {"scale": random(4)}),
        "RandomCrop": ({"height": 6, "width": 5}, {}),
        "Dense": ({"units": 2}, {"kernel": random(4, 2), "bias": random(2)}),
        "Normalization": ({"mean": [1.0], "variance": [2.0]}, {}),
        "PReLU": ({"shared_axes": [1, 2]}, {"alpha": random(1, 1, 4)}),
        "Permute": ({"dims": [2, 1, 3]}, {}),
        "Rescaling": ({"scale": 0.5, "offset": 1.0}, {}),
        "Reshape": ({"target_shape": [30, 4]}, {}),
        "Resizing": ({"height": 12, "width": 10}, {}),
        **dict.fromkeys(("ELU", "Flatten", "LeakyReLU", "ReLU", "Softmax", "ThresholdedReLU"), ({}, {})),
        **dict.fromkeys(("UnitNormalization", *MERGES), ({}, {})),
    }
    found += [(Layer(kind, "layer", options, arrays=arrays), 2) for kind, (options, arrays) in settings.items()]
    heads = {f"{part}_dense/kernel": random(4, 2, 3) for part in ("query", "key", "value")}
    attended = {**heads, "output_dense/kernel": random(2, 3, 4)}
    found.append((Layer("Attention", "layer"), 1))
    found.append((Layer("MultiHeadAttention", "layer", {"key_dim": 3, "use_bias": False}, arrays=attended), 1))
    found.append((Layer("RepeatVector", "layer", {"n": 3}), 0))
    return {layer.class_name: (layer, axes) for layer, axes in found}


def test_every_keras_layer_has_an_example() -> None:
    assert set(keras_layers()) == set(LAYERS)


def keras_examples() -> list[Net]:
    """Each layer as a network."""
    nets = []
    for kind, (layer, axes) in sorted(keras_layers().items()):
        two = kind in (*MERGES, "Attention", "Dot", "MultiHeadAttention")
        layer.reads = [["x", "x"]] if two else [["x"]]
        nets.append(Net([source("x", *SPATIAL[axes]), layer], ["layer"]))
    return nets


@pytest.mark.parametrize("net", keras_examples(), ids=lambda net: net.layers[1].class_name)
def test_keras_layers(net: Net, tmp_path: Path) -> None:
    assert open_model(write_keras(tmp_path / "net.keras", net)).graph.nodes


@pytest.mark.parametrize("kind", sorted([*NOTHING_TO_DO, *AUGMENTATIONS]))
def test_keras_layers_that_do_nothing(kind: str, tmp_path: Path) -> None:
    axes = 1 if kind.endswith("1D") else 2
    layers = [source("x", *SPATIAL[axes]), Layer(kind, "idle", {}, [["x"]]), Layer("ReLU", "layer", {}, [["idle"]])]
    assert len(open_model(write_keras(tmp_path / "net.keras", Net(layers, ["layer"]))).graph.nodes) == 1
