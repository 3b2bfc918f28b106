"""The generated self-test: inputs that C can compute without a table, and the un-folded network's outputs for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codegen.graph.bounded import Array
from codegen.graph.domain import find_domain
from codegen.graph.evaluation import evaluate
from codegen.graph.graph import Graph, Range
from codegen.graph.ops import Shape
from codegen.graph.ops.op import Box, extents
from codegen.graph.tolerance import rounded_evaluation, tolerance

SAMPLES = 32


@dataclass(frozen=True)
class Sample:
    """Element ``index`` of an output in the user's layout, and the largest error that a device may have."""

    index: int
    value: float
    tolerance: float


@dataclass(frozen=True)
class SelfTest:
    """The self-test's data: ``ranges`` of the generated inputs, and ``outputs`` with samples of each output."""

    ranges: tuple[Range, ...]
    outputs: list[list[Sample]]


def self_test(unfolded: Graph, launches: Graph) -> SelfTest:
    """The un-folded network's float64 results at a few elements of each output, spread over the tensor."""
    domain = find_domain(unfolded)
    there = {true.value: fused.value for true, fused in zip(unfolded.outputs, launches.outputs, strict=True)}
    noise = []
    for part in domain.windows:
        wanted = {there[name]: box for name, box in part.items()}
        exact = evaluate(launches, domain.inputs, wanted)
        noisy = rounded_evaluation(launches, domain.inputs, wanted)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            noise.append({name: noisy[there[name]] - exact[there[name]] for name in part})
    chosen = []
    for output in unfolded.outputs:
        boxes = {part[output.value]: k for k, part in enumerate(domain.windows)}
        y, off = (
            np.concatenate([_flat(parts[k][output.value], output.channels_last) for k in boxes.values()])
            for parts in (domain.values, noise)
        )
        allowed = tolerance(y, off, output.type)
        # Infinity and NaN, as from a logarithm, cannot be compared with a tolerance.
        finite = np.flatnonzero(np.abs(y) <= np.finfo(np.float32).max)
        spread = np.unique(np.linspace(0, finite.size - 1, min(SAMPLES, finite.size)).astype(int))
        shape = unfolded.shapes[output.value]
        places = [_index(int(i), list(boxes), shape, output.channels_last) for i in finite[spread]]
        chosen.append([Sample(at, float(y[i]), allowed) for at, i in zip(places, finite[spread], strict=True)])
    return SelfTest(domain.ranges, chosen)


def _flat(values: Array, channels_last: bool) -> Array:
    """The elements in the order of the user's layout."""
    return (np.moveaxis(values, 1, -1) if channels_last else values).reshape(-1)


def _index(i: int, boxes: Sequence[Box], shape: Shape, channels_last: bool) -> int:
    """The index in the user's array of the i-th element of all boxes in sequence."""
    for box in boxes:
        if i < math.prod(extents(box)):
            break
        i -= math.prod(extents(box))
    if channels_last:
        box, shape = (box[0], *box[2:], box[1]), (shape[0], *shape[2:], shape[1])
    at = [int(k) + start for k, (start, _) in zip(np.unravel_index(i, extents(box)), box, strict=True)]
    return int(np.ravel_multi_index(at, shape))
