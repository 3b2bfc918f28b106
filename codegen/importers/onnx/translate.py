"""The graph of a model -> a document, node by node; all that is not supported is said at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto

from codegen.errors import ClgenError, SpecError
from codegen.frontend.place import show
from codegen.frontend.spec import MOST_SIZES
from codegen.graph.ops import Shape, ShapeError
from codegen.importers.document import Document
from codegen.importers.onnx.builder import Builder
from codegen.importers.onnx.constants import Folder
from codegen.importers.onnx.node import Constant, Live, Node, Refused, Value, kind_of
from codegen.importers.onnx.operators import FRACTIONAL, OPERATORS
from codegen.importers.onnx.reader import DOMAINS, Network, read
from codegen.importers.patterns import simplify

_MOST_LISTED = 200  # unsupported nodes that an error lists


class _Unknown:
    """The output of a node that is not supported."""


_UNKNOWN = _Unknown()


@dataclass(frozen=True, eq=False)
class Trace:
    """A model node by node, before layers are joined: ``values`` says what each tensor of the model is by now."""

    network: Network
    document: Document
    values: Mapping[str, Value | _Unknown]


def import_onnx(path: Path, name: str, shapes: Mapping[str, Shape]) -> Document:
    document = trace_onnx(path, name, shapes).document
    simplify(document)
    document.prune()
    document.fill()
    return document


def trace_onnx(path: Path, name: str, shapes: Mapping[str, Shape]) -> Trace:
    """SpecError that names every node that is not supported."""
    network = read(path, shapes)
    document = Document(name, "an ONNX model", notes=list(network.notes))
    return _Translator(network, document).translate()


class _Translator:
    def __init__(self, network: Network, document: Document) -> None:
        self._network = network
        self._document = document
        self._folder = Folder(network.opset)
        self._values: dict[str, Value | _Unknown] = {}
        self._refused: list[str] = []

    def translate(self) -> Trace:
        self._inputs(self._network.inputs)
        for proto in self._network.nodes:
            self._node(proto)
        if self._refused:
            raise self._error()
        for name in self._network.outputs:
            self._output(name)
        return Trace(self._network, self._document, self._values)

    def _inputs(self, shapes: Mapping[str, Shape]) -> None:
        """The batch is that of the first input that may have one; a number is a tensor of one element in a spec."""
        self._document.batch = next((shape[0] for shape in shapes.values() if len(shape) >= 2), 1)
        for name, shape in shapes.items():
            if len(shape) > 1 + MOST_SIZES:
                raise self._network.place.spec_error(
                    f"input {show(name)} {list(shape)} has {len(shape)} axes; {1 + MOST_SIZES} are the most"
                )
            self._values[name] = Live(self._document.add_input(name, shape or (1,)), shape)

    def _error(self) -> SpecError:
        lines = self._refused[:_MOST_LISTED]
        more = len(self._refused) - len(lines)
        count = f"{len(self._refused)} nodes are" if len(self._refused) > 1 else "1 node is"
        listed = "\n".join(f"  {line}" for line in [*lines, *([f"and {more} more"] if more else [])])
        return self._network.place.spec_error(f"{count} not supported:\n{listed}")

    def _output(self, name: str) -> None:
        value = self._lookup(name)
        if not isinstance(value, Live):
            raise self._network.place.spec_error(f"output {show(name)} is the same for all inputs")
        self._document.add_output(name, value.name)

    def _lookup(self, name: str) -> Value | _Unknown:
        if not name:
            return None
        if name not in self._values:
            self._values[name] = Constant(name, self._network.initializer(name))
        return self._values[name]

    def _node(self, proto: onnx.NodeProto) -> None:
        label = f"{proto.op_type} {show(proto.name or next(filter(None, proto.output), ''))}"
        if proto.domain not in DOMAINS:
            label = f"{proto.domain}.{label}"
        results: list[Value | _Unknown]
        try:
            results = self._results(proto)
        except (Refused, ShapeError, ClgenError) as error:  # a builder's word, or the frontend's
            self._refused.append(f"{label}: {error}")
            results = [_UNKNOWN] * len(proto.output)
        for name, result in zip(proto.output, results, strict=False):
            if name:
                self._values[name] = result

    def _results(self, proto: onnx.NodeProto) -> list[Value | _Unknown]:
        schema = _checked(proto, self._network.opset)
        operator = proto.op_type
        values = [self._lookup(name) for name in proto.input]
        if any(isinstance(value, _Unknown) for value in values):
            if operator not in OPERATORS and operator not in ("Shape", "Size"):
                raise Refused("there is no such operator in a spec")
            return [_UNKNOWN] * len(proto.output)
        outputs = [name if name in self._network.read_names else "" for name in proto.output]
        known = [value for value in values if not isinstance(value, _Unknown)]
        name = proto.name or next(filter(None, proto.output))
        node = Node(operator, name, self._network.opset, known, outputs, _attributes(proto))
        folded = self._folder.fold(node, proto)
        if folded is not None:
            return [Constant(name, array) for name, array in zip(proto.output, folded, strict=False)]
        if operator not in OPERATORS:
            raise Refused("there is no such operator in a spec")
        whole = operator == "Pow" or any(isinstance(value, Live) and value.kind != "float" for value in known)
        builder = Builder(self._document, _wanted(node), name, whole)
        result = OPERATORS[operator](node, builder)
        results = result if isinstance(result, list) else [result]
        typed = [_typed(node, y, _kind(schema, k, node), builder) for k, y in enumerate(results)]
        return [*typed, *[_UNKNOWN] * (len(proto.output) - len(typed))]


def _kind(schema: onnx.defs.OpSchema, output: int, node: Node) -> str:
    """What the numbers of an output stand for, by ONNX's rule: the type of the inputs that share its type's name."""
    formal = schema.outputs[min(output, len(schema.outputs) - 1)]
    for k, value in enumerate(node.inputs):
        if value is not None and schema.inputs[min(k, len(schema.inputs) - 1)].type_str == formal.type_str:
            return kind_of(value)
    return {frozenset(["tensor(bool)"]): "bool", frozenset(["tensor(int64)"]): "int"}.get(
        frozenset(formal.types), "float"
    )


def _typed(node: Node, y: Live, kind: str, b: Builder) -> Live:
    """The output as numbers of this kind: ONNX cuts off what integers do not hold."""
    if node.op == "Cast":
        return y  # whose attribute says the type
    if kind == "int" and y.kind != "int" and node.op in FRACTIONAL:
        y = b.layer("trunc", y, "whole")
    return Live(y.name, y.shape, kind)


def _checked(proto: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema:
    """The operator's schema, if it exists in this version and the node is one of it."""
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
        else:  # tensors and graphs, which only nodes have that are folded or not supported
            found[attribute.name] = attribute
    return found


def _wanted(node: Node) -> str:
    """A name for the node's layer: that of its parameters, so that they need no names, or a path without repetition."""
    for value in node.inputs[1:2]:
        if isinstance(value, Constant) and value.name.endswith((".weight", ".kernel", ".gamma", ".slope", ".alpha")):
            return value.name.rpartition(".")[0]
    parts = [part for part in node.name.split("/") if part]
    if len(parts) > 1 and re.fullmatch(rf"{node.op}(_\d+)?", parts[-1]):
        parts.pop()
    parts = [p for p, after in zip(parts, [*parts[1:], ""], strict=True) if not after.startswith(f"{p}.")]
    return ".".join(parts) or node.op
