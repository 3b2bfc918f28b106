"""The ranges of inputs, and generated inputs in these ranges that are the same in C and in Python.

A spec may declare the range of an input.  Otherwise it is the first of RANGES for which the network's outputs are
finite, as a logarithm or a square root needs positive numbers.

Generated numbers are ``n * step`` with odd integers n and a step that is a power of two, and exact in float32.  So no
rounding can differ between machines or compilers, and no number is 0 or an end of the range, where a logarithm or a
reciprocal would be infinite.  Numbers for integer and bool inputs are whole and include the ends of the range; numbers
for float16 inputs are exact in float16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ParameterError
from codegen.graph.bounded import Array
from codegen.graph.evaluation import Source, evaluate, windows
from codegen.graph.graph import Graph, Input, Range
from codegen.graph.ops.op import Box, extents
from codegen.graph.types import FLOAT32, is_whole, limits

RANGES: tuple[Range, ...] = ((-1.0, 1.0), (0.0, 1.0), (-16.0, 16.0), (0.0, 16.0))
"""Ranges that are tried, in this order, for floating-point inputs without a declared range."""

SIGNED: tuple[Range, ...] = ((-128.0, 127.0), (0.0, 127.0))
UNSIGNED: tuple[Range, ...] = ((0.0, 255.0),)
BOOL: tuple[Range, ...] = ((0.0, 1.0),)
"""The same for signed and unsigned integers (ranges of a byte, which every integer type holds), and for bools."""

SEED = 20260101
SEED_STEP = 7919  # difference between the seeds of one input and the next

DRAWS = 2**16  # distinct values of a 16-bit draw
SLICE = 2**20  # elements that are generated at a time
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Grid:
    """The numbers that are generated for a range: ``(first + 2 k) * step`` for k from 0 to ``count`` - 1.

    ``step`` is a power of two (1/2 for consecutive whole numbers), ``|first + 2 k| <= 2^24`` and
    ``1 <= count <= 2^16``.
    """

    first: int
    count: int
    step: float


@dataclass(frozen=True, eq=False)
class Domain:
    """The range of each input (``ranges``, in order), and generated inputs with the outputs that belong to them.

    ``inputs`` are generated inputs in these ranges.  ``windows`` are boxes of the output tensors and ``values`` the
    network's results in these boxes; the boxes cover the outputs unless images are large.
    """

    ranges: tuple[Range, ...]
    inputs: Mapping[str, Source]
    windows: Sequence[Mapping[str, Box]]
    values: Sequence[Mapping[str, Array]]


def find_domain(graph: Graph) -> Domain:
    """The declared ranges, and for other inputs the range of RANGES that gives the fewest infinities and NaNs.

    The search ends at the first range for which all outputs are finite.  Raises ParameterError if an output has no
    finite element for any range.
    """
    parts = windows(graph)
    size = sum(math.prod(extents(part[output.value])) for part in parts for output in graph.outputs)
    best: Domain | None = None
    fewest = size
    for ranges in _tried(graph.inputs):
        given = generated_inputs(graph.inputs, ranges)
        domain = Domain(ranges, given, parts, [evaluate(graph, given, part) for part in parts])
        finite = _finite(domain, graph)
        others = size - sum(finite.values())
        if all(finite.values()) and others < fewest:
            best, fewest = domain, others
        if fewest == 0:
            break
    if best is None:
        raise ParameterError(_not_finite(graph, next(name for name, count in finite.items() if not count)))
    return best


def _tried(inputs: tuple[Input, ...]) -> Iterator[tuple[Range, ...]]:
    """Ranges to try for all inputs; inputs without a declared range step through the ranges of their type together."""
    tried = [candidates(i.type) if i.range is None else (i.range,) for i in inputs]
    for k in range(max(map(len, tried))):
        yield tuple(ranges[min(k, len(ranges) - 1)] for ranges in tried)


def candidates(dtype: str) -> tuple[Range, ...]:
    """The ranges to try for an input of this type without a declared range."""
    if not is_whole(dtype):
        return RANGES
    return BOOL if dtype == "bool" else SIGNED if limits(dtype)[0] < 0 else UNSIGNED


def _finite(domain: Domain, graph: Graph) -> dict[str, int]:
    """The number of elements of each output that are finite in float32."""
    return {
        output.name: sum(int(np.count_nonzero(np.abs(part[output.value]) <= FLOAT32_MAX)) for part in domain.values)
        for output in graph.outputs
    }


def _not_finite(graph: Graph, output: str) -> str:
    open_names = [i.name for i in graph.inputs if i.range is None]
    declared = ", ".join(f"{i.name!r} in {range_text(i.range)}" for i in graph.inputs if i.range is not None)
    message = f"output {output!r} is infinite or NaN everywhere"
    if not open_names:
        return f"{message} for inputs in their declared ranges, {declared}; write the ranges that the network is for"
    tried = ", ".join(dict.fromkeys(range_text(r) for i in graph.inputs if i.range is None for r in candidates(i.type)))
    return (
        f"{message} for inputs in {tried}{f' with {declared}' if declared else ''}; "
        f"write the range that the network is for in the spec: range = [low, high] in [[input]] {open_names[0]!r}"
    )


def range_text(chosen: Range) -> str:
    """A range for people: the shortest decimal numbers that round to its float32 ends."""
    low, high = (str(np.float32(end)).removesuffix(".0") for end in chosen)
    return f"[{low}, {high}]"


def generated_inputs(inputs: tuple[Input, ...], ranges: tuple[Range, ...]) -> dict[str, Source]:
    """Inputs by name: numbers of each range's grid, chosen by a linear congruential generator.

    Arrays have the network's order of axes, and are filled in the order of the application's layout.  The generator's
    constants are the "quick and dirty" ones of Numerical Recipes.
    """
    return {
        i.name: _Numbers(i, (SEED + SEED_STEP * k) % 2**32, grid(chosen, i.type))
        for k, (i, chosen) in enumerate(zip(inputs, ranges, strict=True))
    }


@dataclass(frozen=True, eq=False)
class _Numbers:
    """The generated numbers of an input."""

    input: Input
    seed: int
    grid: Grid

    def __call__(self, box: Box) -> NDArray[np.float32]:
        shape, last = self.input.shape, self.input.channels_last
        order = [0, *range(2, len(shape)), 1] if last else [*range(len(shape))]
        strides = {axis: math.prod(shape[a] for a in order[k + 1 :]) for k, axis in enumerate(order)}
        values = np.empty(extents(box), dtype=np.float32)
        # Done in slices of the first axis of size > 1, as the index of an element takes more memory than the element.
        sliced = next((axis for axis, n in enumerate(values.shape) if n > 1), 0)
        step = max(SLICE * values.shape[sliced] // values.size, 1)
        for first in range(0, values.shape[sliced], step):
            part = list(box)
            part[sliced] = (box[sliced][0] + first, min(box[sliced][0] + first + step, box[sliced][1]))
            number = np.zeros(1, dtype=np.int64)
            for axis, (start, stop) in enumerate(part):
                along = (np.arange(start, stop) * strides[axis]).reshape(-1, *(1,) * (len(shape) - 1 - axis))
                number = number + along
            at = (*(slice(None),) * sliced, slice(first, first + step))
            values[at] = on_grid(_draws(self.seed, number), self.grid)
        return values


def grid(chosen: Range, dtype: str = FLOAT32) -> Grid:
    """The grid with the most numbers of this type strictly inside a range, at most 2^16.

    If there are none, as between two neighbouring float32 numbers, the grid has one number.  For integers and bools,
    the grid has all whole numbers of the range, or evenly spaced ones among them, with both ends.
    """
    if is_whole(dtype):
        return _whole_grid(chosen, dtype)
    low, high = chosen
    mantissa, exponent = math.frexp(max(abs(low), abs(high)))
    # All multiples of `unit` up to the larger end are exact in the type; for float32 these are at most 2^24.
    digits, smallest = (11, -24) if dtype == "float16" else (24, -149)
    unit = max(exponent - digits - (mantissa == 0.5), smallest)
    # The smallest step for which at most 2^16 odd multiples fit; halves, as the width may be beyond float64's integers.
    mantissa, exponent = math.frexp(high - low)
    half = max(exponent - (18 if mantissa == 0.5 else 17), unit)
    lowest, highest = math.ldexp(low, -half), math.ldexp(high, -half)
    first, last = math.floor(lowest) + 1, math.ceil(highest) - 1
    first += first % 2 == 0
    last -= last % 2 == 0
    if first > last:
        first = last = math.ceil(lowest)
    return Grid(first, (last - first) // 2 + 1, math.ldexp(1.0, half))


def _whole_grid(chosen: Range, dtype: str) -> Grid:
    least, most = limits(dtype)
    low, high = max(int(chosen[0]), int(least)), min(int(chosen[1]), int(most))
    spacing = 1
    # At most 2^16 numbers, none of which exceeds 2^23 times the spacing.
    while (high - low) // spacing >= DRAWS or max(-low, high) // spacing > 2**23:
        spacing *= 2
    first, last = -(-low // spacing), high // spacing
    return Grid(2 * first, last - first + 1, spacing / 2)


def on_grid(draws: NDArray[np.uint32], chosen: Grid) -> NDArray[np.float32]:
    """The numbers of the grid that 16-bit draws choose."""
    k = (draws * np.uint32(chosen.count) >> np.uint32(16)).astype(np.int64)
    numbers: NDArray[np.float32] = (chosen.first + 2 * k).astype(np.float32) * np.float32(chosen.step)
    return numbers


def _draws(seed: int, number: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The upper 16 bits of the generator's states at these positions; position 0 is the first state after the seed."""
    high, low = number >> 16, number & 0xFFFF
    # A step to the next state, and one over 2^16 states: both map a state s to a s + c.
    powers, shifts = _steps(1664525, 1013904223, 2**16)
    far_powers, far_shifts = _steps(int(powers[-1]), int(shifts[-1]), int(high.max(initial=0)) + 1)
    starts = np.concatenate([[np.uint32(seed)], far_powers * np.uint32(seed) + far_shifts]).astype(np.uint32)
    drawn: NDArray[np.uint32] = np.right_shift(powers[low] * starts[high] + shifts[low], np.uint32(16))
    return drawn


def _steps(a: int, c: int, count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Factors and summands, modulo 2^32, of 1 to ``count`` repetitions of s -> a s + c."""
    # state[n] = a^n seed + c (a^(n-1) + ... + 1)
    powers = np.cumprod(np.full(count, a, dtype=np.uint32), dtype=np.uint32)
    sums = np.cumsum(np.concatenate([np.ones(1, dtype=np.uint32), powers[:-1]]), dtype=np.uint32)
    return powers, sums * np.uint32(c)
