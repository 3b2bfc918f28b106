"""The graph of a model -> a document, node by node; all unsupported nodes are reported at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper

from codegen.errors import ClgenError
from codegen.frontend.spec.place import show
from codegen.frontend.spec.spec import MOST_SIZES
from codegen.graph.ops import Shape, ShapeError
from codegen.importers.document import Document
from codegen.importers.load import load_document
from codegen.importers.onnx.builder import Builder
from codegen.importers.onnx.constants import Folder
from codegen.importers.onnx.functions import definition, is_defined
from codegen.importers.onnx.node import Constant, Live, Node, Refused, Value, number_type_of, type_of, without_bfloat16
from codegen.importers.onnx.number_types import check_arithmetic, number_type_of_element, port_type
from codegen.importers.onnx.operators import BY_LAYERS, FRACTIONAL, OPERATORS
from codegen.importers.onnx.reader import DOMAINS, Network, read, read_within
from codegen.importers.onnx.refusals import NO_OPERATOR, Refusals
from codegen.importers.onnx.sequences import SEQUENCE_OPERATORS, Known, Parts, expanded
from codegen.importers.patterns import simplify


class _Unknown:
    """Stands for the output of an unsupported node."""


_UNKNOWN = _Unknown()

Translated = Value | _Unknown | Parts


@dataclass(frozen=True, eq=False)
class Trace:
    """A model node by node, before layers are merged: ``values`` holds the value of each of the model's tensors.

    Its nodes are those that were translated: the taken branch of a constant condition, and nodes without sequences in
    place of nodes with sequences of tensors.
    """

    network: Network
    document: Document
    values: Mapping[str, Translated]


MOST_NESTED = 32  # levels of nested conditions


def import_onnx(path: Path, name: str, shapes: Mapping[str, Shape]) -> Document:
    document = trace_onnx(path, name, shapes).document
    simplify(document)
    document.prune()
    document.fill()
    return document


def trace_onnx(path: Path, name: str, shapes: Mapping[str, Shape]) -> Trace:
    """Translates the model; raises SpecError with all unsupported nodes."""
    network = read(path, shapes)
    document = Document(name, "an ONNX model", notes=list(network.notes))
    return _Translator(network, document).translate()


class _Translator:
    def __init__(self, network: Network, document: Document) -> None:
        self._network = network
        self._document = document
        self._folder = Folder(network.opset, BY_LAYERS, self._computed)
        self._nodes: list[onnx.NodeProto] = []
        self._read = set(network.read_names)
        self._depth = 0
        self._values: dict[str, Translated] = {}
        self._refused = Refusals()

    def translate(self) -> Trace:
        self._inputs(self._network.inputs)
        for proto in self._network.nodes:
            self._node(proto)
        if self._refused:
            raise self._refused.error(self._nodes, self._network.place)
        for name in self._network.outputs:
            self._output(name)
        if not any(isinstance(self._values[name], Live) for name in self._network.outputs):
            raise self._network.place.spec_error("has no output that depends on an input: all of them are constants")
        return Trace(
            replace(self._network, nodes=self._nodes, read_names=frozenset(self._read)), self._document, self._values
        )

    def _inputs(self, shapes: Mapping[str, Shape]) -> None:
        """Declares the inputs.  The first one that can have a batch sets it; a scalar becomes a tensor of size 1."""
        self._document.batch = next((shape[0] for shape in shapes.values() if len(shape) >= 2), 1)
        for name, shape in shapes.items():
            if len(shape) > 1 + MOST_SIZES:
                raise self._network.place.spec_error(
                    f"input {show(name)} {list(shape)} has {len(shape)} axes; at most {1 + MOST_SIZES} are allowed"
                )
            element = self._network.types.get(name, 0)
            number_type = number_type_of_element(element) or "float"
            given = port_type(element, number_type)
            if number_type == "float" and element == TensorProto.BFLOAT16:
                self._document.notes.append(f"input {show(name)} is of bfloat16; it is float32 here")
            self._values[name] = Live(self._document.add_input(name, shape or (1,), given), shape, number_type)

    def _output(self, name: str) -> None:
        value = self._lookup(name)
        if isinstance(value, Parts):
            raise self._network.place.spec_error(f"output {show(name)} is a sequence; outputs should be tensors")
        if isinstance(value, Constant):
            try:
                value = Builder(self._document, name, "", whole=True).stored(value)
            except Refused as error:
                self._document.notes.append(f"output {show(name)}, the same for all inputs, is left out: {error}")
                return
        assert isinstance(value, Live)
        element = self._network.types.get(name, 0)
        if element == TensorProto.BFLOAT16:
            self._document.notes.append(f"output {show(name)} is of bfloat16; it is float32 here")
        self._document.add_output(name, value.name, port_type(element, value.number_type))

    def _lookup(self, name: str) -> Translated:
        if not name:
            return None
        if name not in self._values:
            self._values[name] = Constant(name, self._network.initializer(name))
        return self._values[name]

    def _node(self, proto: onnx.NodeProto) -> None:
        replaced = None
        results: list[Translated]
        try:
            replaced = self._replaced_by(proto)
            results = self._results(proto) if replaced is None else replaced(proto)
        except (Refused, ShapeError, ClgenError) as error:  # from a builder or from the frontend
            self._refused.add(proto, str(error))
            results = [_UNKNOWN] * len(proto.output)
        for name, result in zip(proto.output, results, strict=False):
            if name:
                self._values[name] = result
        if replaced is None:
            self._nodes.append(proto)

    def _replaced_by(self, proto: onnx.NodeProto) -> Callable[[onnx.NodeProto], list[Translated]] | None:
        """The function that translates other nodes in place of this one; None if the node is translated itself."""
        if proto.domain not in DOMAINS:
            return None
        if proto.op_type == "If":
            return self._taken
        if proto.op_type in SEQUENCE_OPERATORS:
            return self._sequence
        if proto.op_type in OPERATORS or not is_defined(proto.op_type, self._network.opset):
            return None
        live = any(isinstance(self._lookup(name), (Live, _Unknown)) for name in proto.input)
        return self._defined if live else None

    def _taken(self, proto: onnx.NodeProto) -> list[Translated]:
        """Translates the branch that a constant condition takes, and returns its outputs."""
        _checked(proto, self._network.opset)
        condition = self._lookup(proto.input[0])
        if isinstance(condition, _Unknown):
            return [_UNKNOWN] * len(proto.output)
        if not isinstance(condition, Constant) or condition.values.size != 1:
            raise Refused("its condition is computed by the network; only a branch that is known at import is taken")
        wanted = "then_branch" if condition.values.reshape(-1)[0] else "else_branch"
        branch = next(a.g for a in proto.attribute if a.name == wanted)
        if len(branch.output) != len(proto.output):
            raise Refused(f"its {wanted} has {len(branch.output)} outputs instead of {len(proto.output)}")
        if self._depth == MOST_NESTED:
            raise Refused(f"conditions are nested more than {MOST_NESTED} deep")
        for name in [tensor.name for tensor in branch.initializer] + [n for inner in branch.node for n in inner.output]:
            if name and (name in self._values or name in self._network.initializers):
                raise Refused(f"its {wanted} makes {show(name)}, which is made outside too")
        self._network.initializers.update({tensor.name: tensor for tensor in branch.initializer})
        self._depth += 1
        for inner in branch.node:
            self._node(inner)
        self._depth -= 1
        for inner, outer in zip(branch.output, proto.output, strict=True):
            self._nodes.append(helper.make_node("Identity", [inner.name], [outer], name=proto.name))
        return [self._lookup(inner.name) for inner in branch.output]

    def _sequence(self, proto: onnx.NodeProto) -> list[Translated]:
        """The sequence that a node returns, or its output through translated nodes without sequences."""
        _checked(proto, self._network.opset)
        if any(isinstance(self._lookup(name), _Unknown) for name in proto.input):
            return [_UNKNOWN]
        result = expanded(proto, Known(self._parts, self._shape, self._constant, self._network.opset))
        if isinstance(result, Parts):
            return [result]
        for inner in result:
            self._node(inner)
        return [self._lookup(proto.output[0])]

    def _defined(self, proto: onnx.NodeProto) -> list[Translated]:
        """The outputs of a node whose operator ONNX defines by others; those are translated."""
        _checked(proto, self._network.opset)
        values = [self._lookup(name) for name in proto.input]
        if any(isinstance(value, _Unknown) for value in values):
            return [_UNKNOWN] * len(proto.output)
        types = [(type_of(value), value.shape) if isinstance(value, (Live, Constant)) else None for value in values]
        if self._depth == MOST_NESTED:
            raise Refused(f"its definition by other operators is nested more than {MOST_NESTED} deep")
        inner = definition(proto, self._network.opset, types)
        self._read.update(*map(read_within, inner))
        self._depth += 1
        for node in inner:
            self._node(node)
        self._depth -= 1
        return [self._lookup(name) for name in proto.output]

    def _parts(self, name: str) -> Parts:
        value = self._lookup(name)
        if not isinstance(value, Parts):
            raise Refused(f"its input {show(name)} is not a sequence")
        return value

    def _shape(self, name: str) -> Shape:
        value = self._lookup(name)
        if not isinstance(value, (Live, Constant)):
            raise Refused(f"its input {show(name)} is not a tensor")
        return value.shape

    def _constant(self, name: str) -> NDArray[Any] | None:
        value = self._lookup(name)
        return value.values if isinstance(value, Constant) else None

    def _computed(self, node: Node) -> list[NDArray[Any]]:
        """The outputs of a node of constants, evaluated through its layers in a network with the first one as input."""
        first = node.input(0)
        assert isinstance(first, Constant)
        document = Document("constant", "an ONNX model")
        builder = Builder(document, "constant", "")
        x = Live(document.add_input("x", first.shape or (1,)), first.shape)
        inputs = [x, *node.inputs[1:]]
        result = OPERATORS[node.op](replace(node, inputs=inputs, stored=builder.stored), builder)
        made = [result] if isinstance(result, (Live, Constant)) else result
        results = [y for y in made if isinstance(y, Live)]
        for k, y in enumerate(results):
            document.add_output(f"output_{k}", y.name)
        document.fill()
        values = load_document(document).evaluate({"x": first.values.reshape(first.shape or (1,))})
        return [values[y.name].reshape(y.shape) for y in results]

    def _results(self, proto: onnx.NodeProto) -> list[Translated]:
        schema = _checked(proto, self._network.opset)
        operator = proto.op_type
        values = [self._lookup(name) for name in proto.input]
        if any(isinstance(value, _Unknown) for value in values):
            if operator not in OPERATORS and operator not in ("Shape", "Size"):
                raise Refused(NO_OPERATOR)
            return [_UNKNOWN] * len(proto.output)
        if any(isinstance(value, Parts) for value in values):
            raise Refused("its input is a sequence of tensors")
        outputs = [name if name in self._read else "" for name in proto.output]
        known = [value for value in values if not isinstance(value, (_Unknown, Parts))]
        name = proto.name or next(filter(None, proto.output))
        whole = operator == "Pow" or any(isinstance(value, Live) and value.number_type != "float" for value in known)
        attributes = _attributes(proto)
        builder = Builder(self._document, _wanted(operator, name, known), name, whole)
        node = Node(operator, name, self._network.opset, known, outputs, attributes, builder.stored)
        folded = self._folder.fold(node, proto)
        if folded is not None:
            return [Constant(name, array) for name, array in zip(proto.output, folded, strict=False)]
        if operator not in OPERATORS:
            raise Refused(NO_OPERATOR)
        node = replace(node, inputs=[without_bfloat16(value) for value in known])
        for k in range(len(proto.output)):
            check_arithmetic(node, _number_type(schema, k, node))
        result = OPERATORS[operator](node, builder)
        results = [result] if isinstance(result, (Live, Constant)) else result
        typed = [_typed(node, y, _number_type(schema, k, node), builder) for k, y in enumerate(results)]
        return [*typed, *[_UNKNOWN] * (len(proto.output) - len(typed))]


def _number_type(schema: onnx.defs.OpSchema, output: int, node: Node) -> str:
    """The number type of an output: by ONNX's rule, that of the inputs that share its type variable."""
    formal = schema.outputs[min(output, len(schema.outputs) - 1)]
    for k, value in enumerate(node.inputs):
        if value is not None and schema.inputs[min(k, len(schema.inputs) - 1)].type_str == formal.type_str:
            return number_type_of(value)
    return {frozenset(["tensor(bool)"]): "bool", frozenset(["tensor(int64)"]): "int"}.get(
        frozenset(formal.types), "float"
    )


def _typed(node: Node, y: Live | Constant, number_type: str, b: Builder) -> Live | Constant:
    """The output converted to this number type: ONNX truncates results that are not integers."""
    if node.op == "Cast" or isinstance(y, Constant):
        return y  # its attribute is the type
    if number_type not in ("float", "bool") and y.number_type != number_type and node.op in FRACTIONAL:
        y = b.layer("trunc", y, "whole")
    return Live(y.name, y.shape, number_type)


def _checked(proto: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema:
    """The operator's schema, if it exists in this version and the node fits it."""
    if proto.domain not in DOMAINS:
        raise Refused(f"operators of {proto.domain} are not ONNX's own")
    try:
        schema = onnx.defs.get_schema(proto.op_type, opset, "")
    except onnx.defs.SchemaError:
        raise Refused(f"there is no such operator in opset {opset}") from None
    if schema.deprecated:
        raise Refused(f"it is deprecated in opset {opset}")
    if not schema.min_input <= len(proto.input) <= schema.max_input:
        raise Refused(f"it has {len(proto.input)} inputs, from {schema.min_input} to {schema.max_input} are allowed")
    for i, (name, formal) in enumerate(zip(proto.input, schema.inputs, strict=False), 1):
        if not name and formal.option == onnx.defs.OpSchema.FormalParameterOption.Single:
            raise Refused(f"its input {i}, {formal.name}, is absent")
    if not max(schema.min_output, 1) <= len(proto.output) <= schema.max_output:
        raise Refused(f"it has {len(proto.output)} outputs")
    if len({a.name for a in proto.attribute}) != len(proto.attribute):
        raise Refused("it has an attribute twice")
    for attribute in proto.attribute:
        known = schema.attributes.get(attribute.name)
        if known is None:
            raise Refused(f"it has no attribute {show(attribute.name)} in opset {opset}")
        if known.type.value != attribute.type:  # type: ignore[attr-defined]
            raise Refused(f"attribute {show(attribute.name)} is of the wrong type")
    missing = [
        a.name for a in schema.attributes.values() if a.required and a.name not in {p.name for p in proto.attribute}
    ]
    if missing:
        raise Refused(f"attribute {show(missing[0])} is missing")
    return schema


def _attributes(proto: onnx.NodeProto) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.ref_attr_name:
            raise Refused(f"attribute {show(attribute.name)} refers to a function that is not there")
        kind = attribute.type
        if kind == AttributeProto.INT:
            found[attribute.name] = int(attribute.i)
        elif kind == AttributeProto.FLOAT:
            found[attribute.name] = float(attribute.f)
        elif kind == AttributeProto.STRING:
            found[attribute.name] = attribute.s.decode("utf-8", "replace")
        elif kind == AttributeProto.INTS:
            found[attribute.name] = [int(n) for n in attribute.ints]
        elif kind == AttributeProto.FLOATS:
            found[attribute.name] = [float(n) for n in attribute.floats]
        else:  # tensors and graphs, in nodes that are folded or unsupported
            found[attribute.name] = attribute
    return found


def _wanted(operator: str, name: str, inputs: Sequence[Value]) -> str:
    """A name for the node's layer: its parameters' common name, so that they need no names, or its path."""
    for value in inputs[1:2]:
        if isinstance(value, Constant) and value.name.endswith((".weight", ".kernel", ".gamma", ".slope", ".alpha")):
            return value.name.rpartition(".")[0]
    parts = [part for part in name.split("/") if part]
    if len(parts) > 1 and re.fullmatch(rf"{operator}(_\d+)?", parts[-1]):
        parts.pop()
    parts = [p for p, after in zip(parts, [*parts[1:], ""], strict=True) if not after.startswith(f"{p}.")]
    return ".".join(parts) or operator
