"""Graph -> Graph: cancels transposes and reshapes with their inverse, and puts the rest where they move few elements.

Exporters of TensorFlow, Keras and TFLite put a transpose before and after every convolution, and compute in between on
images whose channels come last; squeezing and flattening does the same to shapes.  This pass delays every transpose and
reshape.  Each tensor is held as another tensor and a :class:`Move` from it.  An operator is computed on that other
tensor if it can be (:mod:`codegen.passes.frames`); otherwise the moves are carried out first.

If operands are held differently, or delaying gains nothing, an operator is computed in the frame that moves the fewest
elements: those of its operands, and those of its result as its readers want it.  A backward walk from the outputs finds
what readers want.  If the new graph would move more elements than the old one, the old one stays.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from codegen.graph.bounded import Array
from codegen.graph.graph import Constant, Graph, Node
from codegen.graph.ops import (
    Concat,
    Convert,
    Dense,
    GlobalPool,
    Identity,
    Op,
    Reduce,
    Shape,
    Transpose,
    frozen,
)
from codegen.passes.edges import can_read, can_write, in_memory
from codegen.passes.frames import Carried, carried, frame_shape, reordered_dense, takes_frames
from codegen.passes.moves import Move

RESHAPE = 0.5
"""Cost of a reshape, in moved elements: it is mostly a view, but operators are not fused across it."""


def cancel_moves(graph: Graph) -> tuple[Graph, Mapping[str, str]]:
    """Returns the graph without needless moves, and the new names of nodes whose tensor has changed."""
    if not any(node.op.rearranges for node in graph.nodes):
        return graph, {}
    rewriter = _Rewriter(graph)
    rewritten = rewriter.run()
    if _moved(rewritten) > _moved(graph):
        return graph, {}
    return rewritten, rewriter.renamed


def _moved(graph: Graph) -> int:
    """The number of elements that transposes move."""
    return sum(
        math.prod(graph.shapes[node.name])
        for node in graph.nodes
        if isinstance(node.op, Transpose) and not Move.transpose(graph.shapes[node.inputs[0]], node.op.axes).keeps_order
    )


Held = tuple[str, Move]
"""A tensor, as the name of a computed tensor and the move from that one."""


class _Rewriter:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.renamed: dict[str, str] = {}
        sources = (*(i.name for i in graph.inputs), *(constant.name for constant in graph.constants))
        self._held: dict[str, Held] = {name: (name, Move.identity(graph.shapes[name])) for name in sources}
        self._nodes: list[Node] = []
        self._constants = {constant.name: constant for constant in graph.constants}
        self._inputs = {i.name for i in graph.inputs}
        self._made: dict[Held, str] = {}
        self._taken = set(graph.shapes)
        self._needed = _needed(graph)
        self._edges = _edges(graph)
        self._wanted = _wanted(graph, {name for name, move in self._edges.items() if can_write(move)})

    def run(self) -> Graph:
        for node in self.graph.nodes:
            if not self._hold(node) and not self._carry(node):
                self._compute(node)
        outputs = tuple(replace(output, value=self._output(output.value)) for output in self.graph.outputs)
        constants = tuple(self._constants.values())
        whole = Graph(self.graph.name, self.graph.inputs, tuple(self._nodes), outputs, constants)
        return whole.with_nodes(whole.nodes)

    def _hold(self, node: Node) -> bool:
        """Delays the node if it only moves elements; returns whether it does."""
        source, before = self._held.get(node.inputs[0], ("", None))
        if before is None:
            return False
        if isinstance(node.op, Identity):
            self._held[node.name] = source, before
            return True
        move = Move.of(node.op, before.shape)
        after = None if move is None else before.then(move)
        if after is None:
            return False
        self._held[node.name] = source, after
        return True

    def _carry(self, node: Node) -> bool:
        """Computes the node in the frame that moves the fewest elements, if it can be computed in any frame."""
        best, lowest = None, math.inf
        for frame in self._frames(node):
            there = carried(node.op, frame, self._shapes(node), self.graph.shapes[node.name])
            reads = None if there is None else self._reads(node, there)
            if there is None or reads is None:
                continue
            price = sum(map(self._price, set(reads))) + self._price_behind(node, there.result)
            if best is None or price + RESHAPE < lowest:
                best, lowest = (there, reads), price
        if best is None:
            return False
        there, reads = best
        name = node.name
        if not there.result.keeps_all:
            name = self._free(f"{node.name}/rearranged")
            self.renamed[node.name] = name
        inputs = tuple(self._obtain(held, x) for held, x in zip(reads, node.inputs, strict=True))
        self._nodes.append(Node(name, there.op, inputs))
        self._held[node.name] = name, there.result.inverse()
        return True

    def _frames(self, node: Node) -> Iterator[Move]:
        """Candidate frames for the node, the preferred one among equals first."""
        if not takes_frames(node.op):
            return
        shape = frame_shape(self._shapes(node), self.graph.shapes[node.name])
        own = Move.identity(shape)
        others = []
        for name in node.inputs:
            source, move = self._held[name]
            if source in self._constants:
                continue
            frame = move.inverse().resized(shape)
            if frame is not None and move.keeps_order and node.op.elementwise and self._computed_for(name):
                yield frame  # the launch that computes the tensor can write it in this frame
            axes = move.in_order()
            if frame is not None:
                others.append(frame)
            if axes is not None and move.shape == shape:
                others.append(Move.transpose(shape, axes))
        yield own
        yield from others
        wanted = self._wanted.get(node.name)
        there = None if wanted is None else wanted.resized(shape)
        if there is not None:
            yield there

    def _computed_for(self, name: str) -> bool:
        """True if the tensor is computed, up to moves, by an operator for a single reader."""
        while self.graph.uses[name] == 1 and name in self.graph.by_name:
            node = self.graph.by_name[name]
            if not node.op.rearranges:
                return not isinstance(node.op, Concat)
            name = node.inputs[0]
        return False

    def _reads(self, node: Node, there: Carried) -> list[Held] | None:
        """The operands of the node in a frame: for each a computed tensor and the move from it."""
        found = []
        for name, frame in zip(node.inputs, there.operands, strict=True):
            source, move = self._held[name]
            after = move.then(frame)
            if after is None:
                return None
            found.append((source, after))
        return found

    def _price(self, held: Held) -> float:
        """The number of elements that are moved to materialise a tensor."""
        source, move = held
        if move.keeps_all or source in self._constants or held in self._made:
            return 0
        if move.keeps_order or (source in self._inputs and can_read(move)):
            return RESHAPE
        return 0 if held in self._needed else _size(move)

    def _price_behind(self, node: Node, result: Move) -> float:
        """The number of elements that the node's readers have to move."""
        back = result.inverse()
        edge = self._edges.get(node.name)
        if edge is not None:
            written = back.then(edge)
            return RESHAPE * (not result.keeps_all) if written is not None and can_write(written) else _size(result)
        wanted = self._wanted.get(node.name)
        after = None if wanted is None else back.then(wanted)
        if wanted is None or (after is not None and after.keeps_all):
            return 0
        return RESHAPE if after is not None and after.keeps_order else _size(result)

    def _compute(self, node: Node) -> None:
        """Computes the node in its own frame; a dense layer may read its input in any order."""
        held = self._held[node.inputs[0]]
        op = reordered_dense(node.op, held[1]) if isinstance(node.op, Dense) else None
        inputs = (held[0],) if op is not None else tuple(map(self._tensor, node.inputs))
        self._nodes.append(Node(node.name, op or node.op, inputs))
        if isinstance(node.op, Convert) and node.inputs[0] in self._inputs:
            self._inputs.add(node.name)
        self._held[node.name] = node.name, Move.identity(self.graph.shapes[node.name])

    def _tensor(self, name: str) -> str:
        """Materialises a tensor of the original network and returns its present name."""
        return self._obtain(self._held[name], name)

    def _output(self, name: str) -> str:
        """Like :meth:`_tensor`, but computes a tensor with other readers once more, to save a copy at the output."""
        held = self._held[name]
        again = self.graph.uses[name] == 1 and held[0] not in self._constants
        if again and self._made.get(held, name) != name:
            return self._add(self._steps(held), held[0], name)
        return self._tensor(name)

    def _chain(self, name: str) -> list[Node]:
        """The original nodes that lead from the held tensor to this one; [] if they do not start there."""
        chain: list[Node] = []
        while not self._held[name][1].keeps_all:
            node = self.graph.by_name.get(name)
            if node is None or not node.op.rearranges:
                return []
            chain.insert(0, node)
            name = node.inputs[0]
        return chain

    def _obtain(self, held: Held, name: str) -> str:
        """The name of a materialised tensor; ``name`` is its name in the network, or a base for a new name."""
        source, move = held
        if move.keeps_all:
            return source
        if held not in self._made:
            if source in self._constants:
                whole = self._free(f"{name}/rearranged")
                self._constants[whole] = Constant(whole, _rearranged(self._constants[source].values, move))
                self._made[held] = whole
            elif held == self._held[name]:
                self._make(name)
            else:
                self._made[held] = self._add(self._steps(held), source, self._free(f"{name}/rearranged"))
        return self._made[held]

    def _make(self, name: str) -> None:
        """Materialises a tensor, by the network's own nodes unless fewer steps do.

        The pass that finds channel shuffles looks for the network's own nodes.
        """
        source, move = self._held[name]
        chain, steps = self._chain(name), self._steps((source, move))
        if not chain or _transposes(node.op for node in chain) > _transposes(steps):
            self._made[source, move] = self._add(steps, source, name)
            return
        for node in chain:
            held = self._held[node.name]
            if held not in self._made:
                self._made[held] = self._add([node.op], source, node.name)
            source = self._made[held]

    def _steps(self, held: Held) -> list[Op]:
        """The steps of a move, with the reshape where it is a view: first for an input, else last."""
        source, move = held
        return move.steps(reshape_first=source in self._inputs)

    def _add(self, steps: Sequence[Op], source: str, name: str) -> str:
        """Adds nodes in sequence, the last of which computes the tensor of this name."""
        for k, op in enumerate(steps, 1):
            made = name if k == len(steps) else self._free(f"{name}/step{k}")
            self._nodes.append(Node(made, op, (source,)))
            source = made
        return name

    def _shapes(self, node: Node) -> list[Shape]:
        return [self.graph.shapes[name] for name in node.inputs]

    def _free(self, name: str) -> str:
        """The name itself, or a similar one that is not in use."""
        found = next(f"{name}{k or ''}" for k in itertools.count() if f"{name}{k or ''}" not in self._taken)
        self._taken.add(found)
        return found


def _transposes(ops: Iterable[Op]) -> int:
    return sum(isinstance(op, Transpose) for op in ops)


def _size(move: Move) -> int:
    return math.prod(move.shape)


def _rearranged(values: Array, move: Move) -> Array:
    for op in move.steps():
        values = op.reference(values)
    return frozen(values)


def _wanted(graph: Graph, written: Container[str]) -> dict[str, Move]:
    """The frame that most readers want a tensor in; readers that accept any frame are not counted.

    Outputs that are ``written`` in the right order in any frame are not counted either.
    """
    wishes = {name: [Move.identity(graph.shapes[name])] for name in graph.results if name not in graph.consumers}
    wanted: dict[str, Move] = {}
    for node in reversed(graph.nodes):
        if node.name in wishes and node.name not in written:
            own = Move.identity(graph.shapes[node.name])
            counts = Counter(wishes[node.name])
            most = max(counts.values())
            wanted[node.name] = own if counts[own] == most else next(w for w, n in counts.items() if n == most)
        for name, wish in zip(node.inputs, _wishes(graph, node, wanted.get(node.name)), strict=True):
            if wish is not None:
                wishes.setdefault(name, []).append(wish)
    return wanted


def _wishes(graph: Graph, node: Node, result: Move | None) -> list[Move | None]:
    """The frames of operands for which the node needs no move, if its result is wanted in this frame."""
    shapes = [graph.shapes[name] for name in node.inputs]
    own: list[Move | None] = [Move.identity(shape) for shape in shapes]
    move = Move.of(node.op, shapes[0])
    if move is not None:
        return [None if result is None else move.then(result) or move]
    if isinstance(node.op, Identity):
        return [result]
    if isinstance(node.op, Dense):
        return [None]
    if not takes_frames(node.op) or isinstance(node.op, GlobalPool):
        return own
    if result is None or isinstance(node.op, Reduce):
        return [None] * len(shapes)
    frame = result.resized(frame_shape(shapes, graph.shapes[node.name]))
    there = None if frame is None else carried(node.op, frame, shapes, graph.shapes[node.name])
    return own if there is None else list(there.operands)


def _edges(graph: Graph) -> dict[str, Move]:
    """The tensors that only moves separate from an output, with the move to the output's order in memory."""
    edges = {o.value: in_memory(graph.shapes[o.value], o.channels_last) for o in graph.outputs}
    edges = {name: move for name, move in edges.items() if graph.uses[name] == 1}
    for node in reversed(graph.nodes):
        step = Move.of(node.op, graph.shapes[node.inputs[0]])
        behind = edges.get(node.name)
        before = None if step is None or behind is None else step.then(behind)
        if before is not None and graph.uses[node.inputs[0]] == 1:
            edges[node.inputs[0]] = before
    return edges


def _needed(graph: Graph) -> frozenset[Held]:
    """The tensors that the network moves for operators that accept no other frame."""
    held: dict[str, Held] = {}
    needed: set[Held] = set()

    def of(name: str) -> Held:
        return held.get(name) or (name, Move.identity(graph.shapes[name]))

    for node in graph.nodes:
        source, before = of(node.inputs[0])
        move = Move.of(node.op, graph.shapes[node.inputs[0]])
        after = None if move is None else before.then(move)
        if after is not None:
            held[node.name] = source, after
        elif not takes_frames(node.op) and not isinstance(node.op, Dense):
            needed.update(map(of, node.inputs))
    return frozenset(needed)
