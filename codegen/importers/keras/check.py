"""Checks an import of a Keras model against an evaluator of its configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import Mismatch
from codegen.frontend.spec.place import show
from codegen.graph.graph import Graph
from codegen.graph.ops import Shape
from codegen.importers import compare
from codegen.importers.compare import ImportCheck, Tally
from codegen.importers.keras.evaluate import evaluate_keras
from codegen.importers.keras.importer import import_keras
from codegen.importers.open import as_model
from codegen.importers.writer import write_document

Array = NDArray[Any]

REFERENCE = "Keras' definitions in numpy"


def check_keras(path: Path, graph: Graph, shapes: Mapping[str, Shape], say: Callable[[str], None]) -> ImportCheck:
    """Raises Mismatch if ``graph``, loaded from the spec that ``path`` was imported as, differs from the model."""
    reason = compare.too_large(*_work(graph))
    if reason:
        return ImportCheck(REFERENCE, skipped=reason)
    # Imported again with the model's own layout, whatever layout the application's arrays have.
    document = import_keras(path, graph.name, shapes, "")
    own = as_model(path, write_document(document)).graph
    names = {port.name: port.original for port in (*document.inputs, *document.outputs)}
    if [o.name for o in graph.outputs] != [o.name for o in own.outputs]:
        raise Mismatch(f"{path}: the import has the outputs {[o.name for o in graph.outputs]}")
    full = {names[i.name]: _behind(np.empty(i.shape), i.channels_last).shape for i in own.inputs}
    tally, lost, count = Tally(), False, 0
    for k, given in enumerate(compare.draws(full)):
        if k == compare.USUAL and not lost:
            break
        count += 1
        say("checking the import")
        with np.errstate(all="ignore"):
            values = graph.evaluate({i.name: _front(given[names[i.name]], i.channels_last) for i in own.inputs})
            seen: list[tuple[str, Array]] = []
            expected = evaluate_keras(path, shapes, given, seen=seen)
            cancelled = compare.CANCELLED * max(compare.largest(x) for x in (*given.values(), *(x for _, x in seen)))
        for output, theirs in zip(own.outputs, expected, strict=True):
            ours = _behind(values[output.value], output.channels_last)
            what = compare.difference(ours, theirs, compare.TOLERANCE, cancelled)
            if what:
                maker = f"output {show(names[output.name])}"
                raise compare.mismatch(path, _culprit(seen, values, maker), maker, what)
            tally.tensors.add(output.name)
            tally.worst = max(tally.worst, compare.relative_error(ours, theirs))
            lost |= not np.isfinite(theirs).any()
    return tally.checked(REFERENCE, count)


def _culprit(seen: Sequence[tuple[str, Array]], values: Mapping[str, Array], otherwise: str) -> str:
    """The first layer of the model whose value matches no tensor of the import, in either order of axes."""
    for name, theirs in seen:
        forms = [_front(theirs, last) for last in ((False, True) if np.ndim(theirs) > 2 else (False,))]
        alike = ((form, ours) for form in forms for ours in values.values() if ours.shape == form.shape)
        if all(compare.difference(ours, form, compare.TOLERANCE) for form, ours in alike):
            return f"the value of layer {show(name)}"
    return otherwise


def _front(x: Array, channels_last: bool) -> Array:
    return np.moveaxis(x, -1, 1) if channels_last else x


def _behind(x: Array, channels_last: bool) -> Array:
    return np.moveaxis(x, 1, -1) if channels_last else x


def _work(graph: Graph) -> tuple[float, float, float]:
    """The work that :func:`compare.too_large` takes, for two inputs and two evaluators.

    It is the number of multiply-adds, of computed elements, and of elements in memory at once.
    """
    multiply_adds = stored = 0.0
    for node in graph.nodes:
        weight = getattr(node.op, "weight", None)
        if isinstance(weight, np.ndarray):
            stored += weight.size
            multiply_adds += math.prod(graph.shapes[node.name]) * weight.size / weight.shape[0]
        window = getattr(node.op, "kernel", ()) if weight is None else ()
        multiply_adds += math.prod(graph.shapes[node.name]) * math.prod(window) if window else 0
    elements = float(sum(math.prod(shape) for shape in graph.shapes.values()))
    return 4 * multiply_adds, 4 * elements, 2 * elements + 4 * stored
