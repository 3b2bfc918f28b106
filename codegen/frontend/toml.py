"""Loads a network from a spec in TOML; docs/spec.md is the reference."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from codegen.errors import SpecError
from codegen.frontend.model import Model, read_example
from codegen.frontend.network import Stopped, build_graph
from codegen.frontend.parameters.parameters import Parameters
from codegen.frontend.remedies import remedy
from codegen.frontend.spec.naming import file_fault
from codegen.frontend.spec.place import Place, show
from codegen.frontend.spec.reader import MOST_BYTES, Document, parse_document, read_document
from codegen.frontend.spec.spec import LayerTable, Spec, read_spec


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
    return Model(
        graph=graph,
        spec_name=name,
        spec_sha256=document.sha256,
        weights_sha256=parameters.sha256,
        example=example,
        unused=parameters.unused,
        backend=spec.model.backend,
        origins={layer.name: _origin(layer, spec) for layer in spec.layers},
    )


def _origin(layer: LayerTable, spec: Spec) -> str:
    """The layer's line in the spec, and its node in the imported model, as far as the spec tells."""
    line = [f"line {spec.lines[layer.name]}"] if layer.name in spec.lines else []
    return ", ".join(line + ([f"node {show(layer.original)}"] if layer.original else []))


def find_spec(name: str, sha256: str, folder: Path) -> Path:
    """The spec of this file name and hash, searched here, around the artefact, and in folders ``specs`` of those."""
    places = [Path.cwd(), *folder.resolve().parents]
    seen = []
    for place in places:
        for path in (place / name, place / "specs" / name):
            try:
                # Reading a pipe would block.
                if not path.is_file() or path.stat().st_size > MOST_BYTES:
                    continue
                content = path.read_bytes()
            except OSError:
                continue
            if hashlib.sha256(content).hexdigest() == sha256:
                return path
            seen.append(path)
    if seen:
        raise SpecError(
            f"{folder}: was generated from another version of {seen[0]}; build again, or give it with --spec"
        )
    raise SpecError(
        f"{folder}: its spec {name} is not here nor around it; give it with --spec {shlex.quote(name)}, or where it "
        "was built from a model file, --spec MODEL and the same --shape options"
    )
