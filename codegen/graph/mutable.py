"""A network while a pass rewrites it node by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from codegen.graph.graph import Graph, Node


class MutableGraph:
    """A copy of a graph whose nodes can be replaced, in time that depends on the neighbouring nodes only.

    Nodes without readers are dropped at once.  :meth:`frozen` returns an immutable graph, checked like any other.
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
        """The names of nodes in order of computation, up to date with replacements made during the iteration."""
        for node in self._graph.nodes:
            yield from self._in_order(node.name)

    def replace(self, node: Node, *before: Node) -> None:
        """Replaces the node of this name by ``node``, preceded by new nodes that ``node`` may read."""
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
        """The graph in its present state."""
        return self._graph.with_nodes(self.by_name[name] for name in self.names())

    def _in_order(self, name: str) -> Iterator[str]:
        for before in self._before.get(name, ()):
            yield from self._in_order(before)
        if name in self.by_name:
            yield name

    def _release(self, old: Node) -> None:
        """Removes a node as reader of its inputs, and drops inputs that have no other reader."""
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
