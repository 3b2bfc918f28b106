"""Resampling in every mode against ONNX Runtime, and on devices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest

from codegen.graph.ops.resize import COORDINATES, MODES, ROUNDINGS, Resize

SIZES = ((10, 8), (7, 9), (3, 2), (1, 1))


def every() -> Iterator[Resize]:
    for mode, coordinates, size in itertools.product(MODES, COORDINATES, SIZES):
        for rounding in ROUNDINGS if mode == "nearest" else ROUNDINGS[:1]:
            # A position that is a whole number falls on either side of it in float32, which ONNX Runtime computes in.
            if (coordinates, rounding, size) != ("half_pixel_symmetric", "floor", (3, 2)) or mode != "nearest":
                yield Resize(size, mode, coordinates, rounding)


@pytest.mark.parametrize("op", list(every()), ids=lambda op: f"{op.mode}-{op.coordinates}-{op.rounding}-{op.size}")
def test_reference_against_onnxruntime(op: Resize) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 4)).astype(np.float32)
    names = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}
    node = onnx.helper.make_node(
        "Resize", ["x", "", "", "s"], ["y"], mode=names[op.mode],
        coordinate_transformation_mode=op.coordinates, nearest_mode=op.rounding,
    )  # fmt: skip
    shape = [1, 3, *op.size]
    values = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", list(x.shape)), ("y", shape))]
    sizes = onnx.numpy_helper.from_array(np.array(shape, dtype=np.int64), "s")
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [sizes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(op.reference(x.astype(np.float64)), expected, rtol=0, atol=1e-5)  # bicubic in float32


def test_taps_are_a_partition_of_one() -> None:
    for op in every():
        for axis, n in enumerate((5, 4)):
            taps = op.taps(axis, n)
            np.testing.assert_allclose(taps.weight.sum(axis=1), 1, atol=1e-12)
            assert taps.index.min() >= 0 and taps.index.max() < n
