"""End-to-end tolerances: the allowed difference of a float32 implementation from the un-folded network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph import bounded
from codegen.graph.bounded import Array, Bounded
from codegen.graph.evaluation import Source, evaluate, evaluate_each
from codegen.graph.graph import Constant, Graph, Node
from codegen.graph.ops import Conv, ConvInBlocks, Fused, Op
from codegen.graph.ops.op import Box
from codegen.graph.ops.winograd import WinogradConv
from codegen.graph.types import FLOAT32

# Allowed max|err| / max|y| from end to end: float32 noise of real networks is below 2e-5, and confusing two usual
# values of epsilon exceeds this limit on every real network tried.
PASS_MARK = 1e-4

# Rounding errors of an implementation, in units of the error from rounding every tensor to float32.
NOISE_FACTOR = 64

# Larger numbers may overflow float32 in an algorithm's transforms.
LARGE = 1e30


def rounded_evaluation(
    graph: Graph,
    given: Mapping[str, Source],
    wanted: Mapping[str, Box],
    computed: Mapping[str, Op] = MappingProxyType({}),
) -> dict[str, Array]:
    """Boxes of tensors as in :func:`codegen.graph.evaluation.evaluate`, rounded to float32 after every launch.

    ``computed`` has the operators of launches whose algorithm spreads infinities and NaN, or overflows for very large
    numbers: if such an operator's bound is infinite, the value is unknown, which NaN stands for here.
    """
    nodes = tuple(Node(n.name, computed.get(n.name, n.op), n.inputs) for n in graph.nodes)
    return evaluate(replace(_with_rounded_constants(graph), nodes=nodes), given, wanted, _rounded)


def rounded_each(graph: Graph, given: Mapping[str, NDArray[Any]]) -> Iterator[tuple[Node, list[NDArray[Any]], Array]]:
    """Nodes as in :func:`codegen.graph.evaluation.evaluate_each`, results rounded to float32 after every launch."""
    return evaluate_each(_with_rounded_constants(graph), given, _rounded)


def with_algorithm(op: Op, winograd: int, in_blocks: bool) -> Op:
    """The operator of a launch with the error bound of its algorithm.

    ``winograd`` is the size of Winograd's tiles, 0 for other algorithms; with ``in_blocks`` sums are made in two
    levels.
    """
    if not winograd and not in_blocks:
        return op
    assert isinstance(op, Fused) and isinstance(op.core, Conv)
    attributes = {f.name: getattr(op.core, f.name) for f in fields(op.core)}
    core = WinogradConv(**attributes, tile=winograd) if winograd else ConvInBlocks(**attributes)
    return replace(op, core=core)


def _with_rounded_constants(graph: Graph) -> Graph:
    rounded = tuple(Constant(c.name, c.values.astype(np.float32).astype(np.float64)) for c in graph.constants)
    return replace(graph, constants=rounded)


def _rounded(op: Op, inputs: Sequence[Array]) -> Array:
    y = op.reference(*inputs)
    spreads = isinstance(op, Fused) and isinstance(op.core, WinogradConv)
    if spreads and not all((np.abs(x) < LARGE).all() for x in inputs):
        true = op.bounded(*map(Bounded.exact, inputs), rounding=bounded.FLOAT32)
        y = np.where(np.isinf(true.error), np.nan, y)
    return y.astype(np.float32).astype(np.float64)


def tolerance(y: Array, noise: Array, dtype: str = FLOAT32) -> float:
    """The allowed end-to-end error of an output ``y``: the usual limit, or more if the network amplifies noise.

    ``noise`` is the change from rounding every tensor to float32; ``dtype`` is the output's type, as almost equal
    numbers may round to two different float16 numbers.  The result is a power of two, so that it does not depend on
    the last bits of a float64 computation, which differ between machines.
    """
    finite = np.isfinite(y) & np.isfinite(noise)
    largest = float(np.max(np.abs(y), initial=0, where=finite))
    amplified = float(np.max(np.abs(noise), initial=0, where=finite))
    apart = largest * float(np.finfo(np.float16).eps) if dtype == "float16" else 0.0
    allowed = apart + max(PASS_MARK * largest, NOISE_FACTOR * amplified, float(np.finfo(np.float32).tiny))
    return float(min(2.0 ** np.ceil(np.log2(allowed)), 2.0**127))
