"""Resampling in every mode against ONNX Runtime, and on devices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from codegen.graph.ops.resize import COORDINATES, CROP, MODES, ROUNDINGS, Resize

SIZES = ((10, 8), (7, 9), (3, 2), (1, 1))


def every() -> Iterator[Resize]:
    # onnxruntime knows tf_half_pixel_for_nn up to opset 12 only, and crops differently; both are below.
    usual = [c for c in COORDINATES if c not in ("tf_half_pixel_for_nn", CROP)]
    for mode, coordinates, size in itertools.product(MODES, usual, SIZES):
        for rounding in ROUNDINGS if mode == "nearest" else ROUNDINGS[:1]:
            # A position that is a whole number falls on either side of it in float32, which ONNX Runtime computes in.
            if (coordinates, rounding, size) != ("half_pixel_symmetric", "floor", (3, 2)) or mode != "nearest":
                yield Resize(size, mode, coordinates, rounding)


NAMES = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}
Model = tuple[onnx.ModelProto, np.ndarray]


def model_of(op: Resize, space: tuple[int, ...], opset: int = 19) -> Model:
    """The operator as a model of ONNX, and an input."""
    x = np.random.default_rng(0).standard_normal((1, 3, *space)).astype(np.float32)
    rank = len(space)
    # Opset 11 wants all inputs, empty ones for what is not said.
    constants = {} if opset > 12 else {key: np.zeros(0, dtype=np.float32) for key in ("roi", "scales")}
    if op.roi is not None:
        ends = [
            [0, 0, *(pair[k] for pair in op.roi)] if k == 0 else [1, 1, *(pair[k] for pair in op.roi)] for k in (0, 1)
        ]
        constants["roi"] = np.array(ends, dtype=np.float32).reshape(-1)
    if op.scales is None:
        constants["sizes"] = np.array([1, 3, *op.size], dtype=np.int64)
    else:
        constants["scales"] = np.array([1, 1, *op.scales], dtype=np.float32)
    names = ["x", *(key if key in constants else "" for key in ("roi", "scales", "sizes"))]
    more: dict[str, Any] = {"antialias": int(op.antialias)} if opset >= 18 else {}
    node = onnx.helper.make_node(
        "Resize", names, ["y"], mode=NAMES[op.mode], coordinate_transformation_mode=op.coordinates,
        nearest_mode=op.rounding, cubic_coeff_a=op.cubic, exclude_outside=int(op.exclude_outside),
        extrapolation_value=op.outside, **more,
    )  # fmt: skip
    shapes = (("x", list(x.shape)), ("y", [None] * (rank + 2)))
    values = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in shapes]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], tensors)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8), x


def by_onnxruntime(model: Model) -> np.ndarray:
    session = onnxruntime.InferenceSession(model[0].SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": model[1]})[0])


def by_onnx(model: Model) -> np.ndarray:
    return np.asarray(next(iter(ReferenceEvaluator(model[0]).run(None, {"x": model[1]}))))


def agrees(op: Resize, got: np.ndarray, x: np.ndarray) -> None:
    np.testing.assert_allclose(op.reference(x.astype(np.float64)), got, rtol=0, atol=1e-5)  # bicubic in float32


@pytest.mark.parametrize("op", list(every()), ids=lambda op: f"{op.mode}-{op.coordinates}-{op.rounding}-{op.size}")
def test_reference_against_onnxruntime(op: Resize) -> None:
    model = model_of(op, (5, 4))
    agrees(op, by_onnxruntime(model), model[1])


@pytest.mark.parametrize("size", [(3,), (11,), (3, 2, 7), (6, 8, 2)], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_one_and_three_dimensions(mode: str, size: tuple[int, ...]) -> None:
    # onnxruntime has no cubic resampling of these.
    op = Resize(size, mode, "half_pixel", "ceil")
    model = model_of(op, (5, 4, 3)[: len(size)])
    agrees(op, by_onnx(model) if mode == "bicubic" else by_onnxruntime(model), model[1])


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_half_pixel_of_tensorflow(rounding: str) -> None:
    op = Resize((8, 3), "nearest", "tf_half_pixel_for_nn", rounding)
    model = model_of(op, (5, 4), 11)
    agrees(op, by_onnxruntime(model), model[1])


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("size", [(2, 3), (3, 7), (1, 1), (10, 2)], ids=str)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias(mode: str, size: tuple[int, int], exclude: bool) -> None:
    op = Resize(size, mode, "half_pixel", exclude_outside=exclude, antialias=True)
    model = model_of(op, (9, 8))
    agrees(op, by_onnx(model), model[1])
    agrees(op, by_onnxruntime(model), model[1])


ROIS = [((0.11, 0.83), (0.32, 0.9)), ((-0.4, 0.7), (0.2, 1.6)), ((0.9, 0.1), (1.2, -0.2))]


@pytest.mark.parametrize("roi", ROIS, ids=str)
@pytest.mark.parametrize("size", [(3, 7), (1, 1), (5, 4)], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_parts_of_the_input(mode: str, size: tuple[int, int], roi: tuple[tuple[float, float], ...]) -> None:
    """ONNX's definition counts: onnxruntime takes cubic taps beyond the input, and skips axes that keep their size."""
    op = Resize(size, mode, CROP, "round_prefer_floor", roi=roi, outside=7.5)
    model = model_of(op, (5, 6))
    agrees(op, by_onnx(model), model[1])
    if mode == "bilinear" and size != (5, 4):
        agrees(op, by_onnxruntime(model), model[1])


@pytest.mark.parametrize("scales", [(0.62, 1.64), (2.3, 0.45), (1.0, 1.15)], ids=str)
@pytest.mark.parametrize("coordinates", [c for c in COORDINATES if c not in ("tf_half_pixel_for_nn", CROP)])
@pytest.mark.parametrize("mode", MODES)
def test_scales_that_are_not_ratios_of_sizes(mode: str, coordinates: str, scales: tuple[float, float]) -> None:
    size = (int(7 * scales[0]), int(9 * scales[1]))
    op = Resize(size, mode, coordinates, "round_prefer_ceil", scales=scales)
    model = model_of(op, (7, 9))
    agrees(op, by_onnxruntime(model), model[1])
    # onnx.reference puts the last element at the input's size times the factor; "resize-align-corners" in choices.py.
    if coordinates != "align_corners":
        agrees(op, by_onnx(model), model[1])


def test_taps_are_a_partition_of_one() -> None:
    for op in every():
        for axis, n in enumerate((5, 4)):
            taps = op.taps(axis, n)
            np.testing.assert_allclose(taps.weight.sum(axis=1), 1, atol=1e-12)
            assert taps.index.min() >= 0 and taps.index.max() < n


@pytest.mark.parametrize("mode", MODES)
def test_places_far_away_are_the_edge(mode: str) -> None:
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    for coordinates in ("asymmetric", "half_pixel"):
        y = Resize((4, 2), mode, coordinates, scales=(1e-30, 1.0)).reference(x)
        np.testing.assert_array_equal(y[0, 0, 1:, 0], 8.0)
