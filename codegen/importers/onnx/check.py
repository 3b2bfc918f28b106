"""Checks an import of an ONNX model against independent evaluators, tensor by tensor.

Each node of the model is evaluated by :mod:`evaluate` on the import's values of the node's inputs, and its outputs are
compared with the import's values: this names the wrong node itself, and errors do not grow with the network's depth.
The nodes are compared before layers are merged; afterwards the final spec is compared with the network before merging.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import Mismatch
from codegen.frontend.spec.place import show
from codegen.graph.graph import Graph, Output
from codegen.graph.ops import Convert, Shape
from codegen.importers import compare
from codegen.importers.compare import ImportCheck, Tally
from codegen.importers.known import Known
from codegen.importers.load import load_document
from codegen.importers.onnx.evaluate import READINGS, NotEvaluated, evaluate, evaluate_constants
from codegen.importers.onnx.node import Constant, Live
from codegen.importers.onnx.translate import Trace, trace_onnx

Array = NDArray[Any]
Say = Callable[[str], None]

REFERENCE = "onnx.reference"
ROUNDED: Mapping[str, float] = {"GlobalLpPool": 1e-5}
"""Tolerances of operators for which the import stores a computed number as float32: the exponent 1 / p."""

_WEIGHTED = frozenset({"DFT", "GridSample", "Resize", "Upsample"})
"""Not compared if an input is NaN or infinite, as engines differ in which elements they multiply by a weight of 0."""


def check_onnx(
    path: Path, graph: Graph, shapes: Mapping[str, Shape], say: Say, inputs: Sequence[compare.Inputs] = ()
) -> ImportCheck:
    """Raises Mismatch if ``graph``, loaded from the spec that ``path`` was imported as, differs from the model.

    ``inputs`` are the inputs of the comparison by the model's names; the default is :func:`compare.draws`.
    """
    trace = trace_onnx(path, graph.name, shapes)
    traced = _graph(trace)
    reason = compare.too_large(*_work(trace, traced))
    if reason:
        return ImportCheck(REFERENCE, skipped=reason)
    walk = _Walk(path, trace, say)
    count = 0
    types = {port.original: port.type for port in trace.document.inputs}
    for k, given in enumerate(inputs or compare.draws(trace.network.inputs, types)):
        if k == compare.USUAL and not inputs and not walk.lost:
            break
        count += 1
        named = _renamed(trace, given)
        values = traced.evaluate(named)
        walk.compare(given, values)
        _check_written(path, traced, graph, named, values)
    return walk.tally.checked(REFERENCE, count)


def _graph(trace: Trace) -> Graph:
    """The network before layers are merged."""
    document = trace.document
    document.prune()
    document.fill()
    return load_document(document)


def _renamed(trace: Trace, given: compare.Inputs) -> dict[str, Array]:
    """Inputs by the spec's names and in the spec's shapes."""
    return {port.name: given[port.original].reshape(port.shape) for port in trace.document.inputs}


def _work(trace: Trace, traced: Graph) -> tuple[float, float, float]:
    """The work that :func:`compare.too_large` takes, for two inputs and two evaluators.

    It is the number of multiply-adds, of computed elements, and of elements in memory at once.
    """

    def shape(name: str) -> Shape:
        value = trace.values.get(name)
        return value.shape if isinstance(value, Live) else value.values.shape if isinstance(value, Constant) else ()

    multiply_adds = 0.0
    for node in trace.network.nodes:
        size = math.prod(shape(node.output[0]))
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            a, b = shape(node.input[0]), shape(node.input[1])
            inner = math.prod(b[1:]) if node.op_type == "Conv" else a[-1] if a else 1
            multiply_adds += size * inner
        elif node.op_type == "ConvTranspose":
            multiply_adds += math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])
        elif node.op_type.endswith("Pool"):
            window = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
            multiply_adds += 4 * size * math.prod(window)
    elements = float(sum(math.prod(shape) for shape in traced.shapes.values()))
    stored = float(sum(array.size for array in trace.document.arrays.values()))
    return 4 * multiply_adds, 4 * elements, 2 * elements + 4 * stored


class _Tensors:
    """The import's values of the model's tensors for one input, in the types that the reference computes."""

    def __init__(self, trace: Trace, inputs: Mapping[str, Array], values: Mapping[str, Array]) -> None:
        """``inputs`` are the model's; ``values`` are the import's by layer name."""
        self._trace, self._values = trace, values
        self._types: dict[str, np.dtype[Any]] = {name: x.dtype for name, x in inputs.items()}
        self._constants: dict[str, Array] = {}  # in the model's own types
        self._left_out = dict(inputs)  # inputs without a value in the import, as no output depends on them

    def ours(self, name: str) -> Array | None:
        """The import's value of a tensor; None if it has none."""
        value = self._trace.values.get(name)
        if isinstance(value, Live):
            return self._values[value.name].reshape(value.shape) if value.name in self._values else None
        return value.values if isinstance(value, Constant) else None

    def is_constant(self, name: str) -> bool:
        return name not in self._types

    def read(self, name: str) -> Array | None:
        """The value that a node reads; None for an absent input."""
        if not name:
            return None
        if name in self._types:
            ours = self.ours(name)
            return self._left_out[name] if ours is None else ours.astype(self._types[name])
        if name not in self._constants:
            # An initializer that the translation did not need.
            value = self._trace.values.get(name)
            mine = value.values if isinstance(value, Constant) else self._trace.network.initializer(name)
            self._constants[name] = mine
        return self._constants[name]

    def keep(self, name: str, theirs: Array, live: bool) -> None:
        """Records the reference's output of a node."""
        if not live:
            self._constants[name] = theirs
            return
        self._types[name] = theirs.dtype
        if self.ours(name) is None:
            self._left_out[name] = theirs


class _Walk:
    """Compares the tensors of a model in order, on one input after the other."""

    def __init__(self, path: Path, trace: Trace, say: Say) -> None:
        self._path, self._trace, self._say = path, trace, say
        self.tally = Tally()
        self.lost = False  # True if some tensor had no finite element

    def compare(self, inputs: Mapping[str, Array], values: Mapping[str, Array]) -> None:
        """Compares all tensors; ``inputs`` are the model's, ``values`` are the import's by layer name."""
        network, tensors = self._trace.network, _Tensors(self._trace, inputs, values)
        for name, given in inputs.items():
            ours = tensors.ours(name)
            what = "" if ours is None else compare.difference(ours, given, 0.0)
            if what:
                raise compare.mismatch(self._path, show(name), "the model's inputs", what)
        undefined: set[str] = set()
        for k, node in enumerate(network.nodes, 1):
            self._say(f"checking node {k} of {len(network.nodes)}")
            if not undefined.isdisjoint(node.input):
                undefined.update(node.output)
                continue
            read = [tensors.read(name) for name in node.input]
            constant = [tensors.is_constant(name) for name in node.input]
            live = not all(constant) and node.op_type not in ("Shape", "Size")
            try:
                if live:
                    found = evaluate(node, network.opset, read, constant)
                else:
                    found = evaluate_constants(node, network.opset, read)
            except NotEvaluated as error:
                self.tally.notes[f"{_maker(node)} was not compared: {error}"] = None
                found = [None] * len(node.output)
            for i, (name, theirs) in enumerate(zip(node.output, found, strict=True)):
                ours = tensors.ours(name) if name else None
                if live and theirs is not None and _without_value(node, read, theirs):
                    undefined.add(name)
                elif theirs is not None:
                    tensors.keep(name, theirs, live)
                    if ours is not None and name in network.read_names:
                        self._compare(node, i, ours, theirs, read, constant, live)
                elif ours is not None:
                    tensors.keep(name, ours, live)
        for port in self._trace.document.outputs:
            if port.original in undefined:
                continue
            ours = tensors.ours(port.original)
            assert ours is not None
            what = compare.difference(values[port.value].reshape(ours.shape), ours, 0.0)
            if what:
                raise compare.mismatch(self._path, show(port.original), "the model's outputs", what)

    def _compare(
        self,
        node: Any,
        i: int,
        ours: Array,
        theirs: Array,
        inputs: Sequence[Array | None],
        constant: Sequence[bool],
        live: bool,
    ) -> None:
        if node.op_type in _WEIGHTED and not all(np.isfinite(x).all() for x in inputs if x is not None):
            return
        # Other readings of constants are tried only if the exact one does not fit.
        largest = max((compare.largest(x) for x in inputs if x is not None), default=0.0)
        tolerance = ROUNDED.get(node.op_type, compare.TOLERANCE) if live else compare.FLOAT32_TOLERANCE
        what = compare.difference(ours, theirs, tolerance, compare.CANCELLED * largest)
        for reading in READINGS[1:]:
            if not what or not live:
                break
            again = None
            with contextlib.suppress(NotEvaluated):
                again = evaluate(node, self._trace.network.opset, inputs, constant, reading)[i]
            if again is not None and not compare.difference(ours, again, tolerance, compare.CANCELLED * largest):
                what, theirs = "", again
        if what:
            raise compare.mismatch(self._path, show(node.output[i]), _maker(node), what)
        if live:
            self.lost |= bool(theirs.size) and not np.isfinite(theirs.astype(np.float64)).any()
            self.tally.worst = max(self.tally.worst, compare.relative_error(ours, theirs))
        self.tally.tensors.add(node.output[i])


def _maker(node: Any) -> str:
    return f"{node.op_type} {show(node.name or node.output[0])}"


def _without_value(node: Any, inputs: Sequence[Array | None], y: Array) -> bool:
    """True if ONNX leaves the result undefined: integer overflow in a cast, or integer division by 0."""
    if y.dtype.kind not in "iu":
        return False
    a, b = (*inputs, None)[:2]
    if node.op_type in ("Div", "Mod"):
        return b is not None and bool((b == 0).any())
    if node.op_type == "Pow" and a is not None and b is not None:
        with np.errstate(all="ignore"):
            a = np.power(a.astype(np.float64), b)
    elif node.op_type not in ("Cast", "CastLike"):
        return False
    if a is None or (a.dtype.kind != "f" and y.dtype.itemsize < 4):
        return False  # narrow integers wrap around
    wide, low, high = a.astype(np.float64), int(np.iinfo(y.dtype).min), int(np.iinfo(y.dtype).max)
    return not bool(((wide > low - 1) & (wide < high)).all())


def _check_written(
    path: Path, traced: Graph, graph: Graph, inputs: Mapping[str, Array], values: Mapping[str, Array]
) -> None:
    """Compares the final spec, with merged layers, with ``values`` of the network before merging."""
    written = _evaluated_beside(graph, inputs, values)
    floor = compare.CANCELLED * max(map(compare.largest, values.values()))
    # Compared before conversion to the output's type, as a rounding error may become a whole step of that type.
    expected = {(o.name, o.type): values[_computed(traced, o)] for o in traced.outputs}
    found = {(o.name, o.type): written[_computed(graph, o)] for o in graph.outputs}
    if list(found) != list(expected):
        raise Mismatch(f"{path}: the import has the outputs {list(found)}, not {list(expected)}")
    for output in graph.outputs:
        mine, theirs = (of[output.name, output.type] for of in (found, expected))
        what = compare.difference(mine, theirs, compare.FLOAT32_TOLERANCE, floor)
        if what:
            raise compare.mismatch(path, *_culprit(graph, written, values, output.name), what)


def _computed(graph: Graph, output: Output) -> str:
    """The tensor of an output before the conversion to the output's type, if there is one."""
    node = graph.by_name.get(output.value)
    return node.inputs[0] if node is not None and isinstance(node.op, Convert) else output.value


def _evaluated_beside(graph: Graph, inputs: Mapping[str, Array], values: Mapping[str, Array]) -> dict[str, Array]:
    """All tensors of ``graph``, each replaced by the closest of ``values`` if that is almost equal.

    A merged layer may round a constant differently: 1/6 is 0.16666667 in the model.  The replacement keeps this small
    difference from growing in a discontinuous function later on.
    """
    known = Known(values.values())
    mine = {i.name: np.asarray(inputs[i.name], np.float64) for i in graph.inputs} | dict(graph.constant_values)
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            y = node.op.reference(*(mine[name] for name in node.inputs))
            like = known.like(y)
            # The closest one, as a scale of almost 1 gives tensors that are almost equal.
            mine[node.name] = min(like, key=lambda theirs: compare.relative_error(y, theirs), default=y)
    return mine


def _culprit(graph: Graph, written: Mapping[str, Array], values: Mapping[str, Array], output: str) -> tuple[str, str]:
    """The first layer of the spec that matches no tensor of the network before merging."""
    for node in graph.nodes:
        mine = written[node.name]
        alike = (theirs for theirs in values.values() if theirs.shape == mine.shape)
        if all(compare.difference(mine, theirs, 1e-4) for theirs in alike):
            return f"the value of layer {show(node.name)}", f"{node.op.title}, in output {show(output)}"
    return f"output {show(output)}", "the spec as it is written"
