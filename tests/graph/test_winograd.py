"""Winograd's transforms compute a convolution, with errors within the bound that verification allows them.

CLGEN_EXAMPLES=500 in the environment tries that many new layers instead of the same few.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codegen.graph.bounded import FLOAT32, Bounded
from codegen.graph.ops.winograd import WinogradConv, matrices
from tests.support.examples import few
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
