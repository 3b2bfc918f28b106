"""A network from a spec in TOML; docs/spec.md is its reference."""

from __future__ import annotations

from pathlib import Path

from codegen.errors import SpecError
from codegen.frontend.example import read_example
from codegen.frontend.model import Model
from codegen.frontend.naming import file_fault
from codegen.frontend.network import build_graph
from codegen.frontend.parameters import Parameters
from codegen.frontend.place import Place, show
from codegen.frontend.reader import read_document
from codegen.frontend.spec import read_spec


def load(path: Path) -> Model:
    """The network that the file describes; raises SpecError or ParameterError."""
    fault = file_fault(path.name)
    if fault:
        raise SpecError(f"{show(str(path))}: {fault}; rename it")
    file, folder = str(path), path.parent
    document = read_document(path)
    spec = read_spec(document)
    weights = spec.model.weights
    at = Place(file, "model").key("weights")
    parameters = Parameters.open(folder / weights, at) if weights else Parameters()
    graph = build_graph(spec, parameters)
    example = read_example(spec.example, graph, folder, file) if spec.example else None
    return Model(graph, path.name, document.sha256, parameters.sha256, example, parameters.unused)
