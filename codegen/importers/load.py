"""Document -> graph, through the spec that is written for it."""

from __future__ import annotations

from codegen.frontend import toml
from codegen.frontend.parameters.archive import read_safetensors
from codegen.frontend.parameters.parameters import Parameters
from codegen.graph.graph import Graph
from codegen.importers.document import Document
from codegen.importers.writer import write_document


def load_document(document: Document) -> Graph:
    """Loads the network of a document by writing its spec and reading it back."""
    spec = write_document(document)
    weights = Parameters.of_bytes("", spec.weights, read_safetensors) if spec.weights else Parameters()
    return toml.load_bytes("", f"{spec.name}.toml", spec.text, weights).graph
