"""A network while a pass rewrites it node by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from codegen.graph.graph import Graph, Node


class MutableGraph:
    """A copy of a graph that nodes can be replaced in; a replacement takes time for the nodes that it touches only.

    What nothing reads any more is dropped at once.  :meth:`frozen` gives the graph back, checked like any other.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.shapes = dict(graph.shapes)
        self.by_name = dict(graph.by_name)
        self.results = graph.results
        self.uses = Counter(graph.uses)
        self._readers = {name: {n.name: None for n in nodes} for name, nodes in graph.consumers.items()}
        self._before: dict[str, tuple[str, ...]] = {}

    def consumers(self, name: str) -> tuple[Node, ...]:
        """The nodes that read a tensor."""
        return tuple(self.by_name[reader] for reader in self._readers.get(name, ()))

    def names(self) -> Iterator[str]:
        """The nodes in order of computation; those that are replaced meanwhile, as they are when their turn comes."""
        for node in self._graph.nodes:
            yield from self._in_order(node.name)

    def replace(self, node: Node, *before: Node) -> None:
        """Puts ``node`` in the place of the one of its name, behind new nodes that it may read."""
        old = self.by_name[node.name]
        self._before[node.name] = (*self._before.get(node.name, ()), *(new.name for new in before))
        for new in (*before, node):
            self.by_name[new.name] = new
            self.shapes[new.name] = new.op.infer(*(self.shapes[name] for name in new.inputs))
            self.uses.update(new.inputs)
            for name in new.inputs:
                self._readers.setdefault(name, {})[new.name] = None
        self._release(old)

    def frozen(self) -> Graph:
        """The graph as it is now."""
        return self._graph.with_nodes(self.by_name[name] for name in self.names())

    def _in_order(self, name: str) -> Iterator[str]:
        for before in self._before.get(name, ()):
            yield from self._in_order(before)
        if name in self.by_name:
            yield name

    def _release(self, old: Node) -> None:
        """Takes back what a node read that is replaced or dropped, and drops what nobody reads then."""
        waiting = [old]
        while waiting:
            node = waiting.pop()
            now = self.by_name.get(node.name)
            self.uses.subtract(node.inputs)
            for name in dict.fromkeys(node.inputs):
                if now is None or name not in now.inputs:
                    del self._readers[name][node.name]
                if self.uses[name] == 0 and name in self.by_name:
                    waiting.append(self.by_name.pop(name))
