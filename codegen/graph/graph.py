"""Networks as values: nodes in order of computation, each named after the one tensor that it computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape, ShapeError
from codegen.graph.pieces import in_pieces
from codegen.graph.types import FLOAT32

Range = tuple[float, float]
"""The least and the largest number that an input may hold, both float32."""


class GraphError(ValueError):
    """An invalid graph; ``node`` names the place."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


@dataclass(frozen=True)
class Input:
    """A tensor that the user passes in.  ``shape`` is in the network's order of axes, NCHW.

    With ``channels_last`` the user's array has its channels last (NHWC).  ``range`` is None if the spec declares none.
    ``type`` is the type of the user's numbers; if it is not float32, the input's only reader is a conversion.
    ``original`` is the input's name in the imported model, "" if that is equal to ``name``.
    """

    name: str
    shape: Shape
    channels_last: bool = False
    range: Range | None = None
    type: str = FLOAT32
    original: str = ""

    @property
    def own_name(self) -> str:
        """The tensor's name in the user's model, which is its key in files of arrays."""
        return self.original or self.name


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that is known at compile time: float64 ``values`` that are never modified.

    The axes are in the network's order, NCHW.  Values may be infinite or NaN.
    """

    name: str
    values: Array


@dataclass(frozen=True)
class Output:
    """A tensor that the user gets back: ``value`` names the computed tensor, ``name`` is the user's name for it.

    ``type`` and ``original`` are as for inputs; if the type is not float32, a conversion computes ``value``.
    """

    name: str
    value: str
    channels_last: bool = False
    type: str = FLOAT32
    original: str = ""

    @property
    def own_name(self) -> str:
        """The tensor's name in the user's model, which is its key in files of arrays."""
        return self.original or self.name


@dataclass(frozen=True, eq=False)
class Node:
    """An operator applied to tensors: ``name`` is the node's and its result's; ``inputs`` are the tensors it reads."""

    name: str
    op: Op
    inputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network.  Construction checks names, order and shapes, and raises :class:`GraphError`."""

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    constants: tuple[Constant, ...] = ()
    shapes: Mapping[str, Shape] = field(init=False)

    def __post_init__(self) -> None:
        shapes: dict[str, Shape] = {}
        for i in self.inputs:
            if i.name in shapes:
                raise GraphError(i.name, f"input {i.name!r} is declared twice")
            shapes[i.name] = i.shape
        for constant in self.constants:
            if constant.name in shapes:
                raise GraphError(constant.name, f"the name {constant.name!r} is used twice")
            shapes[constant.name] = constant.values.shape
        for node in self.nodes:
            if node.name in shapes:
                raise GraphError(node.name, f"the name {node.name!r} is used twice")
            for name in node.inputs:
                if name not in shapes:
                    raise GraphError(node.name, f"input {name!r} is not computed before it is used")
            try:
                shapes[node.name] = node.op.infer(*(shapes[name] for name in node.inputs))
            except ShapeError as error:
                raise GraphError(node.name, str(error)) from error
        for output in self.outputs:
            if output.value not in shapes:
                raise GraphError(output.name, f"output {output.name!r} takes {output.value!r}, which nothing computes")
        object.__setattr__(self, "shapes", shapes)

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """The node that computes each tensor; inputs and constants are not included."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def input_by_name(self) -> Mapping[str, Input]:
        return {i.name: i for i in self.inputs}

    @cached_property
    def constant_values(self) -> Mapping[str, Array]:
        """The values of each constant."""
        return {constant.name: constant.values for constant in self.constants}

    @cached_property
    def uses(self) -> Mapping[str, int]:
        """The number of times each tensor is read, by nodes and as an output."""
        counts = Counter(name for node in self.nodes for name in node.inputs)
        counts.update(output.value for output in self.outputs)
        return counts

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each tensor, in order."""
        table: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                table.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in table.items()}

    @cached_property
    def results(self) -> frozenset[str]:
        """The names of the output tensors."""
        return frozenset(output.value for output in self.outputs)

    def with_nodes(
        self,
        nodes: Iterable[Node],
        outputs: tuple[Output, ...] | None = None,
        constants: tuple[Constant, ...] | None = None,
    ) -> Graph:
        """The graph with other nodes, less the nodes and constants that no output depends on."""
        nodes, outputs = tuple(nodes), self.outputs if outputs is None else outputs
        constants = self.constants if constants is None else constants
        needed = {output.value for output in outputs}
        kept = []
        for node in reversed(nodes):
            if node.name in needed:
                kept.append(node)
                needed.update(node.inputs)
        used = tuple(constant for constant in constants if constant.name in needed)
        return Graph(self.name, self.inputs, tuple(reversed(kept)), outputs, used)

    def rewritten(self, replaced: Mapping[str, Iterable[Node]], renamed: Mapping[str, str]) -> Graph:
        """The graph with some nodes replaced by others, and some tensors read under another name."""
        nodes = []
        for old in self.nodes:
            for node in replaced.get(old.name, (old,)):
                inputs = tuple(renamed.get(name, name) for name in node.inputs)
                nodes.append(node if inputs == node.inputs else Node(node.name, node.op, inputs))
        outputs = tuple(replace(o, value=renamed.get(o.value, o.value)) for o in self.outputs)
        return self.with_nodes(nodes, outputs)

    def evaluate(self, inputs: Mapping[str, NDArray[np.floating]]) -> dict[str, Array]:
        """Every tensor in float64, by name."""
        values: dict[str, Array] = {i.name: np.asarray(inputs[i.name], dtype=np.float64) for i in self.inputs}
        values |= self.constant_values
        with np.errstate(all="ignore"):  # infinity and NaN are ordinary values
            for node in self.nodes:
                values[node.name] = in_pieces(node.op, [values[name] for name in node.inputs])
        return values

    def evaluate_bounded(self, inputs: Mapping[str, NDArray[np.floating]], rounding: Rounding) -> dict[str, Bounded]:
        """Every tensor with an end-to-end bound on the error of an implementation in this arithmetic."""
        values = {i.name: Bounded.exact(inputs[i.name]) for i in self.inputs}
        values |= {name: Bounded.rounded(y, rounding) for name, y in self.constant_values.items()}
        for node in self.nodes:
            values[node.name] = node.op.bounded(*(values[name] for name in node.inputs), rounding=rounding)
        return values
