"""The generated self-test: inputs that C can make without a table, and what the un-folded network answers to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import FLOAT32, Array, Bounded
from codegen.graph.domain import find_domain
from codegen.graph.graph import Graph, Range
from codegen.graph.ops import Op

SAMPLES = 32

# What max|err| / max|y| may be from end to end: float32 noise of real networks is below 2e-5, and mixing up two usual
# values of epsilon overshoots the mark on every real network tried.
PASS_MARK = 1e-4

# Rounding errors of an implementation, in units of the error that rounding every tensor to float32 makes.
NOISE_FACTOR = 64

# Numbers that an algorithm's own transforms may bring beyond float32's range.
LARGE = 1e30


@dataclass(frozen=True)
class Sample:
    """Element ``index`` of an output in the user's layout, and how far off a device may be."""

    index: int
    value: float
    tolerance: float


@dataclass(frozen=True)
class SelfTest:
    """``ranges`` has the range of each input's made-up numbers, ``outputs`` the samples of each output."""

    ranges: tuple[Range, ...]
    outputs: list[list[Sample]]


def self_test(unfolded: Graph, launches: Graph) -> SelfTest:
    """What the un-folded network answers in float64 at a few elements of each output, spread over the tensor."""
    domain = find_domain(unfolded)
    exact, noisy = launches.evaluate(domain.inputs), rounded_evaluation(launches, domain.inputs)
    chosen = []
    for true, fused in zip(unfolded.outputs, launches.outputs, strict=True):
        y = domain.values[true.value]
        with np.errstate(invalid="ignore"):  # infinity less infinity
            allowed = tolerance(y, noisy[fused.value] - exact[fused.value])
        flat = (np.moveaxis(y, 1, -1) if true.channels_last else y).reshape(-1)
        # Infinity and NaN, as of a logarithm, cannot be compared by a tolerance.
        finite = np.flatnonzero(np.abs(flat) <= np.finfo(np.float32).max)
        spread = np.unique(np.linspace(0, finite.size - 1, min(SAMPLES, finite.size)).astype(int))
        chosen.append([Sample(int(i), float(flat[i]), allowed) for i in finite[spread]])
    return SelfTest(domain.ranges, chosen)


def rounded_evaluation(
    graph: Graph, given: Mapping[str, NDArray[np.floating]], computed: Mapping[str, Op] = MappingProxyType({})
) -> dict[str, Array]:
    """Every tensor in float64 arithmetic, but rounded to float32 between launches.

    ``computed`` has the operators of launches whose algorithm spreads infinities and NaN, or makes them of very large
    numbers: where such an operator's bound is infinite the value is not known, which is NaN here.
    """
    values: dict[str, Array] = {i.name: np.asarray(given[i.name], dtype=np.float64) for i in graph.inputs}
    with np.errstate(all="ignore"):
        values |= {name: y.astype(np.float32).astype(np.float64) for name, y in graph.constant_values.items()}
        for node in graph.nodes:
            inputs = [values[name] for name in node.inputs]
            y = node.op.reference(*inputs)
            if node.name in computed and not all((np.abs(x) < LARGE).all() for x in inputs):
                true = computed[node.name].bounded(*map(Bounded.exact, inputs), rounding=FLOAT32)
                y = np.where(np.isinf(true.error), np.nan, y)
            values[node.name] = y.astype(np.float32).astype(np.float64)
    return values


def tolerance(y: Array, noise: Array) -> float:
    """How far an output ``y`` may be off from end to end: the pass mark, or more where the network amplifies noise.

    ``noise`` is what rounding every tensor to float32 changes.  A power of two, so that the last bits of a float64
    computation, which depend on the machine, do not show.
    """
    finite = np.isfinite(y) & np.isfinite(noise)
    largest = float(np.max(np.abs(y), initial=0, where=finite))
    amplified = float(np.max(np.abs(noise), initial=0, where=finite))
    allowed = max(PASS_MARK * largest, NOISE_FACTOR * amplified, float(np.finfo(np.float32).tiny))
    return float(min(2.0 ** np.ceil(np.log2(allowed)), 2.0**127))
