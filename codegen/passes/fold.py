"""Graph -> Graph: folds per-channel affine maps into the weights of a neighbour, where that is exact.

With y = W x + b and an affine map s y + t after it, W' = s W and b' = s b + t (scaling the output channels).
With the map in front, W (s x + t) + b: W'[o, i] = W[o, i] s[i] and b' = b + sum_i W[o, i] t[i], which is exact only
if there is no zero padding between the map and the sum, as padded zeros do not go through the map.

A map that cannot be folded stays an Affine node; the next pass fuses it into a neighbour's launch.  All arithmetic is
float64; rounding to float32 happens once, when weights are packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from codegen.errors import ParameterError
from codegen.graph.bounded import Array
from codegen.graph.graph import Graph, Node
from codegen.graph.mutable import MutableGraph
from codegen.graph.ops import Affine, BatchNorm, Concat, Weighted

FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class WeightFold:
    """An affine map that was folded into weights.

    ``target`` is the layer's name in the network, ``node`` the name of the folded layer that replaces it; ``growth`` is
    max|W'| / max|W|, ``subnormal`` counts folded weights below the normal range of float32.
    """

    target: str
    node: str
    side: str  # "output channels" or "input channels"
    growth: float
    subnormal: int


@dataclass(frozen=True)
class Folded:
    """The folds of each BatchNorm by name, and, as ``waiting``, the BatchNorms in each remaining Affine node.

    ``targets`` maps each folded layer that has another name than before to the layer's name in the network.
    """

    folds: Mapping[str, tuple[WeightFold, ...]]
    waiting: Mapping[str, tuple[str, ...]]
    targets: Mapping[str, str]


@dataclass
class _Ledger:
    """Keeps track of the BatchNorms in each Affine node, and of the weights that they were folded into."""

    members: dict[str, tuple[str, ...]]
    folds: dict[str, list[WeightFold]] = field(default_factory=dict)
    succeeded: dict[str, str] = field(default_factory=dict)
    originals: dict[str, tuple[str, Array]] = field(default_factory=dict)

    def original(self, node: Node) -> tuple[str, Array]:
        """The name and the weights of a layer before any folding."""
        assert isinstance(node.op, Weighted)
        return self.originals.setdefault(node.name, (node.name, node.op.weight))

    def successor(self, node: str) -> str:
        """The name of the folded layer that replaces a layer."""
        while node in self.succeeded:
            node = self.succeeded[node]
        return node

    def settle(self, affine: str, fold: WeightFold) -> None:
        for name in self.members.get(affine, ()):
            self.folds.setdefault(name, []).append(fold)


def fold(graph: Graph, batch_norms: Graph, renamed: Mapping[str, str]) -> tuple[Graph, Folded]:
    """Folds the Affine nodes of ``graph``.

    ``batch_norms`` is the graph before simplification, which names the BatchNorms; ``renamed`` maps names of nodes that
    simplification renamed to their new names.
    """
    named = [n.name for n in batch_norms.nodes if isinstance(n.op, BatchNorm)]
    ledger = _Ledger({renamed.get(name, name): (name,) for name in named})
    draft = MutableGraph(graph)
    while _sweep(draft, ledger):
        pass
    graph = draft.frozen()
    for node in graph.nodes:
        if isinstance(node.op, Affine):
            _check_range(node.name, {"scale": node.op.scale, "shift": node.op.shift})
        elif node.name in ledger.originals and isinstance(node.op, Weighted):
            _check_range(node.name, {"weight": node.op.weight, "bias": node.op.bias})
    waiting = {n.name: ledger.members.get(n.name, ()) for n in graph.nodes if isinstance(n.op, Affine)}
    folds = {
        name: tuple(replace(f, node=ledger.successor(f.node)) for f in folds) for name, folds in ledger.folds.items()
    }
    targets = {name: original for name, (original, _) in ledger.originals.items() if name != original}
    return graph, Folded(folds, waiting, targets)


def _sweep(graph: MutableGraph, ledger: _Ledger) -> bool:
    """Applies the rules to every node in turn; returns whether any rule applied."""
    changed = False
    for name in graph.names():
        waiting = [name]
        while waiting:
            node = graph.by_name.get(waiting.pop())
            found = None if node is None else _fold_at(graph, node, ledger)
            if found is not None:
                changed = True
                waiting += reversed(found)
    return changed


def _fold_at(graph: MutableGraph, node: Node, ledger: _Ledger) -> list[str] | None:
    """Applies the first rule that fits the node; returns the nodes to visit next, or None if no rule fits."""
    if isinstance(node.op, Affine):
        for rule in (_merge, _into_producer, _into_consumers):
            found = rule(graph, node, node.op, ledger)
            if found is not None:
                return found
    if node.op.is_map:
        return _distribute(graph, node, ledger)
    return None


def _merge(graph: MutableGraph, node: Node, op: Affine, ledger: _Ledger) -> list[str] | None:
    """Merges two maps in a row into one.  The first one stays if it has other readers."""
    first = graph.by_name.get(node.inputs[0])
    if first is None or not isinstance(first.op, Affine):
        return None
    both = Affine(op.scale * first.op.scale, op.scale * first.op.shift + op.shift)
    ledger.members[node.name] = ledger.members.get(first.name, ()) + ledger.members.get(node.name, ())
    graph.replace(Node(node.name, both, first.inputs))
    return [node.name]


def _into_producer(graph: MutableGraph, node: Node, op: Affine, ledger: _Ledger) -> list[str] | None:
    producer = graph.by_name.get(node.inputs[0])
    # A tensor with other readers must keep its values.
    if producer is None or not isinstance(producer.op, Weighted) or graph.uses[producer.name] != 1:
        return None
    weight = producer.op.weight * producer.op.along_outputs(op.scale)
    folded = replace(producer.op, weight=weight, bias=producer.op.bias * op.scale + op.shift)
    original = ledger.original(producer)
    ledger.settle(node.name, _weight_fold(original, node.name, "output channels", weight))
    ledger.originals[node.name] = original
    # The folded layer takes the map's name, because a name stands for the same values in every version of the graph.
    ledger.succeeded[producer.name] = node.name
    graph.replace(Node(node.name, folded, producer.inputs))
    return [node.name]


def _into_consumers(graph: MutableGraph, node: Node, op: Affine, ledger: _Ledger) -> list[str] | None:
    if node.name in graph.results:
        return None
    consumers = graph.consumers(node.name)
    shifts = bool(np.any(op.shift != 0))
    if not all(isinstance(c.op, Weighted) and c.op.takes_input_map(shifts) for c in consumers):
        return None
    for consumer in consumers:
        assert isinstance(consumer.op, Weighted)
        before, bias, shape = consumer.op.weight, consumer.op.bias, graph.shapes[node.name]
        weight = before * consumer.op.along_inputs(op.scale, shape)
        if shifts:
            carried = before * consumer.op.along_inputs(op.shift, shape)
            bias = bias + carried.sum(axis=tuple(range(1, carried.ndim)))
        folded = replace(consumer.op, weight=weight, bias=bias)
        graph.replace(Node(consumer.name, folded, node.inputs))
        ledger.settle(node.name, _weight_fold(ledger.original(consumer), consumer.name, "input channels", weight))
    return []


def _distribute(graph: MutableGraph, node: Node, ledger: _Ledger) -> list[str] | None:
    """Replaces a per-channel map of a concatenation by maps of its parts."""
    concat = graph.by_name.get(node.inputs[0])
    if concat is None or not isinstance(concat.op, Concat) or concat.op.axis != 1 or graph.uses[concat.name] != 1:
        return None
    # A part with other readers would have to be copied to be mapped; then the consumers had better apply the map.
    private = all(graph.uses[name] == 1 and name in graph.by_name for name in concat.inputs)
    if not private and _consumers_take_prologue(graph, node):
        return None
    parts, start = [], 0
    for k, name in enumerate(concat.inputs):
        stop = start + graph.shapes[name][1]
        part = Node(f"{node.name}/part{k}", node.op.of_channels(start, stop), (name,))
        if node.name in ledger.members:
            ledger.members[part.name] = ledger.members[node.name]
        parts.append(part)
        start = stop
    joined = Node(node.name, concat.op, tuple(part.name for part in parts))
    graph.replace(joined, *parts)
    return [*(part.name for part in parts), node.name]


def _consumers_take_prologue(graph: MutableGraph, node: Node) -> bool:
    """True if all readers, also those after further elementwise maps, can compute the node as a prologue."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node.name in graph.results:
            return False
        for reader in graph.consumers(node.name):
            if reader.op.is_map:
                waiting.append(reader)
            elif not reader.op.takes_prologue:
                return False
    return True


def _check_range(node: str, arrays: Mapping[str, Array]) -> None:
    """Raises ParameterError if folded values overflow float32.  Run after all folding: an overflow may cancel."""
    for what, values in arrays.items():
        outside = ~(np.abs(values) <= FLOAT32_MAX)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            raise ParameterError(
                f'layer "{node.split("/")[0]}": batch_norm: folded {what}{list(at)} = {values[at]:g} is beyond '
                "float32; variance + epsilon is too small for gamma: check both"
            )


def _weight_fold(original: tuple[str, Array], node: str, side: str, after: Array) -> WeightFold:
    name, before = original
    largest = float(np.max(np.abs(before), initial=0))
    growth = float(np.max(np.abs(after), initial=0)) / largest if largest else 1.0
    with np.errstate(over="ignore"):  # _check_range refuses it later, with the layer's name
        rounded = np.abs(after.astype(np.float32))
    subnormal = int(np.count_nonzero((rounded > 0) & (rounded < np.finfo(np.float32).tiny)))
    return WeightFold(name, node, side, growth, subnormal)
