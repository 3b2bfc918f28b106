"""Transposes and reshapes as values: they compose, have inverses, and can be compared.

A move splits the axes of its input into factors, puts the factors in another order, and joins them to the axes of its
output.  Axes of size 1 have no factors: moving, adding or removing one changes nothing but the shape.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

from codegen.graph.ops import Op, Reshape, Shape, Transpose

T = TypeVar("T")
CACHED = 4096  # results; a network has few distinct moves, each many times
Factors = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Move:
    """Elements of a tensor in another order and shape.

    ``factors`` are the sizes of each input axis' factors, outermost first; ``order`` lists the factors, counted through
    all input axes, as they follow each other in the output; ``counts`` says how many of them each output axis has.
    Moves with the same effect are equal, because factors are merged as far as possible.
    """

    factors: Factors
    order: tuple[int, ...]
    counts: tuple[int, ...]

    @staticmethod
    def identity(shape: Shape) -> Move:
        return Move.transpose(shape, tuple(range(len(shape))))

    @staticmethod
    def transpose(shape: Shape, axes: Sequence[int]) -> Move:
        """Output axis i is input axis ``axes[i]``."""
        factors = tuple((n,) if n > 1 else () for n in shape)
        starts = list(itertools.accumulate((len(f) for f in factors), initial=0))
        order = tuple(starts[a] for a in axes if factors[a])
        return Move(factors, order, tuple(len(factors[a]) for a in axes))

    @staticmethod
    def reshape(shape: Shape, wanted: Shape) -> Move | None:
        """The move that keeps the elements in row-major order; None if axes overlap in part, as from 2x3 to 3x2."""
        sizes = _refined(shape, wanted)
        if sizes is None:
            return None
        factors = _split(sizes, _parts(shape, sizes))
        return _normal(factors, tuple(range(len(sizes))), _parts(wanted, sizes))

    @staticmethod
    def of(op: Op, shape: Shape) -> Move | None:
        """The move of a node that only moves elements; None for other nodes."""
        if isinstance(op, Transpose):
            return Move.transpose(shape, op.axes)
        return Move.reshape(shape, op.shape) if isinstance(op, Reshape) else None

    @cached_property
    def source(self) -> Shape:
        """The input's shape."""
        return tuple(math.prod(f) for f in self.factors)

    @cached_property
    def shape(self) -> Shape:
        """The output's shape."""
        return tuple(math.prod(f) for f in self._output_factors)

    @property
    def keeps_order(self) -> bool:
        """True if the elements stay in row-major order, as in a reshape."""
        return self.order == tuple(range(len(self.order)))

    @property
    def keeps_all(self) -> bool:
        """True if nothing changes, the shape included."""
        return self.keeps_order and self.source == self.shape

    @lru_cache(CACHED)  # noqa: B019
    def inverse(self) -> Move:
        order = tuple(sorted(range(len(self.order)), key=self.order.__getitem__))
        return Move(self._output_factors, order, tuple(map(len, self.factors)))

    @lru_cache(CACHED)  # noqa: B019
    def then(self, after: Move) -> Move | None:
        """This move followed by another; None if their factors overlap in part."""
        assert self.shape == after.source
        sizes: list[int] = []
        first: list[int] = []
        second: list[int] = []
        for mine, theirs in zip(self._output_factors, after.factors, strict=True):
            refined = _refined(mine, theirs)
            if refined is None:
                return None
            sizes += refined
            first += _parts(mine, refined)
            second += _parts(theirs, refined)
        # Factors as indices of ``sizes``: this move's in its output's order, the other's in its input's order.
        made, read = (_split(range(len(sizes)), counts) for counts in (first, second))
        before = [made[self.order.index(i)] for i in range(len(self.order))]
        places = [i for factor in before for i in factor]
        counts = [sum(map(len, group)) for group in _split(before, [len(f) for f in self.factors])]
        order = [places.index(i) for factor in after.order for i in read[factor]]
        joined = [sum(len(read[factor]) for factor in group) for group in _split(after.order, after.counts)]
        return _normal(_split([sizes[i] for i in places], counts), order, joined)

    @lru_cache(CACHED)  # noqa: B019
    def resized(self, source: Shape) -> Move | None:
        """The same move for a tensor of other axis sizes; None if it would not be the same move.

        An axis that becomes 1 must not be joined with one that stays larger, and one that grows must not be split.
        """
        if len(source) != len(self.factors):
            return None
        changed: set[int] = set()
        factors: list[tuple[int, ...]] = []
        kept: list[int] = []
        start = 0
        for old, n in zip(self.factors, source, strict=True):
            here = range(start, start + len(old))
            start += len(old)
            if math.prod(old) != n:
                if n > 1 and len(old) != 1:
                    return None
                changed.update(here)
                old = (n,) if n > 1 else ()
                here = here if n > 1 else range(0)
            factors.append(old)
            kept.extend(here)
        counts = []
        for group in _split(self.order, self.counts):
            moved = changed.intersection(group)
            whole = len(group) == 1 or not moved.intersection(kept)
            if moved and not (whole and moved == set(group)):
                return None
            counts.append(len(set(group).intersection(kept)))
        order = tuple(kept.index(i) for i in self.order if i in kept)
        return _normal(tuple(factors), order, counts)

    def axis(self, axis: int) -> int | None:
        """The output axis that is exactly this input axis; None if there is none, or the axis has size 1."""
        start = sum(len(f) for f in self.factors[:axis])
        own = tuple(range(start, start + len(self.factors[axis])))
        groups = _split(self.order, self.counts)
        return groups.index(own) if own and own in groups else None

    def axes(self, axes: Iterable[int]) -> tuple[int, ...] | None:
        """The output axes that together are exactly these input axes, in any order; None if there are none."""
        starts = list(itertools.accumulate((len(f) for f in self.factors), initial=0))
        own = {i for a in axes for i in range(starts[a], starts[a + 1])}
        found = [b for b, group in enumerate(_split(self.order, self.counts)) if own.intersection(group)]
        return tuple(found) if own == {i for b in found for i in _split(self.order, self.counts)[b]} else None

    def in_order(self) -> tuple[int, ...] | None:
        """The axes of a transpose of the output that restores the input's order; None if there is none.

        This move followed by that transpose is a reshape.  Axes of size 1 come first.
        """
        groups = _split(self.order, self.counts)
        if any(group[k + 1] != group[k] + 1 for group in groups for k in range(len(group) - 1)):
            return None
        return tuple(sorted(range(len(groups)), key=lambda a: groups[a][0] if groups[a] else -1))

    def strides(self, strides: Sequence[int]) -> tuple[int, ...] | None:
        """The strides of the output's axes over the input's memory, given the input's strides; None if impossible."""
        own = [
            stride * math.prod(factors[k + 1 :])
            for factors, stride in zip(self.factors, strides, strict=True)
            for k in range(len(factors))
        ]
        sizes = tuple(itertools.chain.from_iterable(self.factors))
        found: list[int] = []
        for group in reversed(_split(self.order, self.counts)):
            if any(own[a] != own[b] * sizes[b] for a, b in itertools.pairwise(group)):
                return None
            # An axis of size 1 has the stride that it has in row-major order.
            behind = found[-1] * self.shape[len(self.shape) - len(found)] if found else 1
            found.append(own[group[-1]] if group else behind)
        return tuple(reversed(found))

    def steps(self, reshape_first: bool = False) -> list[Op]:
        """The operators that carry out the move: at most a reshape, a transpose and a reshape.

        If one transpose and one reshape suffice, in either order, ``reshape_first`` chooses the order.
        """
        if self.keeps_all:
            return []
        if self.keeps_order:
            return [Reshape(self.shape)]
        whole = self._as_axes()
        if whole is not None:
            return [Transpose(whole)]
        before, behind = self.in_order(), self.inverse().in_order()
        if before is not None and (reshape_first or behind is None):
            back = tuple(map(before.index, range(len(before))))
            return [Reshape(tuple(self.shape[a] for a in before)), Transpose(back)]
        if behind is not None:
            return [Transpose(behind), Reshape(self.shape)]
        sizes, order = tuple(itertools.chain.from_iterable(self.factors)), self.order
        if self.source[0] == self.shape[0] == 1:  # the batch stays an axis
            sizes, order = (1, *sizes), (0, *(i + 1 for i in order))
        swapped = tuple(sizes[i] for i in order)
        steps: list[Op] = [] if sizes == self.source else [Reshape(sizes)]
        steps.append(Transpose(order))
        return steps if swapped == self.shape else [*steps, Reshape(self.shape)]

    def _as_axes(self) -> tuple[int, ...] | None:
        """The axes of a single transpose that carries out the move; None if there is none."""
        if len(self.factors) != len(self.counts) or max(map(len, self.factors)) > 1 or max(self.counts) > 1:
            return None
        places = [a for a, f in enumerate(self.factors) if f]
        single = iter(a for a, f in enumerate(self.factors) if not f)
        order = iter(self.order)
        return tuple(places[next(order)] if count else next(single) for count in self.counts)

    @cached_property
    def _output_factors(self) -> Factors:
        sizes = tuple(itertools.chain.from_iterable(self.factors))
        return _split([sizes[i] for i in self.order], self.counts)


def _normal(factors: Factors, order: Sequence[int], counts: Sequence[int]) -> Move:
    """The move with factors merged that are neighbours both in an input axis and in an output axis."""
    ends = set(itertools.accumulate(map(len, factors)))
    joined: list[list[int]] = []
    groups: list[int] = []
    for group in _split(order, counts):
        count = 0
        for k, i in enumerate(group):
            if k and i == group[k - 1] + 1 and i not in ends:
                joined[-1].append(i)
            else:
                joined.append([i])
                count += 1
        groups.append(count)
    sizes = tuple(itertools.chain.from_iterable(factors))
    first = sorted(part[0] for part in joined)
    size = {part[0]: math.prod(sizes[i] for i in part) for part in joined}
    starts = list(itertools.accumulate(map(len, factors), initial=0))
    kept = tuple(tuple(size[i] for i in range(a, b) if i in size) for a, b in itertools.pairwise(starts))
    return Move(kept, tuple(first.index(part[0]) for part in joined), tuple(groups))


def _refined(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...] | None:
    """The shortest refinement of two sequences: each of their sizes is a product of neighbours in it; None if none."""
    ends = {end for sizes in (first, second) for end in itertools.accumulate(sizes, operator.mul)}
    found, before = [], 1
    for end in sorted(ends - {1}):
        if end % before:
            return None
        found.append(end // before)
        before = end
    return tuple(found)


def _parts(sizes: Sequence[int], refined: Sequence[int]) -> list[int]:
    """The number of refined sizes that each size is the product of."""
    rest, counts = iter(refined), []
    for size in sizes:
        count, product = 0, 1
        while product < size:
            product *= next(rest)
            count += 1
        counts.append(count)
    return counts


def _split(values: Sequence[T], counts: Iterable[int]) -> tuple[tuple[T, ...], ...]:
    """The values in consecutive groups of these lengths."""
    rest = iter(values)
    return tuple(tuple(itertools.islice(rest, count)) for count in counts)


def row_major(shape: Shape) -> tuple[int, ...]:
    """The strides of a tensor without gaps, the last axis fastest."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
