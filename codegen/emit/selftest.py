"""The generated self-test: inputs that C can make without a table, and what the un-folded network answers to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ParameterError
from codegen.graph.bounded import Array
from codegen.graph.graph import Graph

SEED = 20260101
SAMPLES = 32
RANGES = (1, 16)  # of inputs

# What max|err| / max|y| may be from end to end: float32 noise of real networks is below 2e-5, and mixing up two usual
# values of epsilon overshoots the mark on every real network tried.
PASS_MARK = 1e-4

# Rounding errors of an implementation, in units of the error that rounding every tensor to float32 makes.
NOISE_FACTOR = 64


@dataclass(frozen=True)
class Sample:
    """Element ``index`` of an output in the user's layout, and how far off a device may be."""

    index: int
    value: float
    tolerance: float


@dataclass(frozen=True)
class SelfTest:
    """Inputs are in [-``largest``, ``largest``); ``outputs`` has the samples of each."""

    largest: int
    outputs: list[list[Sample]]


def inputs(graph: Graph, largest: int = 1) -> dict[str, NDArray[np.float32]]:
    """Numbers in [-``largest``, ``largest``), a power of two, by a linear congruential generator.

    Its constants are Numerical Recipes' "quick and dirty" ones.  In the network's order of axes; the generator fills
    the user's layout in order.
    """
    values = {}
    for k, i in enumerate(graph.inputs):
        shape = (i.shape[0], *i.shape[2:], i.shape[1]) if i.channels_last else i.shape
        flat = (largest * _generate((SEED + 7919 * k) % 2**32, int(np.prod(shape)))).reshape(shape)
        values[i.name] = np.moveaxis(flat, -1, 1) if i.channels_last else flat
    return values


def self_test(unfolded: Graph, launches: Graph) -> SelfTest:
    """Of small inputs, or of larger ones where small ones give infinity or NaN only."""
    for largest in RANGES:
        outputs = _samples(unfolded, launches, inputs(unfolded, largest))
        if all(outputs):
            return SelfTest(largest, outputs)
    name = next(o.name for o, chosen in zip(unfolded.outputs, outputs, strict=True) if not chosen)
    raise ParameterError(f"output {name!r} is infinite or NaN everywhere for inputs in [-{largest}, {largest})")


def _samples(unfolded: Graph, launches: Graph, given: Mapping[str, NDArray[np.float32]]) -> list[list[Sample]]:
    """For each output, what the un-folded network says in float64 at a few elements spread over the tensor."""
    expected = unfolded.evaluate(given)
    exact, noisy = launches.evaluate(given), rounded_evaluation(launches, given)
    chosen = []
    for true, fused in zip(unfolded.outputs, launches.outputs, strict=True):
        y = expected[true.value]
        with np.errstate(invalid="ignore"):  # infinity less infinity
            allowed = tolerance(y, noisy[fused.value] - exact[fused.value])
        flat = (np.moveaxis(y, 1, -1) if true.channels_last else y).reshape(-1)
        # Infinity and NaN, as of a logarithm, cannot be compared by a tolerance.
        finite = np.flatnonzero(np.abs(flat) <= np.finfo(np.float32).max)
        spread = np.unique(np.linspace(0, finite.size - 1, min(SAMPLES, finite.size)).astype(int))
        chosen.append([Sample(int(i), float(flat[i]), allowed) for i in finite[spread]])
    return chosen


def rounded_evaluation(graph: Graph, given: Mapping[str, NDArray[np.floating]]) -> dict[str, Array]:
    """Every tensor in float64 arithmetic, but rounded to float32 between launches."""
    values: dict[str, Array] = {i.name: np.asarray(given[i.name], dtype=np.float64) for i in graph.inputs}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            y = node.op.reference(*(values[name] for name in node.inputs))
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


def _generate(seed: int, count: int) -> NDArray[np.float32]:
    # state[n] = a^n seed + c (a^(n-1) + ... + 1), modulo 2^32
    powers = np.cumprod(np.full(count, 1664525, dtype=np.uint32), dtype=np.uint32)
    sums = np.cumsum(np.concatenate([np.ones(1, dtype=np.uint32), powers[:-1]]), dtype=np.uint32)
    state = powers * np.uint32(seed) + sums * np.uint32(1013904223)
    return (((state >> 16) & 0xFFFF).astype(np.float32) - np.float32(32768)) / np.float32(32768)
