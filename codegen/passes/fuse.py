"""Graph -> Graph of launches: elementwise operators are fused into a neighbour.

A unary operator that is the only reader of a tensor becomes part of the *epilogue* of the launch that computes the
tensor.  If the tensor has other readers, the operator is computed by its own readers, as their *prologue*.  A binary
operator joins the epilogue of whichever operand is computed last.  A product that scales channels and is read by a
1x1 convolution alone (squeeze and excitation) is that convolution's prologue.  Every node of the result is a
:class:`Fused`: one launch, or none if it only renames.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass

from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Binary, Conv, Dense, Fused, Identity, Op, Stage
from codegen.passes.commute import pool_first
from codegen.passes.edges import is_image_of_input
from codegen.passes.rearrange import rearrange


@dataclass(frozen=True)
class LaunchRole:
    """The role of a node in a launch: "epilogue", "prologue", "core", or "launch" for an elementwise core.

    ``why`` says why an elementwise node is not in the epilogue of the launch that computes its input.
    """

    launch: str
    role: str
    why: str = ""


def fuse(graph: Graph) -> tuple[Graph, Mapping[str, tuple[LaunchRole, ...]]]:
    """Returns the graph of launches, and for every node the launches that it is part of."""
    graph, renamed = pool_first(graph)
    fused, roles = _Fuser(_with_late_operands(rearrange(graph))).run()
    roles |= {old: roles[new] for old, new in renamed.items()}
    return fused, roles


class _Fuser:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.obstacles: dict[str, str] = {}
        self.inlined = self._choose_inlined()
        self.roles: dict[str, list[LaunchRole]] = {}
        self.made = {i.name for i in graph.inputs} | graph.constant_values.keys()

    def run(self) -> tuple[Graph, dict[str, tuple[LaunchRole, ...]]]:
        launches: list[Node] = []
        absorbed: set[str] = set()
        for node in self.graph.nodes:
            if node.name in absorbed or node.name in self.inlined:
                continue
            launch, followers = self._launch(node)
            absorbed.update(followers)
            self.made.add(launch.name)
            launches.append(launch)
        graph = Graph(self.graph.name, self.graph.inputs, tuple(launches), self.graph.outputs, self.graph.constants)
        return graph, {name: tuple(roles) for name, roles in self.roles.items()}

    def _choose_inlined(self) -> frozenset[str]:
        """The unary nodes that are computed in their readers' prologues."""
        graph, inlined = self.graph, set()
        readable: dict[str, bool] = {}
        for node in reversed(graph.nodes):
            if node.op.is_map:
                readable[node.name] = node.name not in graph.results and all(
                    self._takes_stages(consumer, node, readable) for consumer in graph.consumers[node.name]
                )
        for node in graph.nodes:
            if not node.op.is_map:
                continue
            source = graph.by_name.get(node.inputs[0])
            epilogue = (
                source is not None
                and source.name not in inlined
                and graph.uses[source.name] == 1
                and not _only_renames(graph, source)
            )
            if epilogue:
                continue
            self.obstacles[node.name] = self._obstacle(node, readable[node.name])
            if readable[node.name]:
                inlined.add(node.name)
        inlined.update(node.name for node in graph.nodes if self._gates(node, inlined))
        return frozenset(inlined)

    def _gates(self, node: Node, inlined: Container[str]) -> bool:
        """True if the node is a product with one number per channel that only a 1x1 convolution reads."""
        graph = self.graph
        if not isinstance(node.op, Binary) or node.op.kind != "mul" or graph.uses[node.name] != 1:
            return False
        (reader,) = graph.consumers.get(node.name, (None,))
        x, gate = self._gated(node)
        source = graph.by_name.get(x)
        return (
            isinstance(reader, Node)
            and isinstance(reader.op, Conv)
            and reader.op.pointwise
            and graph.shapes[gate] == (*graph.shapes[x][:2], 1, 1)
            and graph.shapes[x] == graph.shapes[node.name]
            and source is not None
            and x not in inlined
            and self._writes_blocks(source)
            and x not in graph.results
            and graph.uses[x] > 1  # else it is in the epilogue of the launch that computes x
        )

    def _writes_blocks(self, node: Node) -> bool:
        """True if the node's tensor comes from a launch whose kernel can write channel blocks."""
        graph = self.graph
        while node.op.is_map and graph.uses[node.inputs[0]] == 1 and node.inputs[0] in graph.by_name:
            node = graph.by_name[node.inputs[0]]
        return not node.op.row_major and not _only_renames(graph, node)

    def _gated(self, node: Node) -> tuple[str, str]:
        """The operands of a product, the larger one first."""
        first, second = node.inputs
        sizes = [math.prod(self.graph.shapes[name]) for name in node.inputs]
        return (first, second) if sizes[0] >= sizes[1] else (second, first)

    def _obstacle(self, node: Node, readable: bool) -> str:
        """Explains why the node is in no epilogue and, unless ``readable``, in no prologue either."""
        graph, source = self.graph, node.inputs[0]
        others = [c.name for c in graph.consumers[source] if c.name != node.name]
        if source not in graph.by_name:
            why = f"{source} is an input of the network"
        elif others:
            why = f"{source} is also read by {', '.join(others)}"
        elif source in graph.results:
            why = f"{source} is also an output"
        else:
            why = f"no launch computes {source}, which only renames or joins"
        if readable:
            return why
        if node.name in graph.results:
            return f"{why}, and {node.name} is an output"
        refusing = [c.name for c in graph.consumers[node.name] if not c.op.takes_prologue]
        return f"{why}, and {', '.join(refusing) or 'a reader'} cannot compute it on the way in"

    @staticmethod
    def _takes_stages(consumer: Node, node: Node, readable: Mapping[str, bool]) -> bool:
        if isinstance(consumer.op, Dense) and not node.op.finite:
            return False  # a dense layer reads the padding lanes of blocks along with the features
        if consumer.op.is_map:
            return readable[consumer.name]
        return consumer.op.takes_prologue

    def _source(self, name: str) -> tuple[str, tuple[Node, ...]]:
        """The tensor that a chain of inlined nodes starts from, and the chain."""
        chain: list[Node] = []
        while name in self.inlined:
            node = self.graph.by_name[name]
            chain.insert(0, node)
            name = self._gated(node)[0] if isinstance(node.op, Binary) else node.inputs[0]
        return name, tuple(chain)

    def _launch(self, node: Node) -> tuple[Node, list[str]]:
        """The launch that starts with this node, and the nodes that are fused into its epilogue."""
        followers: list[str] = []
        prologues: list[Node] = []
        epilogue: list[Stage] = []
        core: Op = node.op
        arity = len(node.inputs)
        alone = node.op.is_map or isinstance(node.op, Binary)
        first = node.inputs[0]
        if alone:
            # An elementwise launch of its own: nothing between the loads and the stages.
            core, arity = Identity(), 1
            whole = [name for name in node.inputs if self.graph.shapes[name] == self.graph.shapes[node.name]]
            first = whole[0] if whole else first
        name, chain = self._source(first)
        prologues.extend(chain)
        inputs = [name, *node.inputs[1:arity]]
        prologue: list[Stage] = []
        for step, before in zip(chain, (name, *(n.name for n in chain)), strict=False):
            self._append(step, before, inputs, prologue, prologues)
        current = node.name
        if alone:
            self._append(node, first, inputs, epilogue, prologues)
        while not _only_renames(self.graph, node):
            follower = self._follower(current)
            if follower is None:
                break
            self._append(follower, current, inputs, epilogue, prologues)
            followers.append(follower.name)
            current = follower.name
        for step in prologues:
            why = self.obstacles.get(step.name, "")
            self.roles.setdefault(step.name, []).append(LaunchRole(current, "prologue", why))
        for name in followers:
            self.roles.setdefault(name, []).append(LaunchRole(current, "epilogue"))
        self.roles.setdefault(node.name, []).append(
            LaunchRole(current, "launch" if alone else "core", self.obstacles.get(node.name, ""))
        )
        fused = Fused(core, arity, tuple(prologue), tuple(epilogue))
        return Node(current, fused, tuple(inputs)), followers

    def _follower(self, current: str) -> Node | None:
        """The node that may join the epilogue of the launch that computes ``current``."""
        graph = self.graph
        if current in graph.results or graph.uses[current] != 1:
            return None
        (follower,) = graph.consumers[current]
        if follower.name in self.inlined:
            return None
        if follower.op.is_map:
            return follower
        if not isinstance(follower.op, Binary) or graph.shapes[follower.name] != graph.shapes[current]:
            return None
        other, _ = self._source(follower.inputs[1 - follower.inputs.index(current)])
        return follower if other in self.made else None

    def _append(
        self, step: Node, current: str, inputs: list[str], epilogue: list[Stage], prologues: list[Node]
    ) -> None:
        if not isinstance(step.op, Binary):
            epilogue.append(Stage(step.op))
            return
        side = step.inputs.index(current)
        name, chain = self._source(step.inputs[1 - side])
        prologues.extend(chain)
        inputs.append(name)
        epilogue.append(Stage(step.op, len(inputs) - 1, side == 1, tuple(Stage(n.op) for n in chain)))


def _only_renames(graph: Graph, node: Node) -> bool:
    """True if the node often needs no launch, so that it cannot have an epilogue."""
    return not node.op.takes_epilogue or is_image_of_input(graph, node)


def _with_late_operands(graph: Graph) -> Graph:
    """Reorders nodes so that the operand that a binary operator could be fused with is computed last.

    A gate is often listed after the tensor that it scales, but only that tensor's launch has the product's shape.
    """
    # The position of each node: first by node index, then within a chain that is moved to that index.
    order = {node.name: (k, 0) for k, node in enumerate(graph.nodes)}
    for k, node in enumerate(graph.nodes):
        if not isinstance(node.op, Binary):
            continue
        chains = [_private_chain(graph, name, graph.shapes[node.name]) for name in node.inputs]
        latest = max(range(2), key=lambda side: order.get(node.inputs[side], (-1, 0)))
        chain = chains[1 - latest]
        if chain and not chains[latest]:
            order |= {name: (k, i - len(chain)) for i, name in enumerate(chain)}
    return graph.with_nodes(graph.by_name[name] for name in sorted(order, key=lambda name: order[name]))


def _private_chain(graph: Graph, name: str, shape: tuple[int, ...]) -> list[str]:
    """The nodes of one launch that computes a tensor of this shape for a single reader; [] if there is none."""
    chain: list[str] = []
    while name in graph.by_name and graph.uses[name] == 1 and graph.shapes[name] == shape:
        node = graph.by_name[name]
        chain.insert(0, name)
        if not node.op.is_map:
            return [] if _only_renames(graph, node) else chain
        name = node.inputs[0]
    return []
