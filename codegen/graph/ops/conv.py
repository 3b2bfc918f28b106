"""Convolution and its transpose, in any number of spatial dimensions."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding, additions
from codegen.graph.ops.op import PADDING, Box, Part, Shape, require
from codegen.graph.ops.weighted import Weighted
from codegen.graph.ops.window import Ints, Pads, check_window, extent, input_box, per_channel, window_count, windows


@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """Cross-correlation of [N, Ci, *space] with ``weight`` [Co, Ci/groups, *kernel], plus ``bias`` [Co]."""

    stride: Ints
    dilation: Ints
    pads: Pads
    groups: int = 1

    def __post_init__(self) -> None:
        require(self.weight.ndim >= 3, f"weight {self.weight.shape} should be [out, in/groups, kernel...]")
        check_window(self.kernel, self.stride, self.dilation, self.pads)
        require(
            self.groups >= 1 and self.weight.shape[0] % self.groups == 0,
            f"{self.weight.shape[0]} output channels should be a multiple of groups = {self.groups}",
        )
        require(
            self.bias.shape == self.weight.shape[:1],
            f"bias {self.bias.shape} should have one value for each of {self.weight.shape[0]} output channels",
        )

    @property
    def kernel(self) -> Ints:
        return self.weight.shape[2:]

    @property
    def depthwise(self) -> bool:
        """One filter per channel, none crossing channels."""
        return self.weight.shape[1] == 1 and self.groups == self.weight.shape[0] and self.groups > 1

    @property
    def pointwise(self) -> bool:
        """True if each output element depends on the input's channels at its own pixel alone."""
        ones = all(n == 1 for n in (*self.kernel, *self.stride))
        return ones and self.groups == 1 and not self.padded

    @property
    def padded(self) -> bool:
        return any(p for pair in self.pads for p in pair)

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        rank = len(self.kernel)
        require(
            len(x) == rank + 2,
            f"input {list(x)} should have {rank + 2} axes (batch, channels, {rank} of space)",
        )
        wanted = self.weight.shape[1] * self.groups
        require(
            x[1] == wanted,
            f"input has {x[1]} channels, but weight {list(self.weight.shape)}, groups = {self.groups} take {wanted}",
        )
        space = tuple(
            window_count(x[2 + a], self.kernel[a], self.stride[a], self.dilation[a], self.pads[a]) for a in range(rank)
        )
        require(
            min(space) >= 1,
            f"kernel {list(self.kernel)} does not fit into input {list(x)} with padding {PADDING}",
            self.pads,
        )
        return (x[0], self.weight.shape[0], *space)

    def along_outputs(self, values: Array) -> Array:
        return values.reshape(-1, *(1,) * (self.weight.ndim - 1))

    def along_inputs(self, values: Array, shape: Shape) -> Array:
        return _by_group(values, self.weight, self.groups)

    def takes_input_map(self, shifts: bool) -> bool:
        """Padded zeros do not go through the map, so a shift would have to leave them out."""
        return not (self.padded and shifts)

    def multiply_adds(self, *shapes: Shape) -> int:
        return math.prod(self.infer(*shapes)) * math.prod(self.weight.shape[1:])

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        (x,) = shapes
        found = input_box(box[2:], x[2:], self.kernel, self.stride, self.dilation, self.pads)
        if found is None:
            return None
        space, pads = found
        return Part(replace(self, pads=pads), ((box[0], (0, x[1]), *space),))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        return self._correlate(x, self.weight) + per_channel(self.bias, x.ndim)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        weight = np.abs(self.weight)
        # One product and one addition for each term, the bias, and one rounding each of weight and bias.
        sums = self._correlate(x.magnitude, weight) + per_channel(np.abs(self.bias), y.ndim)
        return rounding.sum_error(self._additions() + 4, sums) + self._propagated(x) + self._flushed(x, rounding)

    def _additions(self) -> int:
        """The most additions that a term goes through: fast schedules add up terms one by one, in registers."""
        return math.prod(self.weight.shape[1:])

    def _propagated(self, x: Bounded) -> Array | float:
        """The largest effect of the inputs' errors on the output."""
        return self._correlate(x.error, np.abs(self.weight)) if np.any(x.error) else 0.0

    def _flushed(self, x: Bounded, rounding: Rounding) -> Array:
        """The largest effect on the output of flushing small inputs, weights and products to zero."""
        weight = np.abs(self.weight)
        error = per_channel(math.prod(weight.shape[1:]) + weight.reshape(len(weight), -1).sum(axis=1), x.value.ndim)
        small = np.where(weight < rounding.tiny, weight, 0.0)
        return rounding.tiny * error + (self._correlate(x.magnitude, small) if np.any(small) else 0.0)

    def _correlate(self, x: Array, weight: Array) -> Array:
        counts = self.infer(x.shape)[2:]
        rank = len(counts)
        view = windows(x, self.kernel, self.stride, self.dilation, counts, self.pads, 0.0)
        if self.weight.shape[1] == 1 and self.groups == x.shape[1]:
            multiplier = self.weight.shape[0] // self.groups
            taps = weight.reshape(self.groups, multiplier, *self.kernel)
            out = np.zeros((x.shape[0], self.groups, multiplier, *counts))
            k: Any
            for k in itertools.product(*(range(n) for n in self.kernel)):
                tap = taps[(slice(None), slice(None), *k)].reshape(self.groups, multiplier, *(1,) * rank)
                out += view[(..., *k)][:, :, None] * tap
            return out.reshape(x.shape[0], -1, *counts)
        ci, co = self.weight.shape[1], self.weight.shape[0] // self.groups
        axes = [1, *range(2 + rank, 2 + 2 * rank)]
        parts = [
            np.moveaxis(
                np.tensordot(
                    view[:, g * ci : (g + 1) * ci],
                    weight[g * co : (g + 1) * co],
                    axes=(axes, [*range(1, 2 + rank)]),
                ),
                -1,
                1,
            )
            for g in range(self.groups)
        ]
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class ConvInBlocks(Conv):
    """A convolution whose kernel sums in two levels: the same result, with another error bound."""

    def _additions(self) -> int:
        return additions(math.prod(self.weight.shape[1:]))


@dataclass(frozen=True, eq=False)
class ConvTranspose(Weighted):
    """The transpose of a strided convolution: every input element adds its scaled kernel to the output.

    ``weight`` is [Ci, Co/groups, *kernel], ``bias`` [Co]; ``pads`` crop the output, ``output_padding`` extends it.
    """

    stride: Ints
    dilation: Ints
    pads: Pads
    output_padding: Ints
    groups: int = 1

    def __post_init__(self) -> None:
        require(self.weight.ndim >= 3, f"weight {self.weight.shape} should be [in, out/groups, kernel...]")
        check_window(self.kernel, self.stride, self.dilation, self.pads)
        require(
            len(self.output_padding) == len(self.kernel) and min(self.output_padding) >= 0,
            f"output_padding {list(self.output_padding)} should have a number >= 0 for each spatial axis",
        )
        require(
            all(o < max(s, d) for o, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True)),
            f"output_padding {list(self.output_padding)} should be smaller than stride or dilation",
        )
        require(
            self.groups >= 1 and self.weight.shape[0] % self.groups == 0,
            f"{self.weight.shape[0]} input channels should be a multiple of groups = {self.groups}",
        )
        require(self.bias.shape == (self.channels,), f"bias {self.bias.shape} should be [{self.channels}]")

    @property
    def kernel(self) -> Ints:
        return self.weight.shape[2:]

    @property
    def channels(self) -> int:
        return int(self.weight.shape[1]) * self.groups

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        rank = len(self.kernel)
        require(
            len(x) == rank + 2,
            f"input {list(x)} should have {rank + 2} axes (batch, channels, {rank} of space)",
        )
        require(
            x[1] == self.weight.shape[0],
            f"input has {x[1]} channels, but weight {list(self.weight.shape)} takes {self.weight.shape[0]}",
        )
        space = tuple(
            (x[2 + a] - 1) * self.stride[a]
            + extent(self.kernel[a], self.dilation[a])
            - sum(self.pads[a])
            + self.output_padding[a]
            for a in range(rank)
        )
        left = f"padding {PADDING} leaves nothing of the output for input {list(x)}"
        require(min(space) >= 1, left, self.pads)
        return (x[0], self.channels, *space)

    def along_outputs(self, values: Array) -> Array:
        return _by_group(values, self.weight, self.groups)

    def along_inputs(self, values: Array, shape: Shape) -> Array:
        return values.reshape(-1, *(1,) * (self.weight.ndim - 1))

    def takes_input_map(self, shifts: bool) -> bool:
        """The borders receive fewer taps: a shift would not be a constant there."""
        return not shifts

    def multiply_adds(self, *shapes: Shape) -> int:
        return math.prod(shapes[0]) * math.prod(self.weight.shape[1:])

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        (x,) = shapes
        space, crops, behind = [], [], []
        for a, (start, stop) in enumerate(box[2:]):
            n, stride, reach = x[2 + a], self.stride[a], extent(self.kernel[a], self.dilation[a])
            # The bound of the whole transpose, before cropping.
            start, stop = start + self.pads[a][0], stop + self.pads[a][0]
            first = min(max(min(-((reach - 1 - start) // stride), start // stride), 0), n - 1)
            last = max(min((stop - 1) // stride, n - 1), first)
            rest = (last - first) * stride + reach - (stop - first * stride)
            space.append((first, last + 1))
            crops.append((start - first * stride, max(rest, 0)))
            behind.append(max(-rest, 0))
        if any(o >= max(s, d) for o, s, d in zip(behind, self.stride, self.dilation, strict=True)):
            return None
        op = replace(self, pads=tuple(crops), output_padding=tuple(behind))
        return Part(op, ((box[0], (0, x[1]), *space),))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        return self._scatter(x, self.weight) + per_channel(self.bias, x.ndim)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        weight = np.abs(self.weight)
        terms = self.weight.shape[0] // self.groups * math.prod(self.kernel)
        sums = self._scatter(x.magnitude, weight) + per_channel(np.abs(self.bias), y.ndim)
        # Effect of flushing small inputs, weights and products to zero.
        flushed = rounding.tiny * (terms + self._scatter(np.ones_like(x.value), weight))
        flushed = flushed + self._scatter(x.magnitude, np.where(weight < rounding.tiny, weight, 0.0))
        bound: Array = rounding.sum_error(additions(terms) + 4, sums) + self._scatter(x.error, weight) + flushed
        return bound

    def _scatter(self, x: Array, weight: Array) -> Array:
        rank = len(self.kernel)
        shape = self.infer(x.shape)
        full = [
            max(
                (x.shape[2 + a] - 1) * self.stride[a] + extent(self.kernel[a], self.dilation[a]),
                shape[2 + a] + self.pads[a][0],
            )
            for a in range(rank)
        ]
        y = np.zeros((x.shape[0], self.channels, *full))
        ci, co = self.weight.shape[0] // self.groups, self.weight.shape[1]
        k: Any
        for g in range(self.groups):
            part = x[:, g * ci : (g + 1) * ci]
            for k in itertools.product(*(range(n) for n in self.kernel)):
                tap = weight[(slice(g * ci, (g + 1) * ci), slice(None), *k)]
                at = tuple(
                    slice(
                        k[a] * self.dilation[a],
                        k[a] * self.dilation[a] + self.stride[a] * x.shape[2 + a],
                        self.stride[a],
                    )
                    for a in range(rank)
                )
                window: Any = tuple(slice(s.start, min(s.stop, full[a]), s.step) for a, s in enumerate(at))
                y[(slice(None), slice(g * co, (g + 1) * co), *window)] += np.moveaxis(
                    np.tensordot(part, tap, axes=([1], [0])), -1, 1
                )
        crop = tuple(slice(self.pads[a][0], self.pads[a][0] + shape[2 + a]) for a in range(rank))
        return y[(slice(None), slice(None), *crop)]


def _by_group(values: Array, weight: Array, groups: int) -> Array:
    """A value for each channel along axis 1 of all groups, for weights that list the groups' rows along axis 0."""
    rows = np.repeat(values.reshape(groups, -1), weight.shape[0] // groups, axis=0)
    return rows.reshape(*rows.shape, *(1,) * (weight.ndim - 2))
