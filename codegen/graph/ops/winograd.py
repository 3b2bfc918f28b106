"""The rounding error of 3x3 convolutions that are computed by Winograd's minimal filtering.

The result is that of the convolution, but intermediate values are larger and cancel.
With the matrices B, G and A of F(m x m, 3 x 3), and absolute values taken of all of them, of inputs and of weights,
|A|^T [(|G| |g| |G|^T) * (|B|^T |d| |B|)] |A| bounds the sum of the absolute values of all terms, so that the error is
at most gamma_n times that for n operations in a row (Higham, section 3.1; Barabasz et al., "Error analysis and
improving the accuracy of Winograd convolution for deep neural networks", 2020).

All outputs of a tile depend on all its inputs: an infinite or NaN input makes every output of its tiles NaN, even an
output whose window does not contain the input.  An intermediate overflow does the same, as transformed inputs are
larger than inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.conv import Conv
from codegen.graph.ops.op import Box, Part, Shape
from codegen.graph.ops.window import per_channel

# Evaluation points of the polynomials besides infinity, by m.  They and their products are exact in float32.
POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 5 / 8, -5 / 8, 3 / 2, -3 / 2)}

# Successive roundings besides the sum over channels: weights (rounded, scaled, transformed twice), inputs and outputs
# (transformed twice), the product, the bias.
STEPS = 40


@dataclass(frozen=True, eq=False)
class WinogradConv(Conv):
    """A 3x3 convolution of stride 1 in tiles of ``tile`` x ``tile`` outputs, with Winograd's error bound."""

    tile: int = 4

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        ends = zip(box[2:], self.infer(*shapes)[2:], strict=True)
        if any(start % self.tile or (stop % self.tile and stop != n) for (start, stop), n in ends):
            return None  # all outputs of a tile depend on all its inputs
        return super().for_box(box, *shapes)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        a, g, b = (np.abs(matrix) for matrix in matrices(self.tile))
        size, (height, width) = self.tile + 2, y.shape[2:]
        pads = [(0, 0), (0, 0)]
        for n, (before, after), count in zip(x.value.shape[2:], self.pads, (height, width), strict=True):
            reach = -(-count // self.tile) * self.tile + 2
            pads.append((before, max(after, reach - before - n)))
        padded = np.pad(x.magnitude, pads)
        tiles = sliding_window_view(padded, (size, size), axis=(2, 3))[:, :, :: self.tile, :: self.tile]
        # In the kernels' order: along the rows first.
        half = np.einsum("qj,ncyxij->qncyxi", b, tiles, optimize=True)
        transformed = np.einsum("qncyxi,pi->pqncyx", half, b, optimize=True)
        weights = np.einsum("pi,ocij,qj->pqoc", g, np.abs(self.weight), g, optimize=True)
        products = np.einsum("pqoc,pqncyx->pqnoyx", weights, transformed, optimize=True)
        sums = np.einsum("mp,pqnoyx,lq->noymxl", a, products, a, optimize=True)
        largest = rounding.largest
        # The transform of inputs multiplies by a point last: before that, sums are larger if the point is below 1.
        least = largest * min([1.0, *(abs(point) for point in POINTS[self.tile] if point)])
        inputs_beyond = np.any(half > least, axis=(0, 2, 5)) | np.any(transformed > least, axis=(0, 1, 3))
        beyond = (
            np.expand_dims(inputs_beyond, 1) | (products > largest).any(axis=(0, 1)) | (sums > largest).any(axis=(3, 5))
        )
        n, co, down, _, across, _ = sums.shape
        sums = sums.reshape(n, co, down * self.tile, across * self.tile)[:, :, :height, :width]
        sums = sums + per_channel(np.abs(self.bias), y.ndim)
        special = np.pad(~np.isfinite(x.value).all(axis=1), [pads[0], *pads[2:]])
        views = sliding_window_view(special, (size, size), axis=(1, 2))[:, :: self.tile, :: self.tile]
        touched = np.asarray(beyond | np.expand_dims(views.any(axis=(3, 4)), 1))
        touched = touched.repeat(self.tile, axis=2).repeat(self.tile, axis=3)[:, :, :height, :width]
        ci = self.weight.shape[1]
        rounded = rounding.sum_error(ci + STEPS, sums) + self._propagated(x)
        # Numbers that are flushed to zero go through the transforms too.
        error = rounded + 64 * (self._flushed(x, rounding) + ci * rounding.tiny)
        return np.where(touched & ~np.isnan(y), np.inf, error)


def matrices(tile: int) -> tuple[Array, Array, Array]:
    """A^T, G and B^T by the construction of Toom and Cook: evaluate at the points, multiply, interpolate."""
    points = POINTS[tile]
    size = len(points) + 1
    a = np.array([[p**i for p in points] + [float(i == tile - 1)] for i in range(tile)])
    g, b = np.zeros((size, 3)), np.zeros((size, size))
    for j, p in enumerate(points):
        others = [q for q in points if q != p]
        g[j] = [p**i / np.prod([p - q for q in others]) for i in range(3)]
        b[j, :-1] = np.poly(others)[::-1]
    g[-1, 2] = 1.0
    b[-1] = np.poly(points)[::-1]
    return a, g, b
