"""A model file -> its graph with fixed input shapes, and the nodes that its outputs depend on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from codegen.errors import ClgenError
from codegen.frontend.parameters.archive import MAX_BYTES
from codegen.frontend.spec.place import Place, listed, show, suggestion
from codegen.frontend.spec.spec import MAX_ELEMENTS
from codegen.graph.ops import Shape
from codegen.importers.onnx.external import load_external
from codegen.importers.onnx.number_types import number_type_of_element

OLDEST = 7
NEWEST = onnx.defs.onnx_opset_version()
DOMAINS = ("", "ai.onnx")

Shapes = Mapping[str, Shape]


@dataclass(frozen=True, eq=False)
class Network:
    """The needed part of a model: ``nodes`` are in order; ``initializers`` are still serialized."""

    place: Place
    opset: int
    inputs: dict[str, Shape]
    types: dict[str, int]  # ONNX types of inputs and outputs, if the file states them
    nodes: list[onnx.NodeProto]
    outputs: list[str]
    initializers: dict[str, onnx.TensorProto]
    read_names: frozenset[str]  # tensors that a needed node or an output reads
    notes: list[str] = field(default_factory=list)

    def initializer(self, name: str) -> NDArray[Any]:
        """Decodes an initializer, once: its serialized form is dropped to save memory.  SpecError if it is damaged."""
        try:
            values = np.asarray(numpy_helper.to_array(self.initializers[name]))
            self.initializers[name].ClearField("raw_data")
            return values
        except Exception as error:  # damaged fields raise exceptions of any kind
            raise self.place.spec_error(f"tensor {show(name)} cannot be read: {error}") from error


def read(path: Path, shapes: Shapes) -> Network:
    place = Place(str(path))
    model = _load(path, place)
    graph = model.graph
    if any(isinstance(text, bytes) for text in _texts(graph)):
        raise place.spec_error("is damaged: a name in it is not UTF-8")
    opset = _opset(model, place)
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    declared = {i.name: i for i in graph.input if i.name not in initializers}
    outputs = [output.name for output in graph.output]
    if not outputs or not all(outputs):
        raise place.spec_error("has no outputs")
    nodes = _needed(graph, outputs)
    _check_order(nodes, {*initializers, *declared}, outputs, place)
    read_names = frozenset(outputs).union(*map(read_within, nodes))
    used = {name: value for name, value in declared.items() if name in read_names}
    notes = [f"no output depends on input {show(name)}, which is left out" for name in declared if name not in used]
    inputs = _input_shapes(used, shapes, place)
    types = {port.name: port.type.tensor_type.elem_type for port in (*graph.output, *used.values())}
    return Network(place, opset, inputs, types, nodes, outputs, initializers, read_names, notes)


def _load(path: Path, place: Place) -> onnx.ModelProto:
    try:
        if not path.is_file():
            raise place.spec_error("is not a regular file" if path.exists() else "does not exist")
        if path.stat().st_size > MAX_BYTES:
            raise place.spec_error(f"has {path.stat().st_size} bytes; at most {MAX_BYTES} are allowed")
        model = onnx.load(str(path), load_external_data=False)
        load_external(model, path, place)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except OSError as error:
        raise place.spec_error(f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise place.spec_error("does not fit into memory") from error
    except ClgenError:
        raise
    except Exception as error:  # protobuf has exception classes of its own
        raise place.spec_error(f"is not an ONNX model, or is damaged: {_line(error)}") from error
    if not model.HasField("graph"):
        raise place.spec_error("is not an ONNX model: it has no graph")
    return model


def _texts(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    """All names of the model, which protobuf returns as bytes if they are damaged."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for branch in _branches(node):
            yield from _texts(branch)
        yield from (text for a in node.attribute for text in (a.name, a.ref_attr_name))
    for tensor in graph.initializer:
        yield tensor.name
    for port in (*graph.input, *graph.output):
        yield port.name
        yield from (dim.dim_param for dim in port.type.tensor_type.shape.dim)


def _opset(model: onnx.ModelProto, place: Place) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in DOMAINS]
    if len(versions) != 1:
        raise place.spec_error("does not say the version of ONNX's operators once (opset_import)")
    if not OLDEST <= versions[0] <= NEWEST:
        remedy = "pip install -U onnx" if versions[0] > NEWEST else "export it again with a newer version"
        raise place.spec_error(f"is of opset {versions[0]}; from {OLDEST} to {NEWEST} are read: {remedy}")
    return int(versions[0])


def _needed(graph: onnx.GraphProto, outputs: list[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in the file's order."""
    names, kept = set(outputs), []
    for node in reversed(graph.node):
        if any(name in names for name in node.output if name):
            kept.append(node)
            names.update(_read_by(node))
    return kept[::-1]


def _branches(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs within a node: branches of a condition, or the body of a loop."""
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def _read_by(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, including those that its inner graphs take from outside."""
    names = {name for name in node.input if name}
    for branch in _branches(node):
        made = {i.name for i in branch.input} | {tensor.name for tensor in branch.initializer}
        for inner in branch.node:
            names |= _read_by(inner) - made
            made.update(inner.output)
        names |= {output.name for output in branch.output} - made
    return names


def read_within(node: onnx.NodeProto) -> set[str]:
    """All tensors that a node and its inner nodes read, and the outputs of its inner graphs."""
    names = set(node.input)
    for branch in _branches(node):
        names.update(output.name for output in branch.output)
        for inner in branch.node:
            names |= read_within(inner)
    return names


def _check_order(nodes: list[onnx.NodeProto], known: set[str], outputs: list[str], place: Place) -> None:
    known = set(known)
    for node in nodes:
        for name in sorted(_read_by(node)):
            if name not in known:
                raise place.spec_error(
                    f"node {show(node.name)} ({node.op_type}) reads {show(name)}, which nothing makes"
                )
        for name in node.output:
            if name and name in known:
                raise place.spec_error(f"tensor {show(name)} is made twice")
            known.add(name)
    for name in outputs:
        if name not in known:
            raise place.spec_error(f"output {show(name)} is made by nothing")


# Inputs ---------------------------------------------------------------------------------------------------------------


def _input_shapes(declared: Mapping[str, onnx.ValueInfoProto], given: Shapes, place: Place) -> dict[str, Shape]:
    for name in given:
        if name not in declared:
            near = suggestion(name, declared) or f"; its inputs are {listed(declared, 'and')}"
            raise place.spec_error(f"has no input {show(name)}, for which --shape gives sizes{near}")
    found: dict[str, Shape] = {}
    dynamic: list[str] = []
    for name, value in declared.items():
        sizes = _sizes(name, value, place)
        if sizes is None and name not in given:
            dynamic.append(f"{name} is of any shape")
            continue
        shape = given.get(name) or tuple(n if isinstance(n, int) else 0 for n in sizes or ())
        if sizes is not None and name in given:
            fits = len(sizes) == len(shape) and all(
                n == m for n, m in zip(shape, sizes, strict=True) if isinstance(m, int) and m
            )
            if not fits:
                raise place.spec_error(
                    f"input {show(name)} is {_shown(sizes)}; --shape {_option(name, shape)} does not fit"
                )
        if name not in given and 0 in (sizes or ()):
            example = _option(name, [n or "?" for n in shape])
            raise place.spec_error(
                f"input {show(name)} {_shown(sizes or ())} has a size of 0, so that there is nothing to compute; if "
                f"the 0 stands for an open size, give it with --shape {example}"
            )
        if not all(shape) and name not in given:
            dynamic.append(f"{name} is {_shown(sizes or ())}")
        found[name] = shape
    if dynamic:
        example = " ".join(
            f"--shape {_option(name, [n or '?' for n in found.get(name, ())] or ['?'])}"
            for name in declared
            if name not in given and not all(found.get(name, (0,)))
        )
        raise place.spec_error(f"has inputs of open sizes: {'; '.join(dynamic)}; give them with {example}")
    for name, shape in found.items():
        if min(shape, default=1) < 1 or np.prod(shape, dtype=float) > MAX_ELEMENTS:
            raise place.spec_error(f"input {show(name)} {list(shape)} should have from 1 to {MAX_ELEMENTS} elements")
    if not found:
        raise place.spec_error("has no input on which an output depends")
    return found


def _sizes(name: str, value: onnx.ValueInfoProto, place: Place) -> tuple[int | str, ...] | None:
    """A number or a name for each axis; None if not even the number of axes is known."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type" or number_type_of_element(value.type.tensor_type.elem_type) is None:
        is_ = "is not a tensor"
        if kind == "tensor_type":
            try:
                is_ = f"holds {helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)}"
            except KeyError:
                is_ = "holds numbers of an unknown type"
        raise place.spec_error(
            f"input {show(name)} {is_}; inputs should hold floating-point numbers of 16 to 64 bits, integers of 8 "
            "to 64 bits, or bools"
        )
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or "?"
        for d in value.type.tensor_type.shape.dim
    )


def _shown(sizes: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _option(name: str, shape: Any) -> str:
    return shlex.quote(f"{name}={','.join(map(str, shape))}")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
