"""Builds the graph from a spec and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from codegen.errors import ClgenError
from codegen.frontend.operators.batch_norm import array_of, own_prefixes, sibling_prefix
from codegen.frontend.operators.layer import Layer, Operator, Step
from codegen.frontend.operators.operators import OPERATORS
from codegen.frontend.parameters.parameters import Parameters, widened
from codegen.frontend.spec.place import Place, show
from codegen.frontend.spec.spec import MOST_SIZES, ConstantTable, LayerTable, OutputTable, Spec, check_size
from codegen.graph.graph import Constant, Graph, GraphError, Input, Node, Output
from codegen.graph.ops import Convert, Shape, ShapeError
from codegen.graph.types import FLOAT32


class Stopped(Exception):
    """A layer cannot be built, for the reason in ``error``; ``built`` names the layers that can."""

    def __init__(self, layer: str, built: Collection[str], error: ClgenError) -> None:
        super().__init__(str(error))
        self.layer = layer
        self.built = built
        self.error = error


def build_graph(spec: Spec, parameters: Parameters) -> Graph:
    """The graph of the network with its parameters; raises Stopped at the first layer that cannot be built."""
    parameters.claim(_claims(spec))
    constants = tuple(_constant(table, parameters) for table in spec.constants)
    shapes: dict[str, Shape] = {i.name: i.shape for i in spec.inputs}
    shapes |= {constant.name: constant.values.shape for constant in constants}
    nodes: list[Node] = []
    for table in spec.layers:
        try:
            steps, shape = _layer(table, spec, shapes, parameters)
        except ClgenError as error:
            raise Stopped(table.name, shapes.keys(), error) from error
        shapes[table.name] = shape
        nodes.extend(_nodes(table, steps))
    outputs = [_output(table, spec, shapes[table.value]) for table in spec.outputs]
    nodes, outputs = _converted(spec.inputs, nodes, outputs)
    try:
        return Graph(spec.model.name, spec.inputs, tuple(nodes), tuple(outputs), constants)
    except GraphError as error:
        raise Place(spec.place.file, f"layer {show(error.node)}").spec_error(str(error)) from error


def _constant(table: ConstantTable, parameters: Parameters) -> Constant:
    def fits(shape: Shape) -> bool:
        return 1 <= len(shape) <= 1 + MOST_SIZES and 0 not in shape

    tensor = parameters.choose([table.tensor], table.place.key("tensor"), fits, finite=False)
    assert tensor is not None
    if not fits(tensor.shape):
        raise tensor.error(f"should have 1 to {1 + MOST_SIZES} axes, none of them empty")
    values = np.moveaxis(tensor.values, -1, 1) if table.channels_last and len(tensor.shape) > 2 else tensor.values
    return Constant(table.name, widened(values))


def _layer(
    table: LayerTable, spec: Spec, shapes: Mapping[str, Shape], parameters: Parameters
) -> tuple[list[Step], Shape]:
    """The steps of a layer: its operator, BatchNorm and activation; and the result's shape."""
    layer = Layer(
        name=table.name,
        place=table.place,
        options=table.options,
        inputs=table.inputs,
        shapes=tuple(shapes[name] for name in table.inputs),
        parameters=parameters,
        weight_layout=spec.model.weight_layout,
        channels_last=spec.model.weight_layout == "HWIO" or any(i.channels_last for i in spec.inputs),
    )
    steps, shape = _steps(table.operator, layer, shapes)
    for key, attached in (("batch_norm", table.batch_norm), ("activation", table.activation)):
        if attached is not None:
            place = table.place.key(key)
            behind = replace(layer, place=place, options=attached.options, shapes=(shape,), attached=True)
            more, shape = _steps(attached.operator, behind, shapes)
            steps += more
    return steps, shape


def _steps(operator: Operator, layer: Layer, shapes: Mapping[str, Shape]) -> tuple[list[Step], Shape]:
    """The operator's steps and the shape after them; errors of the graph get their place in the spec."""
    shape = layer.shape
    try:
        steps = operator.build(layer)
        for step in steps:
            shape = step.op.infer(shape, *(shapes[name] for name in step.others))
            check_size(shape, layer.place)
    except ShapeError as error:
        raise layer.refusal(error) from error
    return steps, shape


def _nodes(table: LayerTable, steps: list[Step]) -> list[Node]:
    """A node for each step, the last one under the layer's own name."""
    nodes: list[Node] = []
    tags = [step.tag for step in steps]
    for i, step in enumerate(steps):
        again = tags[:i].count(step.tag)
        name = f"{table.name}/{step.tag}{f'_{again + 1}' if again else ''}" if i + 1 < len(steps) else table.name
        nodes.append(Node(name, step.op, (nodes[-1].name if nodes else table.inputs[0], *step.others)))
    return nodes


def _output(table: OutputTable, spec: Spec, shape: Shape) -> Output:
    spatial = [i for i in spec.inputs if len(i.shape) > 2]
    usual = bool(spatial) and all(i.channels_last for i in spatial)
    last = usual if table.layout is None else table.layout == "NHWC"
    return Output(table.name, table.value, last and len(shape) > 2, table.type, table.original)


def _converted(
    inputs: Sequence[Input], nodes: Sequence[Node], outputs: Sequence[Output]
) -> tuple[list[Node], list[Output]]:
    """The graph with a conversion after each input and before each output that is not float32."""
    read = {i.name: f"{i.name}/{FLOAT32}" for i in inputs if i.type != FLOAT32}
    behind = [Node(read[i.name], Convert(i.type, FLOAT32), (i.name,)) for i in inputs if i.name in read]
    within = [Node(node.name, node.op, tuple(read.get(name, name) for name in node.inputs)) for node in nodes]
    before, made = [], []
    for k, output in enumerate(outputs):
        value = read.get(output.value, output.value)
        if output.type != FLOAT32:
            before.append(Node(f"{value}/{output.type}_{k}", Convert(FLOAT32, output.type), (value,)))
            value = before[-1].name
        made.append(replace(output, value=value))
    return [*behind, *within, *before], made


def _claims(spec: Spec) -> Callable[[str], str]:
    """A function from a tensor's name to the place of the table or key that reads it; "" for an unread tensor.

    A table reads the tensors that it names.  A layer also reads tensors whose names start with the layer's name and a
    dot, and its BatchNorm reads those that start with a prefix of BatchNorm and have a key of BatchNorm.
    """
    named = {constant.tensor: str(constant.place) for constant in spec.constants}
    prefixes: dict[str, tuple[Place, bool]] = {}  # the place, and True for a BatchNorm
    for layer in spec.layers:
        parts = [("", layer.options)]
        parts += [("batch_norm", layer.batch_norm.options)] if layer.batch_norm is not None else []
        parts += [("activation", layer.activation.options)] if layer.activation is not None else []
        for key, options in parts:
            place = str(layer.place.key(key) if key else layer.place)
            named.update({value: place for value in options.values() if isinstance(value, str)})
        if layer.batch_norm is not None:
            chosen = layer.batch_norm.options["prefix"]
            for prefix in [*own_prefixes(layer.name), sibling_prefix(layer.name)] if chosen is None else [chosen]:
                prefixes[prefix] = layer.place.key("batch_norm"), True
    prefixes |= {layer.name: (layer.place, layer.operator is OPERATORS["batch_norm"]) for layer in spec.layers}

    def reader(tensor: str) -> str:
        if tensor in named:
            return named[tensor]
        prefix = tensor
        while "." in prefix:
            prefix = prefix.rpartition(".")[0]
            if prefix in prefixes:
                place, normalises = prefixes[prefix]
                array = array_of(tensor[len(prefix) + 1 :]) if normalises else ""
                return str(place.key(array) if array else place)
        return ""

    return reader
