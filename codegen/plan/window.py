"""Windows of images, and their weights as kernels read them; a row is an image of height 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array
from codegen.graph.ops import Conv, Pool
from codegen.plan.layout import up

Pair = tuple[int, int]


@dataclass(frozen=True)
class Stencil:
    """The taps of an output pixel: along each axis, tap k of output o is input o * stride + k * dilation - pad."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    pad: Pair

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def first(self) -> Pair:
        """The input of tap 0 of output 0, which is in the padding if there is any."""
        return -self.pad[0], -self.pad[1]

    @property
    def columns(self) -> int:
        """The columns from an output's first tap to its last."""
        return (self.kernel[1] - 1) * self.dilation[1] + 1


@dataclass(frozen=True)
class Window:
    """The window of an output pixel, each as (vertical, horizontal); ``pads`` are (before, after) of both axes."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    pads: tuple[Pair, Pair]

    @classmethod
    def of(cls, op: Conv | Pool) -> Window:
        """The window of an operator with at most two spatial axes."""
        down, across = ((0, 0), *op.pads)[-2:]
        return cls(spatial(op.kernel), spatial(op.stride), spatial(op.dilation), (down, across))

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def pad(self) -> Pair:
        """Before the first pixel."""
        return self.pads[0][0], self.pads[1][0]

    @property
    def stencil(self) -> Stencil:
        return Stencil(self.kernel, self.stride, self.dilation, self.pad)

    def reach(self, axis: int, outputs: int) -> int:
        """The pixels from the first to the last that the windows of so many outputs cover, padding included."""
        return (outputs - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def overhang(self, axis: int, outputs: int, inputs: int) -> int:
        """The pixels beyond the input that the last output's taps reach."""
        return max(self.reach(axis, outputs) - self.pad[axis] - inputs, 0)

    def bounded(self, axis: int, outputs: int, inputs: int) -> bool:
        """True if a tap can fall outside the input."""
        return self.pad[axis] > 0 or self.overhang(axis, outputs, inputs) > 0


def spatial(values: tuple[int, ...]) -> Pair:
    """A one- or two-dimensional attribute as (vertical, horizontal)."""
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def packed(weight: Array, lanes: int, tile: int) -> Array:
    """[Co, Ci, ky, kx] -> [tiles of channels, ky, kx, Ci, tile], Ci in multiples of lanes, zeros where channels end."""
    co, ci = weight.shape[:2]
    kernel = spatial(weight.shape[2:])
    filled = np.zeros((up(co, tile), *kernel, up(ci, lanes)))
    filled[:co, ..., :ci] = np.moveaxis(weight.reshape(co, ci, *kernel), 1, -1)
    return np.moveaxis(filled.reshape(-1, tile, *filled.shape[1:]), 1, -1)
