"""Reference values of every layer for one sample, for the program that checks a network on the target itself.

An element's reference is the un-folded network's value in float64; where a tensor exists in the folded network only, as
part of a distributed map, it is the folded network's.  The tolerance is the larger of two:

- the end-to-end tolerance of the layer's tensor, :func:`codegen.graph.tolerance.tolerance`, as for outputs;
- the bound of ``clgen verify`` on the launch's error, for inputs that are not exact: each element may be off by
  NOISE_FACTOR times the largest change that rounding every tensor to float32 makes in the tensor.  Where a function is
  discontinuous or steep near an element, this is the larger one.

Tolerances are rounded up to powers of two, so that they are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.emit.selftest import SelfTest
from codegen.graph.bounded import ROUNDINGS, Array, Bounded
from codegen.graph.domain import generated_inputs
from codegen.graph.evaluation import evaluate_each
from codegen.graph.graph import Graph, Input
from codegen.graph.ops.op import Box, Op, Shape, whole
from codegen.graph.pieces import STEP, slices
from codegen.graph.tolerance import NOISE_FACTOR, rounded_each, tolerance, with_algorithm
from codegen.graph.types import is_whole
from codegen.plan.plan import Launch, Plan

ELEMENTS = 64
"""The most elements of a layer that are compared."""

STORED = 4096
"""The most numbers of a real sample, which is part of the program; networks with larger inputs get generated ones."""

_GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it, modulo 1, are spread evenly
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Element:
    """Element ``index`` of a layer in the network's order of axes, and the largest error that a target may have."""

    index: int
    value: float
    tolerance: float


@dataclass(frozen=True, eq=False)
class LayerSamples:
    """The sample and the elements to compare after each launch of a plan.

    ``images`` is the input in the application's layout and type, [batch, ...]; None: the self-test's generated inputs.
    A launch that does not complete a layer has no elements.
    """

    images: NDArray[Any] | None
    launches: tuple[tuple[Element, ...], ...]


def layer_samples(unfolded: Graph, plan: Plan, selftest: SelfTest, images: NDArray[np.float32] | None) -> LayerSamples:
    """Evaluates the network on the first of the ``images``, which are labelled samples, or on the self-test's inputs.

    Raises SpecError, with the tensor's name, if memory is too small.
    """
    sample = None if images is None else _stored(images, unfolded.inputs[0])
    if sample is None:
        drawn = generated_inputs(unfolded.inputs, selftest.ranges)
        given: Mapping[str, NDArray[Any]] = {i.name: drawn[i.name](whole(i.shape)) for i in unfolded.inputs}
    else:
        (x,) = unfolded.inputs
        given = {x.name: (np.moveaxis(sample, -1, 1) if x.channels_last else sample).astype(np.float64)}
    true = {node.name: _at_places(y) for node, _, y in evaluate_each(unfolded, given)}
    completing = {launch.node: launch for launch in plan.launches if launch.node == launch.writes}
    found: dict[str, tuple[Element, ...]] = {}
    each = zip(evaluate_each(plan.graph, given), rounded_each(plan.graph, given), strict=True)
    for (node, inputs, y), (_, rounded, z) in each:
        if node.name in completing:
            launch = completing[node.name]
            allowed = tolerance(y, _difference(z, y), plan.places[launch.writes].layout.dtype.name)
            errors = [NOISE_FACTOR * _largest(_difference(r, x)) for x, r in zip(inputs, rounded, strict=True)]
            values = true.get(node.name, _at_places(y))
            found[node.name] = tuple(_elements(node.op, launch, inputs, errors, values, y.shape, allowed))
    return LayerSamples(sample, tuple(found[n.node] if n.node == n.writes else () for n in plan.launches))


def _stored(images: NDArray[np.float32], declared: Input) -> NDArray[Any] | None:
    """The first images, one for each sample of the batch, in the input's type; None if they should not be stored."""
    batch = images[np.arange(declared.shape[0]) % len(images)]
    too_large = is_whole(declared.type) and np.abs(batch).max() >= 2**31  # for a literal in C
    return None if batch.size > STORED or too_large or not np.isfinite(batch).all() else batch.astype(declared.type)


def _places(shape: Shape) -> list[int]:
    """Indices in row-major order of up to ELEMENTS elements: of as many channels as possible, at various pixels."""
    count, channels = math.prod(shape), shape[1] if len(shape) > 1 else 1
    pixels = count // channels  # of all samples of the batch
    inner = math.prod(shape[2:])
    places = []
    for k in range(min(ELEMENTS, count)):
        channel = k % channels if channels <= ELEMENTS else k * channels // ELEMENTS
        pixel = int(k * _GOLDEN % 1 * pixels)
        places.append((pixel // inner * channels + channel) * inner + pixel % inner)
    return sorted(set(places))


def _at_places(y: Array) -> Array:
    """Copies of the elements at the places, as ``y`` may be large."""
    flat: Array = y.reshape(-1)[_places(y.shape)]
    return flat


def _elements(
    op: Op,
    launch: Launch,
    inputs: Sequence[NDArray[Any]],
    errors: Sequence[float],
    values: Array,
    shape: Shape,
    allowed: float,
) -> Iterator[Element]:
    """The elements that can be compared: finite ones, whose bound is finite."""
    computed = with_algorithm(op, launch.winograd, launch.in_blocks)
    bounds: dict[Box, Array] = {}
    for index, value in zip(_places(shape), values.tolist(), strict=True):
        box = _box(index, shape)
        if computed.for_box(box, *(x.shape for x in inputs)) is None:
            box = whole(shape)
        if box not in bounds:
            bounds[box] = _bound(computed, box, inputs, errors)
        at = (int(i) - start for i, (start, _) in zip(np.unravel_index(index, shape), box, strict=True))
        error = max(allowed, float(bounds[box][tuple(at)]))
        if abs(value) + 2 * error <= _FLOAT32_MAX:
            yield Element(index, value, 2.0 ** math.ceil(math.log2(error)))


def _box(index: int, shape: Shape) -> Box:
    """A small box with an element: STEP pixels along each axis, as Winograd's tiles must not be cut; all channels."""
    if len(shape) < 3:
        return whole(shape)
    box = []
    for axis, at in enumerate(int(i) for i in np.unravel_index(index, shape)):
        step = STEP if axis > 1 else 1
        box.append((0, shape[1]) if axis == 1 else (at // step * step, min(at // step * step + step, shape[axis])))
    return tuple(box)


def _bound(op: Op, box: Box, inputs: Sequence[NDArray[Any]], errors: Sequence[float]) -> Array:
    """The bound on the errors in a box of the output, or in all of it, for inputs that are off by these errors."""
    part = op.for_box(box, *(x.shape for x in inputs))
    if part is not None:
        op, inputs = part.op, [x[slices(read)] for x, read in zip(inputs, part.boxes, strict=True)]
    off = (np.where(np.isfinite(x), error, 0.0) for x, error in zip(inputs, errors, strict=True))
    read = (Bounded(np.asarray(x, dtype=np.float64), error) for x, error in zip(inputs, off, strict=True))
    return op.bounded(*read, rounding=ROUNDINGS["float32"]).error


def _difference(a: NDArray[Any], b: NDArray[Any]) -> Array:
    with np.errstate(invalid="ignore"):  # infinity less infinity
        difference: Array = a - b
    return difference


def _largest(values: Array) -> float:
    return float(np.max(np.abs(values), initial=0, where=np.isfinite(values)))
