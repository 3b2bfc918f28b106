"""The order of computation of layers, and the layers that are needed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

Reads = Mapping[str, Sequence[str]]  # the names that each layer reads, of layers and of other values


def in_order(reads: Reads) -> list[str]:
    """The layers, each after those that it reads, else in the given order; without those that depend on a cycle."""
    position = {name: i for i, name in enumerate(reads)}
    waiting = {name: {other for other in others if other in reads} for name, others in reads.items()}
    readers: dict[str, list[str]] = {name: [] for name in reads}
    for name, others in waiting.items():
        for other in others:
            readers[other].append(name)
    ready = [(position[name], name) for name, others in waiting.items() if not others]
    heapq.heapify(ready)
    order = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(name)
        for reader in readers[name]:
            waiting[reader].discard(name)
            if not waiting[reader]:
                heapq.heappush(ready, (position[reader], reader))
    return order


def cycle(reads: Reads) -> list[str]:
    """The members of a cycle, each read by the next; empty if there is no cycle."""
    left = set(reads) - set(in_order(reads))
    if not left:
        return []
    # Each remaining layer reads a remaining layer, so walking back must arrive at a layer twice.
    path = [next(name for name in reads if name in left)]
    while path.count(path[-1]) == 1:
        path.append(next(other for other in reads[path[-1]] if other in left))
    return path[: path.index(path[-1]) : -1]


def needed(reads: Reads, results: Iterable[str]) -> set[str]:
    """The results and all layers that they depend on."""
    found: set[str] = set()
    pending = list(results)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(reads.get(name, ()))
    return found
