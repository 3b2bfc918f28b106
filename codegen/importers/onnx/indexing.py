"""Indexing with constant indices: Gather, GatherElements, GatherND, ScatterElements, ScatterND."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from codegen.importers.onnx.builder import LARGEST_WHOLE, Builder
from codegen.importers.onnx.node import Live, Node, Refused

_MOST_RANGES = 8  # parts of a concatenation; beyond this, an index table is used
_MOST_ROUNDS = 64  # rounds of updates, each with at most one update per element

_REDUCTIONS = {"add": ("add", 0.0), "mul": ("mul", 1.0), "max": ("max", -math.inf), "min": ("min", math.inf)}
"""The layer's operator for a reduction, and the operator's neutral element."""

Places = NDArray[np.int64]


def _indices(node: Node, i: int = 1) -> Places:
    values = node.constant(i, "indices").values
    if values.size == 0:
        raise Refused(f"its indices {list(values.shape)} have a size of 0")
    if values.dtype.kind not in "iu" or values.size > LARGEST_WHOLE:
        raise Refused(f"its indices {list(values.shape)} are not a list of whole numbers")
    return values.astype(np.int64)


def _counted(indices: Places, size: int | Places, what: str) -> Places:
    """The indices with negative ones counted from the end."""
    if ((indices < -np.asarray(size)) | (indices >= size)).any():
        raise Refused(f"its indices are beyond the elements of {what}")
    return np.where(indices < 0, indices + size, indices)


def _gather(node: Node, b: Builder) -> Live:
    x, indices = node.live(), _indices(node)
    axis = node.axis(0, len(x.shape))
    chosen = _counted(indices, x.shape[axis], f"axis {axis}").reshape(-1)
    runs = _runs([int(i) for i in chosen])
    if len(runs) <= _MOST_RANGES:
        parts = [b.select(x, axis, run, f"part_{k}" if len(runs) > 1 else "") for k, run in enumerate(runs, 1)]
        y = parts[0] if len(parts) == 1 else b.layer("concat", parts, "joined", axis=axis)
    else:
        y = b.taken(x, axis, chosen)
    return b.reshape(y, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _runs(indices: list[int]) -> list[range]:
    """The indices as ranges with a constant step, found greedily."""
    runs: list[range] = []
    at = 0
    while at < len(indices) and len(runs) <= _MOST_RANGES:
        step = indices[at + 1] - indices[at] if at + 1 < len(indices) else 1
        step = step or 1
        end = at + 1
        while end < len(indices) and indices[end] - indices[end - 1] == step:
            end += 1
        runs.append(range(indices[at], indices[at] + step * (end - at), step))
        at = end
    return runs


def _gather_elements(node: Node, b: Builder) -> Live:
    x = node.live()
    return b.take(x, _places_of_elements(node, x.shape, _indices(node)))


def _places_of_elements(node: Node, shape: tuple[int, ...], indices: Places) -> Places:
    """Row-major positions of the elements that an index along one axis selects in a tensor of this shape."""
    axis = node.axis(0, len(shape))
    fits = indices.ndim == len(shape) and all(
        m <= n for a, (m, n) in enumerate(zip(indices.shape, shape, strict=True)) if a != axis
    )
    if not fits:
        raise Refused(f"its indices {list(indices.shape)} do not fit {list(shape)}")
    grid: list[Places] = list(np.indices(indices.shape))
    grid[axis] = _counted(indices, shape[axis], f"axis {axis}")
    return np.asarray(np.ravel_multi_index(tuple(grid), shape), dtype=np.int64)


def _gather_nd(node: Node, b: Builder) -> Live:
    x, indices, batch = node.live(), _indices(node), node.get("batch_dims", 0)
    if not 0 <= batch < min(len(x.shape), indices.ndim) or x.shape[:batch] != indices.shape[:batch]:
        raise Refused(f"batch_dims {batch} does not fit {list(x.shape)} and indices {list(indices.shape)}")
    return b.take(x, _places_of_parts(x.shape, indices, batch))


def _places_of_parts(shape: tuple[int, ...], indices: Places, batch: int = 0) -> Places:
    """The same for parts of a tensor, each selected by indices of the first axes after the batch axes."""
    depth = indices.shape[-1]
    if not 1 <= depth <= len(shape) - batch:
        raise Refused(f"its indices {list(indices.shape)} do not fit {list(shape)}")
    behind = shape[batch + depth :]
    if math.prod(indices.shape[:-1]) * math.prod(behind) > LARGEST_WHOLE:
        raise Refused(f"it takes more than {LARGEST_WHOLE} elements by indices")
    counted = _counted(indices, np.array(shape[batch : batch + depth]), f"{list(shape)}")
    places = np.arange(math.prod(shape)).reshape(shape)
    ahead: tuple[Places, ...] = np.indices(indices.shape[:batch], sparse=True)
    grids = [grid.reshape(*grid.shape, *[1] * (indices.ndim - 1 - batch)) for grid in ahead]
    return np.asarray(places[(*grids, *np.moveaxis(counted, -1, 0))])


def _scatter_elements(node: Node, b: Builder) -> Live:
    shape = _shape(node, 0)
    return _scatter(node, b, _places_of_elements(node, shape, _indices(node)))


def _scatter_nd(node: Node, b: Builder) -> Live:
    return _scatter(node, b, _places_of_parts(_shape(node, 0), _indices(node)))


def _shape(node: Node, i: int) -> tuple[int, ...]:
    shape = node.shape(i)
    if math.prod(shape) > LARGEST_WHOLE:
        raise Refused(f"it takes of {math.prod(shape)} elements by indices; at most {LARGEST_WHOLE} are allowed")
    return shape


def _scatter(node: Node, b: Builder, places: Places) -> Live:
    """Input 0 with the updates of input 2 at ``places``: all updates of an element combined, or the last one."""
    shape, reduction = _shape(node, 0), node.get("reduction", "none")
    if reduction not in ("none", *_REDUCTIONS):
        raise Refused(f"reduction {reduction} is unknown")
    if places.shape != _shape(node, 2):
        raise Refused(f"its updates {list(_shape(node, 2))} do not fit its indices")
    data, updates = (_row(node.live(i), b, what) for i, what in ((0, "data"), (2, "updates")))
    targets, count = places.reshape(-1), math.prod(shape)
    if reduction == "none":
        table = np.arange(count)
        table[targets] = count + np.arange(targets.size)  # in numpy, too, the last update wins
        return b.take(b.layer("concat", [data, updates], "both"), table.reshape(shape))
    op, neutral = _REDUCTIONS[reduction]
    nothing = b.number(neutral, data)
    pool = b.layer("concat", [updates, nothing], "pool")
    # Round k applies the k-th update of every element.
    order = np.argsort(targets, kind="stable")
    starts = np.searchsorted(targets[order], targets[order])
    rounds = np.arange(targets.size) - starts
    if rounds.max() >= _MOST_ROUNDS:
        raise Refused(f"it updates an element {rounds.max() + 1} times; at most {_MOST_ROUNDS} are allowed")
    for k in range(int(rounds.max()) + 1):
        table = np.full((1, count), targets.size)
        chosen = order[rounds == k]
        table[0, targets[chosen]] = chosen
        data = b.layer(op, [data, b.take(pool, table, f"round_{k + 1}")], "updated")
    return b.reshape(data, shape)


def _row(live: Live, b: Builder, what: str) -> Live:
    return b.reshape(live, (1, math.prod(live.shape)), f"{what}.row")


INDEXING_OPERATORS: Mapping[str, Callable[[Node, Builder], Live]] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
