"""Assigns intermediate tensors to one arena: two may overlap unless both are needed at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.plan.homes import Location
from codegen.plan.layout import up
from codegen.plan.plan import Draft
from codegen.plan.target import ALIGNMENT_BYTES


@dataclass(frozen=True)
class Lifetime:
    """A buffer of ``size`` bytes, written by launch ``first`` and read until launch ``last``."""

    name: str
    size: int
    first: int
    last: int


def assign(lifetimes: Sequence[Lifetime], alignment: int) -> tuple[Mapping[str, int], int]:
    """Offsets in bytes by name, and the total size in bytes.

    The largest buffer goes first; each gets the lowest gap between buffers that are alive with it.  Close to optimal
    on networks (Pisarchyk & Lee,
    "Efficient Memory Management for Deep Neural Net Inference", 2020, "greedy by size").
    """
    offsets: dict[str, int] = {}
    alive: dict[int, list[Lifetime]] = {}  # assigned buffers, by the launches during which they are alive
    born: dict[int, list[Lifetime]] = {}
    for buffer in sorted(lifetimes, key=lambda b: (-b.size, b.first, b.name)):
        start = 0
        later = (born.get(launch, ()) for launch in range(buffer.first + 1, buffer.last + 1))
        together = [*alive.get(buffer.first, ()), *itertools.chain.from_iterable(later)]
        for other in sorted(together, key=lambda p: offsets[p.name]):
            if start + buffer.size <= offsets[other.name]:
                break
            start = max(start, up(offsets[other.name] + other.size, alignment))
        offsets[buffer.name] = start
        born.setdefault(buffer.first, []).append(buffer)
        for launch in range(buffer.first, buffer.last + 1):
            alive.setdefault(launch, []).append(buffer)
    return offsets, max((up(offsets[b.name] + b.size, alignment) for b in lifetimes), default=0)


def share_memory(locations: Mapping[str, Location], drafts: list[Draft]) -> tuple[Mapping[str, int], int, int]:
    """Offsets of the arena's tensors, its size, and what the size were if nothing were shared (bytes)."""
    spans: dict[str, tuple[int, int]] = {}
    for index, draft in enumerate(drafts):
        for name in (*draft.reads, *([draft.scratch] if draft.scratch else []), draft.writes):
            if locations[name].buffer == "arena":
                root = locations[name].root
                first, _ = spans.get(root, (index, index))
                spans[root] = (first, index)
    lifetimes = [Lifetime(root, locations[root].layout.bytes, first, last) for root, (first, last) in spans.items()]
    offsets, total = assign(lifetimes, ALIGNMENT_BYTES)
    return offsets, total, sum(up(b.size, ALIGNMENT_BYTES) for b in lifetimes)
