"""The work of launches: the bytes that they read and write, and the multiply-adds of operators."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from codegen.graph.graph import Graph, Node
from codegen.graph.types import size_of
from codegen.runtime.artefact import Artefact


def multiply_adds(network: Graph, node: Node) -> int:
    """The multiply-adds of the operator's definition, whatever the algorithm."""
    return node.op.multiply_adds(*(network.shapes[name] for name in node.inputs))


class Work:
    """The bytes of an artefact's launches.

    A launch reads the weights from their start to the start of the next launch's weights.
    """

    def __init__(self, artefact: Artefact) -> None:
        self._artefact = artefact
        self._each = size_of(artefact.manifest["type"])
        weights = 0 if artefact.weights is None else artefact.weights.size
        prepared = artefact.manifest["memory"]["prepared_bytes"] // self._each
        launches = [*artefact.manifest["preparations"], *artefact.launches]
        starts = [start for launch in launches for start in _starts(launch)]
        self._ends = {
            kind: sorted({start for other, start in starts if other == kind} | {size})
            for kind, size in (("weights", weights), ("prepared", prepared))
        }

    def bytes(self, launch: Mapping[str, Any]) -> int:
        """The bytes of inputs, output and weights, each once."""
        tensors = (*dict.fromkeys(launch["reads"]), launch["writes"])
        return sum(self._artefact.tensors[name].bytes for name in tensors) + self.weights(launch)

    def weights(self, launch: Mapping[str, Any]) -> int:
        """The bytes of weights alone; 0 where constants are tables in the kernels."""
        return self._each * sum(
            next(e for e in self._ends[kind] if e > start) - start for kind, start in _starts(launch)
        )

    def tables(self, node: Node) -> int:
        """The bytes of a node's constants, where they are tables in the kernels; else 0."""
        return self._each * sum(a.size for a in node.op.arrays()) if self._artefact.weights is None else 0


def _starts(launch: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The weights among a launch's arguments: their kind, and their offset in elements, which is the next argument."""
    for argument, behind in itertools.pairwise(launch["arguments"]):
        if argument["kind"] in ("weights", "prepared"):
            yield argument["kind"], behind["value"]
