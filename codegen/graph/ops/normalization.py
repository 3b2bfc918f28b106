"""BatchNorm in inference, per-channel affine maps, and division by per-channel constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Box, Op, Part, Shape, require
from codegen.graph.ops.window import per_channel


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta along axis 1 (Ioffe & Szegedy 2015, algorithm 2)."""

    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    epsilon: float

    def __post_init__(self) -> None:
        for what in ("beta", "mean", "variance"):
            array = getattr(self, what)
            require(
                array.shape == self.gamma.shape,
                f"{what} {array.shape} should have gamma's shape {self.gamma.shape}",
            )

    def infer(self, *shapes: Shape) -> Shape:
        return _channelwise(shapes, len(self.gamma))

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        return Part(self, (box,))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        rank = x.ndim
        normalized = (x - per_channel(self.mean, rank)) / per_channel(np.sqrt(self.variance + self.epsilon), rank)
        return per_channel(self.gamma, rank) * normalized + per_channel(self.beta, rank)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        scale = per_channel(np.abs(self.gamma) / np.sqrt(self.variance + self.epsilon), y.ndim)
        mean = per_channel(np.abs(self.mean), y.ndim)
        sums = scale * (x.magnitude + mean) + per_channel(np.abs(self.beta), y.ndim)
        return rounding.sum_error(8, sums) + scale * x.error + rounding.tiny * (1 + x.magnitude)


@dataclass(frozen=True, eq=False)
class Affine(Op):
    """``scale`` [C] times x plus ``shift`` [C] along axis 1: a constant bias or scale, or a simplified BatchNorm."""

    scale: Array
    shift: Array

    is_map = True
    takes_epilogue = True
    scales_channels = True

    def __post_init__(self) -> None:
        require(
            self.scale.shape == self.shift.shape,
            f"scale {self.scale.shape} and shift {self.shift.shape} differ",
        )

    @property
    def elementwise(self) -> bool:
        return True

    def infer(self, *shapes: Shape) -> Shape:
        return _channelwise(shapes, len(self.scale))

    def of_channels(self, start: int, stop: int) -> Affine:
        return Affine(self.scale[start:stop], self.shift[start:stop])

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        return per_channel(self.scale, x.ndim) * x + per_channel(self.shift, x.ndim)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        scale = per_channel(np.abs(self.scale), y.ndim)
        sums = scale * x.magnitude + per_channel(np.abs(self.shift), y.ndim)
        return rounding.sum_error(8, sums) + scale * x.error + rounding.tiny * (1 + x.magnitude)


@dataclass(frozen=True, eq=False)
class Divide(Op):
    """x / ``divisor`` [C] along axis 1, rounded once; x times the rounded reciprocal may be another number.

    A quotient that is a whole number is exact, so that Floor and similar functions after it are right.
    """

    divisor: Array

    is_map = True
    takes_epilogue = True
    scales_channels = True

    def __post_init__(self) -> None:
        require(self.divisor.ndim == 1, f"divisor {self.divisor.shape} should have one axis: a value per channel")

    @property
    def elementwise(self) -> bool:
        return True

    @property
    def finite(self) -> bool:
        return bool(np.all(self.divisor != 0))

    def infer(self, *shapes: Shape) -> Shape:
        return _channelwise(shapes, len(self.divisor))

    def of_channels(self, start: int, stop: int) -> Divide:
        return Divide(self.divisor[start:stop])

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        with np.errstate(all="ignore"):  # division by zero is infinity on the device too
            return x / per_channel(self.divisor, x.ndim)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        """0 where the quotient is exact in this arithmetic; OpenCL allows 2.5 ulp for other quotients."""
        (x,) = inputs
        divisor = per_channel(np.abs(self.divisor), y.ndim)
        with np.errstate(all="ignore"):
            propagated = np.where(x.error == 0, 0.0, x.error / divisor)
            tiny = rounding.tiny * (1 + np.where(x.value == 0, 0.0, 1 / divisor))
        rounded = rounding.gamma(6) * (np.abs(y) + propagated) + tiny
        return np.where((x.error == 0) & self._exact(x.value, y, rounding), 0.0, propagated + rounded)

    def _exact(self, x: Array, y: Array, rounding: Rounding) -> NDArray[np.bool_]:
        """True where y has no more digits than the arithmetic, and equals x / divisor."""
        fraction, exponent = np.frexp(y)
        digits = -int(np.log2(rounding.unit))
        short = np.ldexp(np.rint(np.ldexp(fraction, digits)), exponent - digits) == y
        normal = (np.abs(y) >= rounding.tiny) & (np.abs(x) >= rounding.tiny)
        with np.errstate(all="ignore"):
            exact: NDArray[np.bool_] = ((x == 0) & (y == 0)) | (
                short & normal & (y * per_channel(self.divisor, y.ndim) == x)
            )
            return exact


def _channelwise(shapes: tuple[Shape, ...], channels: int) -> Shape:
    (x,) = shapes
    require(len(x) >= 2, f"input {list(x)} should have a batch axis and a channel axis")
    require(x[1] == channels, f"input has {x[1]} channels, but the parameters have {channels}")
    return x
