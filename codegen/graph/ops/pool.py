"""Pooling over windows and over the whole spatial extent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding, additions
from codegen.graph.ops.op import PADDING, Box, Op, Part, Shape, require
from codegen.graph.ops.window import Ints, Pads, check_window, extent, input_box, window_count, windows


@dataclass(frozen=True, eq=False)
class Pool(Op):
    """Maximum, average or p-norm ("max", "average", "lp") of every window.

    The average divides by the elements inside the input, or with ``count_include_pad`` by those in the padded input.
    The p-norm is (sum of |x|^p)^(1/p).
    """

    kind: str
    kernel: Ints
    stride: Ints
    dilation: Ints
    pads: Pads
    ceil_mode: bool = False
    count_include_pad: bool = False
    p: float = 2.0

    takes_prologue = True
    takes_epilogue = True

    def __post_init__(self) -> None:
        require(self.kind in ("max", "average", "lp"), f"unknown pool {self.kind!r}")
        require(1 <= self.p < np.inf, f"p = {self.p} should be a number >= 1")
        check_window(self.kernel, self.stride, self.dilation, self.pads)
        for (before, after), k, d in zip(self.pads, self.kernel, self.dilation, strict=True):
            require(
                max(before, after) < extent(k, d),
                f"padding {PADDING} should be smaller than kernel {list(self.kernel)}",
                self.pads,
            )

    @property
    def title(self) -> str:
        return f"{self.kind}_pool"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        rank = len(self.kernel)
        require(
            len(x) == rank + 2,
            f"input {list(x)} should have {rank + 2} axes (batch, channels, {rank} of space)",
        )
        space = tuple(
            window_count(x[2 + a], self.kernel[a], self.stride[a], self.dilation[a], self.pads[a], self.ceil_mode)
            for a in range(rank)
        )
        require(
            min(space) >= 1,
            f"kernel {list(self.kernel)} does not fit into input {list(x)} with padding {PADDING}",
            self.pads,
        )
        return (*x[:2], *space)

    def for_box(self, box: Box, *shapes: Shape) -> Part | None:
        (x,) = shapes
        found = input_box(box[2:], x[2:], self.kernel, self.stride, self.dilation, self.pads)
        if found is None:
            return None
        space, pads = found
        beyond = any(after > mine for (_, after), (_, mine) in zip(pads, self.pads, strict=True))
        if self.kind == "average" and self.count_include_pad and beyond:
            return None  # elements that a ceiling window reads beyond the padding are not padding
        return Part(replace(self, pads=pads, ceil_mode=False), ((*box[:2], *space),))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        axes = tuple(range(x.ndim, x.ndim + len(self.kernel)))
        if self.kind == "max":
            largest: Array = np.maximum.reduce(self._windows(x, -np.inf), axis=axes)
            return largest
        if self.kind == "lp":
            return self._norm(self._windows(np.abs(x), 0.0))
        y: Array = self._windows(x, 0.0).sum(axis=axes) / self._divisor(x.shape)
        return y

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        axes = tuple(range(x.value.ndim, x.value.ndim + len(self.kernel)))
        if self.kind == "max":
            bound: Array = np.maximum.reduce(self._windows(x.error, 0.0), axis=axes) + rounding.tiny
            return bound
        terms = int(np.prod(self.kernel))
        if self.kind == "lp":
            return self._norm_bound(y, x, terms, rounding)
        divisor = self._divisor(x.value.shape)
        sums = self._windows(x.magnitude, 0.0).sum(axis=axes)
        error = self._windows(x.error, 0.0).sum(axis=axes) / divisor
        bound = rounding.sum_error(additions(terms) + 6, sums) / divisor + error + terms * rounding.tiny
        return bound

    def _norm(self, view: Array, relative: float = 0.0, absolute: float = 0.0) -> Array:
        """The p-norm of each window, with its sum of powers changed by this error."""
        p = float(np.float32(self.p))  # a constant of the kernel
        powers = np.power(view, p).sum(axis=tuple(range(view.ndim - len(self.kernel), view.ndim)))
        y: Array = np.power(np.maximum(powers * (1 + relative) + absolute, 0.0), 1 / p)
        return y

    def _norm_bound(self, y: Array, x: Bounded, terms: int, rounding: Rounding) -> Array:
        """The bound of a norm, which increases with every |x|: the norms of the smallest and largest inputs enclose it.

        OpenCL's pow is off by 16 ulp, its square root by 3, and powers below the normal range may be flushed to zero.
        The exponent 1/p is a float32, which moves s^(1/p) by |log(s^(1/p))| times what the exponent is off.
        """
        power, root = {1.0: (0, 0), 2.0: (1, 7)}.get(self.p, (33, 33))
        relative, flushed = rounding.gamma(additions(terms) + power), terms * rounding.tiny
        highest = self._norm(self._windows(x.magnitude, 0.0), relative, flushed)
        # Powers may overflow even if their root does not.
        highest = np.where(highest > rounding.largest ** (1 / self.p), np.inf, highest)
        least = np.fmax(np.abs(x.value) - x.error, 0.0)
        lowest = self._norm(self._windows(least, 0.0), -relative, -flushed)
        spread = np.fmax(highest - y, y - lowest)
        if self.p not in (1.0, 2.0):
            exponents = np.abs(np.log(highest, where=highest > 0, out=np.zeros_like(y)))
            spread = spread + rounding.gamma(3) * highest * exponents
        return np.where(np.isfinite(y), spread + rounding.gamma(root) * highest + rounding.tiny, 0.0)

    def _windows(self, x: Array, fill: float) -> Array:
        counts = self.infer(x.shape)[2:]
        return windows(x, self.kernel, self.stride, self.dilation, counts, self.pads, fill)

    def _divisor(self, shape: Shape) -> Array:
        counted = np.ones((1, 1, *shape[2:]))
        pads = self.pads
        if self.count_include_pad:
            # The padding counts; elements beyond the padding, in a ceiling window, do not.
            counted = np.pad(counted, [(0, 0), (0, 0), *pads], constant_values=1.0)
            pads = tuple((0, 0) for _ in pads)
        counts = self.infer(shape)[2:]
        view = windows(counted, self.kernel, self.stride, self.dilation, counts, pads, 0.0)
        taken: Array = view.sum(axis=tuple(range(view.ndim - len(self.kernel), view.ndim)))
        return taken


@dataclass(frozen=True, eq=False)
class GlobalPool(Op):
    """Maximum or average over all spatial axes: [N, C, *space] -> [N, C, 1, ...]."""

    kind: str

    takes_prologue = True
    takes_epilogue = True

    def __post_init__(self) -> None:
        require(self.kind in ("max", "average"), f"unknown pool {self.kind!r}")

    @property
    def title(self) -> str:
        return f"global_{self.kind}_pool"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(len(x) >= 3, f"input {list(x)} should have at least one spatial axis")
        return (*x[:2], *(1 for _ in x[2:]))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        axes = tuple(range(2, x.ndim))
        y: Array = x.max(axis=axes, keepdims=True) if self.kind == "max" else x.mean(axis=axes, keepdims=True)
        return y

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        axes = tuple(range(2, x.value.ndim))
        if self.kind == "max":
            bound: Array = x.error.max(axis=axes, keepdims=True) + rounding.tiny
            return bound
        terms = int(np.prod(x.value.shape[2:]))
        sums = x.magnitude.sum(axis=axes, keepdims=True)
        error = x.error.mean(axis=axes, keepdims=True)
        bound = rounding.sum_error(additions(terms) + 4, sums) / terms + error + terms * rounding.tiny
        return bound
