"""Winograd's transforms compute a convolution, with errors within the bound that verification allows them.

CLGEN_EXAMPLES=500 in the environment tries that many new layers instead of the same few.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codegen.graph.bounded import FLOAT32, Bounded
from codegen.graph.ops import Conv
from codegen.graph.ops.winograd import WinogradConv, matrices
from codegen.runtime.native import native_devices
from codegen.runtime.verify import verify
from tests.support.examples import few
from tests.support.networks import Net, lower
from tests.support.values import SLIGHTLY_WRONG


@pytest.mark.parametrize("tile", [2, 4])
def test_the_transforms_compute_a_convolution(tile: int) -> None:
    """Checks A^T [(G g) * (B^T d)] on whole numbers in one dimension."""
    a, g, b = matrices(tile)
    rng = np.random.default_rng(0)
    weight, given = rng.integers(-9, 9, 3), rng.integers(-9, 9, tile + 2)
    true = np.correlate(given, weight, "valid")
    assert np.allclose(a @ ((g @ weight) * (b @ given)), true, rtol=0, atol=1e-11)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 4]), st.integers(1, 64), st.integers(1, 9), st.integers(1, 9))
@few(30)
def test_errors_are_within_the_bound(seed: int, tile: int, channels: int, rows: int, columns: int) -> None:
    """Float32 transforms stay within the bound, also where the last tiles are cut off."""
    good = [matrix.astype(np.float32) for matrix in matrices(tile)]
    ratio = ratios(np.random.default_rng(seed), tile, channels, (rows, columns), good)
    assert 1e-4 < ratio.max() < 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 4]), st.integers(1, 6))
@few(30)
def test_a_wrong_constant_leaves_the_bound(seed: int, tile: int, channels: int) -> None:
    """A constant of a transform that is off by a thousandth makes an output of an image of whole tiles wrong.

    Of sums over few channels: bounds grow with the number of channels, errors of random terms with its root.
    """
    for k in range(3):
        rng = np.random.default_rng(seed)
        wrong = [matrix.astype(np.float32) for matrix in matrices(tile)]
        i, j = rng.choice(np.argwhere(wrong[k]))
        wrong[k][i, j] *= SLIGHTLY_WRONG
        ratio = ratios(rng, tile, channels, (12, 12), wrong)
        assert ratio.max() > 1


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("row", "column", "value", "known"),
    [
        # Along a row, d[1] is multiplied by -(3/2)^2 before 5/8.
        (0, 1, LARGEST / 2.26, True),
        (0, 1, LARGEST / 2.24, False),
        # Along a column the same, after 0.87890625 along the row; or after 5/8 * (3/2)^2.
        (1, 0, LARGEST / 1.99, True),
        (1, 0, LARGEST / 1.96, False),
        (1, 1, LARGEST / 3.18, True),
        (1, 1, LARGEST / 3.15, False),
        (0, 0, LARGEST / 1.5, True),
    ],
)
def test_transforms_of_large_numbers_overflow_before_they_are_multiplied_by_a_point(
    row: int, column: int, value: float, known: bool
) -> None:
    weight = np.full((1, 1, 3, 3), 2.0**-10)
    x = np.zeros((1, 1, 6, 6), np.float32)
    x[0, 0, row, column] = value
    op = WinogradConv(weight, np.zeros(1), (1, 1), (1, 1), ((0, 0), (0, 0)), 1, 4)
    true = op.bounded(Bounded.exact(x), rounding=FLOAT32)
    assert np.isfinite(true.value).all() and (np.isfinite(true.error) == known).all()


@pytest.mark.parametrize("schedule", ["winograd4", "winograd4_groups"])
@pytest.mark.parametrize(("row", "column"), [(4, 3), (3, 4), (4, 4)])
def test_large_numbers_in_a_tile_are_no_fault_of_the_kernels(
    row: int, column: int, schedule: str, tmp_path: Path
) -> None:
    """All outputs of the tile from row 3, column 3 on are NaN, also those whose windows have small numbers only."""
    net = Net((1, 16, 16, 16))
    net.add(Conv(np.full((16, 16, 3, 3), 2.0**-10), np.zeros(16), (1, 1), (1, 1), ((1, 1), (1, 1)), 1), "x", name="y")
    stages = lower(net.graph())
    artefact = stages.build(tmp_path, choices={"y": schedule}, backend="c")
    x = np.ones((1, 16, 16, 16), np.float32)
    x[0, 3, row, column] = 1.2e38 if row == column else 1.8e38
    report = verify(artefact, stages.unfolded, stages.launches, native_devices(["c"]), [{"x": x}])
    assert [check.name for check in report.devices[0].launches if not check.passed] == []


def ratios(
    rng: np.random.Generator, tile: int, channels: int, size: tuple[int, int], transforms: list[NDArray[np.float32]]
) -> NDArray[np.float64]:
    """The errors of a random convolution's outputs by these A^T, G and B^T, divided by their bounds."""
    x = rng.standard_normal((1, channels, size[0] + 2, size[1] + 2)).astype(np.float32)
    weight = rng.standard_normal((3, channels, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(3).astype(np.float32)
    op = WinogradConv(weight.astype(np.float64), bias.astype(np.float64), (1, 1), (1, 1), ((0, 0), (0, 0)), 1, tile)
    true = op.bounded(Bounded.exact(x), rounding=FLOAT32)
    found: NDArray[np.float64] = np.abs(in_float32(x, weight, bias, *transforms) - true.value) / true.error
    return found


def in_float32(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32], *transforms: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A convolution without padding by these A^T, G and B^T, in float32 all along."""
    a, g, b = transforms
    m, size = a.shape
    height, width = x.shape[2] - 2, x.shape[3] - 2
    down, across = -(-height // m), -(-width // m)
    padded = np.pad(x, [(0, 0), (0, 0), (0, down * m - height), (0, across * m - width)])
    u = g @ weight @ g.T
    y = np.empty((len(x), len(weight), down * m, across * m), dtype=np.float32)
    for i in range(down):
        for j in range(across):
            v = b @ padded[:, :, i * m : i * m + size, j * m : j * m + size] @ b.T
            products = np.zeros((len(x), len(weight), size, size), dtype=np.float32)
            for c in range(x.shape[1]):
                products += v[:, None, c] * u[None, :, c]
            y[:, :, i * m : (i + 1) * m, j * m : (j + 1) * m] = a @ products @ a.T + bias[:, None, None]
    return y[:, :, :height, :width]
