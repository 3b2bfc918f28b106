"""The generated self-test: inputs that C can make without a table, and what the un-folded network answers to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from codegen.graph import bounded
from codegen.graph.bounded import Array, Bounded
from codegen.graph.domain import find_domain
from codegen.graph.evaluation import Source, evaluate
from codegen.graph.graph import Constant, Graph, Node, Range
from codegen.graph.ops import Fused, Op, Shape
from codegen.graph.ops.op import Box, extents
from codegen.graph.ops.winograd import WinogradConv
from codegen.graph.types import FLOAT32

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
        # Infinity and NaN, as of a logarithm, cannot be compared by a tolerance.
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
    """Where the i-th element of all boxes one after the other is in the user's array."""
    for box in boxes:
        if i < math.prod(extents(box)):
            break
        i -= math.prod(extents(box))
    if channels_last:
        box, shape = (box[0], *box[2:], box[1]), (shape[0], *shape[2:], shape[1])
    at = [int(k) + start for k, (start, _) in zip(np.unravel_index(i, extents(box)), box, strict=True)]
    return int(np.ravel_multi_index(at, shape))


def rounded_evaluation(
    graph: Graph,
    given: Mapping[str, Source],
    wanted: Mapping[str, Box],
    computed: Mapping[str, Op] = MappingProxyType({}),
) -> dict[str, Array]:
    """Boxes of tensors as :func:`codegen.graph.evaluation.evaluate` gives them, but rounded to float32 by every launch.

    ``computed`` has the operators of launches whose algorithm spreads infinities and NaN, or makes them of very large
    numbers: where such an operator's bound is infinite the value is not known, which is NaN here.
    """
    nodes = tuple(Node(n.name, computed.get(n.name, n.op), n.inputs) for n in graph.nodes)
    constants = tuple(Constant(c.name, c.values.astype(np.float32).astype(np.float64)) for c in graph.constants)
    return evaluate(replace(graph, nodes=nodes, constants=constants), given, wanted, _rounded)


def _rounded(op: Op, inputs: Sequence[Array]) -> Array:
    y = op.reference(*inputs)
    spreads = isinstance(op, Fused) and isinstance(op.core, WinogradConv)
    if spreads and not all((np.abs(x) < LARGE).all() for x in inputs):
        true = op.bounded(*map(Bounded.exact, inputs), rounding=bounded.FLOAT32)
        y = np.where(np.isinf(true.error), np.nan, y)
    return y.astype(np.float32).astype(np.float64)


def tolerance(y: Array, noise: Array, kind: str = FLOAT32) -> float:
    """How far an output ``y`` may be off from end to end: the pass mark, or more where the network amplifies noise.

    ``noise`` is what rounding every tensor to float32 changes; ``kind`` is the output's type, as rounding a number to
    float16 can make two of what are almost one.  A power of two, so that the last bits of a float64
    computation, which depend on the machine, do not show.
    """
    finite = np.isfinite(y) & np.isfinite(noise)
    largest = float(np.max(np.abs(y), initial=0, where=finite))
    amplified = float(np.max(np.abs(noise), initial=0, where=finite))
    apart = largest * float(np.finfo(np.float16).eps) if kind == "float16" else 0.0
    allowed = apart + max(PASS_MARK * largest, NOISE_FACTOR * amplified, float(np.finfo(np.float32).tiny))
    return float(min(2.0 ** np.ceil(np.log2(allowed)), 2.0**127))
