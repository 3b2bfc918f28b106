"""Loads a network from a spec in TOML; docs/spec.md is the reference."""

from __future__ import annotations

from pathlib import Path

from codegen.errors import SpecError
from codegen.frontend.example import read_example
from codegen.frontend.model import Model
from codegen.frontend.naming import file_fault
from codegen.frontend.network import Stopped, build_graph
from codegen.frontend.parameters import Parameters
from codegen.frontend.place import Place, show
from codegen.frontend.reader import Document, parse_document, read_document
from codegen.frontend.remedies import remedy
from codegen.frontend.spec import read_spec


def load(path: Path) -> Model:
    """Loads the network that the file describes; raises SpecError or ParameterError."""
    fault = file_fault(path.name)
    if fault:
        raise SpecError(f"{show(str(path))}: {fault}; rename it")
    return _model(read_document(path), path.name, path.parent, None)


def load_bytes(file: str, spec_name: str, text: bytes, weights: Parameters) -> Model:
    """Loads a spec that is in memory, with its parameters; errors cite ``file``."""
    return _model(parse_document(text, Place(file)), spec_name, Path(), weights)


def _model(document: Document, name: str, folder: Path, parameters: Parameters | None) -> Model:
    spec, file = read_spec(document), document.place.file
    if parameters is None:
        weights = spec.model.weights
        at = Place(file, "model").key("weights")
        parameters = Parameters.open(folder / weights, at, spec.model.weights_key) if weights else Parameters()
    try:
        graph = build_graph(spec, parameters)
    except Stopped as stop:
        raise type(stop.error)(f"{stop.error}{remedy(document, parameters, stop)}") from stop.error
    example = read_example(spec.example, graph, folder, file) if spec.example else None
    return Model(graph, name, document.sha256, parameters.sha256, example, parameters.unused)
