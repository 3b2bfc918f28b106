"""Expands operators that ONNX defines as functions of other operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import AttributeProto, helper

from codegen.graph.ops import Shape
from codegen.importers.onnx.node import Refused

Type = tuple[DTypeLike, Shape] | None
"""The type and shape of an input; None if it is absent."""

_NOT_EXPANDED = frozenset({"Bernoulli", "DynamicQuantizeLinear", "NegativeLogLikelihoodLoss", "SequenceMap"})
"""Random numbers, quantisation, training and sequences, whose definitions cannot be imported either."""


def is_defined(operator: str, opset: int) -> bool:
    """True if ONNX defines the operator by others in a version that is valid for this opset."""
    try:
        schema: Any = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return False
    versions = [*schema.function_opset_versions, *schema.context_dependent_function_opset_versions]
    return operator not in _NOT_EXPANDED and any(version <= opset for version in versions)


def definition(proto: onnx.NodeProto, opset: int, inputs: Sequence[Type]) -> list[onnx.NodeProto]:
    """The nodes that compute the outputs of ``proto``, whose operator ONNX defines by others.

    Tensors within the definition are named after the node's first output.
    """
    body = _body(proto, opset, inputs)
    names = dict(zip(body.input, proto.input, strict=False)) | dict(zip(body.output, proto.output, strict=False))
    names |= {name: "" for name in body.input if name not in names}
    schema = onnx.defs.get_schema(proto.op_type, opset, "")
    defaults = {name: a.default_value for name, a in schema.attributes.items() if a.default_value.type}
    attributes = defaults | {a.name: a for a in (*body.attribute_proto, *proto.attribute)}
    prefix = next(filter(None, proto.output))
    return [_renamed(node, names, attributes, prefix) for node in body.node]


def _body(proto: onnx.NodeProto, opset: int, inputs: Sequence[Type]) -> onnx.FunctionProto:
    """The newest definition that is valid for the model's opset."""
    schema: Any = onnx.defs.get_schema(proto.op_type, opset, "")  # the methods for functions have no type hints
    body = onnx.FunctionProto()
    general = [version for version in schema.function_opset_versions if version <= opset]
    if general:
        body.ParseFromString(schema.get_function_with_opset_version(max(general)))
        return body
    special = [version for version in schema.context_dependent_function_opset_versions if version <= opset]
    types = []
    for given in inputs:
        kind = onnx.TypeProto()
        if given is not None:
            element = helper.np_dtype_to_tensor_dtype(np.dtype(given[0]))
            kind = helper.make_tensor_type_proto(element, given[1])
        types.append(kind.SerializeToString())
    made = schema.get_context_dependent_function_with_opset_version(max(special), proto.SerializeToString(), types)
    body.ParseFromString(made)
    if not body.node:
        raise Refused("ONNX does not define it by other operators for inputs of these types")
    return body


def _renamed(
    node: onnx.NodeProto, names: dict[str, str], attributes: Mapping[str, AttributeProto], prefix: str
) -> onnx.NodeProto:
    """A node of the definition with the names and attributes of the node that it expands."""

    def renamed(name: str) -> str:
        return names.setdefault(name, f"{prefix}.{name}") if name else ""

    made = onnx.NodeProto()
    made.op_type, made.domain, made.name = node.op_type, node.domain, f"{prefix}.{node.op_type}"
    made.input.extend(map(renamed, node.input))
    for attribute in node.attribute:
        if attribute.ref_attr_name and attribute.ref_attr_name not in attributes:
            continue
        made.attribute.add().CopyFrom(attributes.get(attribute.ref_attr_name, attribute))
        made.attribute[-1].name = attribute.name
        if attribute.type == AttributeProto.GRAPH:
            graph = made.attribute[-1].g
            inner = [_renamed(n, names, attributes, prefix) for n in graph.node]
            del graph.node[:]
            graph.node.extend(inner)
            for value in (*graph.input, *graph.output, *graph.initializer):
                value.name = renamed(value.name)
    made.output.extend(map(renamed, node.output))
    return made
