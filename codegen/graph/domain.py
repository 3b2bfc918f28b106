"""The numbers that the inputs hold, and made-up inputs of such numbers that are the same in C and in Python.

A spec may declare the range of an input.  For inputs without one a range is found: the first of RANGES for which the
network's outputs are finite, as a logarithm or a square root needs positive numbers.

Made-up numbers are ``n * step`` with odd integers n and a step that is a power of two, all of them exact in float32.
So no rounding can differ between machines or compilers, and a number is neither 0 nor an end of the range, where a
logarithm or a reciprocal would be infinite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ParameterError
from codegen.graph.bounded import Array
from codegen.graph.graph import Graph, Input, Range

RANGES: tuple[Range, ...] = ((-1.0, 1.0), (0.0, 1.0), (-16.0, 16.0), (0.0, 16.0))
"""What is tried for inputs without a declared range, in this order."""

SEED = 20260101
SEED_STEP = 7919  # from one input to the next

DRAWS = 2**16  # values of one draw of the generator
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Grid:
    """The made-up numbers of a range: ``(first + 2 k) * step`` for k from 0 to ``count`` - 1.

    ``step`` is a power of two, ``|first + 2 k| <= 2^24`` and ``1 <= count <= 2^16``.
    """

    first: int
    count: int
    step: float


@dataclass(frozen=True, eq=False)
class Domain:
    """``ranges`` has the range of each input, in order.

    ``inputs`` are made-up inputs in these ranges, ``values`` all tensors that the network computes from them.
    """

    ranges: tuple[Range, ...]
    inputs: Mapping[str, NDArray[np.float32]]
    values: Mapping[str, Array]


def find_domain(graph: Graph) -> Domain:
    """The declared ranges, completed by the one of RANGES with the fewest infinities and NaNs in the outputs.

    The first one for which all outputs are finite ends the search.  ParameterError if an output has no finite element
    in any of them.
    """
    size = sum(math.prod(graph.shapes[output.value]) for output in graph.outputs)
    best: Domain | None = None
    fewest = size
    for found in RANGES if any(i.range is None for i in graph.inputs) else RANGES[:1]:
        ranges = tuple(i.range or found for i in graph.inputs)
        given = made_up(graph.inputs, ranges)
        domain = Domain(ranges, given, graph.evaluate(given))
        finite = _finite(domain, graph)
        others = size - sum(finite.values())
        if all(finite.values()) and others < fewest:
            best, fewest = domain, others
        if fewest == 0:
            break
    if best is None:
        raise ParameterError(_not_finite(graph, next(name for name, count in finite.items() if not count)))
    return best


def _finite(domain: Domain, graph: Graph) -> dict[str, int]:
    """How many elements of each output are finite in float32."""
    values = ((output.name, domain.values[output.value]) for output in graph.outputs)
    return {name: int(np.count_nonzero(np.abs(y) <= FLOAT32_MAX)) for name, y in values}


def _not_finite(graph: Graph, output: str) -> str:
    open_names = [i.name for i in graph.inputs if i.range is None]
    declared = ", ".join(f"{i.name!r} in {range_text(i.range)}" for i in graph.inputs if i.range is not None)
    message = f"output {output!r} is infinite or NaN everywhere"
    if not open_names:
        return f"{message} for inputs in their declared ranges, {declared}; write the ranges that the network is for"
    tried = ", ".join(map(range_text, RANGES))
    return (
        f"{message} for inputs in {tried}{f' with {declared}' if declared else ''}; "
        f"write the range that the network is for in the spec: range = [low, high] in [[input]] {open_names[0]!r}"
    )


def range_text(chosen: Range) -> str:
    """A range for people: the shortest decimal numbers that are read as its float32 ends."""
    low, high = (str(np.float32(end)).removesuffix(".0") for end in chosen)
    return f"[{low}, {high}]"


def made_up(inputs: tuple[Input, ...], ranges: tuple[Range, ...]) -> dict[str, NDArray[np.float32]]:
    """Numbers by a linear congruential generator, in the network's order of axes.

    Its constants are Numerical Recipes' "quick and dirty" ones.  The generator fills the user's layout in order.
    """
    values = {}
    for k, (i, chosen) in enumerate(zip(inputs, ranges, strict=True)):
        shape = (i.shape[0], *i.shape[2:], i.shape[1]) if i.channels_last else i.shape
        draws = _draws((SEED + SEED_STEP * k) % 2**32, math.prod(shape))
        values_here = on_grid(draws, grid(chosen)).reshape(shape)
        values[i.name] = np.moveaxis(values_here, -1, 1) if i.channels_last else values_here
    return values


def grid(chosen: Range) -> Grid:
    """The grid with the most numbers strictly inside a range, at most 2^16 of them.

    A range without such numbers, as between two neighbours of float32, has one number.
    """
    low, high = chosen
    mantissa, exponent = math.frexp(max(abs(low), abs(high)))
    # All multiples of `unit` up to the larger end are float32 numbers: there are at most 2^24.
    unit = max(exponent - (25 if mantissa == 0.5 else 24), -149)
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


def on_grid(draws: NDArray[np.uint32], chosen: Grid) -> NDArray[np.float32]:
    """A number of the grid for each 16-bit draw."""
    k = (draws * np.uint32(chosen.count) >> np.uint32(16)).astype(np.int64)
    numbers: NDArray[np.float32] = (chosen.first + 2 * k).astype(np.float32) * np.float32(chosen.step)
    return numbers


def _draws(seed: int, count: int) -> NDArray[np.uint32]:
    """The upper 16 bits of the generator's first states."""
    # state[n] = a^n seed + c (a^(n-1) + ... + 1), modulo 2^32
    powers = np.cumprod(np.full(count, 1664525, dtype=np.uint32), dtype=np.uint32)
    sums = np.cumsum(np.concatenate([np.ones(1, dtype=np.uint32), powers[:-1]]), dtype=np.uint32)
    state = powers * np.uint32(seed) + sums * np.uint32(1013904223)
    return np.right_shift(state, np.uint32(16))
